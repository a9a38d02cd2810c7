//! A policy as it was given: with its text, which a suggestion keeps.

use std::path::Path;

use auditrelay_audit::policy::{Loaded, load};

use crate::{Failure, output::line, policy::source};

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
        let shown = match path.as_os_str() == "-" {
            true => "standard input".to_owned(),
            false => path.display().to_string(),
        };
        let text = source::text(path)?;
        let loaded = load(&text).map_err(|problems| {
            let told: Vec<String> = problems
                .iter()
                .take(PROBLEMS_MAX)
                .map(source::problem)
                .collect();
            Failure::Data(format!(
                "{}: the API server would not start with this policy; auditrelay policy check tells more\n  {}",
                line(&shown, 300),
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
