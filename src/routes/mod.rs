//! `auditrelay routes explain|simulate|starter`: routes, tried before they go live.
//!
//! Contract: nothing here decides in another way than the relay does: which routes match, what becomes of an event,
//! what is a duplicate and what is too many is asked of the very functions that the router asks.

mod args;
mod explain;
mod explanation;
mod simulate;
mod tests_run;
mod trial;

use std::process::ExitCode;

use auditrelay_config::STARTER_ROUTES;

use crate::{Failure, output::say};

pub(crate) use args::RoutesCommand;
pub(crate) use explanation::Explanation;
pub(crate) use tests_run::{Outcome, run_tests};

/// Prints the starter routes.
fn starter() -> Result<ExitCode, Failure> {
    say(STARTER_ROUTES)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn run(command: &RoutesCommand) -> Result<ExitCode, Failure> {
    match command {
        RoutesCommand::Explain(args) => explain::run(args),
        RoutesCommand::Simulate(args) => simulate::run(args),
        RoutesCommand::Starter => starter(),
    }
}
