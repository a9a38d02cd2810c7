//! The keys of routes that only events have, how they are refused, and the starter routes.

mod common;

use auditrelay_config::{RouteLevel, STARTER_CHANNEL, STARTER_ROUTES};
use common::{Case, line};

fn route_line(keys: &str) -> String {
    let line = line(&format!("routes: [{{name: a, channel: default, {keys}}}]"));
    let start = "a.yaml: routes[0].";
    line.strip_prefix(start).unwrap_or(&line).to_owned()
}

#[test]
fn every_key_is_read_and_shown_as_it_is_written() {
    let keys = r#"{"codes":[403,"4xx","400-498"],"decision":"forbid","impersonated":{},
        "sourceIPs":["10.0.0.0/8","10.1.2.3"],"userAgents":["kubectl/*"],"annotations":{"a.b/c.d":"x*?"},
        "dryRun":false,"risks":["cluster-admin","host-path"],"name":"a","channel":"default"}"#;
    let from_file = Case::file(format!("routes: [{keys}]")).loaded();
    let from_environment = Case::bare().env("AUDITRELAY__ROUTES__0", keys).loaded();
    assert_eq!(from_file.config.routes, from_environment.config.routes);
    let single = Case::file("routes: [{name: a, channel: default}]")
        .env("AUDITRELAY__ROUTES__0__ANNOTATIONS", r#"{"a.b/c.d":"x*?"}"#)
        .env("AUDITRELAY__ROUTES__0__CODES", r#"["5xx"]"#)
        .env("AUDITRELAY__ROUTES__0__SOURCE_IPS", r#"["::1"]"#)
        .env("AUDITRELAY__ROUTES__0__DRY_RUN", "true")
        .loaded();
    let shown = |loaded: &auditrelay_config::Loaded| {
        serde_json::to_value(&loaded.config.routes[0]).expect("shown")
    };
    let route = shown(&from_file);
    assert_eq!(route["codes"], serde_json::json!(["403", "4xx", "400-498"]));
    assert_eq!(
        route["sourceIPs"],
        serde_json::json!(["10.0.0.0/8", "10.1.2.3"])
    );
    assert_eq!(route["annotations"], serde_json::json!({"a.b/c.d": "x*?"}));
    assert_eq!(route["impersonated"]["users"], serde_json::json!([]));
    let route = shown(&single);
    assert_eq!(route["annotations"], serde_json::json!({"a.b/c.d": "x*?"}));
    assert_eq!(
        (&route["codes"][0], &route["dryRun"]),
        (&"5xx".into(), &true.into())
    );
    assert_eq!(route["impersonated"], serde_json::Value::Null);
    let matcher = from_file.config.routes[0].matcher();
    assert!(matcher.impersonated.is_some() && matcher.annotations.len() == 1);
    assert_eq!((matcher.codes.len(), matcher.risks.len()), (3, 2));
}

#[test]
fn what_cannot_be_is_refused_with_its_key() {
    let codes = "a status code from 100 to 999 such as 403, a class such as 4xx, or a range such as 400-499";
    let network = "an address such as 10.1.2.3, or a network such as 10.0.0.0/8 or fd00::/8";
    for (keys, expected) in [
        ("codes: [200, 42]", format!("codes[1]: found integer `42`, expected {codes}")),
        ("codes: [4x]", format!("codes[0]: found string \"4x\", expected {codes}")),
        ("codes: 403", "codes: found integer `403`, expected a list".to_owned()),
        ("sourceIPs: [10.0.0.300]", format!("sourceIPs[0]: found string \"10.0.0.300\", expected {network}")),
        (
            "sourceIPs: ['::1', 10.1.2.3/8]",
            "sourceIPs[1]: found \"10.1.2.3/8\", an address with the length of a network's prefix, expected the \
             network, 10.0.0.0/8, or the address alone".to_owned(),
        ),
        ("decision: Allow", "decision: unknown variant `Allow`, expected `allow` or `forbid`".to_owned()),
        ("annotations: [a]", "annotations: found a list, expected a map of text".to_owned()),
        (
            "risks: [root]",
            "risks[0]: unknown variant `root`, expected one of `cluster-admin`, `wildcard`, `escalation`, \
             `privileged`, `host-path`, `host-namespaces`".to_owned(),
        ),
        (
            "omitStages: [RequestReceived]",
            "omitStages: there is no such key: a route takes a request once, whatever stages were logged; to \
             choose the stage use `stages`".to_owned(),
        ),
        (
            "level: Metadata",
            "level: found string \"Metadata\", expected None, which means no channel (to take events of some \
             audit levels only use levels)".to_owned(),
        ),
    ] {
        assert_eq!(route_line(keys), expected, "{keys}");
    }
    let long = format!("userAgents: ['{}']", "x".repeat(257));
    let refusal = route_line(&long);
    assert!(
        refusal.ends_with("expected a pattern of at most 256 characters"),
        "{refusal}"
    );
}

#[test]
fn what_silences_cannot_be_made_to_hide_somebody() {
    let none = |keys: &str| {
        let line = line(&format!("routes: [{{name: a, level: None, {keys}}}]"));
        let line = line.strip_prefix("a.yaml: routes[0].");
        line.expect("of the route").to_owned()
    };
    for (keys, expected) in [
        (
            "rate: {moreThan: 1, withinSeconds: 1}",
            "rate: cannot stand beside level: None: ",
        ),
        (
            "auditIDReused: true",
            "auditIDReused: cannot stand beside level: None: ",
        ),
        (
            "risks: [privileged]",
            "risks: cannot stand beside level: None: ",
        ),
        (
            "continue: true",
            "continue: is of no use beside level: None: ",
        ),
        ("template: x", "template: is of no use beside level: None"),
        ("command: x", "command: is of no use beside level: None"),
        (
            "channel: default",
            "channel: expected none beside level: None",
        ),
    ] {
        let line = none(keys);
        assert!(line.starts_with(expected), "{line}");
    }
}

#[test]
fn starter_routes_come_after_ones_own() {
    let text = "channels: {sec: {preview: true}}\nstarter_routes: sec\n";
    let mine = "routes: [{name: mine, level: None, users: [ci]}]";
    let routes = Case::file(format!("{text}{mine}")).loaded().config.routes;
    assert_eq!(routes[0].name.as_str(), "mine");
    assert!(routes.len() > 20);
    for route in &routes[1..] {
        assert!(
            route.name.as_str().starts_with("starter-"),
            "{}",
            route.name.as_str()
        );
        let is_quiet = route.name.as_str().starts_with("starter-quiet-");
        assert_eq!(route.level == Some(RouteLevel::None), is_quiet);
        let channels: Vec<&str> = route.channel.iter().map(AsRef::as_ref).collect();
        assert_eq!(channels, if is_quiet { &[][..] } else { &["sec"] });
    }
    assert_eq!(
        line("starter_routes: nope"),
        "a.yaml: starter_routes: found \"nope\", expected one of the channels (default)"
    );
    assert_eq!(
        line(&format!(
            "{text}routes: [{{name: starter-exec, channel: sec}}]"
        )),
        "a.yaml: routes[0].name: found \"starter-exec\", which a starter route has (starter_routes is set)"
    );
    // Copied by hand, the list is the same.
    let copied = STARTER_ROUTES.replace(STARTER_CHANNEL, "sec");
    let copied = Case::file(format!("channels: {{sec: {{preview: true}}}}\n{copied}")).loaded();
    assert_eq!(copied.config.routes, routes[1..]);
    // Each has its reason above it.
    for (before, name) in STARTER_ROUTES.lines().zip(STARTER_ROUTES.lines().skip(1)) {
        let is_first = name.trim_start().starts_with("- name: ");
        let follows = [
            "starter-quiet-cluster-info",
            "starter-quiet-kube-system-leases",
        ];
        let is_explained = before.trim_start().starts_with('#');
        assert!(
            !is_first || is_explained || follows.iter().any(|one| name.ends_with(one)),
            "{name}"
        );
    }
}

#[test]
fn open_routes_beside_one_that_reads_bodies_are_as_many_as_can_be_noted() {
    let table = |open: usize, all: usize, reads: &str| {
        let mut yaml = "routes:\n".to_owned();
        for number in 0..all {
            let keys = match number {
                _ if number < open => "continue: true, ",
                _ if number == open => reads,
                _ => "",
            };
            yaml.push_str(&format!("- {{name: r{number}, {keys}channel: default}}\n"));
        }
        yaml
    };
    let reads = "dryRun: true, ";
    for (open, all) in [(12, 14), (8, 254), (6, 600)] {
        Case::file(table(open, all, reads)).loaded();
        Case::file(table(open, all, "risks: [wildcard], ")).loaded();
    }
    for (open, all, open_max) in [(12, 15, 11), (8, 255, 7), (20, 600, 6)] {
        for reads in [reads, "risks: [wildcard], "] {
            let line = line(&table(open, all, reads));
            let start = format!(
                "a.yaml: routes: found {open} open routes (with rate, auditIDReused or continue) among {all} in all, \
                 starter routes included, expected at most {open_max} where a route reads bodies (\"r{open}\" does"
            );
            assert!(line.starts_with(&start), "{line}");
        }
        // Where none reads bodies, what is stored is as good.
        Case::file(table(open, all, "verbs: [get], ")).loaded();
    }
    // Those that are added count.
    let yaml = table(12, 13, "");
    Case::file(&yaml).loaded();
    let line = line(&format!("{yaml}starter_routes: default\n"));
    assert!(line.contains("routes: found 14 open routes"), "{line}");
}
