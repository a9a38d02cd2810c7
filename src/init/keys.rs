//! Certificates, their keys, and tokens.
//!
//! Contract: the CA signs nothing but the relay's certificate and those of API servers. A server's certificate
//! cannot be shown as a client's, nor the other way round. A client's names its cluster, so that of another
//! cluster of the same CA is not taken for it. Times begin a day ago: clocks differ.

use std::fs;
use std::path::Path;

use auditrelay_config::ClusterName;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, date_time_ymd,
};

use super::plan::{Plan, San};
use crate::Failure;

const CA_YEARS: i32 = 10;
const LEAF_YEARS: i32 = 1;
const TOKEN_BYTES: usize = 32;

/// A certificate and its private key, PEM.
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Everything of a set that is made by chance.
pub(super) struct Keys {
    pub(super) ca: Pair,
    pub(super) server: Pair,
    pub(super) client: Option<Pair>,
    pub(super) token: Option<String>,
    pub(super) today: Date,
    pub(super) ca_ends: Date,
    pub(super) leaf_ends: Date,
}

/// What a client's certificate is recognised by.
pub(super) fn client_name(cluster: &ClusterName) -> String {
    format!("urn:auditrelay:cluster:{cluster}")
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Other(format!("cannot make certificates: {error}"))
}

impl Keys {
    /// Makes them; with a CA that is there if one is named.
    pub(super) fn make(plan: &Plan, ca: Option<&Path>) -> Result<Self, Failure> {
        let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
        let (ca, ca_ends) = match ca {
            Some(folder) => existing(folder)?,
            None => authority(today)?,
        };
        if ca_ends <= today {
            return Err(Failure::Usage(format!(
                "the CA of --ca ended on {ca_ends}; leave --ca out"
            )));
        }
        let leaf_ends = (today + LEAF_YEARS.years()).min(ca_ends);
        let key = KeyPair::from_pem(&ca.key).map_err(failed)?;
        let issuer = Issuer::from_ca_cert_pem(&ca.certificate, key).map_err(failed)?;
        let sign = |mut params: CertificateParams, usage| {
            hold(&mut params, today, leaf_ends);
            params.extended_key_usages = vec![usage];
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.use_authority_key_identifier_extension = true;
            let key = KeyPair::generate().map_err(failed)?;
            let signed = params.signed_by(&key, &issuer).map_err(failed)?;
            Ok::<_, Failure>(Pair {
                certificate: signed.pem(),
                key: key.serialize_pem(),
            })
        };
        let server = sign(server(plan)?, ExtendedKeyUsagePurpose::ServerAuth)?;
        let client = match plan.mtls {
            true => Some(sign(
                client(&plan.cluster)?,
                ExtendedKeyUsagePurpose::ClientAuth,
            )?),
            false => None,
        };
        Ok(Self {
            ca,
            server,
            client,
            token: plan.token.then(token).transpose()?,
            today,
            ca_ends,
            leaf_ends,
        })
    }
}

/// From yesterday to `end`.
fn hold(params: &mut CertificateParams, today: Date, end: Date) {
    let midnight = |date: Date| {
        let number = |value: i8| u8::try_from(value).expect("months and days count from 1");
        date_time_ymd(date.year().into(), number(date.month()), number(date.day()))
    };
    params.not_before = midnight(today - 1.day());
    params.not_after = midnight(end);
}

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params
}

fn authority(today: Date) -> Result<(Pair, Date), Failure> {
    let ends = today + CA_YEARS.years();
    let mut params = named("auditrelay CA");
    hold(&mut params, today, ends);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().map_err(failed)?;
    let pair = Pair {
        certificate: params.self_signed(&key).map_err(failed)?.pem(),
        key: key.serialize_pem(),
    };
    Ok((pair, ends))
}

fn server(plan: &Plan) -> Result<CertificateParams, Failure> {
    let mut params = named("auditrelay");
    for san in &plan.sans {
        params.subject_alt_names.push(match san {
            San::Ip(ip) => SanType::IpAddress(*ip),
            San::Name(name) => SanType::DnsName(name.as_str().try_into().map_err(failed)?),
        });
    }
    Ok(params)
}

fn client(cluster: &ClusterName) -> Result<CertificateParams, Failure> {
    // The CN is the cluster's name, too: a list that names CNs must not let one cluster pass for another. A CN has
    // at most 64 characters, a cluster's name at most 63.
    let mut params = named(cluster.as_str());
    params
        .distinguished_name
        .push(DnType::OrganizationName, "kube-apiserver-audit");
    let name = client_name(cluster).try_into().map_err(failed)?;
    params.subject_alt_names.push(SanType::URI(name));
    Ok(params)
}

/// The CA of an earlier set, and when it ends.
fn existing(folder: &Path) -> Result<(Pair, Date), Failure> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path)
            .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))
    };
    let pair = Pair {
        certificate: read("ca.crt")?,
        key: read("ca.key")?,
    };
    let wrong = |what: &str| Failure::Usage(format!("--ca {}: {what}", folder.display()));
    let (_, pem) = x509_parser::pem::parse_x509_pem(pair.certificate.as_bytes())
        .map_err(|_| wrong("ca.crt is no certificate (PEM)"))?;
    let certificate = pem
        .parse_x509()
        .map_err(|_| wrong("ca.crt is no certificate (PEM)"))?;
    if !certificate.is_ca() {
        return Err(wrong("ca.crt is no certificate of a CA"));
    }
    let key = KeyPair::from_pem(&pair.key)
        .map_err(|_| wrong("ca.key is no private key (PEM, PKCS #8)"))?;
    if key.subject_public_key_info() != certificate.public_key().raw {
        return Err(wrong("ca.key is not the key of ca.crt"));
    }
    let ends = Timestamp::from_second(certificate.validity().not_after.timestamp());
    let ends = ends.map_err(|_| wrong("ca.crt ends at no time that can be told"))?;
    Ok((pair, ends.to_zoned(TimeZone::UTC).date()))
}

/// 256 bits by chance, as hexadecimal digits.
fn token() -> Result<String, Failure> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::Other(format!("no random numbers: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
