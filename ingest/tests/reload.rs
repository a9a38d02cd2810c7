//! Certificates, keys, CAs and tokens change while API servers post: nothing is refused because of it,
//! and what is broken changes nothing.

#![allow(clippy::unwrap_used)] // clippy.toml allows it in tests, not in what they call.

mod common;

use std::{
    fs,
    os::unix::fs::symlink,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use auditrelay_config::ClientConfig;
use common::{
    guests::{House, Open, Shows, entry},
    pki::{Authority, Pair, client, server},
    *,
};
use tokio::task::JoinHandle;

const OLD: &str = "Bearer token-of-one-client-0001";
const NEW: &str = "Bearer token-of-one-client-0002";

fn tokens(headers: &[&str]) -> String {
    let token = |header: &&str| format!("{}\n", header.trim_start_matches("Bearer "));
    headers.iter().map(token).collect()
}

/// A client with a certificate, and one with tokens.
fn clients(house: &House) -> [ClientConfig; 2] {
    [
        ClientConfig {
            certificate_names: vec!["prod".into()],
            ..entry("certificate")
        },
        ClientConfig {
            token_file: Some(house.at("tokens")),
            ..entry("token")
        },
    ]
}

/// Files as the kubelet lays them out: each leads through `..data`, which is swapped.
struct Volume<'a> {
    house: &'a House,
    version: usize,
}

impl<'a> Volume<'a> {
    /// Puts these files in place of what the house had.
    fn new(house: &'a House, files: &[(&str, &str)]) -> Self {
        let mut volume = Self { house, version: 0 };
        volume.swap(files);
        for (name, _) in files {
            let _ = fs::remove_file(house.at(name)); // Not all were there.
            symlink(format!("..data/{name}"), house.at(name)).unwrap();
        }
        volume
    }

    /// Every file at once becomes another one.
    fn swap(&mut self, files: &[(&str, &str)]) {
        self.version += 1;
        let folder = format!("..version-{}", self.version);
        fs::create_dir(self.house.at(&folder)).unwrap();
        for (name, text) in files {
            fs::write(self.house.at(&folder).join(name), text).unwrap();
        }
        symlink(&folder, self.house.at("..data_tmp")).unwrap();
        fs::rename(self.house.at("..data_tmp"), self.house.at("..data")).unwrap();
        if self.version > 1 {
            let old = format!("..version-{}", self.version - 1);
            fs::remove_dir_all(self.house.at(&old)).unwrap();
        }
    }
}

/// Somebody who posts all the time.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    failures: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    /// For each way to show: one on a connection that stays, one on a new connection each time.
    async fn start(house: &Arc<House>, open: &Arc<Open>, ways: &[Shows]) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            answered: Arc::default(),
            failures: Arc::default(),
            tasks: Vec::new(),
        };
        for shows in ways {
            let mut line = house.dial(&open.server, shows).await.unwrap();
            let count = load.counter();
            load.tasks.push(tokio::spawn(async move {
                while count(line.post("/webhook").await.map(|answer| answer.code).ok()) {}
            }));
            let (house, open, shows) = (Arc::clone(house), Arc::clone(open), shows.clone());
            let count = load.counter();
            load.tasks.push(tokio::spawn(async move {
                loop {
                    let code = match house.dial(&open.server, &shows).await {
                        Ok(mut line) => line.post("/webhook").await.map(|answer| answer.code).ok(),
                        Err(_) => None,
                    };
                    if !count(code) {
                        return;
                    }
                }
            }));
        }
        load
    }

    /// Counts an answer, or that there was none; says whether to go on.
    fn counter(&self) -> impl Fn(Option<u16>) -> bool + Send + use<> {
        let (answered, failures) = (Arc::clone(&self.answered), Arc::clone(&self.failures));
        let stop = Arc::clone(&self.stop);
        move |code| {
            let counted = if code == Some(200) {
                &answered
            } else {
                &failures
            };
            counted.fetch_add(1, Ordering::Relaxed);
            !stop.load(Ordering::Relaxed)
        }
    }

    fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Some of each are under way or done since now.
    async fn goes_on(&self) {
        let wanted = self.answered() + 4 * self.tasks.len();
        eventually("it goes on", || {
            self.answered() >= wanted || self.failures.load(Ordering::Relaxed) > 0
        })
        .await;
    }

    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            within(task).await.unwrap();
        }
        assert_eq!(
            self.failures.load(Ordering::Relaxed),
            0,
            "requests that failed"
        );
        self.answered.load(Ordering::Relaxed)
    }
}

async fn shows_certificate(house: &House, open: &Open, pair: &Pair) {
    let looking = async {
        while house
            .dial(&open.server, &Shows::nothing())
            .await
            .is_ok_and(|line| line.seen != pair.der())
        {
            tokio::time::sleep(guests::OFTEN).await;
        }
    };
    within(looking).await;
}

async fn until_answered(house: &House, open: &Open, shows: &Shows, code: u16) -> Answer {
    let asking = async {
        loop {
            let answer = house.ask(&open.server, shows, "/webhook").await;
            if answer.code == code {
                return answer;
            }
            tokio::time::sleep(guests::OFTEN).await;
        }
    };
    within(asking).await
}

fn is_current(open: &Open) -> bool {
    open.server.metric("auditrelay_ingest_files_current", "") > 0.0
}

fn reloads(open: &Open, outcome: &str) -> f64 {
    let name = "auditrelay_ingest_file_reloads_total";
    open.server.metric(name, outcome)
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_swapped_under_load_and_no_request_fails() {
    let house = Arc::new(House::new());
    let client_ca = house.client_ca.pem();
    let first = house.ca.signs(&server("version 1"));
    let mut volume = Volume::new(
        &house,
        &[
            ("certificate", &first.certificate),
            ("key", &first.key),
            ("client-ca", &client_ca),
            ("tokens", &tokens(&[OLD, NEW])),
        ],
    );
    let open = Arc::new(house.open_and_watch(&clients(&house)).await);
    let prod = Shows::pair(&house.client_ca.signs(&client("prod")));
    let ways = [
        prod.clone(),
        prod.over_http2(),
        Shows::header(OLD),
        Shows::header(NEW).over_http2(),
    ];
    let mut old_line = house.dial(&open.server, &prod.over_http2()).await.unwrap();
    let load = Load::start(&house, &open, &ways).await;
    load.goes_on().await;
    for round in 1..=3 {
        let next = house.ca.signs(&server("a later version"));
        // Another CA comes beside the first one, as while CAs are exchanged.
        let beside = Authority::new("another").pem();
        volume.swap(&[
            ("certificate", &next.certificate),
            ("key", &next.key),
            ("client-ca", &format!("{client_ca}{beside}")),
            ("tokens", &tokens(&[NEW, "round", OLD])),
        ]);
        shows_certificate(&house, &open, &next).await;
        load.goes_on().await;
        // More than one for a round where the swap came between two files of one reading.
        let counted = || reloads(&open, "success") >= f64::from(round);
        eventually("it is counted", counted).await;
    }
    assert_eq!(reloads(&open, "failure"), 0.0);
    assert_eq!(old_line.post("/webhook").await.unwrap().code, 200);
    assert_eq!(
        old_line.seen,
        first.der(),
        "its connection was never closed"
    );
    assert!(load.end().await > 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_exchanged_one_after_the_other() {
    let house = House::new();
    house.write("tokens", &tokens(&[OLD]));
    let open = house.open_and_watch(&clients(&house)).await;
    let (old, new) = (Shows::header(OLD), Shows::header(NEW));
    assert_eq!(house.ask(&open.server, &old, "/webhook").await.code, 200);
    let mut line = house.dial(&open.server, &old).await.unwrap();
    assert_eq!(house.ask(&open.server, &new, "/webhook").await.code, 401);

    house.write("tokens", &tokens(&[OLD, NEW]));
    until_answered(&house, &open, &new, 200).await;
    assert_eq!(line.post("/webhook").await.unwrap().code, 200);

    house.write("tokens", &tokens(&[NEW]));
    let refused = until_answered(&house, &open, &old, 401).await;
    refused.expect(401, "Unauthorized");
    // The connection that was opened with it stays, and what is sent on it is refused.
    let answer = line.post("/webhook").await.unwrap();
    answer.expect(401, "Unauthorized");
    assert_eq!(house.ask(&open.server, &new, "/webhook").await.code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_keeps_what_was_there() {
    let house = House::new();
    house.write("tokens", &tokens(&[OLD]));
    let open = house.open_and_watch(&clients(&house)).await;
    let old = Shows::header(OLD);
    let prod = Shows::pair(&house.client_ca.signs(&client("prod")));
    let mut line = house.dial(&open.server, &prod).await.unwrap();
    let shown = line.seen.clone();
    let stranger = house.ca.signs(&server("another key"));
    let mut failures = 0.0;
    for (name, text) in [
        ("tokens", "# nothing any more\n"),
        ("certificate", "no certificate"),
        ("key", &stranger.key),
        ("client-ca", "-----BEGIN CERTIFICATE-----\n"),
    ] {
        let good = fs::read_to_string(house.at(name)).unwrap();
        house.write(name, text);
        eventually("it is seen", || !is_current(&open)).await;
        failures += 1.0;
        assert_eq!(reloads(&open, "failure"), failures, "{name}");
        assert_eq!(line.post("/webhook").await.unwrap().code, 200, "{name}");
        assert_eq!(
            house.ask(&open.server, &old, "/webhook").await.code,
            200,
            "{name}"
        );
        let again = house.dial(&open.server, &prod).await.unwrap();
        assert_eq!(again.seen, shown, "{name}");
        house.write(name, &good);
        eventually("it is good again", || is_current(&open)).await;
    }
    assert_eq!(reloads(&open, "success"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_one_file_is_missing_others_are_taken() {
    const KEPT: &str = "Bearer token-of-another-one-1";
    let house = House::new();
    house.write("tokens", &tokens(&[OLD]));
    house.write("others", &tokens(&[KEPT]));
    let [certificate, token] = clients(&house);
    let other = ClientConfig {
        token_file: Some(house.at("others")),
        ..entry("other")
    };
    let open = house.open_and_watch(&[certificate, token, other]).await;
    fs::remove_file(house.at("others")).unwrap();
    eventually("it is seen", || !is_current(&open)).await;
    // A token that leaked is taken out of another file, and the certificate is renewed.
    let leaked = Shows::header(OLD);
    until_answered(&house, &open, &leaked, 200).await;
    house.write("tokens", &tokens(&[NEW]));
    until_answered(&house, &open, &leaked, 401).await;
    until_answered(&house, &open, &Shows::header(NEW), 200).await;
    let next = house.ca.signs(&server("renewed"));
    house.serve(&next);
    shows_certificate(&house, &open, &next).await;
    assert!(!is_current(&open));
    until_answered(&house, &open, &Shows::header(KEPT), 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_taken_out_counts_for_connections_that_are_open() {
    let house = House::new();
    house.write("tokens", &tokens(&[OLD]));
    let open = house.open_and_watch(&clients(&house)).await;
    let prod = Shows::pair(&house.client_ca.signs(&client("prod")));
    let mut line = house.dial(&open.server, &prod).await.unwrap();
    assert_eq!(line.post("/webhook").await.unwrap().code, 200);

    let other = Authority::new("signs clients from now on");
    house.write("client-ca", &other.pem());
    eventually("it is read", || reloads(&open, "success") > 0.0).await;
    let refused = line.post("/webhook").await.unwrap();
    refused.expect(401, "Unauthorized");
    let reason = "auditrelay_ingest_refused_total";
    assert_eq!(open.server.metric(reason, "certificate_untrusted"), 1.0);
    let prod = Shows::pair(&other.signs(&client("prod")));
    assert_eq!(house.ask(&open.server, &prod, "/webhook").await.code, 200);
    // And back: what is on the file counts, not what was once decided about a connection.
    house.write("client-ca", &house.client_ca.pem());
    eventually("it is read", || reloads(&open, "success") > 1.0).await;
    assert_eq!(line.post("/webhook").await.unwrap().code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_taken_up_again_outlives_no_ca() {
    let house = House::new();
    house.write("tokens", &tokens(&[OLD]));
    let open = house.open_and_watch(&clients(&house)).await;
    for tls12 in [false, true] {
        house.write("client-ca", &house.client_ca.pem());
        let prod = Shows {
            tls12,
            ..Shows::pair(&house.client_ca.signs(&client("prod")))
        };
        let connector = house.connector(&prod);
        let dial = || house.dial_with(&connector, &open.server, &prod);
        let settled = async {
            // Until the CA is the one that was just written.
            loop {
                if let Ok(mut line) = dial().await
                    && line
                        .post("/webhook")
                        .await
                        .is_ok_and(|answer| answer.code == 200)
                {
                    return;
                }
            }
        };
        within(settled).await;
        let mut again = dial().await.unwrap();
        assert!(again.is_resumed, "TLS 1.2: {tls12}");
        assert_eq!(again.post("/webhook").await.unwrap().code, 200);

        let before = reloads(&open, "success");
        house.write("client-ca", &Authority::new("another").pem());
        eventually("it is read", || reloads(&open, "success") > before).await;
        let outcome = match dial().await {
            Ok(mut line) => line.post("/webhook").await.map(|answer| answer.code).ok(),
            Err(_) => None,
        };
        assert_eq!(outcome, None, "TLS 1.2: {tls12}");
    }
}
