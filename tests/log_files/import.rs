//! Old logs are read once, from any form, into a relay that runs or one that is stopped, and on where it was.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;

use crate::{
    a_while, folder, lines, received, start,
    support::{BINARY, run},
};

/// Runs an import to its end, which has to be a good one.
fn import(folder: &Path, args: &[&str]) -> String {
    let args: Vec<&str> = ["import", "--config", "c.yaml"]
        .into_iter()
        .chain(args.iter().copied())
        .collect();
    let (code, stdout, stderr) = run(folder, &[], &args);
    assert_eq!(code, 0, "{args:?}: {stdout}{stderr}");
    stdout
}

fn report(folder: &Path, args: &[&str]) -> Value {
    let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    serde_json::from_str(&import(folder, &args)).expect("JSON")
}

fn gzipped(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).expect("memory");
    encoder.finish().expect("memory")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_is_told_by_its_content_and_reported_exactly() {
    let folder = folder("never.log", "");
    let at = |name: &str| folder.path().join(name);
    let legacy = "2026-11-26T04:33:23.123456789Z AUDIT: id=\"hunter2\" stage=\"Panic\"\n";
    let plain = format!("{}hunter2\n\n{legacy}{}", lines("a", 1_200), lines("b", 7));
    fs::write(at("plain"), &plain).expect("written");
    let told = report(folder.path(), &["plain"]);
    for (field, value) in [
        ("lines", 1_210),
        ("events", 1_207),
        ("quarantined", 2),
        ("legacy", 1),
        ("blank", 1),
        ("from_line", 1),
        ("bytes", plain.len() as u64),
    ] {
        assert_eq!(told[field], value, "{field} of {told}");
    }
    assert_eq!(told["first_quarantined"][0]["line"], 1_201, "{told}");
    assert_eq!(told["first_quarantined"][1]["line"], 1_203, "{told}");
    assert!(!told.to_string().contains("hunter2"));
    // The name says nothing; two members of gzip are one file.
    let packed = [gzipped(&lines("c", 30)), gzipped(&lines("d", 40))].concat();
    fs::write(at("gz"), packed).expect("written");
    assert_eq!(report(folder.path(), &["gz"])["events"], 70);
    let packed = zstd::encode_all(lines("e", 50).as_bytes(), 1).expect("memory");
    fs::write(at("plain.log"), packed).expect("written");
    assert_eq!(report(folder.path(), &["plain.log"])["events"], 50);
    // Without a newline at its end.
    fs::write(at("end"), lines("f", 3).trim_end()).expect("written");
    let words = import(folder.path(), &["end", "--cluster", "north"]);
    assert!(words.contains("3 events stored"), "{words}");
    let standard_input = Command::new(BINARY)
        .args(["import", "--config", "c.yaml", "-"])
        .env_clear()
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = standard_input.expect("it starts");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(&gzipped(&lines("g", 9))).expect("read");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let words = String::from_utf8(output.stdout).expect("text");
    assert!(
        output.status.success() && words.contains("9 events stored"),
        "{words}"
    );
    // What was stored at rest is routed by the relay that starts.
    let relay = start(folder.path());
    let ledger = received(&relay, 1_209 + 70 + 50 + 3 + 9).await;
    assert_eq!(ledger["quarantined"], 2, "{ledger}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_read_is_not_read_again_and_one_that_grew_is_read_on() {
    let folder = folder("never.log", "");
    let at = |name: &str| folder.path().join(name);
    let first = lines("a", 20);
    fs::write(at("old.log"), &first).expect("written");
    assert_eq!(report(folder.path(), &["old.log"])["events"], 20);
    for _ in 0..2 {
        let words = import(folder.path(), &["old.log"]);
        assert!(
            words.contains("was read before") && words.contains("--again"),
            "{words}"
        );
    }
    // Under another name and packed it is the same file.
    fs::write(at("old.gz"), gzipped(&first)).expect("written");
    assert_eq!(report(folder.path(), &["old.gz"])["lines"], 0);
    fs::write(at("old.log"), first.clone() + &lines("b", 5)).expect("written");
    let told = report(folder.path(), &["old.log"]);
    assert_eq!(
        (&told["events"], &told["from_line"]),
        (&5.into(), &21.into()),
        "{told}"
    );
    let told = report(folder.path(), &["old.log", "--again"]);
    assert_eq!(told["events"], 25, "{told}");
    fs::write(at("old.log"), &first[..first.len() / 2]).expect("written");
    let (code, _, stderr) = run(
        folder.path(),
        &[],
        &["import", "old.log", "--config", "c.yaml"],
    );
    assert!(
        code == 70 && stderr.contains("is shorter"),
        "{code}: {stderr}"
    );
    let relay = start(folder.path());
    tokio::time::timeout(crate::PATIENCE, async {
        loop {
            let ledger = relay.ledger().await;
            if ledger["waiting"] == 0 && ledger["received"] == 50 {
                assert_eq!(ledger["duplicates"], 25, "{ledger}");
                return;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    })
    .await
    .expect("routed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_relay_takes_an_import_in_bounded_pieces() {
    let folder = folder("never.log", "");
    let relay = start(folder.path());
    let long = format!("{}\n", "x".repeat(33 << 20));
    let near = format!("\"{}\"\n", "y".repeat(31 << 20));
    let text = [lines("a", 3_000), long, near, lines("b", 10)].concat();
    fs::write(folder.path().join("old.log"), text).expect("written");
    let told = report(folder.path(), &["old.log", "--cluster", "north"]);
    assert_eq!(
        (&told["events"], &told["quarantined"]),
        (&3_010.into(), &2.into()),
        "{told}"
    );
    let ledger = received(&relay, 3_012).await;
    assert_eq!(ledger["quarantined"], 2, "{ledger}");
    assert_eq!(report(folder.path(), &["old.log"])["lines"], 0);
    // Nobody else may: the port asks for the token.
    let body = hyper::body::Bytes::from("{}");
    let asked = crate::support::request(relay.admin, hyper::Method::POST, "/import", body).await;
    assert_eq!(asked.expect("an answer").0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_killed_goes_on_where_it_was() {
    let folder = folder("never.log", "");
    let path = folder.path().join("old.log");
    let count = 25_000;
    fs::write(&path, lines("a", count)).expect("written");
    let mut relay = None;
    let mut kills = 0;
    // At rest, and from the second half on through a relay.
    for round in 0..24u64 {
        if round == 4 {
            relay = Some(start(folder.path()));
        }
        let mut child = Command::new(BINARY)
            .args(["import", "--config", "c.yaml", "old.log"])
            .env_clear()
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        tokio::time::sleep(Duration::from_millis(120 + 23 * (round % 10))).await;
        if child.try_wait().expect("a child").is_some() {
            let output = child.wait_with_output().expect("it ends");
            let words = String::from_utf8_lossy(&output.stdout).into_owned();
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{words}{errors}");
            break;
        }
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        kills += 1;
    }
    assert!(kills > 0, "it was too quick to be killed");
    // Where the machine is too slow for what was left.
    import(folder.path(), &["old.log"]);
    let relay = relay.unwrap_or_else(|| start(folder.path()));
    received(&relay, count as u64).await;
    a_while().await;
    received(&relay, count as u64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_not_imported_while_it_is_followed_and_two_imports_share_it() {
    let folder = folder("audit.log", "");
    fs::write(folder.path().join("audit.log"), lines("a", 10)).expect("written");
    let relay = start(folder.path());
    received(&relay, 10).await;
    let args = ["import", "audit.log", "--config", "c.yaml"];
    let (code, _, stderr) = run(folder.path(), &[], &args);
    assert!(
        code == 70 && stderr.contains("follows this file"),
        "{code}: {stderr}"
    );
    fs::write(folder.path().join("old.log"), lines("b", 12_000)).expect("written");
    let one = || {
        let path = folder.path().to_owned();
        tokio::task::spawn_blocking(move || report(&path, &["old.log"]))
    };
    let (one, two) = tokio::join!(one(), one());
    let events = |told: Result<Value, _>| -> u64 {
        let told: Value = Result::<Value, tokio::task::JoinError>::expect(told, "no panic");
        told["events"].as_u64().expect("a number")
    };
    assert_eq!(events(one) + events(two), 12_000);
    received(&relay, 12_010).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_import_is_counted_and_told_to_nobody() {
    let folder = folder("never.log", "");
    fs::write(folder.path().join("old.log"), lines("a", 30)).expect("written");
    let relay = start(folder.path());
    let words = import(folder.path(), &["old.log", "--quiet"]);
    assert!(words.contains("no channel is told"), "{words}");
    let ledger = received(&relay, 30).await;
    assert_eq!(ledger["filtered"], 30, "{ledger}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_still_imported_as_one() {
    let (from, to) = (folder("never.log", ""), folder("never.log", ""));
    fs::write(from.path().join("old.log"), lines("a", 5)).expect("written");
    import(from.path(), &["old.log"]);
    let (code, ..) = run(
        from.path(),
        &[],
        &["export", "queue.zst", "--config", "c.yaml"],
    );
    assert_eq!(code, 0);
    // Its name says nothing any more, its content does.
    fs::rename(from.path().join("queue.zst"), to.path().join("queue")).expect("moved");
    fs::copy(from.path().join("old.log"), to.path().join("old.log")).expect("copied");
    let words = import(to.path(), &["queue"]);
    assert!(words.contains("5 events not routed yet"), "{words}");
    fs::copy(
        from.path().join("auditrelay-data/dedup.key"),
        to.path().join("auditrelay-data/dedup.key"),
    )
    .expect("copied");
    // How far files were read moves with the queue.
    assert_eq!(report(to.path(), &["old.log"])["lines"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_that_broke_off_goes_on_and_another_file_is_not_taken_for_one_that_was_read() {
    let folder = folder("never.log", "");
    let at = |name: &str| folder.path().join(name);
    let packed = gzipped(&lines("a", 3_000));
    fs::write(at("old.gz"), &packed).expect("written");
    assert_eq!(report(folder.path(), &["old.gz"])["events"], 3_000);
    fs::write(at("old.gz"), &packed[..packed.len() / 2]).expect("written");
    let again = [
        "import", "old.gz", "--again", "--json", "--config", "c.yaml",
    ];
    let (code, stdout, stderr) = run(folder.path(), &[], &again);
    assert_eq!(code, 70, "{stderr}");
    let told: Value = serde_json::from_str(&stdout).expect("a report");
    let taken = told["events"].as_u64().expect("a number");
    assert!((1..3_000).contains(&taken), "{told}");
    fs::write(at("old.gz"), &packed).expect("written");
    let told = report(folder.path(), &["old.gz"]);
    assert_eq!(told["events"], 3_000 - taken, "{told}");
    // The same first line and the same length, and something else behind it.
    fs::write(at("a.log"), lines("b", 20)).expect("written");
    assert_eq!(report(folder.path(), &["a.log"])["events"], 20);
    let all = lines("b", 20);
    let first = &all[..=all.find('\n').expect("lines")];
    let other = lines("c", 20);
    let other = first.to_owned() + &other[other.find('\n').expect("lines") + 1..];
    assert_eq!(other.len(), all.len());
    fs::write(at("b.log"), other).expect("written");
    let args = ["import", "b.log", "--config", "c.yaml"];
    let (code, _, stderr) = run(folder.path(), &[], &args);
    let is_told = stderr.contains("goes on in another way");
    assert!(code == 70 && is_told, "{code}: {stderr}");
}
