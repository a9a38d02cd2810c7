//! What is asked for, checked.
//!
//! Contract: a [`Plan`] that exists can be written down without asking anything more. Its URL is what the API
//! server will post to, to the letter; errors quote no URL, which may hold a password.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use auditrelay_config::ClusterName;
use url::{Host, Url};

use super::args::InitArgs;
use crate::Failure;

const HTTPS_PORT: u16 = 443;

/// What the set is for.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) server: Url,
    pub(super) cluster: ClusterName,
    /// What the server's certificate is for; the URL's host is the first.
    pub(super) sans: Vec<San>,
    pub(super) listen: SocketAddr,
    /// The folder to write, from the root.
    pub(super) out: PathBuf,
    /// Where the relay's part will be.
    pub(super) relay_dir: PathBuf,
    pub(super) mtls: bool,
    pub(super) token: bool,
}

/// A host as it stands in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum San {
    Name(String),
    Ip(IpAddr),
}

impl std::fmt::Display for San {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => out.write_str(name),
            Self::Ip(ip) => ip.fmt(out),
        }
    }
}

fn usage<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Usage(text.into()))
}

impl Plan {
    pub(super) fn of(args: &InitArgs) -> Result<Self, Failure> {
        let mut server = read_url(&args.url)?;
        let cluster = cluster(&server, args.cluster.as_ref())?;
        server.set_path(&format!("/webhook/{cluster}"));
        let host = match server.host() {
            Some(Host::Domain(name)) => San::Name(name.to_owned()),
            Some(Host::Ipv4(ip)) => San::Ip(ip.into()),
            Some(Host::Ipv6(ip)) => San::Ip(ip.into()),
            None => return usage("--url has no host; expected https://HOST:PORT/webhook"),
        };
        let listen = args.listen.map_or_else(|| listen(&server, &host), Ok)?;
        let mut sans = vec![host];
        for text in &args.san {
            let san = read_san(text)?;
            if !sans.contains(&san) {
                sans.push(san);
            }
        }
        let out = from_root(&args.out)?;
        let relay_dir = match &args.relay_dir {
            Some(dir) => from_root(dir)?,
            None => out.join("relay"),
        };
        for (flag, path) in [("--out", &out), ("--relay-dir", &relay_dir)] {
            if path.to_str().is_none_or(|text| text.contains(['\n', '\r'])) {
                return usage(format!(
                    "{flag} is no path in UTF-8 on one line: it cannot stand in the files"
                ));
            }
        }
        Ok(Self {
            server,
            cluster,
            sans,
            listen,
            out,
            relay_dir,
            mtls: args.mtls || !args.token,
            token: args.token,
        })
    }
}

fn from_root(path: &PathBuf) -> Result<PathBuf, Failure> {
    std::path::absolute(path).or_else(|error| usage(format!("{}: {error}", path.display())))
}

fn read_url(text: &str) -> Result<Url, Failure> {
    let Ok(url) = Url::parse(text) else {
        return usage("--url is no URL; expected https://HOST:PORT/webhook");
    };
    if url.scheme() == "http" {
        return usage(
            "--url begins with http://: events would cross the network unencrypted, and the API server sends no \
             token and no certificate there; make it https://",
        );
    }
    if url.scheme() != "https" {
        return usage("--url does not begin with https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return usage(
            "--url holds a user: leave it out, what the API server shows is written to files",
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return usage(
            "--url has a query string or a fragment: the API server drops them; name the cluster in the path, \
             /webhook/CLUSTER",
        );
    }
    if url.port() == Some(0) {
        return usage("--url has port 0, where nobody can connect to");
    }
    Ok(url)
}

/// The cluster's name: the path's, or the flag's, or the one that the relay gives to events without any.
fn cluster(url: &Url, flag: Option<&ClusterName>) -> Result<ClusterName, Failure> {
    let path = url.path();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let named: Option<ClusterName> = match parts[..] {
        ["webhook"] => None,
        ["webhook", name] => match name.parse() {
            Ok(name) => Some(name),
            Err(_) => {
                return usage(
                    "the last part of --url's path is no cluster's name: expected 1 to 63 characters A-Z a-z 0-9 . _ -",
                );
            }
        },
        _ => {
            return usage(
                "--url has another path than /webhook or /webhook/CLUSTER, which the relay answers",
            );
        }
    };
    match (named, flag) {
        (Some(named), Some(flag)) if named != *flag => usage(format!(
            "--url names cluster {named}, --cluster says {flag}: leave one of them out"
        )),
        (Some(name), _) => Ok(name),
        (None, Some(name)) => Ok(name.clone()),
        (None, None) => "default"
            .parse()
            .or_else(|_| usage("expected --cluster NAME")),
    }
}

fn listen(url: &Url, host: &San) -> Result<SocketAddr, Failure> {
    let port = url.port().unwrap_or(HTTPS_PORT);
    let address: IpAddr = match host {
        San::Ip(ip) if ip.is_unspecified() => {
            return usage(
                "--url names the address for \"all addresses\"; name one that the API server can reach",
            );
        }
        San::Ip(ip) if ip.is_loopback() => *ip,
        San::Ip(IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        San::Name(name) if name == "localhost" => Ipv4Addr::LOCALHOST.into(),
        San::Ip(IpAddr::V4(_)) | San::Name(_) => Ipv4Addr::UNSPECIFIED.into(),
    };
    Ok(SocketAddr::new(address, port))
}

fn read_san(text: &str) -> Result<San, Failure> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(San::Ip(ip));
    }
    let is_part = |part: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !part.is_empty() && part.len() <= 63 && part.bytes().all(is_plain)
    };
    // A wildcard stands for one part, the first.
    let name = text.strip_prefix("*.").unwrap_or(text);
    if text.len() <= 253 && name.split('.').all(is_part) {
        return Ok(San::Name(text.to_ascii_lowercase()));
    }
    usage("--san is neither a DNS name nor an IP address")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(url: &str) -> InitArgs {
        InitArgs {
            url: url.to_owned(),
            mtls: false,
            token: false,
            cluster: None,
            san: Vec::new(),
            listen: None,
            relay_dir: None,
            ca: None,
            out: "set".into(),
            force: false,
            json: false,
        }
    }

    #[test]
    fn the_url_says_server_cluster_address_and_names() {
        for (url, server, cluster, listen, san) in [
            (
                "https://relay.example:8443/webhook/prod",
                "https://relay.example:8443/webhook/prod",
                "prod",
                "0.0.0.0:8443",
                "relay.example",
            ),
            (
                "https://10.1.2.3/webhook/",
                "https://10.1.2.3/webhook/default",
                "default",
                "0.0.0.0:443",
                "10.1.2.3",
            ),
            (
                "https://[::1]:9/webhook/a/",
                "https://[::1]:9/webhook/a",
                "a",
                "[::1]:9",
                "::1",
            ),
            (
                "https://[2001:db8::1]:9//webhook",
                "https://[2001:db8::1]:9/webhook/default",
                "default",
                "[::]:9",
                "2001:db8::1",
            ),
            (
                "https://localhost:9/webhook",
                "https://localhost:9/webhook/default",
                "default",
                "127.0.0.1:9",
                "localhost",
            ),
        ] {
            let plan = Plan::of(&args(url)).expect(url);
            assert_eq!(plan.server.as_str(), server);
            assert_eq!(plan.cluster.as_str(), cluster);
            assert_eq!(plan.listen.to_string(), listen);
            assert_eq!(plan.sans[0].to_string(), san);
            assert!(plan.mtls && !plan.token);
        }
    }

    #[test]
    fn what_the_api_server_or_the_relay_would_not_do_is_refused_and_not_quoted() {
        for (url, why) in [
            ("hunter2", "no URL"),
            ("http://relay.example/webhook", "http://"),
            ("ftp://relay.example/webhook", "https://"),
            ("https://me:hunter2@relay.example/webhook", "user"),
            ("https://relay.example/webhook?token=hunter2", "query"),
            ("https://relay.example/webhook#hunter2", "fragment"),
            ("https://relay.example/", "path"),
            ("https://relay.example/webhook/a/hunter2", "path"),
            (
                "https://relay.example/webhook/hunter2%20x",
                "cluster's name",
            ),
            ("https://relay.example:0/webhook", "port 0"),
            ("https://0.0.0.0:8443/webhook", "all addresses"),
        ] {
            let failure = Plan::of(&args(url)).expect_err(url);
            assert_eq!(failure.exit_code(), 2);
            let text = failure.to_string();
            assert!(text.contains(why), "{url}: {text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn two_names_of_the_cluster_have_to_be_one() {
        let mut both = args("https://relay.example/webhook/prod");
        both.cluster = "prod".parse().ok();
        assert!(Plan::of(&both).is_ok());
        both.cluster = "other".parse().ok();
        assert!(Plan::of(&both).is_err());
        let mut flag = args("https://relay.example/webhook");
        flag.cluster = "prod".parse().ok();
        let plan = Plan::of(&flag).expect("valid");
        assert_eq!(plan.server.path(), "/webhook/prod");
    }

    #[test]
    fn more_names_are_names_or_addresses() {
        let mut more = args("https://relay.example/webhook");
        more.san = ["10.0.0.1", "Relay.Audit.svc", "relay.example", "*.example"]
            .map(str::to_owned)
            .to_vec();
        let plan = Plan::of(&more).expect("valid");
        let sans: Vec<String> = plan.sans.iter().map(San::to_string).collect();
        assert_eq!(
            sans,
            ["relay.example", "10.0.0.1", "relay.audit.svc", "*.example"]
        );
        for wrong in ["", "a b", "https://x", "a..b", "x:1", "a.*"] {
            more.san = vec![wrong.to_owned()];
            assert!(Plan::of(&more).is_err(), "{wrong}");
        }
    }
}
