//! A hint says what the table says, or nothing: for random tables, and against a second decision that is made
//! from the table's text.

use auditrelay_audit::Envelope;
use auditrelay_store::Hint;
use proptest::prelude::*;
use smallvec::smallvec;

use super::{
    tests::{event, routes},
    *,
};

/// The text of a table, of which routes are `(kind, verb)`.
fn table(routes: &[(u8, usize)]) -> String {
    let mut yaml =
        "channels: {ops: {preview: true}, sec: {preview: true}}\ndefault_channel: ops\n".to_owned();
    if !routes.is_empty() {
        yaml.push_str("routes:\n");
    }
    for (number, (kind, verb)) in routes.iter().enumerate() {
        let what = match kind % 6 {
            0 => "channel: ops",
            1 => "level: None",
            2 => "channel: sec, continue: true, severity: warning, bodies: redact",
            3 => "channel: [sec, ops], rate: {moreThan: 1, withinSeconds: 60}",
            4 => "channel: sec, auditIDReused: true, severity: critical",
            _ => {
                "channel: sec, rate: {moreThan: 1, withinSeconds: 60}, continue: true, severity: warning"
            }
        };
        let verbs = match VERBS.get(*verb) {
            Some(verb) => format!(", verbs: [{verb}]"),
            None => String::new(),
        };
        yaml.push_str(&format!("- {{name: r{number}, {what}{verbs}}}\n"));
    }
    yaml
}

const VERBS: [&str; 4] = ["get", "list", "delete", "watch"];

/// Every condition as it is told to be, in the order of asking.
struct Told {
    reused: bool,
    too_many: Vec<bool>,
    asked: usize,
}

impl Conditions for Told {
    fn is_reused(&self) -> bool {
        self.reused
    }

    fn is_too_many(&mut self, _: &Rate) -> bool {
        self.asked += 1;
        self.too_many[self.asked % self.too_many.len()]
    }
}

/// The same decision, by asking every route of the configuration's own text.
fn naive(
    routes: &[(u8, usize)],
    verb: &str,
    told: &mut Told,
) -> (Vec<(String, String)>, Option<String>) {
    let mut targets: Vec<(String, String, u8)> = Vec::new();
    for (number, (kind, of)) in routes.iter().enumerate() {
        if VERBS.get(*of).is_some_and(|of| *of != verb) {
            continue;
        }
        let name = format!("r{number}");
        let kind = kind % 6;
        if (kind == 4 && !told.reused) || ([3, 5].contains(&kind) && !told.ask()) {
            continue;
        }
        let (channels, rank): (&[&str], u8) = match kind {
            0 => (&["ops"], 2),
            2 | 5 => (&["sec"], 1),
            3 => (&["sec", "ops"], 2),
            4 => (&["sec"], 0),
            _ => (&[], 0),
        };
        if channels.is_empty() && targets.is_empty() {
            return (vec![], Some(name));
        }
        for channel in channels {
            match targets.iter_mut().find(|one| one.0 == *channel) {
                // Kinds 2 and 5 continue.
                Some(one) if rank < one.2 || (rank == one.2 && ![2, 5].contains(&kind)) => {
                    *one = (one.0.clone(), name.clone(), rank);
                }
                Some(_) => {}
                None => targets.push(((*channel).to_owned(), name.clone(), rank)),
            }
        }
        if ![2, 5].contains(&kind) {
            break;
        }
    }
    let targets = targets
        .into_iter()
        .map(|(channel, name, _)| (channel, name));
    (targets.collect(), None)
}

impl Told {
    fn ask(&mut self) -> bool {
        self.asked += 1;
        self.too_many[self.asked % self.too_many.len()]
    }
}

/// What holds of an event in a table, whatever both are.
fn holds(table_of: &[(u8, usize)], routes: &Routes, verb: &str, reused: bool, too_many: &[bool]) {
    let text = event("ResponseComplete", verb, "pods");
    let envelope = Envelope::parse(&text).expect("readable");
    let event = Event {
        cluster: "test",
        envelope: &envelope,
    };
    let matched = routes.matched(&event);
    let conditions = || Told {
        reused,
        too_many: too_many.to_vec(),
        asked: 0,
    };
    if let Matched::Routes(numbers) = &matched {
        assert!(numbers.len() > 4 || !numbers.spilled(), "it was allocated");
    }
    let fate = routes.fate(&matched, &mut conditions());
    if table_of.is_empty() {
        assert_eq!(matched, Matched::Default);
    } else {
        let expected = naive(table_of, verb, &mut conditions());
        let found = match &fate {
            Fate::Filtered(by) => (vec![], by.map(str::to_owned)),
            Fate::Told(targets) => {
                let target = |one: &Target<'_>| (one.channel.to_owned(), one.route.to_owned());
                (targets.iter().map(target).collect(), None)
            }
        };
        assert_eq!(found, expected, "{table_of:?} {verb}");
    }
    let (hint, is_stored) = match routes.at_the_door(&event) {
        Ok((hint, _)) => (Some(hint), true),
        Err(hint) => (hint, false),
    };
    let hinted = hint.and_then(|hint| routes.hinted(hint));
    if let Some(hinted) = &hinted {
        assert_eq!(*hinted, matched, "{table_of:?} {verb}");
    }
    if !is_stored {
        // Then the hint is all that the router has of it.
        let hinted = hinted.unwrap_or(Matched::Routes(Numbers::new()));
        assert!(!routes.counts(&hinted));
        assert_eq!(routes.fate(&hinted, &mut conditions()), fate);
        assert!(matches!(fate, Fate::Filtered(_)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn a_hint_says_what_the_table_says_or_nothing(
        table_of in prop::collection::vec((0..6_u8, 0..6_usize), 0..40),
        reused: bool,
        too_many in prop::collection::vec(any::<bool>(), 1..4),
    ) {
        let routes = routes(&table(&table_of));
        for verb in VERBS {
            holds(&table_of, &routes, verb, reused, &too_many);
        }
    }

    #[test]
    fn whatever_number_stands_in_a_hint_it_is_an_answer_of_the_table_or_none(
        table_of in prop::collection::vec((0..6_u8, 0..6_usize), 0..24),
        hint: u16,
    ) {
        let routes = routes(&table(&table_of));
        if let Some(Matched::Routes(numbers)) = routes.hinted(Hint(hint)) {
            let (last, before) = match numbers.split_last() {
                Some(split) => split,
                None => return Ok(()),
            };
            prop_assert!(numbers.is_sorted() && *last < routes.routes.len());
            prop_assert!(before.iter().all(|number| routes.routes[*number].is_open()));
        }
    }
}

#[test]
fn a_table_with_more_answers_than_hints_says_what_fits() {
    // 600 routes, of which 20 are open: each of them has a hint alone, and so has none of them.
    let kinds = |number: usize| if number.is_multiple_of(30) { 2 } else { 0 };
    let mut table_of: Vec<(u8, usize)> = (0..600).map(|number| (kinds(number), 5)).collect();
    for (number, route) in table_of.iter_mut().enumerate() {
        // `get` matches the first open one and the last route, `list` the last open one, `delete` all that are open.
        route.1 = match number {
            0 => 5,
            599 => 0,
            570 => 1,
            _ if route.0 == 2 => 2,
            _ => 3,
        };
    }
    table_of[0].1 = 0;
    let routes = routes(&table(&table_of));
    let hint = |verb: &str| {
        let text = event("ResponseComplete", verb, "pods");
        let envelope = Envelope::parse(&text).expect("readable");
        let event = Event {
            cluster: "test",
            envelope: &envelope,
        };
        let (hint, _) = routes.at_the_door(&event).expect("wanted");
        routes.hinted(hint)
    };
    assert_eq!(hint("get"), Some(Matched::Routes(smallvec![0, 599])));
    assert_eq!(hint("list"), None, "the twentieth open one has no bit");
    assert_eq!(hint("delete"), None, "so many together have no number");
    assert_eq!(hint("watch"), Some(Matched::Routes(smallvec![1])));
    for verb in VERBS {
        holds(&table_of, &routes, verb, false, &[true]);
    }
}

#[test]
fn what_only_the_router_can_decide_is_stored_and_what_nobody_wants_names_who_takes_it() {
    let routes = routes(
        "channels: {ops: {preview: true}}
routes:
- {name: quiet, level: None, verbs: [get]}
- {name: reused, channel: ops, auditIDReused: true, bodies: redact, verbs: [list]}
",
    );
    let door = |verb: &str| {
        let text = event("ResponseComplete", verb, "pods");
        let envelope = Envelope::parse(&text).expect("readable");
        routes.at_the_door(&Event {
            cluster: "test",
            envelope: &envelope,
        })
    };
    let said = |hint: Hint, reused| {
        let mut conditions = Told {
            reused,
            too_many: vec![true],
            asked: 0,
        };
        let matched = routes.hinted(hint).expect("it says something");
        match routes.fate(&matched, &mut conditions) {
            Fate::Filtered(by) => by,
            Fate::Told(_) => Some("told"),
        }
    };
    let quiet = door("get")
        .expect_err("nobody wants it")
        .expect("a route takes it");
    assert_eq!(said(quiet, false), Some("quiet"));
    let (reused, bodies) = door("list").expect("it may be told");
    assert_eq!((said(reused, false), bodies), (None, Bodies::Redact));
    assert_eq!(said(reused, true), Some("told"));
    assert_eq!(door("delete"), Err(None));
}

#[test]
fn a_table_that_reads_bodies_has_a_number_for_every_answer() {
    // As many as a configuration may have.
    for (open, all) in [(12, 14), (8, 254)] {
        let mut yaml = "channels: {ops: {preview: true}}\nroutes:\n".to_owned();
        for number in 0..all {
            let keys = match number {
                _ if number < open => "continue: true, verbs: [get, list], ",
                _ if number + 1 == all => "dryRun: false, verbs: [get], ",
                _ => "verbs: [watch], bodies: drop, ",
            };
            yaml.push_str(&format!("- {{name: r{number}, {keys}channel: ops}}\n"));
        }
        let routes = routes(&yaml);
        for verb in VERBS {
            let text = event("ResponseComplete", verb, "pods");
            let envelope = Envelope::parse(&text).expect("readable");
            let event = Event {
                cluster: "test",
                envelope: &envelope,
            };
            let Ok((hint, _)) = routes.at_the_door(&event) else {
                continue;
            };
            assert_eq!(routes.hinted(hint), Some(routes.matched(&event)), "{verb}");
        }
    }
}
