//! Reading messages back: history, threads, their metadata and pages.

use serde_json::{Value, json};

use auditrelay_loadtest::slack::{Channel, ChannelKind, LocalSlack, Options, Token};

use crate::support::{
    TOKEN, call, hook, named, ok, outcomes, post, posted, refused, send, start, unpaced,
};

const HISTORY: &str = "conversations.history";

fn texts(answer: &Value) -> Vec<&str> {
    let messages = answer["messages"].as_array().unwrap();
    messages
        .iter()
        .map(|m| m["text"].as_str().unwrap())
        .collect()
}

async fn filled(count: usize) -> (LocalSlack, Vec<String>) {
    let slack = start(unpaced()).await;
    let mut stamps = Vec::new();
    for number in 1..=count {
        stamps.push(posted(&slack, named("a", &number.to_string())).await);
        hook(&slack, "b", json!({"text": "elsewhere"})).await;
    }
    (slack, stamps)
}

#[tokio::test]
async fn history_is_newest_first_and_metadata_whole_only_when_asked_for() {
    let (slack, stamps) = filled(3).await;
    let answer = ok(&slack, HISTORY, json!({"channel": "a"})).await;
    assert_eq!(texts(&answer), ["3", "2", "1"]);
    assert_eq!(answer["has_more"], false);
    let newest = &answer["messages"][0];
    assert_eq!(newest["ts"], json!(stamps[2]));
    assert_eq!(
        newest["metadata"],
        json!({"event_type": "auditrelay_message"})
    );
    for flag in [json!(true), json!("true"), json!(1)] {
        let arguments = json!({"channel": "a", "include_all_metadata": flag});
        let answer = ok(&slack, HISTORY, arguments).await;
        let metadata = &answer["messages"][0]["metadata"];
        assert_eq!(metadata["event_payload"], json!({"id": "3"}));
    }
    let form = format!(
        "{}{HISTORY}?channel=a&include_all_metadata=1",
        slack.api_url()
    );
    let answer = send("GET", &form, &[TOKEN], "").await.json();
    assert_eq!(
        answer["messages"][2]["metadata"]["event_payload"]["id"],
        "1"
    );
}

#[tokio::test]
async fn bounds_are_exclusive_unless_inclusive() {
    let (slack, stamps) = filled(4).await;
    let (oldest, latest) = (&stamps[0], &stamps[2]);
    for (arguments, expected) in [
        (json!({"oldest": oldest}), vec!["4", "3", "2"]),
        (json!({"latest": latest}), vec!["2", "1"]),
        (json!({"oldest": oldest, "latest": latest}), vec!["2"]),
        (
            json!({"oldest": oldest, "latest": latest, "inclusive": true}),
            vec!["3", "2", "1"],
        ),
        (
            json!({"oldest": oldest, "inclusive": "true"}),
            vec!["4", "3", "2", "1"],
        ),
        (json!({"oldest": "99999999999"}), vec![]),
        (
            json!({"oldest": oldest.split('.').next()}),
            vec!["4", "3", "2", "1"],
        ),
    ] {
        let mut arguments = arguments;
        arguments["channel"] = json!("a");
        let answer = ok(&slack, HISTORY, arguments.clone()).await;
        assert_eq!(texts(&answer), expected, "{arguments}");
    }
    for (name, error) in [
        ("oldest", "invalid_ts_oldest"),
        ("latest", "invalid_ts_latest"),
    ] {
        for wrong in [json!("yesterday"), json!(1.5), json!(1_700_000_000)] {
            let answer = call(&slack, HISTORY, json!({"channel": "a", name: wrong})).await;
            assert_eq!(answer.error(), error);
        }
    }
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repetition() {
    let (slack, _stamps) = filled(5).await;
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let arguments = json!({"channel": "a", "limit": 2, "cursor": cursor});
        let answer = ok(&slack, HISTORY, arguments).await;
        seen.extend(texts(&answer).into_iter().map(str::to_owned));
        let next = answer["response_metadata"]["next_cursor"].as_str();
        assert_eq!(answer["has_more"], next.is_some());
        let Some(next) = next else { break };
        cursor = next.to_owned();
        // A message that comes between two pages is on none of the later ones.
        post(&slack, named("a", "between")).await;
    }
    assert_eq!(seen, ["5", "4", "3", "2", "1"]);
    for (name, wrong, error) in [
        ("cursor", json!("nonsense"), "invalid_cursor"),
        ("limit", json!(0), "invalid_limit"),
        ("limit", json!(1_000), "invalid_limit"),
        ("limit", json!("many"), "invalid_limit"),
    ] {
        let answer = call(&slack, HISTORY, json!({"channel": "a", name: wrong})).await;
        assert_eq!(answer.error(), error);
    }
    let hundred = start(unpaced()).await;
    for _ in 0..101 {
        hook(&hundred, "a", json!({"text": "x"})).await;
    }
    let answer = ok(&hundred, HISTORY, json!({"channel": "a"})).await;
    assert_eq!(
        (texts(&answer).len(), &answer["has_more"]),
        (100, &json!(true))
    );
}

#[tokio::test]
async fn replies_are_in_their_thread_and_not_in_the_history() {
    let slack = start(unpaced()).await;
    let parent = posted(&slack, named("a", "parent")).await;
    let reply = |text: &str, broadcast: bool| {
        let mut reply = named("a", text);
        reply["thread_ts"] = json!(parent);
        reply["reply_broadcast"] = json!(broadcast);
        reply
    };
    let first = posted(&slack, reply("first", false)).await;
    let second = posted(&slack, reply("second", true)).await;
    let answer = ok(&slack, HISTORY, json!({"channel": "a"})).await;
    assert_eq!(texts(&answer), ["second", "parent"]);
    let shown = &answer["messages"][1];
    assert_eq!(shown["reply_count"], 2);
    assert_eq!(
        (&shown["thread_ts"], &shown["latest_reply"]),
        (&json!(parent), &json!(second))
    );
    // Asked for by a reply, the whole thread comes all the same.
    for ts in [&parent, &first] {
        let arguments = json!({"channel": "a", "ts": ts, "include_all_metadata": true});
        let answer = ok(&slack, "conversations.replies", arguments).await;
        assert_eq!(texts(&answer), ["parent", "first", "second"]);
        assert_eq!(answer["messages"][1]["thread_ts"], json!(parent));
        assert_eq!(
            answer["messages"][1]["metadata"]["event_payload"]["id"],
            "first"
        );
    }
    let page = json!({"channel": "a", "ts": parent, "limit": 1});
    let answer = ok(&slack, "conversations.replies", page).await;
    assert_eq!(
        (texts(&answer), &answer["has_more"]),
        (vec!["parent", "first"], &json!(true))
    );
    let unknown = json!({"channel": "a", "ts": "1.000000"});
    let answer = call(&slack, "conversations.replies", unknown).await;
    assert_eq!(answer.error(), "thread_not_found");
    // A reply has no replies; an unknown parent is let pass.
    let nested = json!({"channel": "a", "text": "x", "thread_ts": first});
    assert_eq!(
        post(&slack, nested).await.error(),
        "cannot_reply_to_message"
    );
    let orphan = json!({"channel": "a", "text": "x", "thread_ts": "1.000000"});
    assert_eq!(post(&slack, orphan).await.error(), "");
    assert_eq!(slack.posts()[1].thread_ts.as_deref(), Some(parent.as_str()));
}

#[tokio::test]
async fn only_a_member_with_the_scope_of_its_kind_reads() {
    let closed = |kind: ChannelKind, member: bool, id: &str| Channel {
        kind,
        member,
        ..Channel::new(id, id)
    };
    let slack = start(Options {
        channels: Some(vec![
            closed(ChannelKind::Public, false, "C1"),
            closed(ChannelKind::Private, false, "G1"),
            closed(ChannelKind::Private, true, "G2"),
            closed(ChannelKind::Public, true, "C2"),
        ]),
        tokens: vec![Token::from("xoxb-test").with_scopes(&["channels:history"])],
        ..unpaced()
    })
    .await;
    for (channel, error) in [
        ("C1", "not_in_channel"),
        ("G1", "channel_not_found"),
        ("G2", "missing_scope"),
        ("C2", ""),
        ("nowhere", "channel_not_found"),
    ] {
        let answer = call(&slack, HISTORY, json!({"channel": channel})).await;
        assert_eq!(answer.error(), error, "{channel}");
    }
    assert_eq!(outcomes(&slack)[0], refused("not_in_channel"));
    assert_eq!(slack.attempts()[0].method, HISTORY);
    assert_eq!(
        call(&slack, HISTORY, json!({})).await.error(),
        "invalid_arguments"
    );
}
