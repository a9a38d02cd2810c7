//! Details of a digest: complete, the same each time, within the limits.

use auditrelay_store::Marks;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::checker::assert_slack_takes;

fn members(count: usize, text: &str) -> Vec<(Severity, Delivery)> {
    let event = |n: usize| {
        let json = json!({
            "level": "Metadata", "stage": "ResponseComplete", "auditID": format!("id-{n}"), "verb": "get",
            "user": {"username": format!("alice{text}")}, "sourceIPs": ["10.0.0.9"],
            "objectRef": {"resource": "pods", "namespace": "shop", "name": format!("p{n}")},
            "responseStatus": {"code": 200}, "stageTimestamp": "2026-11-21T03:15:29.1Z",
        });
        let event = EventDelivery {
            cluster: "prod".into(),
            route: String::new(),
            json: json.to_string(),
            meant_for: None,
            marks: Marks::default(),
        };
        (Severity::Info, Delivery::Event(event))
    };
    (0..count).map(event).collect()
}

/// The names of all pods in the blocks, in their order.
fn told(replies: &[Message]) -> Vec<String> {
    let shown: String = replies
        .iter()
        .map(|reply| crate::preview::show("x", &reply.blocks, false))
        .collect();
    let names = shown
        .lines()
        .filter_map(|line| line.split_once("pod shop/")?.1.split(' ').next());
    names.map(str::to_owned).collect()
}

#[test]
fn replies_tell_every_member_once_and_in_order() {
    let members = members(450, "");
    let replies = replies(&members, 7, 10, true);
    replies.iter().for_each(assert_slack_takes);
    assert_eq!(
        told(&replies),
        (0..450).map(|n| format!("p{n}")).collect::<Vec<_>>()
    );
    assert!(replies.len() < 8, "{} replies", replies.len());
    assert!(replies.iter().all(|reply| reply.form == "details"));
    assert!(replies[0].text.starts_with("1 to "), "{}", replies[0].text);
    assert_eq!(replies, super::replies(&members, 7, 10, true));
    assert!(super::replies(&[], 7, 10, true).is_empty());
}

#[test]
fn what_does_not_fit_is_counted_in_the_last_one() {
    let members = members(1_000, "");
    let replies = replies(&members, 7, 2, true);
    assert_eq!(replies.len(), 2);
    let left = 1_000 - told(&replies).len();
    let more = format!(
        "and {left} more, for which there is no room here: auditrelay events --message 7 lists each of them"
    );
    assert!(replies[1].text.contains(&more), "{}", replies[1].text);
    assert!(replies[1].blocks[2].to_string().contains(&more));
    assert!(!replies[0].text.contains("no room"));
    replies.iter().for_each(assert_slack_takes);
    let silent = super::replies(&members, 7, 1, false);
    assert!(silent[0].text.contains("no room here") && !silent[0].text.contains("--message"));
}

#[test]
fn a_file_has_a_line_for_each() {
    let mut members = members(2, "");
    members.push((
        Severity::Warning,
        Delivery::Notice(Notice {
            text: "could not\nbe read".into(),
            events: 3,
            cluster: "prod".into(),
        }),
    ));
    assert_eq!(
        listing(&members),
        "info\t2026-11-21T03:15:29.1Z\t[prod] alice read pod shop/p0 (200)\t10.0.0.9\tid-0\n\
         info\t2026-11-21T03:15:29.1Z\t[prod] alice read pod shop/p1 (200)\t10.0.0.9\tid-1\n\
         warning\t\t[prod] auditrelay: 3 events could not␊be read\t\t\n"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_events_hold(text in any::<String>(), repeat in 1usize..300, count in 1usize..120) {
        let members = members(count, &text.repeat(repeat));
        replies(&members, 7, 3, true).iter().for_each(assert_slack_takes);
        prop_assert_eq!(listing(&members).lines().count(), count);
        prop_assert_eq!(listing(&members).split('\t').count(), 4 * count + 1);
    }
}
