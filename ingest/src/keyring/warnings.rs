//! What should be known of the files in use, and is no reason to refuse them.
//!
//! Invariant: each text stays the same as long as what it says holds, so that it can be told once.

use auditrelay_config::{ClientConfig, TlsConfig};

use super::{
    Keys,
    server::{Encryption, problem},
};

/// A certificate that has as much left, or less, is spoken of: 14 days, in seconds.
pub(super) const EXPIRES_SOON_SECONDS: i64 = 14 * 24 * 3600;

impl Keys {
    pub(super) fn warnings(
        &self,
        tls: &TlsConfig,
        clients: &[ClientConfig],
        now_unix_s: i64,
    ) -> Vec<String> {
        let mut warnings: Vec<String> = self.parts.oddities().cloned().collect();
        warnings.extend(self.clients.oddities().iter().cloned());
        let encryption = self.parts.encryption();
        warnings.extend(of_tls(tls, clients, encryption));
        if let Some(encryption) = encryption {
            warnings.extend(of_certificates(tls, encryption));
            warnings.extend(of_their_time(tls, encryption, now_unix_s));
        }
        warnings
    }
}

fn of_their_time(tls: &TlsConfig, encryption: &Encryption, now_unix_s: i64) -> Vec<String> {
    let mut warnings = Vec::new();
    for (key, file, facts) in [
        (
            "tls.certificate_file",
            &tls.certificate_file,
            &encryption.chain,
        ),
        (
            "tls.client_ca_file",
            &tls.client_ca_file,
            &encryption.client_cas,
        ),
    ] {
        let Some(file) = file else { continue };
        for (facts, number) in facts.iter().zip(1..) {
            let what = if now_unix_s > facts.not_after {
                "has expired: API servers and the relay do not accept it any more; renew it"
            } else if now_unix_s < facts.not_before {
                "is not valid yet; look at the clock of this machine"
            } else if facts.not_after - now_unix_s <= EXPIRES_SOON_SECONDS {
                "expires within 14 days; renew it"
            } else {
                continue;
            };
            let what = format!("holds a certificate (number {number}) that {what}");
            warnings.push(problem(key, file, &what));
        }
    }
    warnings
}

fn of_tls(
    tls: &TlsConfig,
    clients: &[ClientConfig],
    encryption: Option<&Encryption>,
) -> Vec<String> {
    let mut oddities = Vec::new();
    let asks_certificates = clients
        .iter()
        .any(|client| !client.certificate_names.is_empty());
    if tls.client_ca_file.is_some() && !asks_certificates {
        oddities.push(
            "tls.client_ca_file: no client asks for a certificate, so nobody is let in or kept out by it; name \
             certificates in clients[].certificate_names"
                .to_owned(),
        );
    }
    if encryption.is_none() && !clients.is_empty() {
        oddities.push(
            "clients: an API server sends neither token nor password over plain http, and has no certificate \
             to show there; set tls.certificate_file and tls.key_file, unless something in front of the \
             relay ends TLS and hands the Authorization header on"
                .to_owned(),
        );
    }
    oddities
}

fn of_certificates(tls: &TlsConfig, encryption: &Encryption) -> Vec<String> {
    let mut oddities = Vec::new();
    if let (Some(own), Some(file)) = (encryption.chain.first(), &tls.certificate_file) {
        let mut odd = |what: &str| oddities.push(problem("tls.certificate_file", file, what));
        if !own.has_alternative_names {
            odd(
                "begins with a certificate without a subject alternative name; API servers look at no other \
                 name and refuse it",
            );
        }
        if !own.is_for_servers {
            odd(
                "begins with a certificate that is not for servers (extended key usage); API servers refuse it. \
                 Is it a client's?",
            );
        }
    }
    for (ca, number) in encryption.client_cas.iter().zip(1..) {
        if let (false, Some(file)) = (ca.is_ca, &tls.client_ca_file) {
            let what = format!(
                "holds a certificate (number {number}) that is no CA: it signs nobody; put the CA there that \
                 signed it"
            );
            oddities.push(problem("tls.client_ca_file", file, &what));
        }
    }
    oddities
}
