//! Where a server is, and its configuration file.

use std::{
    env,
    fmt::Write as _,
    fs::{self, File, TryLockError},
    net::TcpListener,
    sync::Arc,
};

use anyhow::bail;

use super::NatsOptions;

/// Ports below those that Linux gives to outgoing connections, so that none of them takes the port of a server that is
/// to be restarted.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Name and ports of a server, for as long as it is restarted.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) index: usize,
    /// No other server on this machine has it: it holds a port.
    pub(super) name: String,
    pub(super) client_port: u16,
    pub(super) cluster_port: u16,
    pub(super) monitor_port: u16,
    /// Its ports are its own while it is killed, too.
    _own: Arc<[File; 3]>,
}

impl Place {
    /// Ports that are free now.
    pub(super) fn find(index: usize) -> anyhow::Result<Self> {
        let ([client_port, cluster_port, monitor_port], own) = free_ports()?;
        Ok(Self {
            index,
            name: format!("n{}-{client_port}", index + 1),
            client_port,
            cluster_port,
            monitor_port,
            _own: Arc::new(own),
        })
    }

    /// The file; `routes` are the cluster ports of all servers, none where the server is alone.
    pub(super) fn file(&self, store_dir: &str, routes: &[u16], options: &NatsOptions) -> String {
        let mut file = format!(
            "server_name: \"{}\"\nlisten: \"127.0.0.1:{}\"\nhttp: \"127.0.0.1:{}\"\n",
            self.name, self.client_port, self.monitor_port
        );
        let mut line = |text: std::fmt::Arguments<'_>| {
            file.write_fmt(text).expect("a string takes everything");
            file.push('\n');
        };
        if let Some(bytes) = options.payload_bytes_max {
            line(format_args!("max_payload: {bytes}"));
        }
        if options.jetstream {
            let sync = if options.sync_always { "always" } else { "2m" };
            line(format_args!(
                "jetstream {{\n  store_dir: \"{store_dir}\"\n  sync_interval: {sync}\n  max_file_store: {}\n}}",
                options.file_store_bytes_max
            ));
        }
        if let Some((user, password)) = &options.user {
            line(format_args!(
                "authorization {{ user: \"{user}\", password: \"{password}\" }}"
            ));
        }
        if let Some(token) = &options.token {
            line(format_args!("authorization {{ token: \"{token}\" }}"));
        }
        if let Some(tls) = &options.tls {
            let verify = tls
                .client_ca_file
                .as_ref()
                .map_or_else(String::new, |path| {
                    format!("\n  ca_file: \"{}\"\n  verify: true", path.display())
                });
            line(format_args!(
                "tls {{\n  cert_file: \"{}\"\n  key_file: \"{}\"{verify}\n}}",
                tls.cert_file.display(),
                tls.key_file.display()
            ));
        }
        if let Some(first) = routes.first() {
            let password = &options.route_password;
            let others: Vec<String> = routes
                .iter()
                .map(|port| format!("\"nats://route:{password}@127.0.0.1:{port}\""))
                .collect();
            line(format_args!(
                "cluster {{\n  name: \"c-{first}\"\n  listen: \"127.0.0.1:{}\"\n  authorization {{ user: route, password: \"{password}\" }}\n  routes: [{}]\n}}",
                self.cluster_port,
                others.join(", ")
            ));
        }
        file.push_str(&options.lines);
        file
    }
}

/// Free ports, and what keeps them from other servers of tests. Somebody else may take them before the server does, then
/// another start has others.
fn free_ports<const N: usize>() -> anyhow::Result<([u16; N], [File; N])> {
    let mut held = Vec::with_capacity(N);
    for _ in 0..1_000 {
        let port = fastrand::u16(PORTS);
        if let Some(own) = own(port)?
            && let Ok(listener) = TcpListener::bind(("127.0.0.1", port))
        {
            held.push((port, own, listener));
        }
        if held.len() == N {
            let (ports, own): (Vec<_>, Vec<_>) =
                held.into_iter().map(|(port, own, _)| (port, own)).unzip();
            let are = "there are as many";
            return Ok((ports.try_into().expect(are), own.try_into().expect(are)));
        }
    }
    bail!("no free ports in {PORTS:?}");
}

/// The lock of a port, unless another server has it.
fn own(port: u16) -> anyhow::Result<Option<File>> {
    let folder = env::temp_dir().join("auditrelay-nats-ports");
    fs::create_dir_all(&folder)?;
    let file = File::create(folder.join(port.to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}
