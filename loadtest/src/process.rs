//! A program under test: started, watched through `/proc`, ended.
//!
//! Contract: the child dies with its [`Process`]. Figures are the child's own as the kernel counts
//! them, threads included; reading them does not disturb it.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::time::Instant;

/// Longest wait for a program to be ready or to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Linux: `USER_HZ`, the unit of times in `/proc/PID/stat`, is 100 on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// What the kernel has counted since the process began.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Processor time, user and system, in seconds.
    pub cpu_seconds: f64,
    /// Bytes sent to the storage layer.
    pub written_bytes: u64,
    /// Resident memory now, in bytes.
    pub resident_bytes: u64,
    /// The most there ever was, in bytes.
    pub resident_bytes_max: u64,
}

impl Process {
    /// Starts a program; what it writes goes to `log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(name: &str, command: &mut Command, log: PathBuf) -> anyhow::Result<Self> {
        let out = fs::File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("cannot start {name} ({:?})", command.get_program()))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Waits for what the program writes when it is ready; `find` looks for it in a line.
    ///
    /// # Errors
    /// The program ended, or wrote no such line in a minute.
    pub async fn wait_for_line<T>(
        &mut self,
        find: impl Fn(&str) -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let written = fs::read_to_string(&self.log)?;
            if let Some(found) = written.lines().find_map(&find) {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended before it was ready ({status}): {written}",
                    self.name
                );
            }
            if Instant::now() > deadline {
                bail!("{} was not ready in {PATIENCE:?}: {written}", self.name);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// It has ended.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        let read = |file: &str| {
            fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))
                .with_context(|| format!("{} has ended", self.name))
        };
        let stat = read("stat")?;
        // The name, in parentheses, may hold spaces.
        let (_, fields) = stat
            .rsplit_once(") ")
            .context("an unknown /proc/PID/stat")?;
        let ticks: u64 = fields
            .split(' ')
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().unwrap_or_default())
            .sum();
        let status = read("status")?;
        let io = read("io")?;
        Ok(Usage {
            cpu_seconds: ticks as f64 / TICKS_PER_SECOND,
            written_bytes: field(&io, "write_bytes:"),
            resident_bytes: field(&status, "VmRSS:") * 1_024,
            resident_bytes_max: field(&status, "VmHWM:") * 1_024,
        })
    }

    /// Asks it to end and waits for that.
    ///
    /// # Errors
    /// It does not end in a minute.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let status = Command::new("sh")
            .args(["-c", &format!("kill -TERM {}", self.child.id())])
            .status()?;
        anyhow::ensure!(status.success(), "{} had ended already", self.name);
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("{} did not end in {PATIENCE:?}", self.name);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}
