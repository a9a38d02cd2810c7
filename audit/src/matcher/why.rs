//! Why an event does not match what a route or a mute asks for, in words.
//!
//! Contract: there is a reason if and only if [`Matcher::matches`] says no, and it is of a key that the event
//! does not meet, whatever the others say. It names values of the event: whoever shows it makes them harmless first.

use super::{Event, Matcher, Network, dry_run, risk};
use crate::{
    event::Envelope,
    policy::{Mismatch, Request},
};

/// More values of a list than these are counted, not shown.
const VALUES_SHOWN_MAX: usize = 8;

impl Matcher {
    /// Why the event does not match; `None` if it does.
    pub fn mismatch(&self, event: &Event<'_>) -> Option<Mismatch> {
        let envelope = event.envelope;
        self.rule
            .mismatch(&Request::of(envelope))
            .or_else(|| {
                missing("stages", envelope.stage.as_str(), &self.stages, |one| {
                    one.as_str().to_owned()
                })
            })
            .or_else(|| {
                missing("levels", envelope.level.as_str(), &self.levels, |one| {
                    one.as_str().to_owned()
                })
            })
            .or_else(|| missing("cluster", event.cluster, &self.clusters, String::clone))
            .or_else(|| self.code_mismatch(envelope))
            .or_else(|| self.who_mismatch(envelope))
            .or_else(|| self.how_mismatch(envelope))
            .or_else(|| self.risk_mismatch(envelope))
    }

    fn code_mismatch(&self, event: &Envelope<'_>) -> Option<Mismatch> {
        if self.codes.is_empty() || self.matches_code(event) {
            return None;
        }
        let asked = listed(&self.codes, ToString::to_string);
        no(
            "codes",
            match event.code() {
                Some(code) => format!("{code} is not {asked}"),
                None => format!("the event has no code, and {asked} is asked for"),
            },
        )
    }

    fn who_mismatch(&self, event: &Envelope<'_>) -> Option<Mismatch> {
        let impersonated = event.impersonated_user.as_ref();
        if let Some(wanted) = &self.impersonated
            && !wanted.matches(impersonated)
        {
            let why = match impersonated {
                None => "nobody is impersonated".to_owned(),
                Some(user) => format!("{} is impersonated, who is not meant", said(&user.username)),
            };
            return no("impersonated", why);
        }
        if self.source_ips.is_empty() || Network::any_has(&self.source_ips, event) {
            return None;
        }
        let asked = listed(&self.source_ips, ToString::to_string);
        no(
            "sourceIPs",
            match event.source_ips.last() {
                Some(peer) => format!("{}, the last of them, is not in {asked}", said(peer)),
                None => format!("the event names no address, and {asked} is asked for"),
            },
        )
    }

    fn how_mismatch(&self, event: &Envelope<'_>) -> Option<Mismatch> {
        if let Some(wanted) = self.decision
            && event.decision().as_deref() != Some(wanted.as_str())
        {
            let found = match event.decision() {
                Some(decision) => format!("{} is not", said(&decision)),
                None => "there is none (authorization.k8s.io/decision), and it is not".to_owned(),
            };
            return no("decision", format!("{found} {}", wanted.as_str()));
        }
        if let Some(wanted) = self.dry_run
            && dry_run::is_dry(event) != wanted
        {
            let why = match wanted {
                true => "it is no dry run",
                false => "it is a dry run",
            };
            return no("dryRun", why.to_owned());
        }
        let mut agents = self.user_agents.iter();
        if !self.user_agents.is_empty() && !agents.any(|one| one.matches(&event.user_agent)) {
            let why = format!("{} matches none of the patterns", said(&event.user_agent));
            return no("userAgents", why);
        }
        self.annotations.iter().find_map(|(key, pattern)| {
            let why = match event.annotation(key) {
                Some(value) if pattern.matches(&value) => return None,
                Some(value) => format!(
                    "{key} is {}, which the pattern does not match",
                    said(&value)
                ),
                None => format!("the event has no {key}"),
            };
            no("annotations", why)
        })
    }

    fn risk_mismatch(&self, event: &Envelope<'_>) -> Option<Mismatch> {
        if self.risks.is_empty() || risk::has_any(&self.risks, event) {
            return None;
        }
        let why = match event.request_object {
            Some(_) => "its request body has none of them",
            None => {
                "the event has no request body (its level is below Request, or the request has none)"
            }
        };
        no("risks", why.to_owned())
    }
}

fn no(field: &'static str, why: String) -> Option<Mismatch> {
    Some(Mismatch { field, why })
}

fn said(value: &str) -> String {
    match value {
        "" => "\"\"".to_owned(),
        value => value.to_owned(),
    }
}

fn listed<T>(values: &[T], name: impl Fn(&T) -> String) -> String {
    let shown: Vec<String> = values.iter().take(VALUES_SHOWN_MAX).map(name).collect();
    match values.len().saturating_sub(VALUES_SHOWN_MAX) {
        0 => shown.join(" or "),
        more => format!("{} or {more} more", shown.join(" or ")),
    }
}

/// A value that is none of those asked for, where any are.
fn missing<T>(
    field: &'static str,
    value: &str,
    asked: &[T],
    name: impl Fn(&T) -> String,
) -> Option<Mismatch> {
    if asked.is_empty() || asked.iter().any(|one| name(one) == value) {
        return None;
    }
    no(
        field,
        format!("{} is not {}", said(value), listed(asked, name)),
    )
}
