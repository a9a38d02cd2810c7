//! What `init` takes.

use std::net::SocketAddr;
use std::path::PathBuf;

use auditrelay_config::ClusterName;
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Where the API server will post: https://HOST:PORT/webhook or https://HOST:PORT/webhook/CLUSTER.
    #[arg(long, value_name = "URL")]
    pub(super) url: String,
    /// The API server shows a certificate (the default).
    #[arg(long)]
    pub(super) mtls: bool,
    /// The API server shows a token; with --mtls both.
    #[arg(long)]
    pub(super) token: bool,
    /// The cluster's name; the default is the last part of the URL's path.
    #[arg(long, value_name = "NAME")]
    pub(super) cluster: Option<ClusterName>,
    /// Another name or IP address for the server's certificate, beside the URL's host.
    #[arg(long, value_name = "HOST")]
    pub(super) san: Vec<String>,
    /// Where the relay listens; the default is the URL's port on all addresses, or on loopback if the URL's
    /// host is that.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Option<SocketAddr>,
    /// Where the folder `relay` will be on the relay's machine; the default is where it is written.
    #[arg(long, value_name = "DIR")]
    pub(super) relay_dir: Option<PathBuf>,
    /// A folder with the ca.crt and ca.key of an earlier set, to sign with them instead of a new CA.
    #[arg(long, value_name = "DIR")]
    pub(super) ca: Option<PathBuf>,
    /// The folder to write.
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
    /// Overwrite files that are there: keys and tokens in use among them.
    #[arg(long)]
    pub(super) force: bool,
    /// Print JSON for scripts.
    #[arg(long)]
    pub(super) json: bool,
}
