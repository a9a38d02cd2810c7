//! The watchdog's route: before all others, for its own events alone, and with nothing changed for the rest.

use std::io::Write;

use auditrelay_audit::Envelope;
use auditrelay_config::{Overrides, load};

use super::*;
use crate::watchdog::{CLUSTER, Heartbeat};

const CHANNELS: &str =
    "channels: {ops: {preview: true}, alive: {preview: true}}\ndefault_channel: ops\n";

fn config(more: &str) -> Config {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let yaml = format!("{CHANNELS}{more}");
    file.write_all(yaml.as_bytes()).expect("written");
    let loaded = load(Some(file.path()), [], Overrides::default());
    loaded.expect("valid").config
}

fn heartbeat(key: &HashKey) -> String {
    let now = "2026-11-26T08:00:00Z".parse().expect("a time");
    let list = Heartbeat::new(key, now, 5, "prod").list;
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    list["items"][0].to_string()
}

/// Channel, severity and route, as the router decides and as the hint has it.
fn told(routes: &Routes, json: &str) -> Vec<(String, Severity, String)> {
    let envelope = Envelope::parse(json).expect("readable");
    let event = Event {
        cluster: CLUSTER,
        envelope: &envelope,
    };
    if let Ok((hint, _)) = routes.at_the_door(&event) {
        assert_eq!(routes.hinted(hint), Some(routes.matched(&event)));
    }
    let targets = routes.targets(&event);
    let told = targets.iter().map(|target| {
        assert!(target.also.is_empty());
        let (channel, route) = (target.channel.to_owned(), target.route.to_owned());
        (channel, target.severity, route)
    });
    told.collect()
}

#[test]
fn its_event_goes_to_its_channel_and_everything_else_where_it_went() {
    let key = HashKey::new([1; 32]);
    let own = heartbeat(&key);
    let others = [
        own.replace("T08:", "T09:"),
        own.replace("watchdogs", "pods"),
        own.replace("ResponseComplete", "RequestReceived"),
    ];
    for table in [
        "",
        "routes: [{name: all, channel: ops}]\n",
        "routes: [{name: none, level: None}]\n",
        "routes: [{name: seen, channel: ops, continue: true}, {name: rest, level: None}]\n",
    ] {
        let without = config(table);
        let with = config(&format!("{table}watchdog: {{channel: alive}}\n"));
        let (before, after) = (Routes::new(&without), Routes::of_relay(&with, &key));
        assert_ne!(before.id(), after.id());
        assert_ne!(Routes::new(&with).id(), after.id());
        let alive = ("alive".to_owned(), Severity::Critical, WATCHDOG.to_owned());
        assert_eq!(told(&after, &own), [alive], "{table}");
        for other in &others {
            assert_eq!(told(&after, other), told(&before, other), "{table} {other}");
        }
        let of_another = Routes::of_relay(&with, &HashKey::new([2; 32]));
        assert_ne!(of_another.id(), after.id());
        assert_eq!(told(&of_another, &own), told(&before, &own), "{table}");
        assert!(after.names().eq(before.names()), "{table}");
        // Without a watchdog the key changes nothing.
        assert_eq!(Routes::of_relay(&without, &key).id(), before.id());
    }
}
