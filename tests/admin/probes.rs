//! Probes: while the queue is being opened, afterwards, one check alone, and never because of Slack.

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::{Child, Command},
};

use hyper::StatusCode;
use serde_json::Value;

use crate::{
    configured, page, slack, started,
    support::{command, run},
    until,
};

/// A process that ends with its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The admin address, as it is logged before the queue is opened.
fn listens(log: &Path) -> Option<SocketAddr> {
    let log = fs::read_to_string(log).ok()?;
    let mut lines = log.lines();
    // The last line may be half a line.
    let opening = lines.find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["message"] == "opening the queue").then_some(line)
    })?;
    let address = opening["admin"].as_str()?.strip_prefix("http://")?;
    address.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_answered_while_the_queue_is_being_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let slack = slack().await;
    // Opening waits for whoever writes the key: as long as we like.
    let made = Command::new("mkfifo").arg(path.join("key")).status();
    assert!(made.expect("mkfifo").success());
    configured(path, &slack, "dedup: { key_file: key }\n");
    let stderr = path.join("stderr");
    let child = command(path)
        .args(["serve", "--config", "c.yaml", "--listen", "127.0.0.1:0"])
        .args(["--admin-listen", "127.0.0.1:0"])
        .stderr(fs::File::create(&stderr).expect("a file"))
        .spawn()
        .expect("it starts");
    let _child = Killed(child);
    let admin = until("it says where it listens", async || listens(&stderr)).await;
    let live = until("an answer", async || page(admin, "/livez", None).await).await;
    assert_eq!((live.0, live.2.as_str()), (StatusCode::OK, "ok\n"));
    for probe in ["/startupz", "/readyz", "/readyz?verbose"] {
        let (status, _, lines) = page(admin, probe, None).await.expect("an answer");
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{probe}: {lines}");
        assert!(
            lines.starts_with("[-]startup failed: opening the queue"),
            "{lines}"
        );
    }
    for path in ["/metrics", "/status", "/ledger"] {
        let (status, _, text) = page(admin, path, None).await.expect("an answer");
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {text}");
        assert!(text.starts_with("opening the queue"), "{text}");
    }
    // Who may write it without waiting: the relay reads it, so it has the store.
    let mut key = until("the key is read", async || {
        const O_NONBLOCK: i32 = 0o4000;
        let mut open = fs::OpenOptions::new();
        open.write(true).custom_flags(O_NONBLOCK);
        open.open(path.join("key")).ok()
    })
    .await;
    // Commands are not told of it before it can do what they ask.
    assert!(!path.join("auditrelay-data/admin.address").exists());
    let (code, _, text) = run(path, &[], &["status", "--config", "c.yaml"]);
    assert_eq!(code, 70, "{text}");
    assert!(text.contains("a relay that starts or stops"), "{text}");
    key.write_all(&[7; 32]).expect("written");
    drop(key);
    for probe in ["/startupz", "/readyz"] {
        until("ready", async || {
            let (status, ..) = page(admin, probe, None).await?;
            (status == StatusCode::OK).then_some(())
        })
        .await;
    }
    let (code, out, _) = run(path, &[], &["status", "--config", "c.yaml"]);
    assert_eq!(code, 0, "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_are_asked_alone_and_left_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack().await;
    configured(folder.path(), &slack, "");
    let relay = started(folder.path());
    let ok = (StatusCode::OK, "ok\n".to_owned());
    for path in [
        "/livez",
        "/livez/ping",
        "/readyz",
        "/readyz/storage",
        "/startupz",
        "/readyz?exclude=storage",
    ] {
        assert_eq!(relay.get(path).await, ok, "{path}");
    }
    let (status, names) = relay.get("/readyz/slack").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(
        names.contains("storage, disk-space, queue-space"),
        "{names}"
    );
    let (_, lines) = relay.get("/readyz?verbose&exclude=storage").await;
    assert!(lines.starts_with("[+]storage excluded: ok\n"), "{lines}");
    let (status, text) = relay.get("/nothing").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(
        text.contains("/status") && text.contains("/startupz"),
        "{text}"
    );
}
