//! What a certificate says: whose it is, and until when.
//!
//! Invariants:
//! * names are the subject's CN and the SANs (DNS, URI, e-mail, IP), compared as they are: no
//!   wildcards, no case folding, no part of a name;
//! * a subject with several CNs has none: which of them counts is read differently by everybody;
//! * that our CA signed it is not known here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
};

/// One certificate, as far as it is of interest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// CN and SANs.
    pub(super) names: Vec<String>,
    /// Whether it has a SAN: without one no API server takes it for a server's.
    pub(super) has_alternative_names: bool,
    /// Whether it may be shown by a server.
    pub(super) is_for_servers: bool,
    /// Whether it may sign others.
    pub(super) is_ca: bool,
    /// Unix time, seconds.
    pub(super) not_before: i64,
    /// The last second of its validity, Unix time.
    pub(super) not_after: i64,
}

impl Facts {
    /// Reads it; `None` if it is no certificate.
    pub(super) fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let alternative = alternative_names(&certificate);
        let validity = certificate.validity();
        Some(Self {
            has_alternative_names: !alternative.is_empty(),
            is_for_servers: is_for_servers(&certificate),
            is_ca: certificate.is_ca(),
            names: common_name(&certificate)
                .into_iter()
                .chain(alternative)
                .collect(),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }

    /// Whether its time has come and is not over.
    pub(super) fn is_valid_at(&self, now_unix_s: i64) -> bool {
        (self.not_before..=self.not_after).contains(&now_unix_s)
    }
}

/// How a name in the configuration is compared: an IP address in its one spelling, all else as it is.
pub(super) fn canonical(name: &str) -> String {
    name.parse::<IpAddr>()
        .map_or_else(|_| name.to_owned(), |address| address.to_string())
}

fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let mut names = certificate.subject().iter_common_name();
    let name = names.next()?;
    if names.next().is_some() {
        return None;
    }
    name.as_str().ok().map(str::to_owned)
}

/// Without a list of usages it may be used for everything.
fn is_for_servers(certificate: &X509Certificate<'_>) -> bool {
    match certificate.extended_key_usage() {
        Ok(Some(usage)) => usage.value.server_auth || usage.value.any,
        Ok(None) => true,
        Err(_) => false,
    }
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let extensions = certificate.extensions().iter();
    let alternative = extensions.filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
        _ => None,
    });
    alternative.flatten().filter_map(text).collect()
}

fn text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(text) | GeneralName::URI(text) | GeneralName::RFC822Name(text) => {
            Some((*text).to_owned())
        }
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)));
            let v6 = <[u8; 16]>::try_from(*bytes).map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)));
            v4.or(v6).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn der(params: CertificateParams) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn every_kind_of_name_is_found() {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "prod");
        params
            .distinguished_name
            .push(DnType::OrganizationName, "system:masters");
        params.subject_alt_names = vec![
            SanType::DnsName("a.example".try_into().unwrap()),
            SanType::URI("spiffe://x/prod".try_into().unwrap()),
            SanType::Rfc822Name("ops@example.org".try_into().unwrap()),
            SanType::IpAddress("10.0.0.7".parse().unwrap()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
        ];
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let facts = Facts::of(&der(params)).unwrap();
        assert_eq!(
            facts.names,
            [
                "prod",
                "a.example",
                "spiffe://x/prod",
                "ops@example.org",
                "10.0.0.7",
                "2001:db8::1"
            ]
        );
        assert!(facts.has_alternative_names);
        assert_eq!(facts.not_after, 1_927_843_200);
        assert!(facts.is_valid_at(facts.not_after) && facts.is_valid_at(facts.not_before));
        assert!(!facts.is_valid_at(facts.not_after + 1));
        assert!(!facts.is_valid_at(facts.not_before - 1));
    }

    #[test]
    fn of_several_common_names_none_counts() {
        let mut params = CertificateParams::default();
        let second = DnType::CustomDnType(vec![2, 5, 4, 3]); // rcgen keeps one value of a type.
        params.distinguished_name.push(DnType::CommonName, "prod");
        params.distinguished_name.push(second, "other");
        let facts = Facts::of(&der(params)).unwrap();
        assert_eq!(facts.names, Vec::<String>::new());
        assert!(!facts.has_alternative_names);
        assert!(facts.is_for_servers && !facts.is_ca);
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        assert_eq!(Facts::of(b""), None);
        assert_eq!(Facts::of(&[0x30; 100]), None);
        let whole = der(CertificateParams::default());
        for length in 0..whole.len() {
            assert_eq!(Facts::of(&whole[..length]), None, "{length}");
        }
    }

    #[test]
    fn addresses_have_one_spelling() {
        assert_eq!(canonical("2001:DB8:0::1"), "2001:db8::1");
        assert_eq!(canonical("Prod"), "Prod");
        assert_eq!(canonical("10.0.0.07"), "10.0.0.07");
    }
}
