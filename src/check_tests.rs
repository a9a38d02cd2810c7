//! Notes of routes: where they are said, and where they are not.

use std::io::Write as _;

use super::*;

fn noted(routes: &str) -> Vec<String> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let text = format!("channels: {{ops: {{preview: true}}}}\nroutes: [{routes}]\n");
    file.write_all(text.as_bytes()).expect("written");
    let loaded = load(Some(file.path()), [], Overrides::default());
    notes_of_routes(&loaded.expect("valid").config)
}

#[test]
fn a_rate_that_keeps_events_from_routes_behind_it_is_noted() {
    let rate = "name: bursts, channel: ops, rate: {moreThan: 1, withinSeconds: 60}";
    let rest = "{name: rest, channel: ops}";
    let notes = noted(&format!("{{{rate}}}, {rest}"));
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].starts_with("route bursts: ") && notes[0].contains("`continue: true`"));
    for fine in [
        format!("{{{rate}}}"),
        format!("{rest}, {{{rate}}}"),
        format!("{{{rate}, continue: true}}, {rest}"),
    ] {
        assert!(noted(&fine).is_empty(), "{fine}");
    }
}

#[test]
fn a_silence_that_any_client_can_choose_is_noted() {
    let notes = noted("{name: quiet, level: None, userAgents: ['kubelet*'], verbs: [get]}");
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].starts_with("route quiet: "));
    for fine in [
        "{name: quiet, level: None, userAgents: ['kubelet*'], userGroups: ['system:nodes']}",
        "{name: quiet, level: None, userAgents: ['kubelet*'], sourceIPs: [10.0.0.0/8]}",
        "{name: quiet, level: None, userAgents: ['kubelet*'], users: [bob]}",
        "{name: told, channel: ops, userAgents: ['kubelet*']}",
        "{name: quiet, level: None, verbs: [get]}",
    ] {
        assert!(noted(fine).is_empty(), "{fine}");
    }
}

#[test]
fn the_starter_routes_need_no_note() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"channels: {ops: {preview: true}}\nstarter_routes: ops\n")
        .expect("written");
    let loaded = load(Some(file.path()), [], Overrides::default());
    let notes = notes_of_routes(&loaded.expect("valid").config);
    assert!(notes.is_empty(), "{notes:?}");
}
