//! A policy out of a file.

use std::{fs::File, io::Read, path::Path};

use auditrelay_audit::policy::{Loaded, POLICY_BYTES_MAX, load};

use crate::{Failure, output::line};

/// Problems that are told.
const PROBLEMS_MAX: usize = 5;

/// A policy, and how it was given.
pub(super) struct Given {
    /// Its file.
    pub(super) shown: String,
    pub(super) text: String,
    pub(super) loaded: Loaded,
}

impl Given {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        let refused = |problem: &str| Failure::Usage(format!("{}: {problem}", line(&shown, 300)));
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| {
            file.take(POLICY_BYTES_MAX as u64 + 1)
                .read_to_end(&mut bytes)
        });
        read.map_err(|error| refused(&format!("cannot be read: {error}")))?;
        if bytes.len() > POLICY_BYTES_MAX {
            return Err(refused(&format!("is longer than {POLICY_BYTES_MAX} bytes")));
        }
        let text = String::from_utf8(bytes).map_err(|_| refused("is not UTF-8 text"))?;
        let loaded = load(&text).map_err(|problems| {
            let told = problems.iter().take(PROBLEMS_MAX);
            let told: Vec<String> = told.map(|one| line(&one.to_string(), 300)).collect();
            let more = match problems.len().saturating_sub(PROBLEMS_MAX) {
                0 => String::new(),
                more => format!("\n  and {more} more"),
            };
            refused(&format!(
                "the API server would not start with this policy; auditrelay policy check tells more\n  {}{more}",
                told.join("\n  ")
            ))
        })?;
        Ok(Self {
            shown,
            text,
            loaded,
        })
    }
}
