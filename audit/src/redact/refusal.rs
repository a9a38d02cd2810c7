//! What a failed request was told: which words of it are the API server's own, and which may quote the request.
//!
//! Codes and reasons say nothing of that: admission webhooks and policies choose both. So forms of messages count that
//! are known to name nothing but objects, users and verbs; of a message that a webhook or a policy wrote the
//! words before its own. Contract: own words are never changed, so no argument or value takes them away.

use serde_json::{Map, Value};

use super::{REDACTED, quotes::Quotes};

/// Whole messages.
const SENTENCES: [&str; 3] = [
    "Unauthorized",
    "the server does not allow this method on the requested resource",
    "the server could not find the requested resource",
];
const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";
/// Kubernetes: `metav1.StatusDetails`. They name the object.
const IDENTITY: [&str; 5] = ["name", "group", "kind", "uid", "retryAfterSeconds"];

/// Takes out of a status (of an event, or a body of kind Status) what it quotes. A status that may quote
/// what cannot be looked for is `dirty`, and loses all that is not the API server's own.
pub(super) fn clean(status: &mut Map<String, Value>, dirty: bool, quotes: &[&Quotes]) {
    let is_word = |reason: &Value| reason.as_str().is_some_and(is_camel_case);
    if let Some(reason) = status.get_mut("reason").filter(|reason| !is_word(reason)) {
        *reason = REDACTED.into();
    }
    if let Some(message) = status.get_mut("message") {
        match message {
            Value::String(text) => clean_message(text, dirty, quotes),
            other if dirty => *other = REDACTED.into(),
            other => quotes.iter().for_each(|some| some.take_out(other)),
        }
    }
    if dirty {
        status.remove("details");
    }
    match status.get_mut("details") {
        Some(Value::Object(details)) => {
            for (name, detail) in details {
                if !IDENTITY.contains(&name.as_str()) {
                    quotes.iter().for_each(|some| some.take_out(detail));
                }
            }
        }
        Some(details) => quotes.iter().for_each(|some| some.take_out(details)),
        None => {}
    }
}

fn clean_message(text: &mut String, dirty: bool, quotes: &[&Quotes]) {
    let own = own_words(text);
    if own == text.len() {
        return;
    }
    if dirty {
        text.replace_range(own.., REDACTED);
        return;
    }
    for some in quotes {
        if let Some(masked) = some.without(&text[own..]) {
            text.replace_range(own.., &masked);
        }
    }
}

/// One word such as `NotFound`, or none.
fn is_camel_case(reason: &str) -> bool {
    reason.bytes().all(|byte| byte.is_ascii_alphabetic())
        && reason
            .bytes()
            .next()
            .is_none_or(|byte| byte.is_ascii_uppercase())
}

/// So many bytes of the beginning of a message are the API server's own words.
fn own_words(message: &str) -> usize {
    let whole = message.len();
    if SENTENCES.contains(&message) {
        return whole;
    }
    let length_before = |rest: &str| whole - rest.len();
    // admission webhook "gate.example.com" denied the request: …
    if let Some(rest) = message.strip_prefix("admission webhook ") {
        let said = quoted(rest, '"').and_then(|rest| rest.strip_prefix(" denied the request: "));
        return said.map_or(0, length_before);
    }
    // Operation cannot be fulfilled on pods "p": …
    if let Some(rest) = message.strip_prefix("Operation cannot be fulfilled on ") {
        let said = object(rest).and_then(|rest| rest.strip_prefix(": "));
        return if said == Some(MODIFIED) { whole } else { 0 };
    }
    // forbidden: User "alice" cannot get path "/x"
    if let Some(rest) = message.strip_prefix("forbidden: User ") {
        let path = authorized(rest).and_then(|rest| Some(rest.split_once(" path \"")?.1));
        return path.map_or(0, length_before);
    }
    // pods "p" not found, pods is forbidden: User "alice" cannot list resource …
    let Some(rest) = object(message) else {
        return 0;
    };
    match rest.strip_prefix(" is forbidden: ") {
        None if matches!(rest, " not found" | " already exists") => whole,
        None => 0,
        Some(rest) => match rest.strip_prefix("User ") {
            Some(rest) if authorized(rest).is_some() => whole,
            _ => policy(rest).map_or(0, length_before),
        },
    }
}

/// What follows `pods` or `pods "p"`.
fn object(text: &str) -> Option<&str> {
    let is_name = |one: char| one.is_ascii_alphanumeric() || ".-".contains(one);
    let rest = text.trim_start_matches(is_name);
    let name = rest.strip_prefix(' ').filter(|_| rest.len() < text.len());
    match name.filter(|name| name.starts_with('"')) {
        Some(name) => quoted(name, '"'),
        None => (rest.len() < text.len()).then_some(rest),
    }
}

/// What follows a name in quotes. Names of objects have no quotes in them, nor anything that Go escapes.
fn quoted(text: &str, quote: char) -> Option<&str> {
    let (name, rest) = text.strip_prefix(quote)?.split_once(quote)?;
    let is_plain = |one: char| one.is_ascii_alphanumeric() || ".-_:".contains(one);
    name.chars().all(is_plain).then_some(rest)
}

/// What an authorizer says follows, which never sees a body: ` get resource …` of `"alice" cannot get resource …`.
fn authorized(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('"')?.split_once("\" cannot ")?.1;
    let may_quote = ["admission", "denied"].iter().any(|one| text.contains(one));
    (!may_quote).then_some(rest)
}

/// What a policy says: behind `ValidatingAdmissionPolicy 'p' with binding 'b' denied request: `.
fn policy(text: &str) -> Option<&str> {
    let rest = quoted(text.strip_prefix("ValidatingAdmissionPolicy ")?, '\'')?;
    let rest = quoted(rest.strip_prefix(" with binding ")?, '\'')?;
    rest.strip_prefix(" denied request: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands before `|` is the API server's own.
    #[test]
    fn own_words_end_where_others_begin() {
        for told in [
            r#"pods "p" not found|"#,
            r#"widgets.example.com "w.1" already exists|"#,
            r#"secrets is forbidden: User "alice" cannot list resource "secrets" in API group "" at the cluster scope|"#,
            r#"secrets "db" is forbidden: User "system:serviceaccount:a:b" cannot get resource "secrets" in API group "" in the namespace "x": RBAC: clusterrole "y" not found|"#,
            r#"forbidden: User "alice" cannot get path "|/hook/x""#,
            r#"Operation cannot be fulfilled on configmaps "c": the object has been modified; please apply your changes to the latest version and try again|"#,
            r#"|Operation cannot be fulfilled on configmaps "c": the UID in the precondition (x) does not match"#,
            r#"admission webhook "x.example.com" denied the request: |value hunter2 is used"#,
            r#"|admission webhook "hunter2 is" denied the request: x"#,
            r#"|admission webhook "x" denied the request without explanation"#,
            r#"configmaps "c" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: |hunter2"#,
            r#"|configmaps "c" is forbidden: ValidatingAdmissionPolicy 'hunter2 x' with binding 'b' denied request: y"#,
            r#"|pods "p" is forbidden: hunter2"#,
            r#"|pods "p" is forbidden: User "a" cannot x: admission webhook says hunter2"#,
            r#"|pods "p": hunter2 not found"#,
            r#"|value hunter2 not found"#,
            r#"|value "hunter 2" not found"#,
            r#"|Pod "p" is invalid: env[0].value: Invalid value: "hunter2""#,
            "Unauthorized|",
            "|Unauthorized hunter2",
            "|",
        ] {
            let message = told.replace('|', "");
            assert_eq!(
                own_words(&message),
                told.find('|').expect("a mark"),
                "{told}"
            );
        }
    }

    #[test]
    fn a_reason_is_one_word() {
        for (reason, is_one) in [
            ("NotFound", true),
            ("", true),
            ("notFound", false),
            ("Not found", false),
            ("Hunter2", false),
        ] {
            assert_eq!(is_camel_case(reason), is_one, "{reason}");
        }
    }
}
