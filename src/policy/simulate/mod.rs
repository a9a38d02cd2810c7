//! `auditrelay policy simulate`: what a policy would make of requests that really happened, and which rules would
//! make less noise of them.
//!
//! Contract: nothing is changed and nobody is told. A log of any size is read in bounded memory. What is suggested
//! is shown to do what is said of it, by reading the log again, before it is written anywhere; a suggestion that
//! would change what is logged of anything precious (`suggest`) is an error.
//!
//! `sizes` says how long an event would be, `outcome` what a policy makes of it, `kinds` what must not be lost, `tops`
//! counts names, `tally` gathers all that; `cells`, `suggest` and `yaml` make the suggestion; `report` is what scripts
//! read, `told` what people do, in the words of `reasons` and the numbers of `figures`.

mod args;
mod cells;
mod figures;
mod given;
mod kinds;
mod outcome;
mod reasons;
mod report;
mod sizes;
mod suggest;
mod tally;
mod told;
mod told_suggestion;
mod tops;
mod yaml;

use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use auditrelay_audit::policy::{Policy, load};

pub(crate) use args::SimulateArgs;
use cells::Cells;
use figures::{bytes, percent};
use given::Given;
use kinds::Kinds;
use outcome::Outcome;
use report::{Effect, Names, Report, SuggestedTold, Suggestion, WithheldTold};
use sizes::Measured;
use suggest::{Bounds, suggest};
use tally::Tally;
use yaml::Entry;

use crate::{
    Failure,
    log_input::{self, Totals},
    output::{count, say, say_json},
    progress::Progress,
};

/// A rule that saves a smaller share of the log is not suggested.
const RULE_PER_SHARE_MIN: u64 = 1_000;

pub(crate) fn run(args: &SimulateArgs) -> Result<ExitCode, Failure> {
    let is_stdin = |path: &Path| path.as_os_str() == "-";
    if args.suggest.is_some() && args.log.iter().any(|log| is_stdin(log)) {
        let reason =
            "--suggest reads the log twice, and standard input can be read but once; give a file";
        return Err(Failure::Usage(reason.to_owned()));
    }
    let inputs = [&args.file]
        .into_iter()
        .chain(&args.against)
        .chain(&args.log);
    if inputs.filter(|path| is_stdin(path)).count() > 1 {
        let reason = "standard input can be only one of the policies and logs";
        return Err(Failure::Usage(reason.to_owned()));
    }
    let prints_policy = args.suggest.as_deref().is_some_and(is_stdin);
    if prints_policy && args.json {
        let reason = "with --json the suggested policy is in the report; give --suggest a file";
        return Err(Failure::Usage(reason.to_owned()));
    }
    let given = Given::read(&args.file)?;
    let against = args.against.as_deref().map(Given::read).transpose()?;
    let policy = &given.loaded.policy;
    let mut tally = Tally::new(against.as_ref().map(|other| &other.loaded.policy), policy);
    let mut cells = args.suggest.as_ref().map(|_| Cells::default());
    let progress = Progress::new("reading");
    let totals = log_input::read(&args.log, &progress, |item, envelope| {
        let outcome = tally.add(item, envelope);
        if let Some(cells) = &mut cells {
            cells.add(&Measured::new(envelope, item.wire.len()), &outcome);
        }
        Ok(())
    });
    progress.end();
    let totals = totals?;
    let names = Names {
        policy: given.shown.clone(),
        against: against.as_ref().map(|other| other.shown.clone()),
        lines: &|rule| given.loaded.lines.rule(rule).line,
        top: usize::from(args.top),
    };
    let mut report = Report::of(names, policy, &totals, &tally);
    if let Some(cells) = cells {
        let suggestion = suggestion(args, &given, &cells, &tally, &totals)?;
        if let Some(file) = args.suggest.as_deref().filter(|file| !is_stdin(file)) {
            write(file, &suggestion)?;
        }
        report.suggestion = Some(suggestion);
    }
    if args.json {
        say_json(&report)?;
    } else if let (true, Some(suggestion)) = (prints_policy, &report.suggestion) {
        // Nobody may be listening; the policy is what was asked for.
        let _ = io::stderr().write_all(told::told(&report).as_bytes());
        say(&suggestion.policy)?;
    } else {
        say(&told::told(&report))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn suggestion(
    args: &SimulateArgs,
    given: &Given,
    cells: &Cells,
    tally: &Tally<'_>,
    totals: &Totals,
) -> Result<Suggestion, Failure> {
    let policy = &given.loaded.policy;
    let written = tally.total.after.bytes;
    let bounds = Bounds {
        rules_max: usize::from(args.rules_max),
        rule_bytes_min: written / RULE_PER_SHARE_MIN,
        total_bytes: written,
    };
    let (suggested, withheld) = suggest(cells, bounds);
    let rules: Vec<_> = (0..)
        .zip(&suggested)
        .map(|(number, one)| SuggestedTold::of(number, one))
        .collect();
    let entries = suggested.iter().zip(&rules).map(|(one, told)| Entry {
        rule: &one.rule,
        comment: format!(
            "rules[{}]: {}.\nSaves {} and {} of this log, {} of what is written.",
            told.rule,
            told.reason,
            count(told.events, "event"),
            bytes(told.bytes),
            percent(told.bytes, written)
        ),
    });
    let heading = heading(tally);
    let entries: Vec<_> = entries.collect();
    let mut wanted = policy.clone();
    wanted
        .rules
        .splice(0..0, suggested.iter().map(|one| one.rule.clone()));
    let text = text(given, &wanted, &heading, &entries)?;
    let (effect, again) = proof(args, policy, &wanted)?;
    let file = args
        .suggest
        .as_deref()
        .filter(|file| file.as_os_str() != "-");
    Ok(Suggestion {
        file: file.map(|file| file.display().to_string()),
        rules,
        withheld: withheld.iter().map(WithheldTold::of).collect(),
        beyond: cells.beyond,
        same_log: (again.events, again.bytes) == (totals.events, totals.bytes),
        effect,
        policy: text,
    })
}

fn heading(tally: &Tally<'_>) -> String {
    let mut heading = format!(
        "Suggested by auditrelay policy simulate, from {} of a log",
        count(tally.log.events, "event")
    );
    if let Some((first, last)) = tally.span.ends() {
        heading += &format!(" ({first} to {last})");
    }
    heading
        + ". None of these rules matches a write that is no heartbeat, a denied request, a secret, exec, attach or \
           port-forward, an impersonated request or RBAC in that log. They stand before all other rules, so what \
           they match is decided here."
}

/// The suggested policy, which says what is wanted and nothing else.
fn text(
    given: &Given,
    wanted: &Policy,
    heading: &str,
    entries: &[Entry<'_>],
) -> Result<String, Failure> {
    if entries.is_empty() {
        return Ok(given.text.clone());
    }
    let says_it = |text: &String| load(text).is_ok_and(|loaded| loaded.policy == *wanted);
    let inserted = yaml::inserted(&given.text, heading, entries);
    if let Some(text) = inserted.filter(|text| says_it(text)) {
        return Ok(text);
    }
    let text = yaml::anew(&given.loaded.policy, heading, entries);
    if says_it(&text) {
        return Ok(text);
    }
    Err(Failure::Other(
        "the suggested policy did not come out as it was meant, so nothing is written; please report this".to_owned(),
    ))
}

/// Reads the log again, and shows what the suggestion does to it.
fn proof(
    args: &SimulateArgs,
    given: &Policy,
    wanted: &Policy,
) -> Result<(Effect, Totals), Failure> {
    let mut tally = Tally::new(Some(given), wanted);
    let mut changed = 0_u64;
    let progress = Progress::new("proving");
    let totals = log_input::read(&args.log, &progress, |item, envelope| {
        let after = tally.add(item, envelope);
        if Kinds::of(envelope).is_precious() {
            let before = Outcome::of(given, &Measured::new(envelope, item.wire.len()));
            changed += u64::from(!before.is_as_much_as(&after));
        }
        Ok(())
    });
    progress.end();
    let totals = totals?;
    if changed > 0 {
        return Err(Failure::Other(format!(
            "nothing is suggested: on a second reading the suggestion would change what is logged of {} that must \
             not be lost; if the log grew meanwhile, run this on files that nobody writes to",
            count(changed, "event")
        )));
    }
    Ok((Effect::of(&tally), totals))
}

/// Writes the policy, unless there is nothing to suggest.
fn write(file: &Path, suggestion: &Suggestion) -> Result<(), Failure> {
    if suggestion.rules.is_empty() {
        return Ok(());
    }
    fs::write(file, &suggestion.policy).map_err(|error| {
        Failure::Other(format!(
            "cannot write {}: {error}; nothing else was changed",
            file.display()
        ))
    })
}

#[cfg(test)]
mod tests;
