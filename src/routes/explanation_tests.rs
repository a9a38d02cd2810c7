//! What is said of routes, against what they do.

use std::io::Write;

use auditrelay_config::{Overrides, load};
use proptest::{prelude::*, sample::subsequence};

use super::*;

fn config(yaml: &str) -> Config {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(yaml.as_bytes()).expect("written");
    let loaded = load(Some(file.path()), [], Overrides::default());
    loaded.expect("valid").config
}

fn explained(config: &Config, json: &str) -> Explanation {
    let envelope = Envelope::parse(json).expect("an event");
    let event = Event {
        cluster: "prod",
        envelope: &envelope,
    };
    Explanation::of(config, &Routes::new(config), &event)
}

const CHANNELS: &str =
    "channels: {ops: {preview: true}, sec: {preview: true}}\ndefault_channel: ops\n";

fn event(stage: &str, verb: &str, resource: &str) -> String {
    format!(
        r#"{{"level":"Metadata","stage":"{stage}","verb":"{verb}","auditID":"x","user":{{"username":"alice","groups":["dev"]}},"objectRef":{{"resource":"{resource}","namespace":"shop","name":"db"}},"responseStatus":{{"code":200}}}}"#
    )
}

#[test]
fn each_route_says_why_and_the_one_that_decides_ends_it() {
    let config = config(&format!(
        "{CHANNELS}routes:
- {{name: quiet, level: None, verbs: [list, watch]}}
- {{name: burst, channel: sec, severity: critical, rate: {{moreThan: 20, withinSeconds: 60, by: [user]}}}}
- {{name: again, channel: sec, auditIDReused: true}}
- {{name: also, channel: ops, continue: true, userGroups: [dev]}}
- {{name: secrets, channel: [ops, sec], severity: warning, resources: [{{resources: [secrets]}}]}}
- {{name: rest, channel: ops}}
"
    ));
    let text = explained(&config, &event("ResponseComplete", "get", "secrets")).text();
    insta::assert_snapshot!(text, @r#"
    alice get secrets/db in shop → 200
      ResponseComplete at level Metadata, cluster prod, audit ID x
      #  route    matches?   why
      1  quiet    no         verbs: get is not one of list, watch
      2  burst    may match  from the 21st within 60 s on of the same user; until then the routes behind it are asked
      3  again    may match  if its audit ID and stage were another event's before; until then the routes behind it are asked
      4  also     matches    the routes behind it are asked too (continue)
      5  secrets  matches    decides
      6  rest     not asked  secrets decided
      → alone: told in ops (warning, by route secrets), sec (warning, by route secrets)
      → where what is asked for beside it is so: told in sec (critical, by route burst)
    "#);
}

#[test]
fn a_stage_that_is_not_told_by_default_is_explained() {
    let config = config(&format!(
        "{CHANNELS}routes: [{{name: all, channel: ops}}, {{name: none, level: None}}]\n"
    ));
    let text = explained(&config, &event("RequestReceived", "get", "pods")).text();
    insta::assert_snapshot!(text, @"
    alice get pods/db in shop → 200
      RequestReceived at level Metadata, cluster prod, audit ID x
      #  route  matches?  why
      1  all    no        stages: this is RequestReceived; without stages a route takes a request once, at its end (exec, attach and port-forward at their start)
      2  none   matches   decides: level None, for no channel
      → no channel hears of it: filtered by route none
    ");
}

#[test]
fn without_routes_the_default_channel_is_named() {
    let config = config(CHANNELS);
    let text = explained(&config, &event("ResponseComplete", "get", "pods")).text();
    assert!(
        text.ends_with("→ told in ops (info, the default channel)\n"),
        "{text}"
    );
}

#[test]
fn ordinals() {
    let all = [1, 2, 3, 4, 11, 12, 13, 21, 101, 112].map(ordinal);
    let expected = [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "101st", "112th",
    ];
    assert_eq!(all, expected);
}

fn a_route() -> impl Strategy<Value = String> {
    let some = |all: &'static [&'static str]| subsequence(all.to_vec(), 0..=1);
    (
        some(&["get", "list", "delete"]),
        some(&["ResponseComplete", "RequestReceived"]),
        some(&["secrets", "pods"]),
        some(&["shop", ""]),
        0..5_u8,
    )
        .prop_map(|(verbs, stages, resources, namespaces, kind)| {
            let resources = match resources.as_slice() {
                [] => String::new(),
                some => format!(", resources: [{{resources: [{}]}}]", some.join(",")),
            };
            let namespaces: Vec<String> =
                namespaces.iter().map(|one| format!("\"{one}\"")).collect();
            let own = match kind {
                0 => "level: None",
                1 => "channel: sec, continue: true",
                2 => "channel: sec, rate: {moreThan: 1, withinSeconds: 9}",
                3 => "channel: [ops, sec], auditIDReused: true",
                _ => "channel: ops",
            };
            format!(
                "{own}, verbs: [{}], stages: [{}], namespaces: [{}]{resources}",
                verbs.join(","),
                stages.join(","),
                namespaces.join(",")
            )
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_is_said_to_match_is_what_matches(
        routes in prop::collection::vec(a_route(), 0..6),
        stage in prop::sample::select(vec!["ResponseComplete", "RequestReceived", "Panic"]),
        verb in prop::sample::select(vec!["get", "list", "delete"]),
        resource in prop::sample::select(vec!["secrets", "pods", "nodes"]),
    ) {
        let routes: String = routes
            .iter()
            .enumerate()
            .map(|(number, route)| format!("- {{name: r{number}, {route}}}\n"))
            .collect();
        let config = config(&format!("{CHANNELS}routes:\n{routes}"));
        let json = event(stage, verb, resource);
        let envelope = Envelope::parse(&json).expect("an event");
        let event = Event { cluster: "prod", envelope: &envelope };
        let table = Routes::new(&config);
        let matched = match table.matched(&event) {
            Matched::Default => Vec::new(),
            Matched::Routes(numbers) => numbers.iter().copied().collect(),
        };
        let said = Explanation::of(&config, &table, &event);
        let says: Vec<usize> = said
            .routes
            .iter()
            .enumerate()
            .filter(|(_, asked)| matches!(asked.result, Said::Matches | Said::MayMatch))
            .map(|(number, _)| number)
            .collect();
        prop_assert_eq!(&says, &matched);
        for (route, asked) in config.routes.iter().zip(&said.routes) {
            let matcher = route.matcher();
            prop_assert_eq!(matcher.mismatch(&event).is_none(), matcher.matches(&event));
            if asked.result == Said::DoesNotMatch {
                prop_assert!(asked.key.is_some());
            }
        }
    }
}
