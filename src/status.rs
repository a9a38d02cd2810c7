//! `auditrelay status`: how the relay is, once; and what `/status` of the admin port says.
//!
//! Exit code 0: the relay runs and nothing needs a person. 1: something does, and what to do is said; or the relay does not
//! run, and what its store holds is said. The store is only looked at.

mod args;
mod attention;
mod lately;
mod readings;
mod report;
mod table;
mod troubles;
mod vitals;

use std::{path::Path, process::ExitCode};

use crate::{
    Failure,
    output::{say, say_json},
    reach::{Found, STATUS, command_options, reach_page},
};

pub(crate) use args::StatusArgs;
#[cfg(test)]
pub(crate) use report::{Attention, Budget, Inbox};
pub(crate) use report::{Channel, Report};
pub(crate) use table::{ago, last_delivery, next, oldest, order, replica, short, state};
pub(crate) use vitals::{Own, Vitals};

/// Where the admin port says it.
pub(crate) const PATH: &str = "/status";

pub(crate) async fn run(args: &StatusArgs) -> Result<ExitCode, Failure> {
    let report = read(&args.place.data_dir_of_relay()?).await?;
    if args.json {
        say_json(&report)?;
    } else {
        say(&table::table(&report))?;
    }
    Ok(match report.healthy {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// The running relay's report, or what a stopped one's store tells.
async fn read(data_dir: &Path) -> Result<Report, Failure> {
    match reach_page(data_dir, &command_options(data_dir), STATUS).await? {
        Found::Store(queue) => {
            let mut report = vitals::of_queue(&queue);
            attention::judge(&mut report, queue.check().err());
            Ok(report)
        }
        Found::Relay { page, .. } => serde_json::from_value(page).map_err(|error| {
            Failure::Other(format!(
                "the relay's answer cannot be read, is it another version? {error}"
            ))
        }),
    }
}
