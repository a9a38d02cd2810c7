//! What is suggested for a real log: it cuts, and it loses nothing that anybody would miss.

use std::fs;

use auditrelay_audit::{
    Envelope,
    policy::{Policy, Request, load},
};
use insta::assert_snapshot;

use crate::{EVERYTHING, LOG, json, lines, simulate, simulate_with, written};

const REQUESTS: &str = "tests/policy_simulate/policies/requests.yaml";
/// What the suggestion for `everything.yaml` has to take off this log at least; half of the log are writes by people.
const CUT_PERCENT_MIN: u64 = 20;

fn policy(text: &str) -> Policy {
    load(text).expect("the API server would load it").policy
}

/// In this test's own words, and wider than the command's.
fn must_stay(event: &Envelope<'_>) -> bool {
    let user = event.user.username.as_str();
    let is_write = !["get", "list", "watch", "head"].contains(&event.verb.as_str());
    let object = event.object_ref.as_ref();
    let is = |part: &str, names: &[&str]| names.contains(&part);
    let is_kept_kind = object.is_some_and(|object| {
        is(&object.resource, &["secrets"])
            || is(
                &object.subresource,
                &["exec", "attach", "portforward", "proxy", "token"],
            )
            || is(&object.api_group, &["rbac.authorization.k8s.io"])
    });
    (is_write && !user.starts_with("system:"))
        || matches!(event.code(), Some(401 | 403))
        || event.impersonated_user.is_some()
        || is_kept_kind
}

#[test]
fn a_suggestion_cuts_and_says_the_same_of_all_that_matters() {
    let folder = tempfile::tempdir().expect("a folder");
    for given in [EVERYTHING, REQUESTS] {
        let file = folder.path().join("suggested.yaml");
        let path = file.to_str().expect("text");
        let report = json(&[given, "--log", LOG, "--suggest", path]);
        let text = fs::read_to_string(&file).expect("written");
        assert_eq!(report["suggestion"]["policy"], text);
        let before = policy(&fs::read_to_string(given).expect("there"));
        let after = policy(&text);
        let rules = report["suggestion"]["rules"].as_array().expect("a list");
        assert_eq!(after.rules.len(), rules.len() + before.rules.len());
        assert_eq!(after.rules[rules.len()..], before.rules);
        let (mut matter, mut people) = (0, 0);
        for line in lines() {
            let event = Envelope::parse(&line).expect("an event");
            let request = Request::at_the_api_server(&event);
            let (old, new) = (before.evaluate(&request), after.evaluate(&request));
            if must_stay(&event) {
                matter += 1;
                assert_eq!(old.level, new.level, "{line}");
                assert_eq!(old.omit_stages, new.omit_stages, "{line}");
                assert_eq!(old.omit_managed_fields, new.omit_managed_fields, "{line}");
            }
            people += u64::from(!event.user.username.starts_with("system:"));
            assert!(new.level <= old.level, "{line}");
        }
        assert!(matter > 1_000 && people > 1_000, "{matter} {people}");
        for loss in report["suggestion"]["losses"].as_array().expect("a list") {
            if loss["kind"] != "heartbeat" {
                assert_eq!(
                    (&loss["lost"], &loss["lowered"]),
                    (&0.into(), &0.into()),
                    "{loss}"
                );
            }
        }
        // Run on its own, it does what was said of it.
        let proven = json(&[path, "--log", LOG, "--against", given]);
        for side in ["before", "after"] {
            assert_eq!(proven[side], report["suggestion"][side]);
        }
        let bytes = |side: &str| proven[side]["bytes"].as_u64().expect("a number");
        let events = |side: &str| proven[side]["events"].as_u64().expect("a number");
        let sum = |what: &str| {
            let each = rules
                .iter()
                .map(|rule| rule[what].as_u64().expect("a number"));
            each.sum::<u64>()
        };
        assert_eq!(bytes("before") - bytes("after"), sum("bytes"));
        assert_eq!(events("before") - events("after"), sum("events"));
        if given == EVERYTHING {
            let cut = 100 - bytes("after") * 100 / bytes("before");
            assert!(cut >= CUT_PERCENT_MIN, "only {cut} %");
        }
    }
}

#[test]
fn what_is_suggested_is_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, policy_text, report) = simulate_with(
        b"",
        &[
            EVERYTHING,
            "--log",
            LOG,
            "--top",
            "1",
            "--suggest",
            "-",
            "--rules-max",
            "3",
        ],
    );
    assert_eq!(code, 0, "{report}");
    assert_snapshot!("suggested_policy", policy_text);
    let shown = report.split_once("Suggestion\n").expect("told").1;
    assert_snapshot!("suggestion", shown);
    assert_eq!(policy(&policy_text).rules.len(), 5);
    // A suggestion for what was suggested has less to say, and ends with nothing at all.
    let first = written(folder.path(), "first.yaml", &policy_text);
    let again = folder.path().join("again.yaml");
    let all = folder.path().join("all.yaml");
    let (again, all) = (again.to_str().expect("text"), all.to_str().expect("text"));
    simulate(&[&first, "--log", LOG, "--suggest", all]);
    let told = simulate(&[all, "--log", LOG, "--suggest", again]);
    assert!(told.contains("Nothing that is safe to leave out"), "{told}");
    assert!(!fs::exists(again).expect("looked"), "nothing to write");
}

#[test]
fn a_suggestion_needs_a_log_that_can_be_read_twice() {
    for (args, problem) in [
        (
            &["--log", "-", "--suggest", "x.yaml"][..],
            "reads the log twice",
        ),
        (&["--log", LOG, "--suggest", "-", "--json"], "in the report"),
        (&["--log", LOG, "--rules-max", "3"], "--suggest"),
    ] {
        let args: Vec<&str> = [EVERYTHING].iter().chain(args).copied().collect();
        let (code, stdout, stderr) = simulate_with(b"", &args);
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}");
        assert!(stderr.contains(problem), "{stderr}");
    }
}
