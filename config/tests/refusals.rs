//! What is refused in a file, and the line that says so.

mod common;

use common::{Case, line};

#[test]
fn numbers_are_whole_numbers_only() {
    let found = |text: &str| {
        let line = line(&format!("ingest: {{connections_max: {text}}}"));
        let problem = line.strip_prefix("a.yaml: ingest.connections_max: found ");
        problem.unwrap_or_else(|| panic!("{line}")).to_owned()
    };
    let expected = "expected an integer from 1 to 100000";
    assert_eq!(found("yes"), format!("string \"yes\", {expected}"));
    assert_eq!(found("true"), format!("boolean `true`, {expected}"));
    assert_eq!(found("\"2000\""), format!("string \"2000\", {expected}"));
    assert_eq!(
        found("2000.0"),
        format!("floating point `2000.0`, {expected}")
    );
    assert_eq!(found("2e3"), format!("floating point `2000.0`, {expected}"));
    assert_eq!(found("2_000"), format!("string \"2_000\", {expected}"));
    assert_eq!(found("-1"), format!("integer `-1`, {expected}"));
    assert_eq!(found("0"), format!("integer `0`, {expected}"));
    assert_eq!(found("100001"), format!("integer `100001`, {expected}"));
    assert_eq!(
        found("99999999999999999999"),
        format!("floating point `1e+20`, {expected}")
    );
    assert_eq!(found("[1]"), format!("a list, {expected}"));
    assert_eq!(found("{a: 1}"), format!("a map, {expected}"));
    assert_eq!(found("1e999"), "inf, which is no number to set");
    assert_eq!(found("-1e999"), "-inf, which is no number to set");
    assert_eq!(
        line("cluster: .nan"),
        "a.yaml: not valid YAML: Parsing .nan as floating point number failed"
    );
}

#[test]
fn booleans_are_true_and_false_only() {
    let refusal =
        |found: &str| format!("a.yaml: allow_plain_http: found {found}, expected true or false");
    assert_eq!(line("allow_plain_http: 1"), refusal("integer `1`"));
    assert_eq!(line("allow_plain_http: yes"), refusal("string \"yes\""));
    assert_eq!(
        line("allow_plain_http: \"true\""),
        refusal("string \"true\"")
    );
}

#[test]
fn text_is_text_only() {
    let name = "a name of 1 to 63 characters A-Z a-z 0-9 . _ -, the first a letter or digit";
    let quotes = "(if it is meant as text, put it in quotes)";
    assert_eq!(
        line("cluster: 12345"),
        format!("a.yaml: cluster: found integer `12345`, expected {name} {quotes}")
    );
    assert_eq!(
        line("cluster: \"\""),
        format!("a.yaml: cluster: found string \"\", expected {name}")
    );
    assert_eq!(
        line("cluster: [a]"),
        format!("a.yaml: cluster: found a list, expected {name}")
    );
    assert_eq!(
        line("data_dir: \"\""),
        "a.yaml: data_dir: found string \"\", expected a path"
    );
    assert_eq!(
        line("listen: 8080"),
        format!(
            "a.yaml: listen: found integer `8080`, expected an IP address and a port such as \
             127.0.0.1:8080 {quotes}"
        )
    );
    assert_eq!(
        line("routes: [{name: a, channel: default, users: [1]}]"),
        format!("a.yaml: routes[0].users[0]: found integer `1`, expected a string {quotes}")
    );
    assert_eq!(
        line("routes: [{name: a, channel: default, users: [null]}]"),
        "a.yaml: routes[0].users[0]: found null, expected a string"
    );
}

#[test]
fn maps_and_lists_are_that_only() {
    assert_eq!(
        line("ingest: 5"),
        "a.yaml: ingest: found integer `5`, expected a map"
    );
    assert_eq!(
        line("ingest: []"),
        "a.yaml: ingest: found a list, expected a map"
    );
    assert_eq!(
        line("channels: [a]"),
        "a.yaml: channels: found a list, expected a map"
    );
    assert_eq!(
        line("channels: {a: b}"),
        "a.yaml: channels.a: found string \"b\", expected a map"
    );
    assert_eq!(
        line("routes: {a: b}"),
        "a.yaml: routes: found a map, expected a list of maps"
    );
    assert_eq!(
        line("routes: [a]"),
        "a.yaml: routes[0]: found string \"a\", expected a map"
    );
    assert_eq!(
        line("routes: [null]"),
        "a.yaml: routes[0]: found null, expected a map"
    );
    assert_eq!(
        line("routes: [{name: a, channel: default, verbs: get}]"),
        "a.yaml: routes[0].verbs: found string \"get\", expected a list"
    );
    let deep = format!("cluster: {}1{}", "[".repeat(18), "]".repeat(18));
    assert_eq!(
        line(&deep),
        format!("a.yaml: cluster{}: is nested too deep", "[0]".repeat(17))
    );
    let hidden = Case::file("ingest: 5").env("AUDITRELAY__INGEST__CONNECTIONS_MAX", "5");
    assert_eq!(
        hidden.line(),
        "a.yaml: ingest: found integer `5`, expected a map"
    );
}

#[test]
fn unknown_keys() {
    assert_eq!(
        line("lisen: 127.0.0.1:80"),
        "a.yaml: lisen: there is no such key: did you mean `listen`?"
    );
    assert_eq!(line("zebra: 1"), "a.yaml: zebra: there is no such key");
    assert_eq!(line("zebra: null"), "a.yaml: zebra: there is no such key");
    assert_eq!(
        line("ingest: {connection_max: 5}"),
        "a.yaml: ingest.connection_max: there is no such key: did you mean `connections_max`?"
    );
    assert_eq!(
        line("connections_max: 5"),
        "a.yaml: connections_max: there is no such key: did you mean `ingest.connections_max`?"
    );
    assert_eq!(
        line("channels: {a: {preview: true, slack_chanel: C1}}"),
        "a.yaml: channels.a.slack_chanel: there is no such key: did you mean `slack_channel`?"
    );
    assert_eq!(
        line("routes: [{name: a, channel: default, user_groups: [a]}]"),
        "a.yaml: routes[0].user_groups: there is no such key: did you mean `userGroups`?"
    );
    assert_eq!(
        line("routes: [{name: a, channel: default, resources: [{resourcenames: [a]}]}]"),
        "a.yaml: routes[0].resources[0].resourcenames: there is no such key: did you mean `resourceNames`?"
    );
    // The `config` crate would take these for paths.
    assert_eq!(
        line("slack.timeout_seconds: 5"),
        "a.yaml: slack.timeout_seconds: there is no such key"
    );
    assert_eq!(
        line("\"routes[0]\": {}"),
        "a.yaml: routes[0]: there is no such key"
    );
    assert_eq!(
        line("LISTEN: 127.0.0.1:80"),
        "a.yaml: LISTEN: there is no such key: did you mean `listen`?"
    );
}

#[test]
fn text_that_is_not_yaml() {
    assert_eq!(
        line("listen: *b\n"),
        "a.yaml: line 1 column 9: not valid YAML: while parsing node, found unknown anchor"
    );
    assert_eq!(
        line("listen: 127.0.0.1:1\nlisten: 127.0.0.1:2\n"),
        "a.yaml: line 2 column 9: not valid YAML: duplicate key `listen`"
    );
    assert_eq!(
        line("ingest:\n\tconnections_max: 5\n"),
        "a.yaml: line 2 column 2: not valid YAML: tabs disallowed within this context (block indentation)"
    );
    assert_eq!(
        line("listen: [1\n"),
        "a.yaml: line 2 column 1: not valid YAML: while parsing a flow sequence, expected ',' or ']'"
    );
    assert_eq!(
        line("listen: a: b\n"),
        "a.yaml: line 1 column 10: not valid YAML: mapping values are not allowed in this context"
    );
    assert_eq!(
        line("a: 1\n---\nb: 2\n"),
        "a.yaml: not valid YAML: Got 2 YAML documents, expected 1"
    );
    assert_eq!(
        line("- a\n"),
        "a.yaml: found a list, expected a map of settings"
    );
    assert_eq!(
        line("text\n"),
        "a.yaml: found string \"text\", expected a map of settings"
    );
    assert_eq!(
        line("? [a]\n: 1\n"),
        "a.yaml: not valid YAML: Cannot parse Array([String(\"a\")]) because it is an unsupported hash key type"
    );
}

#[test]
fn addresses_that_anyone_can_reach() {
    let unencrypted = "expected a loopback address: without tls.certificate_file events would cross the \
                       network unencrypted (allow_plain_http: true allows it)";
    for address in [
        "0.0.0.0:80",
        "[::]:80",
        "10.1.2.3:80",
        "[::ffff:10.1.2.3]:80",
    ] {
        let text = format!("listen: \"{address}\"");
        assert_eq!(
            line(&text),
            format!("a.yaml: listen: found {address}, {unencrypted}")
        );
        Case::file(format!("{text}\nallow_plain_http: true")).loaded();
        assert_eq!(
            line(&format!(
                "admin_listen: \"{address}\"\nallow_plain_http: true"
            )),
            format!(
                "a.yaml: admin_listen: found {address}, which other machines can reach: expected a loopback address, or admin_token_file with the bearer tokens that are asked for there"
            )
        );
    }
    for address in [
        "127.9.9.9:80",
        "[::1]:80",
        "[::ffff:127.0.0.1]:80",
        "127.0.0.1:0",
    ] {
        Case::file(format!("listen: \"{address}\"\nadmin_listen: 127.0.0.1:0")).loaded();
    }
    let taken = "a.yaml: admin_listen: found 127.0.0.1:80, which listen takes already";
    assert_eq!(
        line("listen: 127.0.0.1:80\nadmin_listen: 127.0.0.1:80"),
        taken
    );
    assert_eq!(
        line("listen: 0.0.0.0:80\nadmin_listen: 127.0.0.1:80\nallow_plain_http: true"),
        taken
    );
    Case::file("listen: 127.0.0.1:0\nadmin_listen: 127.0.0.1:0").loaded();
}

#[test]
fn sizes_that_do_not_fit_each_other() {
    assert_eq!(
        line("ingest: {body_bytes_max: 268435457}"),
        "a.yaml: ingest.body_bytes_max: found 268435457, expected at most bytes_in_flight_max (268435456)"
    );
    assert_eq!(
        line("ingest: {bytes_in_flight_max: 67108863}"),
        "a.yaml: ingest.bytes_in_flight_max: found 67108863, expected at least body_bytes_max (67108864)"
    );
    assert_eq!(
        line("ingest: {bytes_in_flight_max: 2048, body_bytes_max: 4096}"),
        "a.yaml: ingest.bytes_in_flight_max: found 2048, expected at least body_bytes_max (4096)"
    );
    Case::file("ingest: {bytes_in_flight_max: 4096, body_bytes_max: 4096}").loaded();
    // A body that never fits the queue would be refused for ever.
    assert_eq!(
        line("ingest: {body_bytes_max: 16777217}\nqueue: {bytes_max: 67108864}"),
        "a.yaml: ingest.body_bytes_max: found 16777217, expected at most a quarter of queue.bytes_max \
         (16777216)"
    );
    let small = Case::file("queue: {bytes_max: 67108864}").loaded();
    assert_eq!(small.config.ingest.body_bytes_max.get(), 16_777_216);
}

#[test]
fn quotas_leave_half_of_the_queue_to_what_is_not_routed_and_to_other_channels() {
    let others = "dead_bytes_max, quarantine_bytes_max, digest_detail_bytes_max";
    assert_eq!(
        line("queue: {channel_bytes_max: 4294967296}"),
        format!(
            "a.yaml: queue.channel_bytes_max: found 4294967296, which with {others} comes to 4898947072, \
             expected at most half of bytes_max (4294967296)"
        )
    );
    // The largest of those that are set is what has to be lowered.
    assert_eq!(
        line(
            "queue: {bytes_max: 1073741824, dead_bytes_max: 536870912, quarantine_bytes_max: 1048576}"
        ),
        "a.yaml: queue.dead_bytes_max: found 536870912, which with channel_bytes_max, \
         quarantine_bytes_max, digest_detail_bytes_max comes to 705691648, expected at most half of \
         bytes_max (536870912)"
    );
    // What is off has no space.
    let retains = "retain_bytes_max: 3221225472";
    assert_eq!(
        line(&format!("queue: {{retain_hours: 1, {retains}}}")),
        format!(
            "a.yaml: queue.retain_bytes_max: found 3221225472, which with channel_bytes_max, {others} \
             comes to 4898947072, expected at most half of bytes_max (4294967296)"
        )
    );
    Case::file(format!("queue: {{{retains}}}")).loaded();
    let detail = "digest_detail_bytes_max: 3221225472";
    assert!(line(&format!("queue: {{{detail}}}")).contains("queue.digest_detail_bytes_max: found"));
    Case::file(format!("queue: {{digest_detail_hours: 0, {detail}}}")).loaded();
}

#[test]
fn quotas_that_are_not_set_shrink_with_the_queue() {
    let quotas = |text: &str| {
        let queue = Case::file(format!("queue: {{{text}}}"))
            .loaded()
            .config
            .queue;
        [
            queue.channel_bytes_max.get(),
            queue.dead_bytes_max.get(),
            queue.quarantine_bytes_max.get(),
            queue.digest_detail_bytes_max.get(),
            queue.retain_bytes_max.get(),
        ]
        .map(|bytes| bytes >> 20)
    };
    let defaults = [1024, 256, 64, 256, 1024];
    assert_eq!(quotas("retain_hours: 1"), defaults);
    // A large disk is no reason to keep more than was asked for.
    assert_eq!(quotas("bytes_max: 1099511627776"), defaults);
    assert_eq!(
        quotas("bytes_max: 2147483648, retain_hours: 1"),
        [256, 64, 16, 64, 256]
    );
    // No less than the smallest that can be set.
    assert_eq!(
        quotas("bytes_max: 67108864, retain_hours: 1"),
        [8, 2, 1, 2, 8]
    );
    assert_eq!(
        quotas("bytes_max: 2147483648, channel_bytes_max: 734003200"),
        [700, 64, 16, 64, 256]
    );
}

#[test]
fn a_secret_in_the_wrong_place_is_not_shown() {
    assert_eq!(
        line("slack: xoxb-123-abc"),
        "a.yaml: slack: found string \"[secret]\", expected a map"
    );
    assert_eq!(
        line("slack: {xoxb-123-abc: 1}"),
        "a.yaml: [secret]: there is no such key"
    );
    assert_eq!(
        line("cluster: https://hooks.slack.com/services/T/B/x"),
        "a.yaml: cluster: found string \"[secret]\", expected a name of 1 to 63 characters \
         A-Z a-z 0-9 . _ -, the first a letter or digit"
    );
    assert_eq!(
        line("xoxb-123-abc"),
        "a.yaml: found string \"[secret]\", expected a map of settings"
    );
    assert_eq!(
        line("slack: {token: 31337}\nchannels: {a: {preview: true}}"),
        "a.yaml: slack.token: found a value that is not shown, as it is a secret, expected a Slack \
         token (letters, digits and . _ ~ + / = - only)"
    );
}
