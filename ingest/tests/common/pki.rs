//! Certificates that tests make for themselves; unit tests of the keyring use it too.
#![allow(dead_code)] // Each test file uses its own part.
#![allow(clippy::unwrap_used)] // clippy.toml allows it in tests, not in what they call.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

/// A CA, and what it signs.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// What is different about a certificate.
#[derive(Clone)]
pub struct Wish {
    pub common_name: &'static str,
    pub sans: Vec<SanType>,
    pub usage: Vec<ExtendedKeyUsagePurpose>,
    /// From now on, in seconds.
    pub seconds: i64,
}

/// A client's certificate of this name, for an hour.
pub fn client(common_name: &'static str) -> Wish {
    Wish {
        common_name,
        sans: Vec::new(),
        usage: vec![ExtendedKeyUsagePurpose::ClientAuth],
        seconds: 3600,
    }
}

/// A server's certificate for 127.0.0.1; the name only tells it from another.
pub fn server(common_name: &'static str) -> Wish {
    Wish {
        common_name,
        sans: vec![
            SanType::IpAddress("127.0.0.1".parse().unwrap()),
            SanType::DnsName("localhost".try_into().unwrap()),
        ],
        usage: vec![ExtendedKeyUsagePurpose::ServerAuth],
        seconds: 60 * 24 * 3600,
    }
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// A CA between this one and what it signs, from `begins` to `ends` (seconds from now).
    pub fn between(&self, name: &str, begins: i64, ends: i64) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let at = |seconds| {
            let second = now.as_secs().checked_add_signed(seconds).unwrap();
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(second)
        };
        (params.not_before, params.not_after) = (at(begins), at(ends));
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::signed_by(params, key, &self.0).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn signs(&self, wish: &Wish) -> Pair {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, wish.common_name);
        params.subject_alt_names.clone_from(&wish.sans);
        params.extended_key_usages.clone_from(&wish.usage);
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let end = now.as_secs().checked_add_signed(wish.seconds).unwrap();
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + (now - Duration::from_secs(100_000));
        params.not_after = epoch + Duration::from_secs(end);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}
