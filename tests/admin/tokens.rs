//! Tokens on the admin port: who needs one, whose counts, and what is logged of those who have none.

use std::{fs, os::unix::fs::PermissionsExt};

use hyper::StatusCode;

use crate::{configured, page, slack, started, support::run, until};

const TOKEN: &str = "Bearer prometheus-0123456789abcdef";
const NEXT: &str = "Bearer next-prometheus-0123456789";

fn write_tokens(folder: &std::path::Path, header: &str) {
    let file = folder.join("tokens");
    let token = header.trim_start_matches("Bearer ");
    fs::write(&file, format!("# who scrapes\n{token}\n")).expect("written");
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("set");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for_everything_but_probes_and_commands_go_on_to_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let slack = slack().await;
    write_tokens(path, TOKEN);
    configured(path, &slack, "admin_token_file: tokens\n");
    let mut relay = started(path);
    let admin = relay.admin;
    let get = async |path: &str, token| page(admin, path, token).await.expect("an answer");
    for probe in [
        "/livez",
        "/readyz",
        "/startupz",
        "/readyz/storage",
        "/readyz?verbose",
    ] {
        assert_eq!(get(probe, None).await.0, StatusCode::OK, "{probe}");
    }
    for path in [
        "/metrics", "/status", "/ledger", "/config", "/nothing", "/livezz",
    ] {
        for shown in [
            None,
            Some("Bearer wrong"),
            Some("Basic eDp5"),
            Some("prometheus-0123456789abcdef"),
        ] {
            let (status, headers, text) = get(path, shown).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path} with {shown:?}");
            assert_eq!(headers["www-authenticate"], "Bearer realm=\"auditrelay\"");
            assert!(text.contains("admin_token_file"), "{text}");
        }
        let expected = match path {
            "/nothing" | "/livezz" => StatusCode::NOT_FOUND,
            _ => StatusCode::OK,
        };
        assert_eq!(get(path, Some(TOKEN)).await.0, expected, "{path}");
    }
    for args in [
        &["ledger"][..],
        &["status"],
        &["mute", "list"],
        &["dead", "list"],
    ] {
        let (code, out, error) = run(path, &[], &[args, &["--config", "c.yaml"]].concat());
        assert_eq!(code, 0, "{args:?}: {out}{error}");
    }
    // Commands are no business of who scrapes.
    let asked = crate::support::request(admin, hyper::Method::POST, "/command", "{}".into()).await;
    assert_eq!(asked.expect("an answer").0, StatusCode::UNAUTHORIZED);
    write_tokens(path, NEXT);
    until("the new token", async || {
        (get("/metrics", Some(NEXT)).await.0 == StatusCode::OK).then_some(())
    })
    .await;
    assert_eq!(
        get("/metrics", Some(TOKEN)).await.0,
        StatusCode::UNAUTHORIZED
    );
    relay.signal("-TERM");
    relay.wait().await;
    let logs = relay.all_logs();
    let refused = logs
        .matches("it shows no token of admin_token_file")
        .count();
    assert_eq!(refused, 1, "{logs}");
    for secret in ["prometheus-0123456789abcdef", "next-prometheus-0123456789"] {
        assert!(!logs.contains(secret), "{logs}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_other_machines_can_reach_it_commands_reach_it_from_here() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let slack = slack().await;
    configured(path, &slack, "");
    let anywhere = ["serve", "--config", "c.yaml", "--admin-listen", "0.0.0.0:0"];
    let (code, _, error) = run(path, &[], &anywhere);
    assert_eq!(code, 78, "{error}");
    assert!(error.contains("admin_token_file"), "{error}");
    write_tokens(path, TOKEN);
    configured(path, &slack, "admin_token_file: tokens\n");
    let args = ["--config", "c.yaml", "--admin-listen", "0.0.0.0:0"];
    let mut command = crate::support::command(path);
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    let mut relay = crate::support::Running::ready(command, path, &[], &args);
    let (code, out, error) = run(path, &[], &["status", "--config", "c.yaml"]);
    assert_eq!(code, 0, "{out}{error}");
    let here = (std::net::Ipv4Addr::LOCALHOST, relay.admin.port()).into();
    let (status, ..) = page(here, "/metrics", None).await.expect("an answer");
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    relay.signal("-TERM");
    relay.wait().await;
    let logs = relay.all_logs();
    assert!(logs.contains("is not encrypted"), "{logs}");
    fs::write(path.join("tokens"), "two words\n").expect("written");
    let (code, _, error) = run(path, &[], &anywhere);
    assert_eq!(code, 78, "{error}");
    assert!(
        error.contains("admin_token_file") && error.contains("line 1"),
        "{error}"
    );
    assert!(!error.contains("words"), "{error}");
}
