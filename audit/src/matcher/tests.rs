//! What each key takes and leaves, by tables; and the whole against a second, naive implementation.

use super::*;
use crate::policy::GroupResources;

mod hostile;
mod naive;

fn event(more: &str) -> String {
    let comma = if more.is_empty() { "" } else { "," };
    format!(r#"{{"level":"Request","stage":"ResponseComplete"{comma}{more}}}"#)
}

fn matches(matcher: &Matcher, more: &str) -> bool {
    let text = event(more);
    let envelope = Envelope::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    matcher.matches(&Event {
        cluster: "home",
        envelope: &envelope,
    })
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(list: &[&str]) -> Vec<T> {
    list.iter().map(|one| one.parse().expect(one)).collect()
}

#[test]
fn codes() {
    let takes = |codes: &[&str], code: i32| {
        let matcher = Matcher {
            codes: parsed(codes),
            ..Matcher::default()
        };
        matches(&matcher, &format!(r#""responseStatus":{{"code":{code}}}"#))
    };
    for (codes, code, expected) in [
        (&["403"][..], 403, true),
        (&["403"], 404, false),
        (&["4xx"], 399, false),
        (&["4xx"], 400, true),
        (&["4xx"], 499, true),
        (&["4xx"], 500, false),
        (&["401-403"], 400, false),
        (&["401-403"], 402, true),
        (&["401-403"], 404, false),
        (&["200", "5xx"], 503, true),
        // None at all, and what is none.
        (&["100-999"], 0, false),
        (&["100-999"], -403, false),
    ] {
        assert_eq!(takes(codes, code), expected, "{codes:?} {code}");
    }
    let any = Matcher {
        codes: parsed(&["100-999"]),
        ..Matcher::default()
    };
    assert!(!matches(&any, ""), "an event without a status");
    for wrong in [
        "", "99", "1000", "40", "4x", "xxx", "0xx", "403-400", "4xx-5xx", "+403", "400-", "４03",
    ] {
        assert!(wrong.parse::<Codes>().is_err(), "{wrong}");
    }
    for written in ["403", "4xx", "400-498"] {
        let codes: Codes = written.parse().expect(written);
        assert_eq!(codes.to_string(), written);
    }
}

#[test]
fn the_decision_is_the_authorizers_word() {
    let matcher = |decision| Matcher {
        decision: Some(decision),
        ..Matcher::default()
    };
    let decided =
        |word: &str| format!(r#""annotations":{{"authorization.k8s.io/decision":"{word}"}}"#);
    let (allow, forbid) = (
        matcher(AuthorizerDecision::Allow),
        matcher(AuthorizerDecision::Forbid),
    );
    assert!(matches(&allow, &decided("allow")) && !matches(&allow, &decided("forbid")));
    assert!(matches(&forbid, &decided("forbid")) && !matches(&forbid, &decided("allow")));
    for neither in [String::new(), decided("Allow"), decided("")] {
        assert!(!matches(&allow, &neither) && !matches(&forbid, &neither));
    }
}

#[test]
fn impersonation() {
    let matcher = |users: &[&str], groups: &[&str]| Matcher {
        impersonated: Some(Impersonation {
            nobody: false,
            users: users.iter().map(ToString::to_string).collect(),
            user_groups: groups.iter().map(ToString::to_string).collect(),
        }),
        ..Matcher::default()
    };
    let as_bob = r#""user":{"username":"alice"},"impersonatedUser":{"username":"bob","groups":["ops","dev"]}"#;
    for (users, groups, expected) in [
        (&[][..], &[][..], true),
        (&["bob"], &[], true),
        (&["alice"], &[], false),
        (&[], &["none", "dev"], true),
        (&[], &["none"], false),
        (&["bob"], &["none"], false),
    ] {
        assert_eq!(
            matches(&matcher(users, groups), as_bob),
            expected,
            "{users:?} {groups:?}"
        );
    }
    let as_bob_self = r#""user":{"username":"bob"}"#;
    assert!(!matches(&matcher(&[], &[]), as_bob_self));
    let nobody = Matcher {
        impersonated: Some(Impersonation {
            nobody: true,
            ..Impersonation::default()
        }),
        ..Matcher::default()
    };
    assert!(matches(&nobody, as_bob_self));
    assert!(matches(&nobody, r#""impersonatedUser":null"#));
    // Whatever stands in it, it stands there.
    for other in [as_bob, r#""impersonatedUser":{}"#] {
        assert!(!matches(&nobody, other), "{other}");
    }
}

#[test]
fn only_the_last_address_counts_which_no_client_can_choose() {
    let takes = |networks: &[&str], addresses: &str| {
        let matcher = Matcher {
            source_ips: parsed(networks),
            ..Matcher::default()
        };
        matches(&matcher, &format!(r#""sourceIPs":[{addresses}]"#))
    };
    for (networks, addresses, expected) in [
        (&["10.0.0.0/8"][..], r#""10.1.2.3""#, true),
        (&["10.1.2.3"], r#""10.1.2.3""#, true),
        (&["10.1.2.3"], r#""10.1.2.4""#, false),
        (&["192.168.0.0/16", "10.0.0.0/8"], r#""10.1.2.3""#, true),
        (&["fd00::/8"], r#""fd00::7""#, true),
        (&["0.0.0.0/0"], r#""::1""#, false),
        // What X-Forwarded-For claims, before the peer: neither a way in nor a way out.
        (&["10.0.0.0/8"], r#""10.1.2.3","203.0.113.7""#, false),
        (&["203.0.113.0/24"], r#""10.1.2.3","203.0.113.7""#, true),
        // The same address in the other family's form.
        (&["10.0.0.0/8"], r#""::ffff:10.1.2.3""#, true),
        (&["::ffff:10.1.2.3"], r#""10.1.2.3""#, true),
        (&["0.0.0.0/0", "::/0"], "", false),
        (&["0.0.0.0/0", "::/0"], r#""10.1.2.3","none""#, false),
        (&["0.0.0.0/0", "::/0"], r#""10.1.2.3, 10.1.2.4""#, false),
    ] {
        assert_eq!(
            takes(networks, addresses),
            expected,
            "{networks:?} {addresses}"
        );
    }
    for wrong in [
        "",
        "10.0.0.0/33",
        "10.0.0",
        "host",
        "::ffff:10.0.0.0/104",
        "10.0.0.1 ",
    ] {
        assert!(wrong.parse::<Network>().is_err(), "{wrong}");
    }
    let usual = |text: &str| {
        let network: Network = text.parse().expect(text);
        network.truncated().map(|one| one.to_string())
    };
    assert_eq!(usual("10.1.2.3/8").as_deref(), Some("10.0.0.0/8"));
    assert_eq!(usual("10.0.0.0/8"), None);
    assert_eq!(usual("10.1.2.3"), None);
}

#[test]
fn patterns() {
    let agents = |patterns: &[&str], agent: &str| {
        let matcher = Matcher {
            user_agents: parsed(patterns),
            ..Matcher::default()
        };
        matches(
            &matcher,
            &format!(r#""userAgent":{}"#, serde_json::json!(agent)),
        )
    };
    for (patterns, agent, expected) in [
        (&["kubectl/*"][..], "kubectl/v1.36.0 (linux)", true),
        (&["kubectl/*"], "Kubectl/v1", false),
        (&["curl/?.*", "wget"], "curl/8.5", true),
        (&["curl/?.*"], "curl/18.5", false),
        (&["*"], "", true),
        (&[""], "x", false),
        (&["*é?"], "caf\u{e9}!", true),
        (&["[k]*"], "k", false),
    ] {
        assert_eq!(agents(patterns, agent), expected, "{patterns:?} {agent}");
    }
    let annotated = |patterns: &[(&str, &str)]| {
        let pairs = patterns.iter();
        let matcher = Matcher {
            annotations: pairs
                .map(|(key, pattern)| ((*key).to_owned(), pattern.parse().expect(pattern)))
                .collect(),
            ..Matcher::default()
        };
        let annotations = r#""annotations":{"a/reason":"RBAC: allowed by \"x\"","b":""}"#;
        matches(&matcher, annotations)
    };
    assert!(annotated(&[("a/reason", "RBAC: *\"x\"")]));
    assert!(annotated(&[("a/reason", "*"), ("b", "*")]));
    assert!(
        !annotated(&[("a/reason", "*"), ("c", "*")]),
        "each has to be there"
    );
    assert!(!annotated(&[("a/reason", "RBAC")]), "the whole value");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_dry_run_is_only_what_is_certain_to_be_one() {
    let is_dry = |verb: &str, subresource: &str, query: &str, body: &str| {
        let more = format!(
            r#""verb":"{verb}","requestURI":"/api/v1/x{query}","objectRef":{{"resource":"pods","subresource":"{subresource}"}}{body}"#
        );
        let takes = |wanted| {
            let matcher = Matcher {
                dry_run: Some(wanted),
                ..Matcher::default()
            };
            matches(&matcher, &more)
        };
        assert_ne!(takes(true), takes(false), "{more}");
        takes(true)
    };
    for verb in ["create", "update", "patch"] {
        assert!(is_dry(verb, "", "?dryRun=All", ""), "{verb}");
    }
    assert!(is_dry("patch", "status", "?a=b&dryRun=All&c", ""));
    for (query, expected) in [
        ("", false),
        ("?dryRun", false),
        ("?dryRun=", false),
        ("?dryRun=all", false),
        ("?dryrun=All", false),
        ("?xdryRun=All", false),
        ("?%64ryRun=%41ll", true),
        ("?dryRun=All&dryRun=All", true),
        ("?dryRun=All&dryRun=None", false),
        ("?dryRun=None&dryRun=All", false),
        // What Go leaves out of a query.
        ("?dryRun=All;", false),
        ("?dryRun=All%", false),
        ("?dryRun=All%4", false),
        ("?dryRun%zz=All", false),
        ("?a=%zz&dryRun=All", true),
        ("?dryRun=All+", false),
        ("?a?dryRun=All", false),
        ("?a=b?&dryRun=All", true),
    ] {
        assert_eq!(is_dry("create", "", query, ""), expected, "{query}");
    }
    let many = format!("?dryRun=All{}", "&a=b".repeat(10_000));
    assert!(!is_dry("create", "", &many, ""), "Go refuses to read it");
    // What is done all the same.
    for (verb, subresource) in [
        ("get", ""),
        ("list", ""),
        ("watch", ""),
        ("create", "exec"),
        ("get", "exec"),
        ("create", "token"),
        ("create", "proxy"),
        ("", ""),
        ("CREATE", ""),
    ] {
        assert!(
            !is_dry(verb, subresource, "?dryRun=All", ""),
            "{verb} {subresource}"
        );
    }
    // The options of a delete are those in its body, wherever it has one.
    let options = r#","requestObject":{"kind":"DeleteOptions","dryRun":["All"]}"#;
    let others = r#","requestObject":{"kind":"DeleteOptions"}"#;
    for verb in ["delete", "deletecollection"] {
        assert!(is_dry(verb, "", "", options));
        assert!(!is_dry(verb, "proxy", "", options));
        assert!(!is_dry(verb, "", "?dryRun=All", others));
        assert!(
            !is_dry(verb, "", "?dryRun=All", ""),
            "a body that is not logged may be there"
        );
        for body in [
            r#"[["All"]]"#,
            r#"{"dryRun":[]}"#,
            r#"{"dryRun":["All",""]}"#,
            r#"{"dryRun":"All"}"#,
        ] {
            assert!(
                !is_dry(verb, "", "", &format!(r#","requestObject":{body}"#)),
                "{body}"
            );
        }
    }
    let without_object = r#""verb":"create","requestURI":"/x?dryRun=All""#;
    let dry = Matcher {
        dry_run: Some(true),
        ..Matcher::default()
    };
    assert!(!matches(&dry, without_object));
}
