//! `auditrelay trace AUDITID`: what became of one event.
//!
//! Contract: it is found wherever the relay still has something of it: acknowledged and not routed yet, waiting, being
//! posted, posted, dead, given up, or only its key in the dedup window. It changes nothing. What is not kept is said
//! to be not kept: see [`tell`] and [`why`].

mod args;
mod found;
mod gather;
mod kept;
mod lane;
mod means;
mod tell;
mod why;
mod words;

use std::{io::IsTerminal, process::ExitCode};

use serde::Serialize;

pub(crate) use args::TraceArgs;
pub(crate) use found::{Searched, State, Traced};
pub(crate) use gather::{Content, Gathered};
pub(crate) use means::{Means, Running};
pub(crate) use tell::Judge;

use crate::{
    Failure,
    output::{say, say_json},
    request::{Outcome, Request},
    session::{Session, unexpected},
    when::now_unix_ms,
};

/// Longest audit ID that is looked for, in bytes. Kubernetes: the API server's own are UUIDs, and it cuts none of a
/// client's, which come in a header.
pub(crate) const AUDIT_ID_BYTES_MAX: usize = 1_024;

/// A trace for scripts.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(rename = "auditID")]
    audit_id: &'a str,
    events: &'a [Traced],
    searched: &'a Searched,
}

pub(crate) async fn run(args: &TraceArgs) -> Result<ExitCode, Failure> {
    let session = Session::open(&args.place, true).await?;
    let request = Request::Trace {
        audit_id: args.audit_id.clone(),
        cluster: args.cluster.as_ref().map(ToString::to_string),
    };
    let answer = session.ask("looking", request).await?;
    let Outcome::Traced { searched } = answer.outcome else {
        return Err(unexpected());
    };
    let audit_id = args.audit_id.as_str();
    let is_found = !answer.traced.is_empty();
    if args.json {
        let events = answer.traced.as_slice();
        say_json(&Answer {
            audit_id,
            events,
            searched: &searched,
        })?;
    } else if is_found {
        let colour = std::io::stdout().is_terminal();
        say(&words::text(
            audit_id,
            &answer.traced,
            &searched,
            now_unix_ms(),
            colour,
        ))?;
    } else {
        return Err(Failure::No(words::unknown(
            audit_id,
            &searched,
            now_unix_ms(),
        )));
    }
    Ok(ExitCode::from(u8::from(!is_found)))
}
