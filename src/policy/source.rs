//! A policy out of a file.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use auditrelay_audit::policy::{self, Loaded, POLICY_BYTES_MAX, Problem};

use crate::{
    Failure,
    output::{count, line},
};

const PROBLEM_CHARS_MAX: usize = 400;

/// Reads a file, or standard input for `-`.
pub(super) fn text(path: &Path) -> Result<String, Failure> {
    let bytes = bytes(path).map_err(|error| {
        let shown = path.display();
        Failure::Usage(format!(
            "{shown}: {error}; give a file with an audit policy"
        ))
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        let shown = path.display();
        Failure::Data(format!(
            "{shown}: line {line} is not UTF-8; save the policy as UTF-8"
        ))
    })
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than is read as a policy, so that a longer one is told to be longer.
    let limit = POLICY_BYTES_MAX as u64 + 1;
    if path.as_os_str() == "-" {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Reads a policy with which the API server would start.
///
/// # Errors
/// [`Failure::Data`] with the first of what is wrong with it.
pub(crate) fn load(path: &Path) -> Result<Loaded, Failure> {
    policy::load(&text(path)?).map_err(|problems| {
        let shown = path.display();
        let first = problems.first().map(problem).unwrap_or_default();
        let more = match problems.len() {
            0 | 1 => String::new(),
            all => format!(
                " (and {}: auditrelay policy check tells them all)",
                count(all as u64 - 1, "other problem")
            ),
        };
        Failure::Data(format!("{shown}: {first}{more}"))
    })
}

/// A problem on one line, harmless for a terminal.
pub(super) fn problem(problem: &Problem) -> String {
    line(&problem.to_string(), PROBLEM_CHARS_MAX)
}
