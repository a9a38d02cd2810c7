//! `auditrelay policy check|explain|simulate`: an audit policy looked into, without a cluster.
//!
//! Contract: a policy is read as the API server reads it (`audit::policy`), and nothing here decides about a
//! request in another way than [`Policy::evaluate`](auditrelay_audit::policy::Policy::evaluate) does.

use std::process::ExitCode;

use clap::Subcommand;

use crate::Failure;

mod check;
mod explain;
mod lint;
mod requests;
mod simulate;
pub(crate) mod source;

/// What is done with an audit policy.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Say whether the API server would load a policy, and what in it is likely not meant so.
    Check(check::CheckArgs),
    /// Say which rule of a policy decides about a request, and why none before it does.
    Explain(Box<explain::ExplainArgs>),
    /// Show what a policy would make of requests that really happened, and which rules would make less noise.
    Simulate(simulate::SimulateArgs),
}

pub(crate) fn run(command: &PolicyCommand) -> Result<ExitCode, Failure> {
    match command {
        PolicyCommand::Check(args) => check::run(args),
        PolicyCommand::Explain(args) => explain::run(args),
        PolicyCommand::Simulate(args) => simulate::run(args),
    }
}
