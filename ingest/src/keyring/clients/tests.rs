//! Every combination of what a client is asked for and what a request shows.

use std::fs;

use hyper::{HeaderMap, header::AUTHORIZATION};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const TOKEN: &str = "token-of-a-client-0001";
const OTHER: &str = "token-of-a-client-0002";
const PASSWORD: &str = "password-of-a-client-1";

/// What an entry asks for: a name, a token, a password.
#[derive(Clone, Copy)]
struct Asks {
    name: &'static str,
    cluster: &'static str,
    certificate: &'static str,
    token: &'static str,
    password: &'static str,
}

const NOTHING: Asks = Asks {
    name: "x",
    cluster: "",
    certificate: "",
    token: "",
    password: "",
};

struct Door {
    clients: Clients,
    oddities: Vec<String>,
    hasher: Hasher,
    _dir: TempDir,
}

fn door(entries: &[Asks]) -> Door {
    let dir = tempfile::tempdir().unwrap();
    let file = |index: usize, secret: &str| {
        (!secret.is_empty()).then(|| {
            let path = dir.path().join(format!("{index}"));
            fs::write(&path, format!("# one\n{secret}\n")).unwrap();
            path
        })
    };
    let configured: Vec<ClientConfig> = entries
        .iter()
        .zip(0..)
        .map(|(asks, index)| ClientConfig {
            name: asks.name.parse().unwrap(),
            cluster: asks.cluster.parse().ok(),
            certificate_names: asks
                .certificate
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            token_file: file(index, asks.token),
            username: (!asks.password.is_empty()).then(|| "me".to_owned()),
            password_file: file(index, asks.password),
        })
        .collect();
    let hasher = Hasher::new().unwrap();
    let named = configured
        .iter()
        .flat_map(|client| [&client.token_file, &client.password_file]);
    let reading = Reading::of(named.flatten().cloned());
    let (clients, oddities) = Clients::read(&configured, &reading, &hasher).unwrap();
    Door {
        clients,
        oddities,
        hasher,
        _dir: dir,
    }
}

impl Door {
    /// `client cluster`, or the reason and the message of a refusal.
    fn admit(
        &self,
        certificate: &str,
        authorization: &str,
        claimed: &str,
    ) -> Result<String, Refusal> {
        let names: Vec<String> = certificate.split_whitespace().map(str::to_owned).collect();
        let certificate = match certificate {
            "" => Certificate::Absent,
            "expired" => Certificate::Expired,
            "foreign" => Certificate::Foreign,
            _ => Certificate::Signed(&names),
        };
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        }
        let authorization = Authorization::read(&headers, &self.hasher)
            .map_err(|fault| self.clients.malformed(fault))?;
        let admitted = self.clients.admit(
            certificate,
            &authorization,
            claimed.parse().ok(),
            &"home".parse().unwrap(),
        )?;
        Ok(format!("{} {}", admitted.client, admitted.cluster))
    }

    #[track_caller]
    fn expect(&self, certificate: &str, authorization: &str, expected: Result<&str, Reason>) {
        let admitted = self.admit(certificate, authorization, "");
        let outcome = admitted.map_err(|refusal| {
            let words = [TOKEN, OTHER, PASSWORD, "stolen"];
            assert!(
                !words.iter().any(|word| refusal.message.contains(word)),
                "{refusal:?}"
            );
            refusal.reason
        });
        let outcome = outcome.as_deref().map_err(|reason| *reason);
        assert_eq!(outcome, expected, "{certificate:?} {authorization:?}");
    }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn basic(pair: &str) -> String {
    use base64::Engine;
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(pair)
    )
}

#[test]
fn a_certificate_alone() {
    let door = door(&[Asks {
        certificate: "prod stage 2001:DB8::1",
        ..NOTHING
    }]);
    door.expect("prod", "", Ok("x home"));
    door.expect("other stage", "", Ok("x home"));
    door.expect("2001:db8::1", "", Ok("x home"));
    // A header that is not asked for does no harm, unless it says nothing valid.
    door.expect("prod", &bearer("stolen"), Ok("x home"));
    door.expect(
        "prod",
        "Negotiate stolen",
        Err(Reason::AuthorizationMalformed),
    );
    for name in ["Prod", "prod.", "pro", "prods", "*", "other"] {
        door.expect(name, "", Err(Reason::UnknownCertificate));
    }
    door.expect("", "", Err(Reason::Unauthenticated));
    door.expect("expired", "", Err(Reason::CertificateExpired));
    door.expect("foreign", "", Err(Reason::CertificateUntrusted));
    door.expect("", &bearer("stolen"), Err(Reason::UnknownToken));
}

#[test]
fn a_token_alone() {
    let door = door(&[Asks {
        token: "token-of-a-client-0001\ntoken-of-a-client-0002",
        ..NOTHING
    }]);
    door.expect("", &bearer(TOKEN), Ok("x home"));
    door.expect("", &bearer(OTHER), Ok("x home"));
    door.expect("any", &format!("bEARER {OTHER}"), Ok("x home"));
    door.expect("expired", &bearer(TOKEN), Ok("x home"));
    for wrong in [
        "stolen",
        "token-of-a-client-000",
        "token-of-a-client-0001x",
        "#",
        "# one",
    ] {
        door.expect("", &bearer(wrong), Err(Reason::UnknownToken));
    }
    door.expect("", "", Err(Reason::Unauthenticated));
    door.expect("signed", "", Err(Reason::Unauthenticated));
    door.expect(
        "",
        &basic(&format!("me:{TOKEN}")),
        Err(Reason::WrongPassword),
    );
    door.expect("", TOKEN, Err(Reason::AuthorizationMalformed));
}

#[test]
fn a_user_and_a_password() {
    let door = door(&[Asks {
        password: PASSWORD,
        ..NOTHING
    }]);
    door.expect("", &basic(&format!("me:{PASSWORD}")), Ok("x home"));
    for pair in [
        "me:stolen",
        "me:",
        "you:password-of-a-client-1",
        ":",
        "me:password-of-a-client-1:",
    ] {
        door.expect("", &basic(pair), Err(Reason::WrongPassword));
    }
    door.expect("", &bearer(PASSWORD), Err(Reason::UnknownToken));
    door.expect("", "", Err(Reason::Unauthenticated));
}

#[test]
fn an_entry_asks_for_everything_that_it_names() {
    for (asks, shown) in [
        (
            Asks {
                token: TOKEN,
                ..NOTHING
            },
            bearer(TOKEN),
        ),
        (
            Asks {
                password: PASSWORD,
                ..NOTHING
            },
            basic(&format!("me:{PASSWORD}")),
        ),
    ] {
        let door = door(&[Asks {
            certificate: "prod",
            ..asks
        }]);
        door.expect("prod", &shown, Ok("x home"));
        door.expect("prod", "", Err(Reason::CredentialsIncomplete));
        door.expect("", &shown, Err(Reason::CredentialsIncomplete));
        door.expect("other", &shown, Err(Reason::CredentialsIncomplete));
        door.expect("expired", &shown, Err(Reason::CredentialsIncomplete));
        door.expect("prod", &bearer("stolen"), Err(Reason::UnknownToken));
        door.expect("other", "", Err(Reason::UnknownCertificate));
        door.expect("", "", Err(Reason::Unauthenticated));
        // Whether a secret is right is not told to who lacks the certificate.
        let wrong = if shown.starts_with("Bearer") {
            bearer("stolen")
        } else {
            basic("me:stolen")
        };
        let message = |shown: &str| door.admit("", shown, "").unwrap_err().message;
        assert_eq!(message(&shown), message(&wrong));
    }
}

#[test]
fn any_entry_will_do() {
    let door = door(&[
        Asks {
            name: "basic",
            password: PASSWORD,
            ..NOTHING
        },
        Asks {
            name: "token",
            token: TOKEN,
            ..NOTHING
        },
        Asks {
            name: "both",
            certificate: "strict",
            token: OTHER,
            ..NOTHING
        },
        Asks {
            name: "certificate",
            certificate: "prod",
            ..NOTHING
        },
    ]);
    let right = basic(&format!("me:{PASSWORD}"));
    door.expect("", &right, Ok("basic home"));
    door.expect("", &bearer(TOKEN), Ok("token home"));
    door.expect("prod", "", Ok("certificate home"));
    door.expect("prod", &bearer(TOKEN), Ok("certificate home"));
    door.expect("strict", &bearer(OTHER), Ok("both home"));
    door.expect("strict", &bearer(TOKEN), Ok("token home"));
    door.expect("", &bearer(OTHER), Err(Reason::CredentialsIncomplete));
    door.expect("strict", "", Err(Reason::CredentialsIncomplete));
    let refusal = door.admit("", "", "").unwrap_err();
    assert_eq!(refusal.challenges, [BEARER, BASIC]);
    assert!(
        refusal.message.ends_with(
            "clients of this relay show a client certificate and a bearer token, or a client certificate, \
             or a bearer token, or user and password"
        ),
        "{refusal:?}"
    );
}

#[test]
fn a_401_asks_for_what_would_do() {
    let challenges = |asks: Asks| door(&[asks]).admit("", "", "").unwrap_err().challenges;
    assert_eq!(
        challenges(Asks {
            token: TOKEN,
            ..NOTHING
        }),
        [BEARER]
    );
    assert_eq!(
        challenges(Asks {
            password: PASSWORD,
            ..NOTHING
        }),
        [BASIC]
    );
    assert_eq!(
        challenges(Asks {
            certificate: "prod",
            ..NOTHING
        }),
        [""; 0]
    );
}

#[test]
fn certificate_then_token_then_path_then_configuration_name_the_cluster() {
    let door = door(&[
        Asks {
            name: "any",
            token: TOKEN,
            ..NOTHING
        },
        Asks {
            name: "token",
            token: OTHER,
            cluster: "t",
            ..NOTHING
        },
        Asks {
            name: "one",
            certificate: "two-clusters",
            cluster: "c1",
            ..NOTHING
        },
        Asks {
            name: "two",
            certificate: "two-clusters",
            cluster: "c2",
            ..NOTHING
        },
    ]);
    let cases = [
        // A client without a cluster: the path, else the configuration.
        ("", bearer(TOKEN), "", Ok("any home")),
        ("", bearer(TOKEN), "p", Ok("any p")),
        // A client with a cluster: its own, whatever is configured, and no other.
        ("", bearer(OTHER), "", Ok("token t")),
        ("", bearer(OTHER), "t", Ok("token t")),
        ("", bearer(OTHER), "c1", Err(Reason::WrongCluster)),
        ("", bearer(OTHER), "home", Err(Reason::WrongCluster)),
        // One certificate for several: the path tells which, the first without one.
        ("two-clusters", String::new(), "", Ok("one c1")),
        ("two-clusters", String::new(), "c1", Ok("one c1")),
        ("two-clusters", String::new(), "c2", Ok("two c2")),
        // A token beside a certificate claims nothing: the certificate decides.
        (
            "two-clusters",
            bearer(TOKEN),
            "p",
            Err(Reason::WrongCluster),
        ),
        (
            "two-clusters",
            bearer(OTHER),
            "t",
            Err(Reason::WrongCluster),
        ),
        ("two-clusters", bearer(OTHER), "", Ok("one c1")),
    ];
    for (certificate, authorization, claimed, expected) in cases {
        let admitted = door.admit(certificate, &authorization, claimed);
        let admitted = admitted.map_err(|refusal| refusal.reason);
        let admitted = admitted.as_deref().map_err(|reason| *reason);
        assert_eq!(
            admitted, expected,
            "{certificate} {authorization} {claimed}"
        );
    }
}

#[test]
fn without_entries_nobody_comes_in_by_this_way() {
    let door = door(&[]);
    assert!(door.clients.are_everybody());
    door.expect("any", &bearer(TOKEN), Err(Reason::UnknownToken));
}

#[test]
fn an_entry_that_asks_for_nothing_lets_nobody_in() {
    let nothing = ClientConfig {
        name: "x".parse().unwrap(),
        cluster: None,
        certificate_names: Vec::new(),
        token_file: None,
        username: None,
        password_file: None,
    };
    let read = Clients::read(&[nothing], &Reading::of([]), &Hasher::new().unwrap());
    let error = read.err().unwrap();
    assert_eq!(error, "clients[0] asks for nothing: anybody would be it");
}

#[test]
fn what_is_odd_about_secrets_is_said_without_them() {
    let weak = door(&[Asks {
        token: "hunter2",
        ..NOTHING
    }]);
    let [readable, short] = &weak.oddities[..] else {
        panic!("{:?}", weak.oddities);
    };
    assert!(readable.contains("can be read by every user"), "{readable}");
    assert!(
        short.contains("a token in line 2 that is short enough"),
        "{short}"
    );
    let same = door(&[
        Asks {
            name: "a",
            token: TOKEN,
            ..NOTHING
        },
        Asks {
            name: "b",
            token: OTHER,
            ..NOTHING
        },
        Asks {
            name: "c",
            token: TOKEN,
            ..NOTHING
        },
    ]);
    let shared: Vec<_> = same
        .oddities
        .iter()
        .filter(|oddity| oddity.starts_with("clients a and c have a token in common"))
        .collect();
    assert_eq!(shared.len(), 1, "{:?}", same.oddities);
    assert!(!format!("{:?}", [weak.oddities, same.oddities]).contains("hunter2"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nobody_comes_in_with_anything_else(
        certificate in "(|expired|foreign|prod|[a-z]{1,4}( prod)?)",
        authorization in "(|Bearer |Basic |[ -~]{0,9})[ -~]{0,30}",
        claimed in "[a-z]{0,3}",
    ) {
        let door = door(&[Asks { certificate: "prod", token: TOKEN, cluster: "c", ..NOTHING }]);
        let refused = door.admit(&certificate, &authorization, &claimed).unwrap_err();
        prop_assert!([401, 403].contains(&refused.reason.status().as_u16()));
        let sent = authorization.split_once(' ').map_or("", |(_, rest)| rest.trim());
        prop_assert!(sent.len() < 8 || !refused.message.contains(sent));
    }
}
