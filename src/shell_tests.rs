//! Completions and man pages know every command and every flag; and bash completes with what it is given.

use std::{collections::BTreeSet, path::Path, process::Command};

use clap_complete::Shell;

use super::*;
use crate::cli::command;

const SHELLS: [Shell; 5] = [
    Shell::Bash,
    Shell::Elvish,
    Shell::Fish,
    Shell::PowerShell,
    Shell::Zsh,
];

/// Every command with its flags, by its words joined with `-`.
fn commands() -> Vec<(String, Vec<String>)> {
    fn walk(command: &clap::Command, name: String, found: &mut Vec<(String, Vec<String>)>) {
        let flags = command.get_arguments().filter(|one| !one.is_hide_set());
        let flags = flags.filter_map(|one| one.get_long().map(str::to_owned));
        found.push((name.clone(), flags.collect()));
        for inner in command.get_subcommands().filter(|one| !one.is_hide_set()) {
            walk(inner, format!("{name}-{}", inner.get_name()), found);
        }
    }
    let mut found = Vec::new();
    walk(&command(), NAME.to_owned(), &mut found);
    assert!(found.len() >= 30, "{found:?}");
    found
}

#[test]
fn the_completions_of_every_shell_know_every_command_and_flag() {
    for shell in SHELLS {
        let script = completions(command(), shell);
        for (name, flags) in commands() {
            let last = name.rsplit('-').next().unwrap_or_default();
            assert!(script.contains(last), "{shell}: {name}");
            for flag in flags {
                // fish names them without the dashes.
                let is_there =
                    script.contains(&format!("--{flag}")) || script.contains(&format!("-l {flag}"));
                assert!(is_there, "{shell}: {name} --{flag}");
            }
        }
    }
}

#[test]
fn every_command_has_a_page_with_its_flags() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().join("deep/man1");
    let out = Some(folder.clone());
    man(command(), &ManArgs { out }).expect("written");
    let mut pages = BTreeSet::new();
    for (name, flags) in commands() {
        let page = fs::read_to_string(folder.join(format!("{name}.1")));
        let page = page.unwrap_or_else(|error| panic!("{name}: {error}"));
        for flag in flags {
            let shown = format!("--{flag}").replace('-', "\\-");
            assert!(page.contains(&shown), "{name}: {shown}\n{page}");
        }
        pages.insert(format!("{name}.1"));
    }
    let written: BTreeSet<String> = fs::read_dir(&folder)
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    assert_eq!(written, pages);
    assert_eq!(pages_of(&command()), pages.len() as u64);
}

/// What bash offers for these words, the last of them begun.
fn offered(script: &Path, words: &[&str]) -> Vec<String> {
    let last = words.len() - 1;
    let previous = words[last - 1];
    let bash = format!(
        "source {}; complete -p auditrelay >&2; COMP_WORDS=({}); COMP_CWORD={last}; _auditrelay auditrelay '{}' '{previous}'; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        words
            .iter()
            .map(|word| format!("'{word}'"))
            .collect::<Vec<_>>()
            .join(" "),
        words[last],
    );
    let output = Command::new("bash").args(["--norc", "-c", &bash]).output();
    let output = output.expect("bash");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(errors.contains("-F _auditrelay"), "{errors}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_real_bash_completes() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("auditrelay.bash");
    fs::write(&script, completions(command(), Shell::Bash)).expect("written");
    let offered = |words: &[&str]| offered(&script, words);
    assert_eq!(offered(&["auditrelay", "sal"]), ["salvage"]);
    assert_eq!(offered(&["auditrelay", "mute", "exp"]), ["expire"]);
    assert_eq!(offered(&["auditrelay", "log-filter", "--res"]), ["--reset"]);
    assert_eq!(
        offered(&["auditrelay", "completion", ""])
            .iter()
            .filter(|one| !one.starts_with('-'))
            .collect::<Vec<_>>(),
        ["bash", "elvish", "fish", "powershell", "zsh"]
    );
    assert_eq!(offered(&["auditrelay", "nothing-like-it"]), [""]);
}
