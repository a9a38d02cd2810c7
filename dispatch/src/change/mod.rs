//! What a request changed, or tried to, as far as its body was logged: a few short lines.
//!
//! Contract: [`Change::of`] parses a body once, and only one of a bounded size; what is read of it is bounded
//! in nodes, lines and characters. An event never holds the old values: nothing here pretends to know them.
//!
//! Invariant (promise P8): a value stands in a line only if neither its name nor itself looks secret
//! (`names.rs`, [`auditrelay_audit::mask`]); bodies were redacted at the door before, this is the second line of defence.

use auditrelay_audit::{Envelope, Level, Stage};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use self::walk::Walk;
use crate::{
    escape::{clean, quoted},
    sentence::{has_failed, is_dry_run, is_write},
};

mod names;
mod rbac;
mod walk;

/// Lines of one change.
pub const LINES_MAX: usize = 8;
const LINE_CHARS_MAX: usize = 160;
/// A parsed body takes up to 16 times its size.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// What an event's body says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Clean, bounded lines, the most telling first.
    pub lines: Vec<String>,
    /// How many lines more there would be.
    pub more: usize,
    /// Whether there is more than was counted.
    pub uncounted: bool,
    /// What else has to be said of the lines.
    pub note: Option<String>,
    /// The request certainly changed nothing.
    pub nothing: bool,
    /// Words for what was decided (`approved`, `approve`).
    pub decision: Option<(&'static str, &'static str)>,
    /// What is worth a line of its own: titles and clean, bounded texts.
    pub fields: Vec<(&'static str, String)>,
}

impl Change {
    /// Reads an event's bodies.
    pub fn of(event: &Envelope<'_>) -> Self {
        if !is_write(event) || event.stage == Stage::RequestReceived {
            return Self::default();
        }
        let mut change = Self {
            fields: deleted(event),
            ..Self::default()
        };
        let Some(raw) = event.request_object else {
            return change;
        };
        if raw.len() > BODY_BYTES_MAX {
            change.note = Some(format!(
                "the body has {} KiB and is not shown",
                raw.len() / 1024
            ));
            return change;
        }
        let Ok(body) = serde_json::from_str::<Value>(raw) else {
            change.note =
                Some("the body cannot be shown: it is nested too deep, or no JSON".to_owned());
            return change;
        };
        let done = !has_failed(event) && !is_dry_run(event);
        change.nothing = done && (is_empty_patch(event, &body) || kept_its_version(event, &body));
        if !change.nothing {
            change.describe(event, &body);
        }
        change
    }

    fn describe(&mut self, event: &Envelope<'_>, body: &Value) {
        let Some(object) = &event.object_ref else {
            return;
        };
        match (
            object.resource.as_str(),
            object.subresource.as_str(),
            event.verb.as_str(),
        ) {
            (_, _, "delete" | "deletecollection") => self.delete_options(body),
            (_, "scale", _) => self.scale(event, body),
            ("certificatesigningrequests", "approval", _) => self.csr(event, body),
            ("certificatesigningrequests", "", "create") => self.csr(event, body),
            ("serviceaccounts", "token", _) => self.token(body),
            (_, "binding", _) => self.field("Node", &body["target"]["name"]),
            (_, "eviction", _) => {}
            ("rolebindings" | "clusterrolebindings", "", _) => {
                self.held(event, body, rbac::binding)
            }
            ("roles" | "clusterroles", "", _) => self.held(event, body, rbac::rules),
            _ => self.walk(event, body),
        }
    }

    fn field(&mut self, title: &'static str, value: &Value) {
        if let Some(text) = walk::words(value) {
            self.fields.push((title, text));
        }
    }

    fn walk(&mut self, event: &Envelope<'_>, body: &Value) {
        let walked = Walk::of(event, body);
        self.take(walked.lines, walked.stopped);
        self.more += walked.untold;
        if event.verb.as_str() == "update" && !self.lines.is_empty() {
            self.note = Some("as it is now; the event does not hold the old values".to_owned());
        }
    }

    fn take(&mut self, lines: Vec<String>, uncounted: bool) {
        self.more = lines.len().saturating_sub(LINES_MAX);
        self.uncounted = uncounted;
        let shown = lines.into_iter().take(LINES_MAX);
        self.lines = shown.map(|line| clean(&line, LINE_CHARS_MAX)).collect();
    }

    /// What an object holds from now on, if all of it is known, else what the patch says.
    fn held(&mut self, event: &Envelope<'_>, body: &Value, lines: fn(&Value) -> Vec<String>) {
        let answer = event
            .response_object
            .filter(|raw| raw.len() <= BODY_BYTES_MAX && !has_failed(event))
            .and_then(|raw| serde_json::from_str::<Value>(raw).ok());
        let held = answer
            .map(|answer| lines(&answer))
            .filter(|lines| !lines.is_empty());
        match held.unwrap_or_else(|| lines(body)) {
            lines if lines.is_empty() => self.walk(event, body),
            lines => self.take(lines, false),
        }
    }

    /// How many there are to be, and how many ran when it was asked for: the answer says that.
    fn scale(&mut self, event: &Envelope<'_>, body: &Value) {
        let Some(wanted) = body["spec"]["replicas"].as_i64() else {
            return self.walk(event, body);
        };
        #[derive(Deserialize)]
        struct Scale {
            status: Status,
        }
        #[derive(Deserialize)]
        struct Status {
            replicas: i64,
        }
        let answer = event
            .response_object
            .and_then(|raw| serde_json::from_str::<Scale>(raw).ok());
        let ran = answer.map(|scale| format!(" ({} ran at that moment)", scale.status.replicas));
        self.lines = vec![format!(
            "spec.replicas = {wanted}{}",
            ran.unwrap_or_default()
        )];
    }

    /// What a request for a certificate holds. The API server sets who asked, and on an approval keeps what was asked
    /// for; what the request's body says of either is only its author's claim.
    fn csr(&mut self, event: &Envelope<'_>, request: &Value) {
        let answer = event
            .response_object
            .filter(|raw| raw.len() <= BODY_BYTES_MAX && !has_failed(event))
            .and_then(|raw| serde_json::from_str::<Value>(raw).ok());
        let is_create = event.verb.as_str() == "create";
        let body = answer.as_ref().unwrap_or(request);
        let conditions = body["status"]["conditions"].as_array();
        let decided = |kind: &str| {
            conditions
                .into_iter()
                .flatten()
                .any(|one| one["type"] == kind)
        };
        if !is_create {
            self.decision = match (decided("Approved"), decided("Denied")) {
                (true, false) => Some(("approved", "approve")),
                (false, true) => Some(("denied", "deny")),
                _ => None,
            };
        }
        if answer.is_none() && !is_create {
            return;
        }
        self.field("Signer", &body["spec"]["signerName"]);
        if answer.is_some() {
            self.field("Requested by", &body["spec"]["username"]);
            self.field("Requester's groups", &body["spec"]["groups"]);
        }
        self.field("Usages", &body["spec"]["usages"]);
        self.seconds("Lasts", &body["spec"]["expirationSeconds"]);
    }

    fn token(&mut self, body: &Value) {
        self.field("Audiences", &body["spec"]["audiences"]);
        self.seconds("Lasts", &body["spec"]["expirationSeconds"]);
    }

    fn seconds(&mut self, title: &'static str, value: &Value) {
        if let Some(seconds) = value.as_i64() {
            self.fields.push((title, duration(seconds)));
        }
    }

    fn delete_options(&mut self, body: &Value) {
        if body["gracePeriodSeconds"].as_i64() == Some(0) {
            self.fields.push(("Forced", "grace period 0 s".to_owned()));
        }
        if body["propagationPolicy"] == "Orphan" {
            self.fields.push(("Dependents", "orphaned".to_owned()));
        }
    }
}

/// `3 min`, for people.
pub fn duration(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Whether a write's body is missing only because nobody asked the API server to log it.
pub fn is_unlogged(event: &Envelope<'_>) -> bool {
    event.level == Level::Metadata
        && matches!(event.verb.as_str(), "create" | "update" | "patch")
        && event.stage != Stage::RequestReceived
}

/// How many objects a deletion of many met, and which: the answer lists them.
fn deleted(event: &Envelope<'_>) -> Vec<(&'static str, String)> {
    #[derive(Deserialize)]
    struct List {
        items: Vec<IgnoredAny>,
    }
    if event.verb.as_str() != "deletecollection" {
        return Vec::new();
    }
    let list = event
        .response_object
        .and_then(|raw| serde_json::from_str::<List>(raw).ok());
    list.map(|list| ("Objects", list.items.len().to_string()))
        .into_iter()
        .collect()
}

/// A patch that says nothing, or nothing but who owns which field, or that only tests.
fn is_empty_patch(event: &Envelope<'_>, body: &Value) -> bool {
    if event.verb.as_str() != "patch" {
        return false;
    }
    match body {
        Value::Array(operations) => operations.iter().all(|one| one["op"] == "test"),
        Value::Object(fields) => fields.iter().all(|(name, value)| {
            name == "metadata"
                && value
                    .as_object()
                    .is_some_and(|held| held.keys().all(|name| name == "managedFields"))
        }),
        _ => false,
    }
}

/// A request that names a version is refused where another one is stored (Kubernetes: "optimistic
/// concurrency"), and the answer has a new version if anything was written.
fn kept_its_version(event: &Envelope<'_>, body: &Value) -> bool {
    #[derive(Deserialize)]
    struct Object {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        resource_version: String,
    }
    if !matches!(event.verb.as_str(), "update" | "patch") || event.code() != Some(200) {
        return false;
    }
    let asked = body["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default();
    let answer = event
        .response_object
        .and_then(|raw| serde_json::from_str::<Object>(raw).ok());
    !asked.is_empty() && answer.is_some_and(|answer| answer.metadata.resource_version == asked)
}

/// A name within a line.
fn name(value: &Value) -> String {
    quoted(value.as_str().unwrap_or_default(), 80)
}

#[cfg(test)]
mod redacted_tests;
#[cfg(test)]
mod tests;
