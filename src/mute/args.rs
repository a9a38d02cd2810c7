//! The words of `auditrelay mute`.

use clap::{Args, Subcommand};
use jiff::Timestamp;

use crate::{
    cli::PlaceArgs,
    when::{UnixMs, ahead},
};

/// What is done with mutes.
#[derive(Debug, Subcommand)]
pub(crate) enum MuteCommand {
    /// Hold some events back for a while: they are counted, and not told. Channels hear who did it and why.
    Add(Box<AddArgs>),
    /// List those that are active, with what they held back so far.
    List(ListArgs),
    /// End one now. Channels hear who did it, and how much was held back.
    Expire(ExpireArgs),
}

/// What `mute add` takes.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("end").required(true).args(["lasts", "until"]))]
pub(crate) struct AddArgs {
    /// How long (30m, 2h, 1d), from 1 minute to 30 days.
    #[arg(long = "for", value_name = "TIME", value_parser = ahead, id = "lasts")]
    pub(crate) lasts: Option<i64>,
    /// Until when (RFC 3339, such as 2026-11-21T03:15:00Z).
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) until: Option<UnixMs>,
    /// Why; everybody in the channels reads it.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// Who asks for it; default is who runs this (SUDO_USER, USER).
    #[arg(long, value_name = "NAME")]
    pub(crate) author: Option<String>,
    #[command(flatten)]
    pub(crate) matching: MatchArgs,
    /// Only what goes to this channel; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub(crate) channel: Vec<String>,
    /// Only what this route sends; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub(crate) route: Vec<String>,
    /// Needed where nothing else restricts it: hold back every event of every channel.
    #[arg(long)]
    pub(crate) all_events: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Print JSON for scripts.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which events. Values of one flag are alternatives, flags restrict each other.
#[derive(Debug, Args)]
pub(crate) struct MatchArgs {
    /// Only requests of this user; may be given several times, as all of these.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Vec<String>,
    /// Only requests of users in this group.
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Vec<String>,
    /// Only this verb, such as get or delete.
    #[arg(long, value_name = "VERB")]
    pub(crate) verb: Vec<String>,
    /// Only this resource, as kubectl writes it: pods, pods/exec, deployments.apps, deployments.apps/scale.
    #[arg(long, value_name = "RESOURCE")]
    pub(crate) resource: Vec<String>,
    /// Only this namespace. For resources without one: --match 'namespaces: [""]'.
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Vec<String>,
    /// Only events of this cluster.
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Vec<String>,
    /// Only answers with this code: 403, 4xx, 400-499.
    #[arg(long, value_name = "CODE")]
    pub(crate) code: Vec<String>,
    /// Only what the authorizer allowed, or forbade.
    #[arg(long, value_name = "allow|forbid")]
    pub(crate) decision: Option<String>,
    /// Only requests from this address or network (10.0.0.0/8): the API server's own peer.
    #[arg(long, value_name = "NETWORK")]
    pub(crate) source_ip: Vec<String>,
    /// Only clients that call themselves so; * and ? stand for anything. Anybody can call himself so.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) user_agent: Vec<String>,
    /// The keys of a match as a route has them, in YAML or JSON; @FILE reads them from a file.
    #[arg(long = "match", value_name = "YAML", id = "matches",
        conflicts_with_all = ["user", "group", "verb", "resource", "namespace", "cluster", "code", "decision",
            "source_ip", "user_agent"])]
    pub(crate) matches: Option<String>,
}

/// What `mute list` takes.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Those that ended too, the last 100.
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Print a JSON array for scripts.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `mute expire` takes.
#[derive(Debug, Args)]
pub(crate) struct ExpireArgs {
    /// Its ID, as `mute list` tells it.
    pub(crate) id: u64,
    /// Who ends it; default is who runs this (SUDO_USER, USER).
    #[arg(long, value_name = "NAME")]
    pub(crate) author: Option<String>,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Print JSON for scripts.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A moment, as Unix time in milliseconds.
fn moment(text: &str) -> Result<UnixMs, String> {
    let moment = text.parse::<Timestamp>().map(Timestamp::as_millisecond);
    moment.map_err(|_| "expected a time such as 2026-11-21T03:15:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_lies_ahead() {
        for (text, ms) in [("2h", 7_200_000), ("1d", 86_400_000), ("1h30m", 5_400_000)] {
            assert_eq!(ahead(text), Ok(ms), "{text}");
        }
        for text in [
            "",
            "-2h",
            "0s",
            "5",
            "tomorrow",
            "1mo",
            "2026-11-21T03:15:00Z",
        ] {
            assert!(ahead(text).is_err(), "{text}");
        }
        assert_eq!(moment("1970-01-01T00:00:02+00:00"), Ok(2_000));
        assert!(moment("2h").is_err());
    }
}
