//! From the flags of `mute add` to a match, as the configuration writes it.

use std::{fs::File, io::Read, path::Path};

use serde_json::{Map, Value, json};

use super::args::MatchArgs;
use crate::Failure;

/// Longest file, in bytes; what is in it has to be shorter still.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The match in YAML; the relay judges it.
pub(super) fn text(args: &MatchArgs) -> Result<String, Failure> {
    match args.matches.as_deref() {
        Some(matches) => match matches.strip_prefix('@') {
            Some(path) => read(Path::new(path)),
            None => Ok(matches.to_owned()),
        },
        None => Ok(of_flags(args)?.to_string()),
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let fail = |error: std::io::Error| Failure::Usage(format!("cannot read {shown}: {error}"));
    let file = File::open(path).map_err(fail)?;
    let mut text = String::new();
    let mut bounded = file.take(FILE_BYTES_MAX + 1);
    bounded.read_to_string(&mut text).map_err(fail)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Failure::Usage(format!(
            "{shown} is longer than {FILE_BYTES_MAX} bytes"
        )));
    }
    Ok(text)
}

/// Refuses what is likely not meant: nothing, as of a variable that is not set, would match all that has none; and
/// a star where it is a letter would match nothing.
pub(super) fn judge(flag: &str, values: &[String], is_pattern: bool) -> Result<(), Failure> {
    for value in values {
        if value.trim().is_empty() {
            return Err(Failure::Usage(format!(
                "--{flag} is empty; say which, or leave it out (is a variable not set?); what has none is matched by --match only, such as --match 'namespaces: [\"\"]'"
            )));
        }
        if value.contains('*') && !is_pattern {
            return Err(Failure::Usage(format!(
                "--{flag} {value:?}: * is a letter there and nothing would match; write the names out, only --user-agent and --resource take patterns"
            )));
        }
    }
    Ok(())
}

fn of_flags(args: &MatchArgs) -> Result<Value, Failure> {
    for (flag, values) in [
        ("user", &args.user),
        ("group", &args.group),
        ("verb", &args.verb),
        ("namespace", &args.namespace),
        ("cluster", &args.cluster),
        ("code", &args.code),
        ("source-ip", &args.source_ip),
    ] {
        judge(flag, values, false)?;
    }
    judge("user-agent", &args.user_agent, true)?;
    judge("resource", &args.resource, true)?;
    if let Some(decision) = &args.decision {
        judge("decision", std::slice::from_ref(decision), false)?;
    }
    let mut keys = Map::new();
    for (key, values) in [
        ("users", &args.user),
        ("userGroups", &args.group),
        ("verbs", &args.verb),
        ("namespaces", &args.namespace),
        ("cluster", &args.cluster),
        ("codes", &args.code),
        ("sourceIPs", &args.source_ip),
        ("userAgents", &args.user_agent),
    ] {
        if !values.is_empty() {
            keys.insert(key.to_owned(), json!(values));
        }
    }
    if let Some(decision) = &args.decision {
        keys.insert("decision".to_owned(), json!(decision));
    }
    let resources = args.resource.iter().map(|text| resource(text));
    let resources: Vec<Value> = resources.collect::<Result<_, _>>()?;
    if !resources.is_empty() {
        keys.insert("resources".to_owned(), Value::Array(resources));
    }
    Ok(Value::Object(keys))
}

/// `deployments.apps/scale`: a resource, its group, its subresource.
fn resource(text: &str) -> Result<Value, Failure> {
    let (named, sub) = match text.split_once('/') {
        Some((named, sub)) => (named, Some(sub)),
        None => (text, None),
    };
    let (resource, group) = named.split_once('.').unwrap_or((named, ""));
    let is_sound = !resource.is_empty()
        && sub.is_none_or(|sub| !sub.is_empty() && !sub.contains('/'))
        && !named.ends_with('.');
    if !is_sound {
        return Err(Failure::Usage(format!(
            "--resource {text:?}: expected RESOURCE[.GROUP][/SUBRESOURCE], such as pods/exec or deployments.apps"
        )));
    }
    let resource = match sub {
        Some(sub) => format!("{resource}/{sub}"),
        None => resource.to_owned(),
    };
    Ok(json!({"group": group, "resources": [resource]}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_written_as_kubectl_does() {
        for (text, group, name) in [
            ("pods", "", "pods"),
            ("pods/exec", "", "pods/exec"),
            ("deployments.apps", "apps", "deployments"),
            ("deployments.apps/scale", "apps", "deployments/scale"),
            (
                "leases.coordination.k8s.io",
                "coordination.k8s.io",
                "leases",
            ),
            ("*/status", "", "*/status"),
        ] {
            let expected = json!({"group": group, "resources": [name]});
            assert_eq!(resource(text).ok(), Some(expected), "{text}");
        }
        for text in ["", "/exec", "pods/", ".apps", "pods/a/b", "pods."] {
            assert!(resource(text).is_err(), "{text}");
        }
    }
}
