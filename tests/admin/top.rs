//! `auditrelay top` in a real terminal, which util-linux' `script` makes; and without one.

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    configured, slack, started,
    support::{BINARY, PATIENCE, ids, list, run},
};

/// A shell in a terminal of 80 by 24.
struct Terminal {
    child: std::process::Child,
    input: std::process::ChildStdin,
    output: mpsc::Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    /// `None` where there is no `script`.
    fn start(folder: &std::path::Path, command: &str) -> Option<Self> {
        let line = format!("stty rows 24 cols 80; {command}; echo ended-$?; stty -a");
        let child = Command::new("script")
            .args(["-qfec", &line, "/dev/null"])
            .current_dir(folder)
            .env("TERM", "xterm-256color")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.ok()?;
        let input = child.stdin.take().expect("piped");
        let mut stdout = child.stdout.take().expect("piped");
        let (send, output) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = stdout.read(&mut bytes) {
                if send.send(bytes[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        let seen = String::new();
        Some(Self {
            child,
            input,
            output,
            seen,
        })
    }

    fn sees(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.seen.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left.min(Duration::from_secs(1))) {
                Ok(bytes) => self.seen += &String::from_utf8_lossy(&bytes),
                Err(mpsc::RecvTimeoutError::Timeout) if left > Duration::ZERO => {}
                Err(_) => panic!("never {text:?} in {:?}", self.seen),
            }
        }
    }

    fn types(&mut self, keys: &str) {
        self.input.write_all(keys.as_bytes()).expect("typed");
        self.input.flush().expect("typed");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn top_shows_the_relay_says_when_it_goes_and_leaves_the_terminal_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let slack = slack().await;
    configured(path, &slack, "");
    let relay = started(path);
    relay
        .post("/webhook", list("alice", "get", ids("a", 5)))
        .await;
    let command = format!("{BINARY} top --config c.yaml");
    let Some(mut terminal) = Terminal::start(path, &command) else {
        skipped();
        return;
    };
    terminal.sees("\u{1b}[?1049h");
    terminal.sees("platform");
    terminal.sees("healthy");
    terminal.types("?");
    terminal.sees("acknowledged");
    terminal.types("q");
    relay.kill();
    terminal.sees("ANSWER");
    let relay = started(path);
    terminal.types("\u{3}");
    terminal.sees("\u{1b}[?1049l");
    terminal.sees("ended-0");
    // Lines are edited and echoed again.
    terminal.sees(" icanon");
    terminal.sees(" echo ");
    drop(relay);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_leaves_the_terminal_as_it_was_and_no_colour_is_no_colour() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let slack = slack().await;
    configured(path, &slack, "");
    let _relay = started(path);
    let command = format!(
        "echo $$ > pid; NO_COLOR=1 {BINARY} top --config c.yaml & top=$!; echo $top > pid; fg"
    );
    let command = format!("set -m; {command}");
    let Some(mut terminal) = Terminal::start(path, &command) else {
        skipped();
        return;
    };
    terminal.sees("healthy");
    terminal.sees("platform");
    let pid = std::fs::read_to_string(path.join("pid")).expect("written");
    let kill = format!("kill -TERM {}", pid.trim());
    assert!(
        Command::new("sh")
            .args(["-c", &kill])
            .status()
            .expect("a shell")
            .success()
    );
    terminal.sees("\u{1b}[?1049l");
    terminal.sees("ended-0");
    terminal.sees(" icanon");
    let drawn = &terminal.seen;
    for colour in ["\u{1b}[32m", "\u{1b}[38;5;2m", "\u{1b}[38;5;10m"] {
        assert!(!drawn.contains(colour), "{drawn:?}");
    }
}

#[test]
fn without_a_terminal_top_names_what_needs_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, out, error) = run(folder.path(), &[], &["top"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(error.contains("auditrelay status"), "{error}");
}

#[expect(clippy::print_stdout, reason = "a test that did nothing says so")]
fn skipped() {
    println!("skipped: there is no `script` (util-linux) to make a terminal");
}
