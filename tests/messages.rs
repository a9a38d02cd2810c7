//! Typical messages as `auditrelay render` prints them, held by snapshots: what a change of the wording does
//! to each of them is seen in `tests/snapshots`. `cargo insta review` accepts a change (or
//! `INSTA_UPDATE=always cargo nextest run --test messages`); `tests/run.sh` only ever compares.

use std::{
    path::Path,
    process::{Command, Output},
};

use insta::{assert_json_snapshot, assert_snapshot};

const MESSAGES: [(&str, &str, &[&str]); 5] = [
    ("exec", "security", &["tests/messages/exec.json"]),
    (
        "secret-read",
        "security",
        &["tests/messages/secret-read.json"],
    ),
    (
        "rbac-change",
        "security",
        &["tests/messages/rbac-change.json"],
    ),
    (
        "forbidden-burst",
        "security",
        &["tests/messages/forbidden-burst.json"],
    ),
    (
        "storm",
        "everything",
        &["src/demo/storm.json", "src/demo/incident.json"],
    ),
];
const CONFIG: &str = "tests/messages/config.yaml";

fn auditrelay(args: &[&str]) -> Output {
    let ours = |name: &str| {
        name.starts_with("AUDITRELAY") || name.contains("SLACK") || name == "CHANNEL_ID"
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_auditrelay"));
    for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    command
        .args(args)
        .current_dir(folder)
        .output()
        .expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn rendered(format: &str, channel: &str, files: &[&str]) -> (String, String) {
    let options = [
        "render",
        "--config",
        CONFIG,
        "--cluster",
        "prod",
        "--channel",
        channel,
        "--format",
        format,
    ];
    let output = auditrelay(&[&options, files].concat());
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    (text(&output.stdout), said)
}

#[test]
fn typical_messages_in_a_terminal() {
    for (name, channel, files) in MESSAGES {
        let (shown, said) = rendered("terminal", channel, files);
        assert_snapshot!(format!("{name}-terminal"), format!("{shown}{said}"));
    }
}

#[test]
fn typical_messages_as_they_are_posted() {
    for (name, channel, files) in MESSAGES {
        let (shown, _) = rendered("json", channel, files);
        let bodies: Vec<serde_json::Value> = shown
            .lines()
            .map(|line| serde_json::from_str(line).expect("a body a line"))
            .collect();
        for body in &bodies {
            assert_eq!(
                (&body["unfurl_links"], &body["unfurl_media"]),
                (&false.into(), &false.into())
            );
        }
        assert_json_snapshot!(format!("{name}-json"), bodies);
    }
}

#[test]
fn the_page_holds_each_message_and_no_markup_of_an_event() {
    for (name, channel, files) in MESSAGES {
        let (page, _) = rendered("html", channel, files);
        assert_eq!(page.matches("<article>").count(), 1, "{name}");
        assert!(!page.contains("<!channel>"), "{name}");
        assert!(!page.contains("class=\"mention\""), "{name}");
        assert!(
            !page.contains("class=\"unknown\""),
            "{name} holds a block that the page does not show"
        );
    }
}

#[test]
fn a_command_that_cannot_be_done_says_why() {
    let file = "tests/messages/exec.json";
    let cases: [(&[&str], i32, &str); 4] = [
        (
            &["render", "--config", CONFIG, "--channel", "x", file],
            2,
            "there is no channel \"x\", only everything, security",
        ),
        (
            &[
                "render",
                "--config",
                CONFIG,
                "--channel",
                "security",
                "--message",
                "2",
                file,
            ],
            1,
            "there is no message 2, only 1 message",
        ),
        (
            &["render", "--config", CONFIG, file],
            1,
            "1 event read, 0 unreadable; 0 events for channel everything in 0 messages, 1 event for other channels",
        ),
        (
            &["render", "--config", CONFIG, CONFIG],
            2,
            "tests/messages/config.yaml: the body is not valid JSON",
        ),
    ];
    for (args, code, problem) in cases {
        let output = auditrelay(args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(problem), "{said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_template_that_cannot_work_stops_the_relay_before_it_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (config, data) = (path("config.yaml"), path("data"));
    std::fs::write(
        &config,
        "listen: 127.0.0.1:0\nadmin_listen: 127.0.0.1:0\nchannels:\n  ops: { preview: true, sentence: '{{ usr }}' }\n",
    )
    .expect("written");
    let commands: [&[&str]; 3] = [
        &["check", "--config", &config],
        &["serve", "--config", &config, "--data-dir", &data],
        &["render", "--config", &config, "tests/messages/exec.json"],
    ];
    for args in commands {
        let output = auditrelay(args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(
            said.contains("channels.ops.sentence: there is no value usr"),
            "{said}"
        );
    }
    assert!(!Path::new(&data).exists(), "the queue was opened");
}
