//! Rules that decide nothing, stages, and what no rule is for.

use auditrelay_audit::{
    Level, Stage,
    policy::{GroupResources, Match, Policy, Rule},
};

use super::{Report, Weight, rules};

pub(super) fn look(report: &mut Report<'_>) {
    let policy = &report.loaded.policy;
    covered(report, policy);
    catch_all(report, policy);
    stages(report, policy);
    bodies(report, policy);
}

fn covered(report: &mut Report<'_>, policy: &Policy) {
    for (number, rule) in policy.rules.iter().enumerate() {
        let by = policy.covered_by(number);
        if by.is_empty() {
            continue;
        }
        let path = format!("rules[{number}]");
        let does_the_same = by
            .iter()
            .filter_map(|by| policy.rules.get(*by))
            .all(|by| same(policy, by, rule));
        if does_the_same {
            let what = format!(
                "decides nothing: {} took all of it, and does the same",
                rules(&by)
            );
            report.add((Weight::Warning, "redundant"), &path, what, "take it out");
        } else {
            let what = format!(
                "decides nothing: {} took all of it, and not at level {}",
                rules(&by),
                rule.level.as_str()
            );
            let advice = format!("move it above {}, or take it out", rules(&by[..1]));
            report.add((Weight::Error, "shadowed"), &path, what, advice);
        }
    }
}

/// Whether two rules write the same of a request.
fn same(policy: &Policy, one: &Rule, other: &Rule) -> bool {
    let stages = |rule: &Rule| {
        let omits =
            |stage: &Stage| policy.omit_stages.contains(stage) || rule.omit_stages.contains(stage);
        Stage::ALL.into_iter().filter(omits).collect::<Vec<_>>()
    };
    let fields = |rule: &Rule| {
        rule.omit_managed_fields
            .unwrap_or(policy.omit_managed_fields)
    };
    let is_nothing = one.level == Level::None;
    one.level == other.level
        && (is_nothing || (stages(one) == stages(other) && fields(one) == fields(other)))
}

fn catch_all(report: &mut Report<'_>, policy: &Policy) {
    let is_covered = |groups: &[&str]| {
        everything(groups).into_iter().all(|matched| {
            let mut more = policy.clone();
            more.rules.push(Rule {
                level: Level::Metadata,
                matched,
                omit_stages: Vec::new(),
                omit_managed_fields: None,
            });
            !more.covered_by(policy.rules.len()).is_empty()
        })
    };
    let is_whole = policy
        .rules
        .iter()
        .any(|rule| rule.matched == Match::default());
    if is_whole || is_covered(&[]) {
        return;
    }
    let (what, advice) = if is_covered(&["system:authenticated"])
        && is_covered(&["system:unauthenticated"])
    {
        (
            "each rule is for users or groups, and a request that is refused with 401 is nobody's: failed logins leave no trace",
            "end with a rule that has only \"level: Metadata\"",
        )
    } else {
        (
            "no rule is for all that is left, and what no rule matches leaves no trace: new kinds of resources, and whoever nobody thought of",
            "end with a rule that has only \"level: Metadata\" (or \"level: None\", if that is what is meant)",
        )
    };
    report.add((Weight::Warning, "no-catch-all"), "", what, advice);
}

/// What together is every request of users of these groups, or of everybody: about resources, and about paths.
fn everything(groups: &[&str]) -> [Match; 2] {
    let matched = Match {
        user_groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..Match::default()
    };
    let any_group = GroupResources {
        group: "*".to_owned(),
        resources: Vec::new(),
        resource_names: Vec::new(),
    };
    [
        Match {
            resources: vec![any_group],
            ..matched.clone()
        },
        Match {
            non_resource_urls: vec!["/*".to_owned()],
            ..matched
        },
    ]
}

fn stages(report: &mut Report<'_>, policy: &Policy) {
    let writes = |rule: &&(usize, &Rule)| rule.1.level != Level::None;
    let all: Vec<(usize, &Rule)> = policy.rules.iter().enumerate().collect();
    let omits = |rule: &Rule, stage: Stage| {
        policy.omit_stages.contains(&stage) || rule.omit_stages.contains(&stage)
    };
    let received: Vec<usize> = all
        .iter()
        .filter(writes)
        .filter(|(_, rule)| !omits(rule, Stage::RequestReceived))
        .map(|(number, _)| *number)
        .collect();
    if let Some(first) = received.first() {
        let path = if received.len() == all.iter().filter(writes).count() {
            String::new()
        } else {
            format!("rules[{first}]")
        };
        report.add(
            (Weight::Warning, "request-received"),
            &path,
            "each request is also written before it is looked at (stage RequestReceived), which doubles the events and says nothing that the later one does not",
            "add omitStages: [RequestReceived] at the top",
        );
    }
    for (number, rule) in all.iter().filter(writes) {
        let path = format!("rules[{number}].omitStages");
        let ends = [
            Stage::ResponseStarted,
            Stage::ResponseComplete,
            Stage::Panic,
        ];
        if Stage::ALL.into_iter().all(|stage| omits(rule, stage)) {
            let what = "every stage is left out, so the rule writes nothing";
            let advice = "write level: None, or leave a stage in";
            report.add((Weight::Error, "no-stages"), &path, what, advice);
        } else if ends.into_iter().all(|stage| omits(rule, stage)) {
            let what = "only RequestReceived is left, so no event says how a request ended or what it was answered";
            let advice = "leave ResponseComplete in, and RequestReceived out";
            report.add((Weight::Warning, "no-outcome"), &path, what, advice);
        } else if omits(rule, Stage::ResponseComplete) {
            let what =
                "ResponseComplete is left out, so most requests are never said to have ended";
            let advice = "leave ResponseComplete in";
            report.add((Weight::Warning, "no-outcome"), &path, what, advice);
        }
    }
}

fn bodies(report: &mut Report<'_>, policy: &Policy) {
    let mut rules = policy.rules.iter();
    let has_bodies = |rule: &Rule| matches!(rule.level, Level::Request | Level::RequestResponse);
    if let Some(first) = rules.position(has_bodies) {
        report.add(
            (Weight::Note, "truncation"),
            &format!("rules[{first}].level"),
            "bodies are written; one that cannot be sent costs the whole batch it is in",
            "start the API server with --audit-webhook-truncate-enabled, so that it costs only itself",
        );
    }
}
