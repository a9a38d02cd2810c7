//! The queue on JetStream as a configuration wants it.
//!
//! Contract: files that the section names can be read before anything is tried with them; an error names the key.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use auditrelay_config::{Config, JetStreamConfig, MonitoringUrl};
use auditrelay_store::jetstream::{Credentials, Durability, JetStreamOptions, Tls};

use crate::Failure;

/// How to reach the servers, and what is asked of them; `None` where the queue is on the disk.
pub(crate) fn jetstream_options(config: &Config) -> Option<Result<JetStreamOptions, Failure>> {
    let jetstream = config.queue.jetstream.as_ref()?;
    Some(options(config, jetstream))
}

/// What relays that are one call their queue; nothing where it is on the disk.
pub(crate) fn queue_name(config: &Config) -> String {
    let jetstream = config.queue.jetstream.as_ref();
    jetstream.map_or(String::new(), |jetstream| jetstream.name.to_string())
}

fn options(config: &Config, jetstream: &JetStreamConfig) -> Result<JetStreamOptions, Failure> {
    let inbox_bytes_max = jetstream.inbox_bytes_max.get();
    Ok(JetStreamOptions {
        servers: jetstream.servers.iter().map(ToString::to_string).collect(),
        credentials: credentials(jetstream)?,
        tls: tls(jetstream)?,
        replicas: jetstream.replicas.get() as usize,
        name: jetstream.name.to_string(),
        inbox_bytes_max,
        ledger_bytes_max: ledger_bytes_max(config.queue.bytes_max.get(), inbox_bytes_max),
        lease: Duration::from_secs(jetstream.lease_seconds.get()),
        append_timeout: Duration::from_millis(jetstream.append_timeout_milliseconds.get()),
        durability: if jetstream.accept_replicated_without_fsync {
            Durability::ReplicatedWithoutFsync
        } else {
            let urls = jetstream.monitoring.iter().map(MonitoringUrl::as_url);
            Durability::Synced(urls.cloned().collect())
        },
    })
}

/// What the ledger stream may come to before it refuses. The engine keeps what it counts to `bytes_max` and takes a batch
/// only where it fits twice; it does not count the servers' own bytes of each message, nor an index that is written
/// anew while the old one is still there. A stream that refuses would stop everything, so it gets half as much again, and
/// room for a whole inbox.
fn ledger_bytes_max(bytes_max: u64, inbox_bytes_max: u64) -> u64 {
    bytes_max + bytes_max / 2 + inbox_bytes_max
}

fn credentials(jetstream: &JetStreamConfig) -> Result<Credentials, Failure> {
    if let Some(file) = &jetstream.credentials_file {
        return Ok(Credentials::File(readable("credentials_file", file)?));
    }
    Ok(
        match (&jetstream.user, &jetstream.password, &jetstream.token) {
            (Some(user), Some(password), _) => {
                Credentials::User(user.clone(), password.as_secret().clone())
            }
            (_, _, Some(token)) => Credentials::Token(token.as_secret().clone()),
            _ => Credentials::None,
        },
    )
}

fn tls(jetstream: &JetStreamConfig) -> Result<Tls, Failure> {
    let tls = &jetstream.tls;
    let file = |key: &str, file: &Option<PathBuf>| {
        let file = file.as_ref();
        file.map(|file| readable(&format!("tls.{key}"), file))
            .transpose()
    };
    let certificate = file("certificate_file", &tls.certificate_file)?;
    Ok(Tls {
        required: tls.required,
        ca_file: file("ca_file", &tls.ca_file)?,
        client: certificate.zip(file("key_file", &tls.key_file)?),
    })
}

/// The path, if there is something to read.
fn readable(key: &str, file: &Path) -> Result<PathBuf, Failure> {
    match File::open(file) {
        Ok(_) => Ok(file.to_owned()),
        Err(error) => Err(Failure::Credentials(format!(
            "queue.jetstream.{key}: cannot read {}: {error}",
            file.display()
        ))),
    }
}

/// What this relay is called among those that are one with it.
pub(crate) fn relay_name(config: &Config) -> String {
    let jetstream = config.queue.jetstream.as_ref();
    let named = jetstream.and_then(|jetstream| jetstream.relay_name.as_ref());
    named.map_or_else(host_name, ToString::to_string)
}

/// In a pod the pod's name. For people only, so a host that has none is no error.
fn host_name() -> String {
    let from_kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let names = from_kernel.into_iter().chain(std::env::var("HOSTNAME"));
    let mut names = names.map(|name| name.trim().to_owned());
    names
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| "relay".to_owned())
}

/// Where the queue is, a line for people; none where it is on the disk.
///
/// # Errors
/// A file of the section cannot be read.
pub(crate) fn told(config: &Config) -> Result<String, Failure> {
    let Some(options) = jetstream_options(config).transpose()? else {
        return Ok(String::new());
    };
    let promise = match &options.durability {
        Durability::Synced(_) => "on servers that sync before they acknowledge",
        Durability::ReplicatedWithoutFsync => "on servers that acknowledge before they sync",
    };
    Ok(format!(
        "queue: NATS JetStream at {}, streams {}-inbox and {}-ledger, {} of each message {promise}; this relay is {}\n",
        options.servers.join(", "),
        options.name,
        options.name,
        match options.replicas {
            1 => "one copy".to_owned(),
            more => format!("{more} copies"),
        },
        relay_name(config)
    ))
}

#[cfg(test)]
mod tests {
    use auditrelay_config::{Overrides, load};
    use secrecy::ExposeSecret;

    use super::*;

    fn config(keys: &str) -> Config {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("a.yaml");
        let text = format!("queue: {{jetstream: {{servers: [nats://a:1, tls://b], {keys}}}}}");
        std::fs::write(&file, text).expect("written");
        let loaded = load(Some(&file), [], Overrides::default());
        loaded.expect("valid").config
    }

    fn of(keys: &str) -> Result<JetStreamOptions, Failure> {
        jetstream_options(&config(keys)).expect("a section")
    }

    #[test]
    fn each_key_arrives() {
        let keys = "accept_replicated_without_fsync: true, name: mine, replicas: 5, user: me, password: word, \
                    inbox_bytes_max: 100000000, lease_seconds: 4, append_timeout_milliseconds: 500, \
                    tls: {required: true}";
        let options = of(keys).expect("options");
        assert_eq!(options.servers, ["nats://a:1", "tls://b"]);
        assert_eq!((options.name.as_str(), options.replicas), ("mine", 5));
        assert_eq!(options.inbox_bytes_max, 100_000_000);
        assert_eq!(options.ledger_bytes_max, (12 << 30) + 100_000_000);
        assert_eq!(options.lease, Duration::from_secs(4));
        assert_eq!(options.append_timeout, Duration::from_millis(500));
        assert!(options.tls.required && options.tls.client.is_none());
        assert!(matches!(
            &options.credentials,
            Credentials::User(user, password) if user == "me" && password.expose_secret() == "word"
        ));
        assert!(matches!(
            options.durability,
            Durability::ReplicatedWithoutFsync
        ));
        let monitored = "replicas: 1, monitoring: [http://a:8222], token: t";
        let options = of(monitored).expect("options");
        assert!(
            matches!(&options.durability, Durability::Synced(urls) if urls[0].as_str() == "http://a:8222/")
        );
        assert!(
            matches!(&options.credentials, Credentials::Token(token) if token.expose_secret() == "t")
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_with_its_key() {
        let dir = tempfile::tempdir().expect("a folder");
        let (here, absent) = (dir.path().join("here"), dir.path().join("absent"));
        std::fs::write(&here, "x").expect("written");
        let accept = "accept_replicated_without_fsync: true";
        let (here, absent) = (here.display(), absent.display());
        for (keys, key) in [
            (format!("credentials_file: {absent}"), "credentials_file"),
            (format!("tls: {{ca_file: {absent}}}"), "tls.ca_file"),
            (
                format!("tls: {{certificate_file: {here}, key_file: {absent}}}"),
                "tls.key_file",
            ),
        ] {
            let error = of(&format!("{accept}, {keys}")).expect_err(key);
            let told = error.to_string();
            assert!(
                told.starts_with(&format!("queue.jetstream.{key}: cannot read ")),
                "{told}"
            );
            assert_eq!(error.exit_code(), auditrelay_config::EX_CONFIG);
        }
    }

    #[test]
    fn a_relay_has_a_name_and_tells_where_the_queue_is() {
        let accept = "accept_replicated_without_fsync: true";
        let named = config(&format!("{accept}, relay_name: one"));
        assert_eq!(
            told(&named).expect("told"),
            "queue: NATS JetStream at nats://a:1, tls://b, streams auditrelay-inbox and auditrelay-ledger, 3 copies of \
             each message on servers that acknowledge before they sync; this relay is one\n"
        );
        assert!(!relay_name(&config(accept)).is_empty());
    }
}
