//! What README.md of a set says of exchanging files, done on a relay that runs; and Go's own TLS.

use std::{fs, path::Path, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{process::Command, time::timeout};

use crate::{
    connect::{Relay, api_server, works},
    init,
    support::PATIENCE,
    text,
};

async fn shell(folder: &Path, script: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", script])
        .current_dir(folder)
        .stderr(Stdio::inherit())
        .output();
    let output = timeout(PATIENCE, output).await.expect("in time");
    String::from_utf8(output.expect("a shell").stdout).expect("text")
}

/// Waits until a part of the set is taken, or is not taken any more.
async fn until_taken(kubeconfig: &Path, is_taken: bool) {
    let waiting = async {
        loop {
            let report = api_server(kubeconfig, 1).await;
            if (report.events_accepted == 1) == is_taken {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(PATIENCE, waiting)
        .await
        .expect("the files are read again");
}

/// The relay is never restarted, and the API server's old part works until it is taken away.
#[tokio::test]
async fn certificates_and_tokens_are_exchanged_while_everything_runs() {
    let relay = Relay::start(&["--mtls", "--token"]);
    works(&relay).await;
    let url = format!("https://127.0.0.1:{}/webhook/prod", relay.port());
    let new = ["--mtls", "--token", "--ca", "set/ca", "--out", "new"];
    init(relay.folder(), &url, &new);
    let (old, new) = (
        relay.path("set/apiserver/kubeconfig.yaml"),
        relay.path("new/apiserver/kubeconfig.yaml"),
    );
    for name in ["server.crt", "server.key"] {
        let to = relay.path("set/relay").join(name);
        fs::copy(relay.path("new/relay").join(name), to).expect("copied");
    }
    let tokens = relay.path("set/relay/tokens");
    let both = text(&tokens) + &text(relay.path("new/relay/tokens"));
    fs::write(&tokens, both).expect("written");
    until_taken(&new, true).await;
    until_taken(&old, true).await;
    fs::write(&tokens, text(relay.path("new/relay/tokens"))).expect("written");
    until_taken(&old, false).await;
    until_taken(&new, true).await;
    let serving = text(relay.path("new/relay/server.crt"));
    let script = format!(
        "openssl s_client -connect 127.0.0.1:{} </dev/null 2>/dev/null | openssl x509",
        relay.port()
    );
    if shell(relay.folder(), "command -v openssl").await.is_empty() {
        println!("not asked for the server's certificate: openssl is not installed");
    } else {
        assert_eq!(shell(relay.folder(), &script).await.trim(), serving.trim());
    }
}

/// Go's HTTP client is the API server's: what it makes of these certificates is what counts.
#[tokio::test]
async fn gos_own_client_comes_in_with_the_set_and_not_without() {
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/go-client/client");
    if !client.exists() {
        println!(
            "skipped: {} is not built (tests/run.sh does that)",
            client.display()
        );
        return;
    }
    let relay = Relay::start(&["--mtls", "--token"]);
    let body = r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[]}"#;
    fs::write(relay.path("list.json"), body).expect("written");
    let asked = async |credentials: &str| -> Value {
        let script = format!(
            "{} -url https://127.0.0.1:{}/webhook/prod -ca ca.crt -body ../../list.json {credentials}",
            client.display(),
            relay.port()
        );
        let said = shell(&relay.path("set/apiserver"), &script).await;
        serde_json::from_str(&said).unwrap_or_else(|_| panic!("{script}: {said}"))
    };
    let all = "-cert client.crt -key client.key -token $(cat token) -requests 20 -concurrency 4";
    let said = asked(all).await;
    assert_eq!(said["answers"]["200 HTTP/2.0"], 20, "{said}");
    let said = asked(&format!("{all} -http1")).await;
    assert_eq!(said["answers"]["200 HTTP/1.1"], 20, "{said}");
    for part in [
        "-cert client.crt -key client.key",
        "-token $(cat token)",
        "",
    ] {
        let said = asked(part).await;
        assert_eq!(said["answers"]["401 HTTP/2.0"], 1, "{part}: {said}");
    }
}
