//! A token: whether it is good, whose it is, and what it may do.

use std::time::Duration;

use serde_json::Value;

use super::{
    calls::{Calls, Trouble},
    findings::{Finding, Level},
};
use crate::{
    escape::clean,
    slack::{
        answers::advice,
        http::Broken,
        web_api::{CallError, Reply},
    },
};

/// Who has not answered after so long is not reached.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// What the configuration needs of a token beside posting.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Needs {
    /// Some channel is configured by its name.
    pub(super) names: bool,
    /// Some channel's digests come with a file.
    pub(super) files: bool,
}

/// A token's scopes, where Slack told them.
#[derive(Debug, Clone, Default)]
pub(super) struct Scopes(Option<Vec<String>>);

impl Scopes {
    /// Whether one is among them; `None` if that is not known.
    pub(super) fn has(&self, scope: &str) -> Option<bool> {
        let scopes = self.0.as_ref()?;
        Some(scopes.iter().any(|one| one == scope))
    }

    fn lacks(&self, scope: &str) -> bool {
        self.has(scope) == Some(false)
    }
}

/// What was found out.
pub(super) struct Known {
    /// The workspace.
    pub(super) place: String,
    pub(super) scopes: Scopes,
    pub(super) findings: Vec<Finding>,
    /// Why nothing more can be asked with it.
    pub(super) useless: Option<Useless>,
}

/// Why a token's channels need not be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Useless {
    /// Nothing can be posted with it.
    Refused,
    /// It is not known.
    NotChecked,
}

pub(super) async fn check(calls: &Calls, needs: Needs) -> Known {
    let left = calls.left();
    match calls.auth_test().await {
        Ok(reply) => good(reply, needs),
        // Slack had its time, and said nothing.
        Err(Trouble::TimeUp) if left >= ANSWER_TIME => {
            let reason = format!("no answer from Slack within {} s", left.as_secs());
            bad(CallError::Broken(Broken {
                sent: true,
                withheld: false,
                reason,
            })
            .into())
        }
        Err(trouble) => bad(trouble),
    }
}

/// A token that cannot be sent.
pub(super) fn unusable() -> Known {
    let text = "the token does not fit an HTTP header";
    let finding = Finding::new(Level::Problem, "token_refused", text);
    Known {
        place: "Slack".to_owned(),
        scopes: Scopes::default(),
        findings: vec![finding.todo("give the relay a token that works")],
        useless: Some(Useless::Refused),
    }
}

fn good(reply: Reply, needs: Needs) -> Known {
    let text = |name: &str| {
        let text = reply.value.get(name).and_then(Value::as_str);
        clean(text.unwrap_or("?"), 40)
    };
    let posts = format!("the token works; the bot is {}", text("user"));
    let place = text("team");
    let scopes = Scopes(reply.scopes);
    let mut findings = lacking(&scopes, needs);
    findings.insert(0, Finding::new(Level::Ok, "token_works", posts));
    let useless = scopes.lacks("chat:write").then_some(Useless::Refused);
    Known {
        place,
        scopes,
        findings,
        useless,
    }
}

fn bad(trouble: Trouble) -> Known {
    let (level, code, useless) = match &trouble {
        Trouble::TimeUp | Trouble::Limited => (Level::Warning, "not_checked", Useless::NotChecked),
        Trouble::Call(CallError::Refused { code, .. }) if of_slack_itself(code) => {
            (Level::Problem, "unreachable", Useless::Refused)
        }
        Trouble::Call(CallError::Refused { .. }) => {
            (Level::Problem, "token_refused", Useless::Refused)
        }
        Trouble::Call(_) => (Level::Problem, "unreachable", Useless::Refused),
    };
    let (why, what_to_do) = trouble.told();
    let text = match code {
        "unreachable" => format!("Slack cannot be asked: {why}"),
        "token_refused" => format!("the token is refused: {why}"),
        _ => format!("not checked: {why}"),
    };
    let finding = Finding::new(level, code, text);
    Known {
        place: "Slack".to_owned(),
        scopes: Scopes::default(),
        findings: vec![match what_to_do {
            Some(what) => finding.todo(what),
            None => finding.todo("wait, and check again"),
        }],
        useless: Some(useless),
    }
}

/// Slack's trouble, and not the token's.
fn of_slack_itself(code: &str) -> bool {
    advice(code).is_none()
}

/// Scopes that are missing, with what happens without them (docs/slack.md).
fn lacking(scopes: &Scopes, needs: Needs) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut missing = |level, scope: &str, without: &str| {
        let text = format!("the token lacks {scope}: {without}");
        let finding = Finding::new(level, "scope_missing", text);
        findings.push(finding.todo(format!("add {scope} to the app and install it again")));
    };
    if scopes.0.is_none() {
        let text = "Slack did not tell the token's scopes; they are not compared";
        return vec![Finding::new(Level::Note, "scopes_unknown", text)];
    }
    if scopes.lacks("chat:write") {
        missing(Level::Problem, "chat:write", "its channels are parked");
    }
    match (
        scopes.lacks("channels:history"),
        scopes.lacks("groups:history"),
    ) {
        (true, true) => missing(
            Level::Warning,
            "channels:history and groups:history",
            "a message whose answer was lost is repeated and marked",
        ),
        // Whether that matters is told for each channel.
        (true, false) => missing(
            Level::Note,
            "channels:history",
            "in public channels, a message whose answer was lost is repeated and marked",
        ),
        (false, true) => missing(
            Level::Note,
            "groups:history",
            "in private channels, a message whose answer was lost is repeated and marked",
        ),
        (false, false) => {}
    }
    let (level, without) = if needs.names {
        let without = "a channel configured by name is not found, so nothing is looked up in it";
        (Level::Warning, without)
    } else {
        (Level::Note, "such channels cannot be described here")
    };
    match (scopes.lacks("channels:read"), scopes.lacks("groups:read")) {
        (true, true) => missing(level, "channels:read and groups:read", without),
        (true, false) => missing(level, "channels:read (public channels)", without),
        (false, true) => missing(level, "groups:read (private channels)", without),
        (false, false) => {}
    }
    if needs.files && scopes.lacks("files:write") {
        let without = "a digest's list is not shared as a file, the digest names the command";
        missing(Level::Warning, "files:write", without);
    }
    findings
}
