//! Which rules are said to be left nothing; `naive_tests.rs` holds that none is wrongly.

use super::tests::policy;

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_earlier_rules_leave_nothing_is_covered() {
    for (earlier, later, covered) in [
        ("{}", "{users: [a]}", true),
        ("{users: [a, b]}", "{users: [b]}", true),
        ("{users: [a]}", "{users: [a, b]}", false),
        ("{users: [a]}", "{}", false),
        (
            "{userGroups: [g, h]}",
            "{userGroups: [h], verbs: [get]}",
            true,
        ),
        (
            "{namespaces: [a]}",
            "{namespaces: [a], resources: [{group: apps}]}",
            true,
        ),
        ("{resources: [{group: ''}]}", "{namespaces: [a]}", false),
        (
            "{resources: [{group: '*'}]}",
            "{namespaces: [a], resources: [{group: apps}]}",
            true,
        ),
        ("{resources: [{group: '*'}]}", "{namespaces: [a]}", false),
        (
            "{resources: [{group: ''}]}",
            "{resources: [{group: '*'}]}",
            false,
        ),
        (
            "{resources: [{group: '', resources: [pods/*]}]}",
            "{resources: [{group: '', resources: [pods, pods/log]}]}",
            true,
        ),
        (
            "{resources: [{group: '', resources: [pods]}]}",
            "{resources: [{group: '', resources: [pods/log]}]}",
            false,
        ),
        (
            "{resources: [{group: '', resources: ['*/log']}]}",
            "{resources: [{group: '', resources: [pods/log]}]}",
            true,
        ),
        (
            "{resources: [{group: '', resources: ['*']}]}",
            "{resources: [{group: ''}]}",
            true,
        ),
        (
            "{resources: [{group: '', resources: [pods], resourceNames: [p]}]}",
            "{resources: [{group: '', resources: [pods]}]}",
            false,
        ),
        (
            "{resources: [{group: '', resources: [pods]}]}",
            "{resources: [{group: '', resources: [pods], resourceNames: [p]}]}",
            true,
        ),
        (
            "{nonResourceURLs: ['*']}",
            "{nonResourceURLs: [/a*, /b]}",
            true,
        ),
        (
            "{nonResourceURLs: [/ab*]}",
            "{nonResourceURLs: [/a*]}",
            false,
        ),
        ("{nonResourceURLs: [/a]}", "{nonResourceURLs: [/a*]}", false),
        (
            "{nonResourceURLs: [/a*]}",
            "{resources: [{group: ''}]}",
            false,
        ),
        ("{nonResourceURLs: ['*']}", "{}", false),
    ] {
        let rule = |fields: &str| format!("- {}", fields.replacen('{', "{level: None, ", 1));
        let policy = policy(&format!("rules:\n{}\n{}\n", rule(earlier), rule(later)));
        let expected = if covered { vec![0] } else { vec![] };
        assert_eq!(policy.covered_by(1), expected, "{earlier} before {later}");
        assert_eq!(policy.covered_by(0), [0_usize; 0]);
    }
    // Several together leave nothing, too.
    let policy = policy(
        "rules:\n- {level: None, verbs: [get]}\n- {level: None, verbs: [list], resources: [{group: ''}]}\n- {level: Metadata, verbs: [get, list], resources: [{group: '', resources: [pods, nodes]}]}\n",
    );
    assert_eq!(policy.covered_by(2), [0, 1]);
    assert_eq!(policy.covered_by(7), [0_usize; 0]);
}

/// Every pattern before every other one, asked about every object: none that is covered decides.
#[test]
fn a_covered_pattern_decides_about_nothing() {
    let patterns = [
        "*", "a", "b", "a/b", "a/a", "a/*", "b/*", "*/b", "*/*", "*/", "a/", "/b", "/*",
    ];
    let parts = ["a", "b", "*"];
    for earlier in patterns {
        for later in patterns {
            let rule = |one| {
                format!("- {{level: None, resources: [{{group: '', resources: ['{one}']}}]}}\n")
            };
            let policy = policy(&format!("rules:\n{}{}", rule(earlier), rule(later)));
            if policy.covered_by(1).is_empty() {
                continue;
            }
            for resource in parts {
                for subresource in ["", "a", "b", "*"] {
                    let what = format!("get {resource}/{subresource}");
                    let decides =
                        super::tests::asked(&what).with(|request| policy.rule_for(request));
                    assert_ne!(decides, Some(1), "{earlier} before {later}: {what}");
                }
            }
        }
    }
}
