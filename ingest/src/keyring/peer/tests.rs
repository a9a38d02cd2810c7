//! Chains whose certificates begin and end at different times, on one connection.

use std::{fs, time::Duration};

use auditrelay_config::{ClientConfig, TlsConfig};
use hyper::HeaderMap;
use prometheus::Registry;
use tempfile::TempDir;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::*;
use crate::{
    keyring::{
        Keyring,
        pki::{Authority, Pair, client, server},
    },
    refusal::Reason,
};

const GAUGE: &str = "auditrelay_client_certificate_not_after_timestamp_seconds";

struct Door {
    keyring: Keyring,
    registry: Registry,
    now: u64,
    _dir: TempDir,
}

impl Door {
    /// With a client `prod`, by certificates that come from `ca`.
    fn new(ca: &Authority) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let own = Authority::new("signs servers").signs(&server("door"));
        let write = |name: &str, text: &str| {
            fs::write(dir.path().join(name), text).unwrap();
            Some(dir.path().join(name))
        };
        let tls = TlsConfig {
            certificate_file: write("certificate", &own.certificate),
            key_file: write("key", &own.key),
            client_ca_file: write("ca", &ca.pem()),
        };
        let client = ClientConfig {
            name: "prod".parse().unwrap(),
            cluster: None,
            certificate_names: vec!["prod".to_owned()],
            token_file: None,
            username: None,
            password_file: None,
        };
        let keyring = Keyring::open(&tls, &[client]).unwrap();
        let registry = Registry::new();
        keyring.register(&registry).unwrap();
        Self {
            keyring,
            registry,
            now: UnixTime::now().as_secs(),
            _dir: dir,
        }
    }

    /// What becomes of a request so many seconds from now.
    fn ask(&self, peer: &Peer, seconds: i64) -> Result<(), Reason> {
        let at = self.now.checked_add_signed(seconds).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(at));
        let home = "home".parse().unwrap();
        let outcome = self
            .keyring
            .cluster_at(now, peer, &HeaderMap::new(), None, &home);
        outcome.map(drop).map_err(|refusal| refusal.reason)
    }

    /// In how many seconds the certificate of the client ends, as the metric says.
    fn ends_in(&self) -> Option<f64> {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == GAUGE)?;
        Some(family.get_metric()[0].get_gauge().get_value() - self.now as f64)
    }
}

fn peer(own: &Pair, above: &[&Authority]) -> Peer {
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let mut chain = vec![der(&own.certificate)];
    chain.extend(above.iter().map(|ca| der(&ca.pem())));
    Peer::encrypted(([127, 0, 0, 1], 1).into(), Some(&chain))
}

#[test]
fn a_chain_is_good_no_longer_than_what_is_between() {
    let root = Authority::new("root");
    let between = root.between("between", -1000, 500);
    let door = Door::new(&root);
    let peer = peer(&between.signs(&client("prod")), &[&between]);
    assert_eq!(door.ask(&peer, 0), Ok(()));
    assert_eq!(door.ask(&peer, 490), Ok(()));
    assert_eq!(door.ask(&peer, 510), Err(Reason::CertificateExpired));
    // The clock is set back: good again.
    assert_eq!(door.ask(&peer, 0), Ok(()));
}

#[test]
fn what_is_not_valid_yet_is_not_remembered_as_over() {
    let root = Authority::new("root");
    let between = root.between("between", 500, 1000);
    let door = Door::new(&root);
    let peer = peer(&between.signs(&client("prod")), &[&between]);
    assert_eq!(door.ask(&peer, 0), Err(Reason::CertificateExpired));
    assert_eq!(door.ask(&peer, 510), Ok(()));
    assert_eq!(door.ask(&peer, 0), Err(Reason::CertificateExpired));
    assert_eq!(door.ask(&peer, 510), Ok(()));
}

#[test]
fn what_was_found_out_holds_from_change_to_change() {
    let times = [(10, 100), (50, 200)];
    for (now, expected) in [
        (0, (i64::MIN, 9)),
        (10, (10, 49)),
        (50, (50, 100)),
        (100, (50, 100)),
        (101, (101, 200)),
        (201, (201, i64::MAX)),
    ] {
        assert_eq!(unchanged_around(&times, now), expected, "{now}");
    }
}

#[test]
fn when_the_certificate_of_a_client_ends_is_seen_and_told() {
    let root = Authority::new("root");
    let between = root.between("between", -1000, 20 * 86_400);
    let door = Door::new(&root);
    assert_eq!(door.ends_in(), None, "nobody came in yet");
    let mut wish = client("prod");
    wish.seconds = 30 * 86_400;
    let long = peer(&between.signs(&wish), &[&between]);
    assert_eq!(door.ask(&long, 0), Ok(()));
    let near = |days: f64| (door.ends_in().unwrap() - days * 86_400.0).abs() < 100.0;
    assert!(near(20.0), "what is between ends first");
    let told = || {
        let told = door.keyring.warnings().into_iter();
        told.filter(|text| text.starts_with("client prod: "))
            .count()
    };
    assert_eq!(told(), 0);
    wish.seconds = 13 * 86_400;
    let short = peer(&root.signs(&wish), &[]);
    assert_eq!(door.ask(&short, 10), Ok(()));
    assert!(near(13.0), "{:?}", door.ends_in());
    assert_eq!(told(), 1);
    // One that is not let in changes nothing.
    wish.seconds = 86_400;
    wish.common_name = "nobody";
    let other = peer(&root.signs(&wish), &[]);
    assert_eq!(door.ask(&other, 20), Err(Reason::UnknownCertificate));
    assert!(near(13.0), "{:?}", door.ends_in());
}
