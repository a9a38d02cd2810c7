//! docs/connect.md shows what is printed, and commands that are those of the set.

use crate::{init, text};

const GUIDE: &str = include_str!("../../docs/connect.md");

#[test]
fn the_guide_shows_what_init_prints_and_the_commands_that_it_writes() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_, command) = GUIDE.split_once("$ auditrelay init ").expect("a command");
    let (command, printed) = command.split_once('\n').expect("what it prints");
    let (printed, _) = printed.split_once("\n```").expect("its end");
    let words: Vec<&str> = command.split(' ').collect();
    let value = |flag: &str| {
        let at = words
            .iter()
            .position(|word| *word == flag)
            .expect("it is there");
        words[at + 1]
    };
    let (url, out) = (value("--url"), value("--out"));
    let told = init(
        folder.path(),
        url,
        &["--relay-dir", value("--relay-dir"), "--out", out],
    );
    // The day, and where it is written, are others each time.
    let differs = |line: &&str| !line.contains(out) && !line.starts_with("certificates end");
    let lines = |text: &str| {
        text.lines()
            .filter(differs)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(lines(printed), lines(&told));

    let set = folder.path().join(out);
    let readme = text(set.join("README.md"));
    let (_, curl) = readme.split_once("   curl ").expect("a line of curl");
    let words = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let curl = words(&curl[..curl.find("```").expect("its end")]);
    assert!(words(GUIDE).contains(&curl), "{curl}");
    // Each command that is run on one's own machine or on the node; the last page's are for other occasions.
    let steps = text(set.join("platforms/kubeadm.md"));
    let (steps, _) = steps
        .split_once("4. The next upgrade")
        .expect("the last step");
    let guide = GUIDE.replace("audit-prod/", "");
    let guide: Vec<&str> = guide.lines().map(str::trim).collect();
    let mut commands = 0;
    for block in steps.split("```").skip(1).step_by(2) {
        for line in block.lines().map(str::trim).filter(|line| !line.is_empty()) {
            assert!(guide.contains(&line), "{line}");
            commands += 1;
        }
    }
    assert!(commands > 10, "{commands} lines");
}
