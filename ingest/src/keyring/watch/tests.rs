//! What one reading after another leads to, without a clock: the files change between them.

use std::{fs, path::PathBuf};

use auditrelay_config::{ClientConfig, TlsConfig};
use prometheus::Registry;
use tempfile::TempDir;
use tokio::time::Instant;

use super::*;
use crate::keyring::{
    peer,
    pki::{Authority, Pair, client, server},
};

mod units;

fn changed<const N: usize>(files: [String; N]) -> Outcome {
    Outcome {
        changed: files.into(),
        ..Outcome::default()
    }
}

fn problem(why: &str) -> Outcome {
    Outcome {
        problems: vec![why.to_owned()],
        ..Outcome::default()
    }
}

fn mended(key: &str) -> Outcome {
    Outcome {
        mended: vec![key.to_owned()],
        ..Outcome::default()
    }
}

struct Files {
    dir: TempDir,
    ca: Authority,
}

impl Files {
    fn new() -> Self {
        let files = Self {
            dir: tempfile::tempdir().unwrap(),
            ca: Authority::new("the CA"),
        };
        files.write("ca", &files.ca.pem());
        files.pair(&files.ca.signs(&server("one")));
        files.write("token", "token-of-a-client-0001\n");
        files.write("other-token", "token-of-another-0001\n");
        files
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
    }

    fn pair(&self, pair: &Pair) {
        self.write("certificate", &pair.certificate);
        self.write("key", &pair.key);
    }

    fn tls(&self) -> TlsConfig {
        TlsConfig {
            certificate_file: Some(self.at("certificate")),
            key_file: Some(self.at("key")),
            client_ca_file: Some(self.at("ca")),
        }
    }

    fn try_open(&self) -> Result<Keyring, String> {
        let client = |name: &str, certificate_names, file| ClientConfig {
            name: name.parse().unwrap(),
            cluster: None,
            certificate_names,
            token_file: Some(self.at(file)),
            username: None,
            password_file: None,
        };
        let clients = [
            client("prod", vec!["prod".to_owned()], "token"),
            client("other", Vec::new(), "other-token"),
        ];
        Keyring::open(&self.tls(), &clients).map_err(|error| error.to_string())
    }

    fn open(&self) -> Watched {
        let keyring = self.try_open().unwrap();
        let registry = Registry::new();
        keyring.register(&registry).unwrap();
        Watched {
            keyring,
            watch: Watch::default(),
            registry,
        }
    }
}

struct Watched {
    keyring: Keyring,
    watch: Watch,
    registry: Registry,
}

impl Watched {
    /// Whether the other client's token lets in.
    fn lets_in(&self, token: &str) -> bool {
        let peer = peer::Peer::plain(([127, 0, 0, 1], 1).into());
        let mut headers = hyper::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        let home = "home".parse().unwrap();
        self.keyring.cluster(&peer, &headers, None, &home).is_ok()
    }

    fn look(&mut self) -> Outcome {
        let reading = Reading::of(paths(&self.keyring.tls, &self.keyring.clients));
        self.keyring.look(&mut self.watch, &reading)
    }

    /// The state in use: its number, and the number of the metric that counts changes of it.
    fn state(&self) -> u64 {
        self.keyring.current.load().number
    }

    fn metric(&self, name: &str, label: &str) -> f64 {
        let families = self.registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == name)
            .unwrap();
        let series = family.get_metric().iter().find(|series| {
            let value = series.get_label().first().map_or("", |pair| pair.value());
            value == label
        });
        let series = series.unwrap();
        series.get_counter().get_value() + series.get_gauge().get_value()
    }

    #[track_caller]
    fn counts(&self, success: f64, failure: f64, is_current: bool) {
        let reloads = |outcome| self.metric("auditrelay_ingest_file_reloads_total", outcome);
        assert_eq!((reloads("success"), reloads("failure")), (success, failure));
        let current = self.metric("auditrelay_ingest_files_current", "");
        assert_eq!(current, f64::from(u8::from(is_current)));
    }
}

/// Only a fault takes as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whoever waits for the count asks for something at once.
#[test]
fn a_change_is_counted_only_when_it_is_in_use() {
    let files = Files::new();
    let mut watched = files.open();
    watched.look();
    for round in 1..=200_u64 {
        files.write("token", &format!("token-of-a-client-{round:06}\n"));
        watched.look();
        let keyring = &watched.keyring;
        let counted = keyring.metrics.reloads.with_label_values(&["success"]);
        let in_use = std::thread::scope(|scope| {
            let seen = scope.spawn(|| {
                let begun = Instant::now();
                while counted.get() < round && begun.elapsed() < PATIENCE {
                    std::hint::spin_loop();
                }
                keyring.current.load().number
            });
            keyring.look(
                &mut watched.watch,
                &Reading::of(paths(&keyring.tls, &keyring.clients)),
            );
            seen.join().unwrap()
        });
        assert_eq!(in_use, round + 1);
    }
}

#[test]
fn a_change_is_taken_when_it_was_found_twice() {
    let files = Files::new();
    let mut watched = files.open();
    assert_eq!(watched.look(), Outcome::default());
    assert_eq!(watched.look(), Outcome::default());
    files.write("token", "token-of-a-client-0001\ntoken-of-a-cl");
    assert_eq!(watched.look(), Outcome::default());
    files.write("token", "token-of-a-client-0001\ntoken-of-a-client-0002\n");
    assert_eq!(watched.look(), Outcome::default());
    assert_eq!(watched.state(), 1);
    let token = files.at("token").display().to_string();
    assert_eq!(watched.look(), changed([token]));
    assert_eq!(watched.state(), 2);
    watched.counts(1.0, 0.0, true);
    // Written again, and the same: no change.
    files.write("token", "token-of-a-client-0001\ntoken-of-a-client-0002\n");
    assert_eq!(watched.look(), Outcome::default());
}

#[test]
fn a_certificate_whose_key_comes_later_is_no_error() {
    let files = Files::new();
    let mut watched = files.open();
    watched.look();
    let next = files.ca.signs(&server("two"));
    let before = watched.keyring.not_after_unix_s();
    files.write("certificate", &next.certificate);
    assert_eq!(watched.look(), Outcome::default());
    files.write("key", &next.key);
    assert_eq!(watched.look(), Outcome::default());
    assert!(watched.look().changed.len() == 2);
    watched.counts(1.0, 0.0, true);
    let after = watched.keyring.not_after_unix_s();
    assert!(after >= before);
    let name = "auditrelay_tls_certificate_not_after_timestamp_seconds";
    assert_eq!(watched.metric(name, "server"), after.unwrap() as f64);
}

#[test]
fn what_cannot_be_used_changes_nothing_and_is_told_once() {
    let files = Files::new();
    let mut watched = files.open();
    watched.look();
    let tls = Arc::clone(&watched.keyring.tls().unwrap());
    let broken: [(&str, &str, &str); 6] = [
        (
            "token",
            "\n# none\n",
            "clients[0].token_file: DIR/token holds no token; write one a line",
        ),
        (
            "certificate",
            "hunter2",
            "tls.certificate_file: DIR/certificate holds no certificate in PEM form",
        ),
        (
            "key",
            &files.ca.signs(&server("other")).key,
            "tls.key_file: DIR/key is not the key of the certificate in DIR/certificate; put the two that \
             belong together there",
        ),
        (
            "key",
            "-----BEGIN PRIVATE KEY-----\nhunter2\n",
            "tls.key_file: DIR/key ends within a PEM section",
        ),
        (
            "ca",
            "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n",
            "tls.client_ca_file: DIR/ca certificate 1 in it is damaged",
        ),
        ("ca", "", "tls.client_ca_file: DIR/ca is empty"),
    ];
    let mut problems = 0.0;
    for (name, text, expected) in broken {
        let good = fs::read_to_string(files.at(name)).unwrap();
        files.write(name, text);
        assert_eq!(watched.look(), Outcome::default(), "{name}");
        let expected = expected.replace("DIR", &files.dir.path().display().to_string());
        assert_eq!(watched.look(), problem(&expected));
        problems += 1.0;
        watched.counts(0.0, problems, false);
        for _ in 0..3 {
            assert_eq!(watched.look(), Outcome::default());
        }
        watched.counts(0.0, problems, false);
        assert!(Arc::ptr_eq(&tls, &watched.keyring.tls().unwrap()), "{name}");
        files.write(name, &good);
        assert_eq!(watched.look(), Outcome::default());
        assert_eq!(
            watched.look(),
            mended(if name == "token" { "clients[0]" } else { "tls" })
        );
        assert_eq!(watched.look(), Outcome::default());
        watched.counts(0.0, problems, true);
    }
    assert_eq!(watched.state(), 1);
}

#[test]
fn the_same_problem_in_other_words_of_the_file_is_the_same() {
    let files = Files::new();
    let mut watched = files.open();
    watched.look();
    files.write("certificate", "a");
    watched.look();
    assert_eq!(watched.look().problems.len(), 1);
    files.write("certificate", "b");
    watched.look();
    assert_eq!(watched.look(), Outcome::default());
    fs::remove_file(files.at("certificate")).unwrap();
    watched.look();
    assert!(watched.look().problems[0].contains("No such file"));
    watched.counts(0.0, 2.0, false);
    files.pair(&files.ca.signs(&server("two")));
    watched.look();
    assert_eq!(watched.look().changed.len(), 2);
    watched.counts(1.0, 2.0, true);
}

#[test]
fn files_that_are_broken_at_the_start_are_told_by_their_key() {
    let files = Files::new();
    let [one, two] = ["one", "two"].map(|name| files.ca.signs(&server(name)));
    files.write("certificate", &one.certificate);
    files.write("key", &two.key);
    let error = files.try_open().err().unwrap();
    assert!(
        error.starts_with("tls.key_file: ") && error.contains("is not the key"),
        "{error}"
    );
    files.write("key", &one.certificate);
    let error = files.try_open().err().unwrap();
    assert!(
        error.contains("holds no private key in PEM form without a passphrase"),
        "{error}"
    );
    files.write(
        "key",
        "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n",
    );
    let error = files.try_open().err().unwrap();
    assert!(error.contains("of a kind that is not supported"), "{error}");
    assert!(!error.contains("hunter"), "{error}");
}

#[test]
fn a_certificate_near_its_end_is_told_once() {
    let files = Files::new();
    let mut watched = files.open();
    let told = |watched: &mut Watched| watched.keyring.new_warnings(&mut watched.watch);
    let about_certificate = |warnings: Vec<String>| {
        let about = warnings
            .into_iter()
            .filter(|text| text.contains("certificate (number"));
        about.collect::<Vec<_>>()
    };
    assert_eq!(about_certificate(told(&mut watched)), [""; 0]);
    for (seconds, expected) in [
        (13 * 24 * 3600, "expires within 14 days; renew it"),
        (-10, "has expired"),
    ] {
        let mut wish = server("short");
        wish.seconds = seconds;
        files.pair(&files.ca.signs(&wish));
        watched.look();
        assert!(watched.look().changed.len() == 2, "also if it has expired");
        let warnings = about_certificate(told(&mut watched));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains(expected), "{warnings:?}");
        assert_eq!(about_certificate(told(&mut watched)), [""; 0]);
    }
}

#[test]
fn what_does_not_help_is_said() {
    let files = Files::new();
    let mut names_only = client("a server without SANs");
    names_only.sans.clear();
    files.pair(&files.ca.signs(&names_only));
    files.write("ca", &files.ca.signs(&client("no CA")).certificate);
    let keyring = Keyring::open(&files.tls(), &[]).unwrap();
    let warnings = keyring.warnings().join("\n");
    for expected in [
        "tls.key_file: ",
        "can be read by every user of this machine",
        "begins with a certificate without a subject alternative name",
        "that is not for servers (extended key usage)",
        "holds a certificate (number 1) that is no CA",
        "tls.client_ca_file: no client asks for a certificate",
    ] {
        assert!(warnings.contains(expected), "{expected}\n{warnings}");
    }
}
