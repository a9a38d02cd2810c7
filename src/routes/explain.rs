//! `auditrelay routes explain`.

use std::{cell::Cell, process::ExitCode};

use auditrelay_audit::Event;
use auditrelay_config::Loaded;
use auditrelay_dispatch::Routes;

use super::{args::ExplainArgs, explanation::Explanation};
use crate::{
    Failure,
    check::loaded,
    log_input,
    output::{count, say, say_json_line},
    progress::Progress,
};

pub(super) fn run(args: &ExplainArgs) -> Result<ExitCode, Failure> {
    let Loaded { config, .. } = loaded(args.config.as_deref())?;
    let routes = Routes::new(&config);
    let cluster = args.cluster.as_ref().unwrap_or(&config.cluster);
    let seen = Cell::new(0);
    let totals = log_input::read(&args.files, &Progress::new("reading"), |_, envelope| {
        seen.set(seen.get() + 1);
        if seen.get() > args.first {
            return Ok(());
        }
        let event = Event {
            cluster: cluster.as_str(),
            envelope,
        };
        let explained = Explanation::of(&config, &routes, &event);
        if args.json {
            return say_json_line(&explained);
        }
        let gap = if seen.get() > 1 { "\n" } else { "" };
        say(&format!("{gap}{}", explained.text()))
    })?;
    if !args.json {
        say(&totals.told())?;
        let more = seen.get().saturating_sub(args.first);
        if more > 0 {
            say(&format!(
                "{} more not shown (--first)\n",
                count(more, "event")
            ))?;
        }
    }
    Ok(match totals.unreadable {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}
