//! Whether it was allowed, why, and how it ended.

use auditrelay_audit::{Envelope, Stage, User, mask::without_tokens};

use crate::escape::{clean, quoted};

const REASON_CHARS_MAX: usize = 160;
const MESSAGE_CHARS_MAX: usize = 240;
const NAME_CHARS_MAX: usize = 80;
/// Kubernetes: whose members everything is allowed to, before any authorizer is asked.
pub const MASTERS: &str = "system:masters";

/// Whether the request did not do what it asked for.
pub fn has_failed(event: &Envelope<'_>) -> bool {
    event.code().is_some_and(|code| code >= 400) || event.decision().as_deref() == Some("forbid")
}

/// Whom the authorizer judged.
pub fn effective<'e, 'a>(event: &'e Envelope<'a>) -> &'e User<'a> {
    event.impersonated_user.as_ref().unwrap_or(&event.user)
}

/// ` — allowed (RBAC: RoleBinding payments/dev of Role exec) — 200`.
pub fn outcome(event: &Envelope<'_>) -> String {
    let decision = event.decision();
    let why = why(event)
        .map(|why| format!(" ({why})"))
        .unwrap_or_default();
    let decided = match decision.as_deref() {
        Some("allow") => format!(" — allowed{why}"),
        Some("forbid") => format!(" — forbidden{why}"),
        _ => String::new(),
    };
    let Some(code) = event.code() else {
        return format!(
            "{decided}{}",
            if event.stage == Stage::Panic {
                " — the API server panicked"
            } else {
                ""
            }
        );
    };
    let message = failure(event)
        .map(|message| format!(" ({message})"))
        .unwrap_or_default();
    let ended = match code {
        _ if event.stage == Stage::Panic => format!(" — the API server panicked, {code}{message}"),
        101 if event.stage == Stage::ResponseComplete => " — session ended, 101".to_owned(),
        101 => " — session open, 101".to_owned(),
        401 if decision.is_none() => format!(" — not authenticated, 401{message}"),
        403 if decision.as_deref() == Some("allow") => {
            format!(", but refused after that — 403{message}")
        }
        _ if code >= 400 && decision.as_deref() == Some("allow") => {
            format!(", but failed — {code}{message}")
        }
        _ if code >= 400 && decision.is_none() => format!(" — failed, {code}{message}"),
        _ => format!(" — {code}{message}"),
    };
    decided + &ended
}

/// `allowed`, `forbidden, 403`, `failed, 404`: what a notification has room for.
pub fn outcome_in_brief(event: &Envelope<'_>) -> String {
    let code = event.code();
    let word = match event.decision().as_deref() {
        _ if event.stage == Stage::Panic => "the API server panicked",
        Some("forbid") => "forbidden",
        _ if code == Some(401) => "not authenticated",
        _ if has_failed(event) => "failed",
        Some("allow") => return "allowed".to_owned(),
        _ => return code.map(|code| code.to_string()).unwrap_or_default(),
    };
    match code {
        Some(code) => format!("{word}, {code}"),
        None => word.to_owned(),
    }
}

/// The authorizer's reason, as short as it can be told.
fn why(event: &Envelope<'_>) -> Option<String> {
    let reason = event.annotation("authorization.k8s.io/reason")?;
    let reason = reason.trim();
    if reason.is_empty() {
        let allowed = event.decision().as_deref() == Some("allow");
        let is_master = effective(event)
            .groups
            .iter()
            .any(|group| group.as_str() == MASTERS);
        return (allowed && is_master).then(|| MASTERS.to_owned());
    }
    Some(rbac(reason).unwrap_or_else(|| clean(reason, REASON_CHARS_MAX)))
}

/// `RBAC: allowed by RoleBinding "dev/payments" of Role "exec" to Group "devs"` (Kubernetes:
/// `plugin/pkg/auth/authorizer/rbac`). That it was given to the user of the sentence need not be said.
fn rbac(reason: &str) -> Option<String> {
    let (binding_kind, rest) = reason.strip_prefix("RBAC: allowed by ")?.split_once(' ')?;
    let (binding, rest) = go_string(rest)?;
    let (role_kind, rest) = rest.strip_prefix(" of ")?.split_once(' ')?;
    let (role, rest) = go_string(rest)?;
    let (subject_kind, rest) = rest.strip_prefix(" to ")?.split_once(' ')?;
    let (subject, rest) = go_string(rest)?;
    let known = matches!(binding_kind, "ClusterRoleBinding" | "RoleBinding")
        && matches!(role_kind, "ClusterRole" | "Role")
        && matches!(subject_kind, "User" | "Group" | "ServiceAccount")
        && rest.is_empty();
    if !known {
        return None;
    }
    // Kubernetes writes name/namespace here; everywhere else it is the other way round.
    let binding = match binding.rsplit_once('/') {
        Some((name, namespace)) if binding_kind == "RoleBinding" => format!("{namespace}/{name}"),
        _ => binding,
    };
    let name = |text: &str| quoted(text, NAME_CHARS_MAX);
    let mut told = format!("RBAC: {binding_kind} {}", name(&binding));
    if role != binding || role_kind != "ClusterRole" {
        told.push_str(&format!(" of {role_kind} {}", name(&role)));
    }
    if subject_kind == "Group" {
        told.push_str(&format!(", as group {}", name(&subject)));
    }
    Some(told)
}

/// A string as Go's `%q` writes it, and what follows it.
fn go_string(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut out = String::new();
    let mut characters = inner.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((out, &inner[at + 1..])),
            '\\' => out.push(characters.next()?.1),
            other => out.push(other),
        }
    }
    None
}

/// What the API server said of a failure, without what the sentence says already.
fn failure(event: &Envelope<'_>) -> Option<String> {
    let status = event
        .response_status
        .as_ref()
        .filter(|_| has_failed(event))?;
    let message = if status.message.is_empty() {
        &status.reason
    } else {
        &status.message
    };
    let message = unescape_html(message);
    // `pods "x" is forbidden: User "alice" cannot get resource …` repeats the sentence.
    let repeats = message.contains(" is forbidden: User \"") && message.contains(" cannot ");
    let is_plain = matches!(
        message.trim(),
        "" | "Unauthorized" | "Forbidden" | "NotFound"
    );
    if is_plain || (repeats && event.decision().as_deref() == Some("forbid")) {
        return None;
    }
    let told = match message.split_once(" is forbidden: ") {
        Some((_, why)) if status.code == 403 && !repeats => why,
        _ => message.trim(),
    };
    // Whoever answers, the API server or a webhook, may quote what it was sent.
    let start: String = told.chars().take(8 * MESSAGE_CHARS_MAX).collect();
    Some(clean(&without_tokens(&start), MESSAGE_CHARS_MAX))
}

/// The API server escapes a status message for HTML, once.
fn unescape_html(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    let quotes = text.replace("&#34;", "\"").replace("&#39;", "'");
    quotes
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_says_which_binding_it_was() {
        for (reason, told) in [
            (
                r#"RBAC: allowed by ClusterRoleBinding "x" of ClusterRole "y" to User "z""#,
                Some("RBAC: ClusterRoleBinding x of ClusterRole y"),
            ),
            (
                r#"RBAC: allowed by RoleBinding "dev/payments" of Role "exec" to Group "devs""#,
                Some("RBAC: RoleBinding payments/dev of Role exec, as group devs"),
            ),
            (
                r#"RBAC: allowed by ClusterRoleBinding "system:discovery" of ClusterRole "system:discovery" to Group "system:authenticated""#,
                Some("RBAC: ClusterRoleBinding system:discovery, as group system:authenticated"),
            ),
            (
                r#"RBAC: allowed by ClusterRoleBinding "a\" of Role \"b" of ClusterRole "y" to User "z""#,
                Some("RBAC: ClusterRoleBinding “a\" of Role \"b” of ClusterRole y"),
            ),
            (
                r#"RBAC: allowed by ClusterRoleBinding "x" of ClusterRole "y" to User "z" and more"#,
                None,
            ),
            ("RBAC: allowed by magic", None),
        ] {
            assert_eq!(rbac(reason).as_deref(), told, "{reason}");
        }
    }
}
