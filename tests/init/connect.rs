//! The set works: a relay with the written configuration, an API server with the written kubeconfig, and others.

use std::{
    fs,
    io::{BufRead, BufReader},
    num::NonZeroU32,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use auditrelay_loadtest::apiserver::{self, Options, Report, Target};
use hyper::{Method, body::Bytes};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    init,
    support::{self, PATIENCE, request, reserved::Reserved},
    text,
};

/// A relay as `init` has it, with everything told.
pub(crate) struct Relay {
    folder: tempfile::TempDir,
    child: Child,
    reserved: Reserved,
    admin: std::net::SocketAddr,
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}

impl Relay {
    /// The port is written into the set before it is listened on.
    pub(crate) fn start(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let reserved = Reserved::new();
        let url = format!("https://{}/webhook/prod", reserved.address());
        init(folder.path(), &url, more);
        let mut child = serve(folder.path());
        let admin = ready(&mut child);
        Self {
            folder,
            child,
            reserved,
            admin,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// With what its configuration says now.
    pub(crate) fn restart(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
        self.child = serve(self.folder.path());
        self.admin = ready(&mut self.child);
    }

    pub(crate) fn port(&self) -> u16 {
        self.reserved.address().port()
    }

    async fn ledger(&self) -> Value {
        let answer = request(self.admin, Method::GET, "/ledger", Bytes::new()).await;
        serde_json::from_slice(&answer.expect("an answer").1).expect("JSON")
    }

    /// Waits until so many events have been delivered, and says how many were received.
    pub(crate) async fn delivered(&self, events: u64) -> Value {
        let waiting = async {
            loop {
                let ledger = self.ledger().await;
                if ledger["channels"]["audit"]["delivered"] == events {
                    return ledger["received"].clone();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, waiting)
            .await
            .expect("they are delivered")
    }
}

fn serve(folder: &Path) -> Child {
    support::command(folder)
        .args([
            "serve",
            "--config",
            "set/relay/relay.yaml",
            "--admin-listen",
            "127.0.0.1:0",
        ])
        // Everything is told, whatever it is.
        .env("AUDITRELAY__ROUTES", "[]")
        // However busy the machine is.
        .env("AUDITRELAY__INGEST__ACK_TIMEOUT_MILLISECONDS", "20000")
        .stdout(fs::File::create(folder.join("stdout")).expect("a file"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

/// Where its health is, once it is ready.
fn ready(child: &mut Child) -> std::net::SocketAddr {
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut seen = Vec::new();
    for line in lines.by_ref().map_while(Result::ok) {
        let log: Value = serde_json::from_str(&line).unwrap_or_default();
        if log["message"] == "ready" {
            let admin = log["admin"].as_str().expect("an address");
            assert!(
                log["webhook"]
                    .as_str()
                    .expect("an address")
                    .starts_with("https://"),
                "{line}"
            );
            // It must not block on its log.
            std::thread::spawn(move || lines.for_each(drop));
            let admin = admin.trim_start_matches("http://");
            return admin.parse().expect("an address");
        }
        seen.push(line);
    }
    panic!("it does not start: {}", seen.join("\n"));
}

/// An API server that has one batch of events to send, and tries for a short time.
pub(crate) async fn api_server(kubeconfig: &Path, events: u32) -> Report {
    let count = |value| NonZeroU32::new(value).expect("not zero");
    let options = Options {
        events_per_second: count(events * 10),
        duration: Duration::from_millis(100),
        max_wait: Duration::from_millis(200),
        initial_backoff: Duration::from_millis(20),
        ..Options::new(Target::from_kubeconfig(kubeconfig).expect("a kubeconfig"))
    };
    let run = apiserver::run(options, std::future::pending());
    timeout(PATIENCE, run).await.expect("it ends")
}

/// What every try was answered.
fn only_answer(report: &Report) -> &str {
    assert_eq!(report.events_accepted, 0, "{report}");
    assert_eq!(report.answers.len(), 1, "{report}");
    report.answers.keys().next().expect("one")
}

/// The written kubeconfig with changes, in its own folder.
fn changed(relay: &Relay, name: &str, change: impl Fn(String) -> String) -> PathBuf {
    let path = relay.path("set/apiserver").join(name);
    let written = text(relay.path("set/apiserver/kubeconfig.yaml"));
    let new = change(written.clone());
    assert_ne!(new, written, "{name} changes nothing");
    fs::write(&path, new).expect("written");
    path
}

fn without(line: &'static str) -> impl Fn(String) -> String {
    move |text| {
        let keep = |one: &&str| !one.trim_start().starts_with(line);
        text.lines()
            .filter(keep)
            .map(|one| format!("{one}\n"))
            .collect()
    }
}

pub(crate) async fn works(relay: &Relay) {
    let report = api_server(&relay.path("set/apiserver/kubeconfig.yaml"), 20).await;
    assert_eq!(
        (report.events_accepted, report.connections),
        (20, 1),
        "{report}"
    );
    assert!(report.latencies_begin.contains("HTTP/2"));
    assert_eq!(relay.delivered(20).await, 20);
    let told = text(relay.path("stdout"));
    assert!(told.contains("prod"), "the cluster is not told: {told}");
}

/// A set of another cluster by the same CA: what its API server is answered at its own place and at the first one's.
pub(crate) async fn other_cluster(relay: &Relay, more: &[&str]) -> [String; 2] {
    let url = format!("https://127.0.0.1:{}/webhook/other", relay.port());
    let more = [more, &["--ca", "set/ca", "--out", "other"]].concat();
    init(relay.folder.path(), &url, &more);
    let own = relay.path("other/apiserver/kubeconfig.yaml");
    let there = relay.path("other/apiserver/there.yaml");
    let written = text(&own).replace("/webhook/other", "/webhook/prod");
    fs::write(&there, written).expect("written");
    [
        only_answer(&api_server(&own, 5).await).to_owned(),
        only_answer(&api_server(&there, 5).await).to_owned(),
    ]
}

#[tokio::test]
async fn with_a_certificate() {
    let relay = Relay::start(&["--mtls"]);
    works(&relay).await;
    let nobody = changed(&relay, "nobody.yaml", |text| {
        without("client-key:")(without("client-certificate:")(text))
    });
    assert_eq!(only_answer(&api_server(&nobody, 5).await), "401");
    // Signed by the same CA, and for another cluster: it is not enough to be signed.
    assert_eq!(other_cluster(&relay, &["--mtls"]).await, ["403", "403"]);
    // Nor can this cluster pass for another one.
    let claims = changed(&relay, "claims.yaml", |text| {
        text.replace("/webhook/prod", "/webhook/other")
    });
    assert_eq!(only_answer(&api_server(&claims, 5).await), "403");
    // A stranger's CA is refused in the handshake.
    init(
        relay.folder.path(),
        "https://127.0.0.1/webhook/prod",
        &["--out", "strange"],
    );
    for name in ["client.crt", "client.key"] {
        let from = relay.path("strange/apiserver").join(name);
        fs::copy(from, relay.path("set/apiserver").join(name)).expect("copied");
    }
    let stranger = relay.path("set/apiserver/kubeconfig.yaml");
    let report = api_server(&stranger, 5).await;
    assert_eq!(report.events_accepted, 0, "{report}");
    assert!(!report.answers.contains_key("200"));
    assert_eq!(
        relay.ledger().await["received"],
        20,
        "nothing of theirs was stored"
    );
}

#[tokio::test]
async fn with_a_token() {
    let relay = Relay::start(&["--token"]);
    works(&relay).await;
    let nobody = changed(&relay, "nobody.yaml", without("tokenFile:"));
    assert_eq!(only_answer(&api_server(&nobody, 5).await), "401");
    assert_eq!(other_cluster(&relay, &["--token"]).await, ["401", "401"]);
    assert_eq!(
        relay.ledger().await["received"],
        20,
        "nothing of theirs was stored"
    );
}

#[tokio::test]
async fn with_both_neither_is_enough() {
    let relay = Relay::start(&["--mtls", "--token"]);
    works(&relay).await;
    let certificate = changed(&relay, "certificate.yaml", without("tokenFile:"));
    assert_eq!(only_answer(&api_server(&certificate, 5).await), "401");
    let token = changed(&relay, "token.yaml", |text| {
        without("client-key:")(without("client-certificate:")(text))
    });
    assert_eq!(only_answer(&api_server(&token, 5).await), "401");
    assert_eq!(
        relay.ledger().await["received"],
        20,
        "nothing of theirs was stored"
    );
}

/// The line that README.md gives, run as it stands, by another TLS library than ours.
#[tokio::test]
async fn the_readmes_curl_says_200() {
    if Command::new("curl").arg("--version").output().is_err() {
        println!("skipped: curl is not installed");
        return;
    }
    let relay = Relay::start(&["--mtls", "--token"]);
    let readme = text(relay.path("set/README.md"));
    let (_, line) = readme.split_once("   curl ").expect("a line of curl");
    let (line, _) = line.split_once("```").expect("its end");
    for (version, answers) in [
        ("--http2", "200 2"),
        ("--http1.1", "200 1.1"),
        ("--http2 --tlsv1.2 --tls-max 1.2", "200 2"),
    ] {
        let asked = line.replace("%{http_code}", "%{http_code} %{http_version}");
        let script = format!("curl --silent --output /dev/null {version} {asked}");
        let output = tokio::process::Command::new("sh")
            .args(["-c", &script])
            .current_dir(relay.path("set/apiserver"))
            .output();
        let output = timeout(PATIENCE, output)
            .await
            .expect("in time")
            .expect("a shell");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            answers,
            "{script}"
        );
    }
}
