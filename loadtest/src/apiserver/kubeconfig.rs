//! `--audit-webhook-config-file`: the kubeconfig that tells an API server where its events go.
//!
//! Contract: what the API server would not start with is refused here too, and so is what is not
//! simulated (`exec` plugins, the system's CAs, `insecure-skip-tls-verify`), each by name. An error
//! never quotes a value of the file.
//!
//! Kubernetes: `webhook.LoadKubeconfig`: the current context counts; paths start from the file's
//! folder; `…-data` beats the file of the same name, a token file the token.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::FileFormat;
use hyper::header::HeaderValue;
use serde::Deserialize;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::access::{Access, Credential, TokenFile, bearer};
use super::target::{Target, posted_to};

/// Why a kubeconfig cannot be used, as one line.
#[derive(Debug)]
pub struct KubeconfigError(String);

impl std::fmt::Display for KubeconfigError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for KubeconfigError {}

type Outcome<T> = Result<T, KubeconfigError>;

fn error<T>(text: impl Into<String>) -> Outcome<T> {
    Err(KubeconfigError(text.into()))
}

#[derive(Deserialize)]
struct Kubeconfig {
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
    #[serde(default)]
    contexts: Vec<NamedContext>,
    #[serde(default, rename = "current-context")]
    current_context: String,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    /// Nothing at all is a user who shows nothing.
    user: Option<User>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    #[serde(default)]
    user: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    tls_server_name: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    username: Option<String>,
    password: Option<String>,
    exec: Option<serde::de::IgnoredAny>,
}

impl Target {
    /// Reads a kubeconfig, and the files that it names.
    ///
    /// # Errors
    /// It cannot be read, the API server would not start with it, or it leads away from loopback.
    pub fn from_kubeconfig(path: &Path) -> Result<Self, KubeconfigError> {
        let text = fs::read_to_string(path)
            .or_else(|cause| error(format!("cannot read {}: {cause}", path.display())))?;
        let read = parse(&text)?;
        let context = find(
            &read.contexts,
            |one| &one.name,
            &read.current_context,
            "context",
        )?;
        let Context { cluster, user } = &context.context;
        let cluster = &find(&read.clusters, |one| &one.name, cluster, "cluster")?.cluster;
        let nobody = User::default();
        let user = match user.as_str() {
            "" => &nobody,
            name => find(&read.users, |one| &one.name, name, "user")?
                .user
                .as_ref()
                .unwrap_or(&nobody),
        };
        let url = posted_to(&cluster.server)
            .or_else(|cause| error(format!("the cluster's server is {cause}")))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let tls = match url.scheme() {
            "https" => Some(Arc::new(tls(cluster, user, folder)?)),
            _ => None,
        };
        let access = Access {
            tls,
            server_name: cluster.tls_server_name.clone(),
            credential: credential(user, folder)?,
        };
        Ok(Self::with(url, access))
    }
}

fn parse(text: &str) -> Outcome<Kubeconfig> {
    // The parser's own words may hold a piece of the file.
    let unread = |_| KubeconfigError("the kubeconfig is no YAML of a kubeconfig's form".to_owned());
    let source = config::File::from_str(text, FileFormat::Yaml);
    let built = config::Config::builder().add_source(source).build();
    built.map_err(unread)?.try_deserialize().map_err(unread)
}

fn find<'a, T>(
    list: &'a [T],
    name_of: impl Fn(&T) -> &String,
    name: &str,
    what: &str,
) -> Outcome<&'a T> {
    match list.iter().find(|one| name_of(one) == name) {
        Some(found) => Ok(found),
        None => error(format!("the kubeconfig has no {what} {name:?}")),
    }
}

/// What stands in the file, or in the file that it names.
fn material(
    data: Option<&String>,
    file: Option<&PathBuf>,
    folder: &Path,
    what: &str,
) -> Outcome<Option<Vec<u8>>> {
    if let Some(data) = data.filter(|data| !data.is_empty()) {
        return match STANDARD.decode(data) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(_) => error(format!("{what}-data is not base64")),
        };
    }
    let Some(file) = file else { return Ok(None) };
    match fs::read(folder.join(file)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(cause) => error(format!("cannot read the file of {what}: {cause}")),
    }
}

fn tls(cluster: &Cluster, user: &User, folder: &Path) -> Outcome<ClientConfig> {
    if cluster.insecure_skip_tls_verify {
        return error("insecure-skip-tls-verify is not simulated: name the certificate-authority");
    }
    let ca = material(
        cluster.certificate_authority_data.as_ref(),
        cluster.certificate_authority.as_ref(),
        folder,
        "certificate-authority",
    )?;
    let Some(ca) = ca else {
        return error("no certificate-authority: the CAs of the system are not simulated");
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(&ca, "certificate-authority")?);
    if roots.is_empty() {
        return error("certificate-authority holds no certificate that can be used");
    }
    let certificate = material(
        user.client_certificate_data.as_ref(),
        user.client_certificate.as_ref(),
        folder,
        "client-certificate",
    )?;
    let key = material(
        user.client_key_data.as_ref(),
        user.client_key.as_ref(),
        folder,
        "client-key",
    )?;
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .or_else(|cause| error(format!("TLS: {cause}")))?
        .with_root_certificates(roots);
    let mut tls = match (certificate, key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let chain = certificates(&certificate, "client-certificate")?;
            let Ok(key) = PrivateKeyDer::from_pem_slice(&key) else {
                return error("client-key holds no PEM of a private key");
            };
            builder
                .with_client_auth_cert(chain, key)
                .or_else(|cause| error(format!("the client's certificate and key: {cause}")))?
        }
        _ => return error("client-certificate and client-key need each other"),
    };
    // client-go keeps no sessions.
    tls.resumption = Resumption::disabled();
    Ok(tls)
}

fn certificates(pem: &[u8], what: &str) -> Outcome<Vec<CertificateDer<'static>>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => error(format!("{what} holds no PEM of certificates")),
    }
}

fn credential(user: &User, folder: &Path) -> Outcome<Credential> {
    if user.exec.is_some() {
        return error("exec is not simulated");
    }
    let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (token, username) = (set(&user.token), set(&user.username));
    let has_token = token.is_some() || user.token_file.is_some();
    if has_token && username.is_some() {
        return error("the user has a token and a username: the API server refuses to start");
    }
    if let Some(file) = &user.token_file {
        return match TokenFile::open(folder.join(file)) {
            Ok(file) => Ok(Credential::TokenFile(file)),
            Err(cause) => error(format!("tokenFile: {cause}")),
        };
    }
    if let Some(token) = token {
        let header = bearer(&token);
        return header.map_or_else(
            || error("token holds what no header can hold"),
            |header| Ok(Credential::Fixed(header)),
        );
    }
    let Some(username) = username else {
        return Ok(Credential::None);
    };
    let password = user.password.clone().unwrap_or_default();
    let basic = format!(
        "Basic {}",
        STANDARD.encode(format!("{username}:{password}"))
    );
    let mut header = HeaderValue::from_str(&basic).expect("base64 is all that a header may hold");
    header.set_sensitive(true);
    Ok(Credential::Fixed(header))
}
