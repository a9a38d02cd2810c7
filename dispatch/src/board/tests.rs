//! The board: bounded, cleaned, and true after a lane takes another's place.

use super::*;

#[test]
fn an_incident_that_comes_again_is_counted_and_the_latest_stands_first() {
    let board = Board::default();
    board.incident_at(1, "delivery", Some("ops"), "down");
    board.incident_at(2, "reload", None, "refused");
    board.incident_at(3, "delivery", Some("ops"), "down");
    board.incident_at(4, "delivery", Some("sec"), "down");
    let told: Vec<_> = board
        .incidents()
        .into_iter()
        .map(|one| (one.at_unix_ms, one.first_unix_ms, one.times, one.channel))
        .collect();
    let ops = Some("ops".to_owned());
    let sec = Some("sec".to_owned());
    assert_eq!(told, [(4, 4, 1, sec), (3, 1, 2, ops), (2, 2, 1, None)]);
}

#[test]
fn the_board_is_bounded_and_one_channel_does_not_hide_the_others() {
    let board = Board::default();
    board.incident_at(0, "delivery", Some("sec"), "the one that matters");
    for n in 0..1_000 {
        let text = format!("{n} {}", "x".repeat(1_000));
        board.incident_at(n, "delivery", Some("ops"), &text);
    }
    let incidents = board.incidents();
    assert_eq!(incidents.len(), 1 + INCIDENTS_OF_ONE_MAX);
    let last = incidents.last().expect("some");
    assert_eq!(last.text, "the one that matters");
    assert!(
        incidents
            .iter()
            .all(|one| one.text.chars().count() <= TEXT_CHARS_MAX)
    );
    for n in 0..100 {
        board.incident_at(n, &format!("part {n}"), None, "x");
    }
    assert_eq!(board.incidents().len(), INCIDENTS_MAX);
}

#[test]
fn texts_cannot_act_on_a_terminal() {
    let board = Board::default();
    let lane = board.lane("ops");
    lane.incident("\u{1b}[2Jgone\u{202e}");
    lane.failed("park", "Slack answered \u{1b}[31minvalid_auth: a token");
    let text = format!("{:?}", (board.incidents(), board.lanes()));
    assert!(
        !text.contains("\\u{1b}") && !text.contains("\\u{202e}"),
        "{text}"
    );
    let error = board.lanes()["ops"].last_error.clone().expect("one");
    assert_eq!(error.outcome, "park");
}

#[test]
fn the_code_is_found_in_the_reason() {
    let lane = Board::default().lane("ops");
    for (reason, code) in [
        (
            "Slack answered not_in_channel: invite the bot",
            Some("not_in_channel"),
        ),
        (
            "the webhook answered 404 no_service: make one",
            Some("no_service"),
        ),
        ("Slack answered with HTTP status 503", None),
        ("Slack answered never_heard_of_it", None),
    ] {
        lane.failed("later", reason);
        let error = locked(&lane.view).last_error.clone().expect("one");
        assert_eq!(error.code.as_deref(), code, "{reason}");
    }
}

#[test]
fn a_lane_that_is_open_again_waits_for_no_try_and_keeps_its_counts() {
    let board = Board::default();
    let lane = board.lane("ops");
    lane.posts();
    lane.is(LaneState::Holding);
    lane.rests(Duration::from_secs(60));
    lane.retry_after(Duration::from_secs(30));
    let far = board.lanes()["ops"].next_try_unix_ms;
    lane.rests(Duration::from_secs(1));
    let view = board.lanes()["ops"].clone();
    assert_eq!(view.next_try_unix_ms, far, "it was shortened");
    assert!(view.retry_after_until_unix_ms.is_some());
    assert_eq!(view.waits_for, WaitsFor::Answer);
    lane.accepted();
    lane.delivered(3);
    lane.is(LaneState::Open);
    drop(lane);
    let again = board.lane("ops");
    again.posts();
    let view = board.lanes()["ops"].clone();
    assert_eq!((view.posts, view.messages, view.delivered), (2, 1, 3));
    assert_eq!(view.next_try_unix_ms, None);
    assert_eq!(view.retry_after_until_unix_ms, None);
    assert!(view.last_delivered_unix_ms.is_some());
}
