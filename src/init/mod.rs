//! `auditrelay init`: everything that connecting a cluster takes, as files.
//!
//! Contract: what the files say is true of this relay (a test runs it on them). Nothing is sent anywhere, and
//! nothing outside of `--out` is read or written, but for the CA that `--ca` names.

mod args;
mod flags;
mod keys;
mod plan;
mod set;
mod write;

use std::process::ExitCode;

use serde_json::json;

use crate::Failure;
use crate::output::{say, say_json, table};
pub(crate) use args::InitArgs;
use keys::Keys;
use plan::Plan;
use set::Entry;

pub(crate) fn run(args: &InitArgs) -> Result<ExitCode, Failure> {
    let plan = Plan::of(args)?;
    let keys = Keys::make(&plan, args.ca.as_deref())?;
    let entries = set::entries(&plan, &keys);
    write::write(&plan.out, &entries, args.force)?;
    if args.json {
        say_json(&report(&plan, &keys, &entries))?;
    } else {
        say(&told(&plan, &keys, &entries))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn report(plan: &Plan, keys: &Keys, entries: &[Entry]) -> serde_json::Value {
    let files: Vec<_> = entries
        .iter()
        .map(|entry| {
            json!({
                "path": plan.out.join(entry.path),
                "mode": format!("{:04o}", entry.mode),
                "secret": entry.is_secret(),
                "what": entry.what,
            })
        })
        .collect();
    json!({
        "server": plan.server.as_str(),
        "cluster": plan.cluster.as_str(),
        "listen": plan.listen,
        "certificates_end": keys.leaf_ends.to_string(),
        "ca_ends": keys.ca_ends.to_string(),
        "files": files,
    })
}

fn told(plan: &Plan, keys: &Keys, entries: &[Entry]) -> String {
    let rows: Vec<Vec<String>> = entries
        .iter()
        .map(|entry| {
            vec![
                entry.path.to_owned(),
                format!("{:04o}", entry.mode),
                entry.what.to_owned(),
            ]
        })
        .collect();
    let cluster = &plan.cluster;
    let out = plan.out.display();
    let relay = set::shell(&plan.relay_dir);
    let config = set::shell(&plan.relay_dir.join("relay.yaml"));
    let shows = match (plan.mtls, plan.token) {
        (true, true) => "a certificate and a token",
        (true, false) => "a certificate",
        _ => "a token",
    };
    format!(
        "cluster {cluster} posts to {}, where it shows {shows}\n\
         certificates end on {}, the CA on {}\n\nwritten to {out}:\n{}\n\
         next:\n\
         1. relay/ belongs on the relay's machine, as {relay}; there:\n   \
            auditrelay check --config {config}\n   auditrelay serve --config {config}\n\
         2. apiserver/ belongs on every control plane node; how to tell the API server: platforms/\n\
         3. ca/ belongs where nobody finds it\n\
         {out}/README.md has all of it.\n",
        plan.server,
        keys.leaf_ends,
        keys.ca_ends,
        table(&["file", "mode", "what it is"], &rows),
    )
}
