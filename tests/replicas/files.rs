//! Log files beside a replica.

use std::{fs, io::Write as _, time::Duration};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    Bench,
    support::{PATIENCE, ids, list, metric, run},
    until_leads, until_told,
};

/// Lines as the log backend writes them.
fn lines(ids: &[String]) -> String {
    let list: Value = serde_json::from_str(&list("alice", "get", ids.to_vec())).expect("JSON");
    let line = |item: &Value| {
        let mut event = json!({"kind": "Event", "apiVersion": "audit.k8s.io/v1"});
        let fields = event.as_object_mut().expect("an object");
        fields.extend(item.as_object().expect("an object").clone());
        format!("{event}\n")
    };
    let items = list["items"].as_array().expect("items");
    items.iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_imported_and_is_then_followed_is_not_read_again() {
    let Some(bench) = Bench::start("inputs: {log_file: [{path: audit.log}]}").await else {
        return;
    };
    let one = bench.replica("one");
    until_leads(&one, PATIENCE).await;
    let folder = bench.folder("one");
    let (old, new): (Vec<_>, Vec<_>) = (ids("a", 3).collect(), ids("b", 1).collect());
    fs::write(folder.join("old.log"), lines(&old)).expect("written");
    let import = ["import", "old.log", "--config", "c.yaml"];
    let (code, said, why) = run(&folder, &[], &import);
    assert_eq!(code, 0, "{said}{why}");
    let mut file = fs::File::options()
        .append(true)
        .open(folder.join("old.log"))
        .expect("there");
    fs::rename(folder.join("old.log"), folder.join("audit.log")).expect("renamed");
    file.write_all(lines(&new).as_bytes()).expect("written");
    until_told(&bench.slack, &[old, new].concat()).await;
    let ledger = one.drained().await;
    assert_eq!(ledger["received"], 4, "{ledger}");
    assert_eq!(ledger["duplicates"], 0, "{ledger}");
    // A line is counted when it is stored, and may be told by then.
    let lines = "auditrelay_log_file_lines_total{path=\"audit.log\"}";
    let deadline = Instant::now() + PATIENCE;
    let read = loop {
        let read = metric(&one.get("/metrics").await.1, lines);
        if read > 0.5 {
            break read;
        }
        assert!(Instant::now() < deadline, "no line is counted");
        sleep(Duration::from_millis(50)).await;
    };
    assert!((read - 1.0).abs() < 0.5, "{read} lines");
}
