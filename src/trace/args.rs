//! The words of `auditrelay trace`.

use auditrelay_config::ClusterName;
use clap::Args;

use crate::cli::PlaceArgs;

/// What `trace` takes.
#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// The event's audit ID, as a message, the API server's log or the answer's Audit-ID header has it.
    #[arg(value_name = "AUDITID", value_parser = audit_id)]
    pub(crate) audit_id: String,
    /// Only events of this cluster. Without it: those of every cluster in the configuration and in what is stored.
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<ClusterName>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Print JSON for scripts.
    #[arg(long)]
    pub(crate) json: bool,
}

fn audit_id(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("it is empty; say which event".to_owned()),
        text if text.len() > super::AUDIT_ID_BYTES_MAX => {
            let most = super::AUDIT_ID_BYTES_MAX;
            Err(format!("it is longer than {most} bytes"))
        }
        text => Ok(text.to_owned()),
    }
}
