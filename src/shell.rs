//! What shells, manuals and editors are given: completions, man pages and the configuration's JSON Schema.
//!
//! Invariant: all of it is made of what the command line and the configuration are, so none of it can be of another version than the
//! binary that prints it.

use std::{fs, path::PathBuf, process::ExitCode};

use clap::Args;

use crate::{
    Failure,
    output::{count, say, say_commands},
};

/// What the binary is called.
const NAME: &str = "auditrelay";

/// What `completion` takes.
#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// The shell that is to complete.
    pub(crate) shell: clap_complete::Shell,
}

/// What `man` takes.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write a page for each command into this folder; without it the page of auditrelay itself is printed.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// Prints the completions of a shell.
pub(crate) fn completion(
    command: clap::Command,
    args: &CompletionArgs,
) -> Result<ExitCode, Failure> {
    // As it is: a shell reads it.
    say_commands(&completions(command, args.shell))?;
    Ok(ExitCode::SUCCESS)
}

fn completions(mut command: clap::Command, shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, NAME, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Prints a man page, or writes all of them.
pub(crate) fn man(command: clap::Command, args: &ManArgs) -> Result<ExitCode, Failure> {
    let Some(folder) = &args.out else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut page)
            .map_err(|error| Failure::Other(format!("cannot make the page: {error}")))?;
        say_commands(&String::from_utf8_lossy(&page))?;
        return Ok(ExitCode::SUCCESS);
    };
    let shown = folder.display();
    let fail = |error: std::io::Error| {
        Failure::Other(format!(
            "cannot write the pages to {shown}: {error}; name another folder with --out"
        ))
    };
    fs::create_dir_all(folder).map_err(fail)?;
    let pages = pages_of(&command);
    clap_mangen::generate_to(command, folder).map_err(fail)?;
    say(&format!("{} written to {shown}\n", count(pages, "page")))?;
    Ok(ExitCode::SUCCESS)
}

/// One for the command, and those of its subcommands.
fn pages_of(command: &clap::Command) -> u64 {
    let inner = command.get_subcommands().filter(|one| !one.is_hide_set());
    1 + inner.map(pages_of).sum::<u64>()
}

/// Prints the JSON Schema of the configuration.
pub(crate) fn schema() -> Result<ExitCode, Failure> {
    let schema = auditrelay_config::json_schema().map_err(Failure::Other)?;
    let text = serde_json::to_string_pretty(&schema)
        .map_err(|error| Failure::Other(format!("cannot write JSON: {error}")))?;
    say(&format!("{text}\n"))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
#[path = "shell_tests.rs"]
mod tests;
