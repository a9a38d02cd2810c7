//! Where commands ask: never where another relay, or none, has the port of one that was killed.

use std::{fs, net::TcpListener, path::Path, time::Duration};

use serde_json::json;

use crate::{
    CONFIG, ends, folder, json_of, start,
    support::{ids, list, run, slack},
};

fn address_file(folder: &Path) -> std::path::PathBuf {
    folder.join("auditrelay-data/admin.address")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_left_over_address_is_not_believed_and_a_starting_relay_is_waited_for() {
    let slack = slack(Duration::ZERO).await;
    let [mine, other] = [(); 2].map(|()| folder(&slack, "sentences_max: 10", ""));
    let (mine, other) = (mine.path(), other.path());
    let (relay, stranger) = (start(mine), start(other));
    relay
        .post("/webhook", list("alice", "get", ids("a", 2)))
        .await;
    relay.drained().await;
    let file = address_file(mine);
    let own = fs::read_to_string(&file).expect("there");
    let left = own.replace(&relay.admin.to_string(), &stranger.admin.to_string());
    assert_ne!(left, own);
    for left in [None, Some("127.0.0.1:1\n00\n"), Some(&left)] {
        for command in [&["ledger"][..], &["dead", "list"]] {
            match left {
                None => fs::remove_file(&file).expect("removed"),
                Some(text) => fs::write(&file, text).expect("written"),
            }
            let (file, own) = (file.clone(), own.clone());
            let starting = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(500)).await;
                fs::write(file, own).expect("written");
            });
            let found = json_of(mine, command);
            starting.await.expect("written");
            if command == ["ledger"] {
                assert_eq!(found["received"], 2, "{left:?}: {found}");
            } else {
                assert_eq!(found, json!([]), "{left:?}");
            }
        }
    }
    fs::write(&file, &left).expect("written");
    let silent = ends(mine, 70, &["ledger"]);
    assert!(silent.contains("does not answer"), "{silent}");
    fs::remove_file(&file).expect("removed");
    let silent = ends(mine, 70, &["dead", "list"]);
    assert!(silent.contains("does not say"), "{silent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_relay_left_is_gone_once_another_one_has_the_store() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "sentences_max: 10", "");
    let folder = folder.path();
    start(folder).kill();
    assert!(address_file(folder).exists());
    // It gets no further than the port of its webhook.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken
        .local_addr()
        .map(|address| (address.to_string(), taken));
    let (port, _taken) = taken.expect("an address");
    let listen = ["serve", "--admin-listen", "127.0.0.1:0", "--listen", &port];
    let args: Vec<&str> = listen.iter().chain(&CONFIG).copied().collect();
    let (code, _, errors) = run(folder, &[], &args);
    assert_eq!(code, 70, "{errors}");
    assert!(!address_file(folder).exists());
}
