//! Every combination of what a client is asked for and what a request shows.

use std::fs;

use hyper::{HeaderMap, header::AUTHORIZATION};
use tempfile::TempDir;

use super::*;

mod together;

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
    let mut oddities = Vec::new();
    let secrets: Vec<_> = configured
        .iter()
        .enumerate()
        .map(|(index, client)| {
            let (secret, odd) = Secret::read(client, index, &reading, &hasher).unwrap();
            oddities.extend(odd);
            Arc::new(secret)
        })
        .collect();
    let clients = Clients::new(&configured, secrets);
    oddities.extend_from_slice(clients.oddities());
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
            _ => Certificate::Signed {
                names: &names,
                until: i64::MAX,
            },
        };
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        }
        let authorization =
            Authorization::read(&headers, &self.hasher).unwrap_or_else(Authorization::Malformed);
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
    // A header that is not asked for does no harm, also if it says nothing valid.
    door.expect("prod", &bearer("stolen"), Ok("x home"));
    door.expect("prod", "Negotiate stolen", Ok("x home"));
    for certificate in ["", "other"] {
        door.expect(
            certificate,
            "Negotiate stolen",
            Err(Reason::AuthorizationMalformed),
        );
    }
    door.expect("expired", "x", Err(Reason::CertificateExpired));
    door.expect("foreign", "x", Err(Reason::CertificateUntrusted));
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
        door.expect("prod", "x", Err(Reason::AuthorizationMalformed));
        door.expect("", &shown, Err(Reason::CredentialsIncomplete));
        door.expect("other", &shown, Err(Reason::CredentialsIncomplete));
        // Whether the secret is right or not.
        for secret in [&shown, &bearer("stolen")] {
            door.expect("expired", secret, Err(Reason::CertificateExpired));
            door.expect("foreign", secret, Err(Reason::CertificateUntrusted));
        }
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
