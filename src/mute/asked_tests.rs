//! What `mute add` refuses before it asks the relay.

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    add: AddArgs,
}

fn asked_with(flags: &[&str]) -> Result<AskedMute, Failure> {
    let usual = ["mute", "--for", "1h", "--reason", "x", "--author", "alice"];
    let words = usual.iter().chain(flags);
    asked(&Command::try_parse_from(words).expect("flags").add)
}

#[test]
fn what_is_likely_not_meant_is_wrong_use() {
    for (flags, told) in [
        // A variable that was not set.
        (&["--user", ""][..], "--user is empty; say which"),
        (
            &["--user", "bob", "--namespace", " "],
            "--namespace is empty",
        ),
        (&["--verb", ""], "--verb is empty"),
        (&["--channel", ""], "--channel is empty"),
        (&["--route", "", "--all-events"], "--route is empty"),
        (&["--user-agent", ""], "--user-agent is empty"),
        (&["--decision", ""], "--decision is empty"),
        (&["--user", "a*"], "--user \"a*\": * is a letter there"),
        (&["--group", "*"], "--group \"*\": * is a letter there"),
        (&["--namespace", "shop-*"], "--namespace \"shop-*\""),
        (&[], "it would hold back every event"),
        (&["--match", "{}"], "it would hold back every event"),
        (&["--match", "userz: [a]"], "userz"),
        (&["--code", "x"], "codes"),
        (&["--source-ip", "x"], "sourceIPs"),
        (
            &["--match", "@/nowhere/at/all"],
            "cannot read /nowhere/at/all",
        ),
    ] {
        match asked_with(flags) {
            Err(failure @ Failure::Usage(_)) => {
                let text = failure.to_string();
                assert!(text.contains(told), "{flags:?}: {text}");
                assert_eq!(failure.exit_code(), 2);
            }
            other => panic!("{flags:?}: {other:?}"),
        }
    }
}

#[test]
fn what_may_be_empty_or_a_pattern_is_taken() {
    for flags in [
        &["--user", "bob"][..],
        &["--user-agent", "kubectl/*"],
        &["--resource", "pods/*"],
        &["--resource", "*/status"],
        &["--match", "namespaces: ['']"],
        &["--all-events"],
        &["--channel", "ops"],
    ] {
        assert!(asked_with(flags).is_ok(), "{flags:?}");
    }
}

#[test]
fn an_author_and_a_reason_have_a_length() {
    let long = "x".repeat(REASON_CHARS_MAX + 1);
    for (author, reason) in [("alice", " "), ("alice", &long), (&long, "x")] {
        let words = ["mute", "--for", "1h", "--user", "bob", "--reason", reason];
        let words = words.into_iter().chain(["--author", author]);
        let asked = asked(&Command::try_parse_from(words).expect("flags").add);
        assert!(matches!(asked, Err(Failure::Usage(_))), "{asked:?}");
    }
}
