//! Who may come in, and what the way in is encrypted with.
//!
//! Contract: only paths of certificates, keys, tokens and passwords stand in the configuration, never
//! what they hold: it is read by who uses it, and read again when it changes. Across a network events
//! come in encrypted and from known clients, unless the configuration says in so many words that
//! they need not: `allow_anonymous` that they need no clients, `allow_plain_http` neither clients nor
//! encryption, as an API server shows nothing over plain HTTP.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;
use crate::names::{ClientName, ClusterName};
use crate::raw::RawConfig;
use crate::text;
use crate::tree::Tree;

/// What the webhook is encrypted with; nothing is if no file is named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// The server's certificate and what leads from it to its CA, PEM.
    #[serde(deserialize_with = "text::read_option")]
    pub certificate_file: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[serde(deserialize_with = "text::read_option")]
    pub key_file: Option<PathBuf>,
    /// The CAs that sign clients' certificates, PEM.
    #[serde(deserialize_with = "text::read_option")]
    pub client_ca_file: Option<PathBuf>,
}

/// Somebody who may post: whoever shows everything that is asked for here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// What logs call it; unique among clients.
    pub name: ClientName,
    /// The cluster that it posts for; who has another or none does not. If it is left out: any that its
    /// path names, save those of other clients.
    #[serde(default)]
    pub cluster: Option<ClusterName>,
    /// Its certificate's subject CN, or one of its SANs, is one of these. Empty: no certificate is asked for.
    #[serde(default)]
    pub certificate_names: Vec<String>,
    /// Bearer tokens, one a line, each of which is valid.
    #[serde(default, deserialize_with = "text::read_option")]
    pub token_file: Option<PathBuf>,
    /// The user of basic authentication.
    #[serde(default)]
    pub username: Option<String>,
    /// Its passwords, one a line, each of which is valid.
    #[serde(default, deserialize_with = "text::read_option")]
    pub password_file: Option<PathBuf>,
}

/// Checks what is between the keys of this file, and whether events are safe on their way to `listen`.
pub(crate) fn check(raw: &RawConfig, tree: &Tree, is_loopback: bool) -> Result<(), ConfigError> {
    check_tls(&raw.tls, tree)?;
    for (index, client) in raw.clients.iter().enumerate() {
        if let Some((key, problem)) = client_fault(client, &raw.tls) {
            return Err(tree.refusal(&format!("clients[{index}].{key}"), &problem));
        }
    }
    let mut names = BTreeSet::new();
    let twice = raw
        .clients
        .iter()
        .position(|client| !names.insert(&client.name));
    if let Some(index) = twice {
        let problem = format!(
            "found {:?}, which another client has",
            raw.clients[index].name.as_str()
        );
        return Err(tree.refusal(&format!("clients[{index}].name"), &problem));
    }
    if is_loopback {
        return Ok(());
    }
    if raw.tls.certificate_file.is_none() && !raw.allow_plain_http {
        let problem = format!(
            "found {}, expected a loopback address: without tls.certificate_file events would cross the \
             network unencrypted (allow_plain_http: true allows it)",
            raw.listen
        );
        return Err(tree.refusal("listen", &problem));
    }
    let asks_nobody = raw.clients.is_empty() && raw.tls.certificate_file.is_some();
    if asks_nobody && !raw.allow_anonymous {
        let problem = format!(
            "found {}, expected a loopback address: without clients anybody could post events there \
             (allow_anonymous: true allows it)",
            raw.listen
        );
        return Err(tree.refusal("listen", &problem));
    }
    Ok(())
}

fn check_tls(tls: &TlsConfig, tree: &Tree) -> Result<(), ConfigError> {
    let needs = |key: &str, other: &str| {
        let problem = format!("expected {other} beside it");
        Err(tree.refusal(&format!("tls.{key}"), &problem))
    };
    match (&tls.certificate_file, &tls.key_file, &tls.client_ca_file) {
        (Some(_), None, _) => needs("certificate_file", "key_file"),
        (None, Some(_), _) => needs("key_file", "certificate_file"),
        (None, None, Some(_)) => needs("client_ca_file", "certificate_file and key_file"),
        _ => Ok(()),
    }
}

/// The key to blame within a client, and what is wrong.
fn client_fault(client: &ClientConfig, tls: &TlsConfig) -> Option<(&'static str, String)> {
    let fault = |key, problem: &str| Some((key, problem.to_owned()));
    if client.certificate_names.iter().any(String::is_empty) {
        return fault("certificate_names", "expected no empty name");
    }
    if !client.certificate_names.is_empty() && tls.client_ca_file.is_none() {
        return fault(
            "certificate_names",
            "expected tls.client_ca_file too: without it no certificate of a client is asked for",
        );
    }
    match (&client.username, &client.password_file) {
        (Some(_), None) => return fault("username", "expected password_file beside it"),
        (None, Some(_)) => return fault("password_file", "expected username beside it"),
        (Some(name), _) if name.is_empty() || name.contains(':') => {
            return fault("username", "expected a name without a colon");
        }
        (Some(_), Some(_)) if client.token_file.is_some() => {
            return fault(
                "token_file",
                "expected no username beside it: a request carries one of the two",
            );
        }
        _ => {}
    }
    let shows_nothing = client.certificate_names.is_empty()
        && client.token_file.is_none()
        && client.username.is_none();
    if shows_nothing {
        return fault(
            "name",
            "expected certificate_names, token_file or username beside it: anybody would be this client",
        );
    }
    None
}
