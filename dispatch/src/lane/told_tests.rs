//! What is read of a lease, and of Slack's times.

use auditrelay_audit::Severity;
use auditrelay_store::{EventDelivery, LeaseId, Marks, Notice};

use super::*;

#[test]
fn a_time_of_slacks_is_read_and_nothing_else() {
    assert_eq!(unix_ms("1764128000.123456"), Some(1_764_128_000_123));
    for other in [
        "",
        "1764128000",
        "1764128000.12345",
        "1764128000.1234567",
        "-1.000000",
        "+1.000000",
        "1.-00001",
        "99999999999999999.000000",
        ".000000",
    ] {
        assert_eq!(unix_ms(other), None, "{other:?}");
    }
    let far_off = Receipt {
        ts: "1000.000000".to_owned(),
    };
    assert_eq!(PostedAt::at(&far_off), PostedAt(1_000_000));
    assert!(PostedAt::at(&Receipt::default()).0 >= 1_700_000_000_000);
}

fn event(second: u32) -> EventDelivery {
    EventDelivery {
        cluster: "prod".to_owned(),
        route: String::new(),
        json: format!(
            r#"{{"level":"Metadata","stage":"ResponseComplete","verb":"get","user":{{"username":"a"}},"stageTimestamp":"1970-01-01T00:00:{second:02}Z"}}"#
        ),
        marks: Marks::default(),
        meant_for: None,
    }
}

#[test]
fn an_event_counts_once_and_no_copy_of_it() {
    let (mut replayed, mut fallen_back) = (event(2), event(3));
    replayed.marks.replayed = true;
    fallen_back.meant_for = Some("sec".to_owned());
    let notice = Notice {
        text: "a notice".to_owned(),
        events: 1,
        cluster: "prod".to_owned(),
    };
    let without_time = EventDelivery {
        json: event(4).json.replace("1970-01-01T00:00:04Z", "soon"),
        ..event(4)
    };
    let members = [
        Delivery::Event(event(1)),
        Delivery::Event(replayed),
        Delivery::Event(fallen_back),
        Delivery::Notice(notice),
        Delivery::Event(without_time),
        Delivery::Event(event(5)),
    ];
    let lease = Lease {
        id: LeaseId {
            channel: "ops".to_owned(),
            id: 1,
        },
        members: members.map(|one| (Severity::Info, one)).into(),
        resumed: false,
        sealed_unix_ms: 0,
    };
    assert_eq!(Told::of(&lease).stage_times_ms, [1_000, 5_000]);
}
