//! One server: a process, its files, and what is done to it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    NatsOptions, PATIENCE,
    config::Place,
    monitor::{self, Patience},
};

/// A nats-server.
#[derive(Debug)]
pub struct NatsServer {
    program: PathBuf,
    place: Place,
    routes: Vec<u16>,
    options: NatsOptions,
    folder: TempDir,
    child: Option<Child>,
    is_stopped: bool,
}

impl NatsServer {
    pub(super) fn begin(
        program: &Path,
        place: Place,
        routes: &[u16],
        options: &NatsOptions,
    ) -> anyhow::Result<Self> {
        let mut server = Self {
            program: program.to_owned(),
            place,
            routes: routes.to_vec(),
            options: options.clone(),
            folder: tempfile::Builder::new().prefix("nats-").tempdir()?,
            child: None,
            is_stopped: false,
        };
        server.spawn()?;
        Ok(server)
    }

    fn spawn(&mut self) -> anyhow::Result<()> {
        let store_dir = self.store_dir();
        let file = self.folder.path().join("server.conf");
        fs::write(
            &file,
            self.place
                .file(&store_dir.to_string_lossy(), &self.routes, &self.options),
        )?;
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_file())?;
        let environment = self
            .options
            .environment
            .iter()
            .filter(|(at, ..)| at.is_none_or(|at| at == self.place.index));
        let mut command = match &self.options.wrapper {
            Some(wrapper) => Command::new(wrapper),
            None => Command::new(&self.program),
        };
        if self.options.wrapper.is_some() {
            command.arg(&self.program);
        }
        let child = command
            .arg("--config")
            .arg(&file)
            .envs(environment.map(|(_, name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        self.child = Some(child);
        self.is_stopped = false;
        Ok(())
    }

    /// Waits until it answers, with JetStream where it has that.
    ///
    /// # Errors
    /// It ended, or that takes a minute.
    pub fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let mut patience = Patience::new(PATIENCE);
        loop {
            let child = self.child.as_mut().context("the server was killed")?;
            if let Some(status) = child.try_wait()? {
                self.child = None;
                bail!("nats-server ended ({status}): {}", self.log());
            }
            // Another server may have taken the port: the name tells.
            let answers = |path| monitor::get(self.place.monitor_port, path);
            let is_self =
                || answers("/varz").is_ok_and(|varz| varz["server_name"] == self.place.name);
            if is_self() && answers("/healthz").is_ok() {
                return Ok(());
            }
            if patience.wait().is_err() {
                bail!("nats-server is not ready: {}", self.log());
            }
        }
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ended = child.kill();
            let _reaped = child.wait();
        }
        self.is_stopped = false;
    }

    /// Ends it as an operator does (SIGTERM), and waits for that.
    ///
    /// # Errors
    /// It does not run, or does not end in a minute.
    pub fn end(&mut self) -> anyhow::Result<()> {
        self.signal("TERM")?;
        let mut child = self.child.take().context("the server was killed")?;
        let mut patience = Patience::new(PATIENCE);
        while child.try_wait()?.is_none() {
            if patience.wait().is_err() {
                self.child = Some(child);
                bail!("nats-server does not end: {}", self.log());
            }
        }
        Ok(())
    }

    /// Stops it (SIGSTOP), and waits until none of its threads runs: it answers nothing more, and its connections stay.
    ///
    /// # Errors
    /// It does not run, or is not stopped in a minute.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.signal("STOP")?;
        self.is_stopped = true;
        let mut patience = Patience::new(PATIENCE);
        while !self.stands_still()? {
            patience.wait().context("nats-server does not stop")?;
        }
        Ok(())
    }

    /// Linux: each thread of a process stops for itself, some time after the signal was sent.
    fn stands_still(&self) -> anyhow::Result<bool> {
        let id = self.id().context("the server was killed")?;
        for thread in fs::read_dir(format!("/proc/{id}/task"))? {
            // One that has ended meanwhile runs no more.
            let stat = fs::read_to_string(thread?.path().join("stat")).unwrap_or_default();
            // `id (name) state …`, where a name may have a parenthesis of its own.
            let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            if !state.is_empty() && !state.starts_with(['T', 't', 'Z', 'X']) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// It does not run.
    pub fn cont(&mut self) -> anyhow::Result<()> {
        self.signal("CONT")?;
        self.is_stopped = false;
        Ok(())
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        let id = self.id().context("the server was killed")?;
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {id}")])
            .status()?;
        ensure!(sent.success(), "nats-server had ended: {}", self.log());
        Ok(())
    }

    /// Starts it again on the same ports and files, killing it first if it runs; does not wait for it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn begin_again(&mut self) -> anyhow::Result<()> {
        self.kill();
        self.spawn()
    }

    /// Starts it again on the same ports and files, killing it first if it runs, and waits until it is ready.
    ///
    /// # Errors
    /// It does not start in a minute.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let mut patience = Patience::new(PATIENCE);
        loop {
            self.begin_again()?;
            // What it listened on may be taken for a moment.
            match self.wait_until_ready() {
                Ok(()) => return Ok(()),
                Err(error) if self.child.is_some() => return Err(error),
                Err(error) => patience.wait().map_err(|_| error)?,
            }
        }
    }

    /// What it is started with from the next start on.
    pub fn options_mut(&mut self) -> &mut NatsOptions {
        &mut self.options
    }

    /// Whether it was neither killed nor stopped.
    pub fn is_running(&self) -> bool {
        self.child.is_some() && !self.is_stopped
    }

    /// The process, if it was not killed.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Its name in its cluster.
    pub fn name(&self) -> &str {
        &self.place.name
    }

    /// Its address for clients.
    pub fn address(&self) -> String {
        let scheme = if self.options.tls.is_some() {
            "tls"
        } else {
            "nats"
        };
        format!("{scheme}://127.0.0.1:{}", self.place.client_port)
    }

    /// The address of its monitoring port.
    pub fn monitoring(&self) -> String {
        format!("http://127.0.0.1:{}", self.place.monitor_port)
    }

    /// What its monitoring port answers for a path.
    ///
    /// # Errors
    /// It does not answer with 200 and JSON.
    pub fn monitor(&self, path: &str) -> anyhow::Result<Value> {
        monitor::get(self.place.monitor_port, path)
    }

    /// Where its streams are.
    pub fn store_dir(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_else(|error| error.to_string())
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}
