//! Which lines are written: a filter, and who has the say in it.
//!
//! Invariants:
//! * a filter is read strictly: a word that is no level, or a part of the relay that is not there, is refused with the reason. `tracing`
//!   itself takes a typo for the name of a part, and then writes nothing else;
//! * what a filter does not name is at level info, so that asking for more of one part silences no other;
//! * a command is stronger than `log.filter`, and that than `RUST_LOG`; a command's word ends by itself, by another command,
//!   or when a reload changes `log.filter`.

use std::fmt;

use tokio::time::Instant;
use tracing_subscriber::EnvFilter;

/// Longest text of a filter, in bytes.
const FILTER_BYTES_MAX: usize = 1_000;
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// The relay's own parts; what else writes lines is a library.
const PARTS: [&str; 7] = [
    "auditrelay",
    "auditrelay_audit",
    "auditrelay_config",
    "auditrelay_dispatch",
    "auditrelay_ingest",
    "auditrelay_loadtest",
    "auditrelay_store",
];

/// A filter that can be used, in one spelling: the level of everything first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter(String);

impl Filter {
    /// Reads a level, and levels of parts behind commas.
    ///
    /// # Errors
    /// What is wrong with it, in words that follow "found".
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > FILTER_BYTES_MAX {
            return Err(format!(
                "a filter of more than {FILTER_BYTES_MAX} bytes, expected a shorter one"
            ));
        }
        let mut all: Option<String> = None;
        let mut parts = Vec::new();
        for directive in text.split(',').map(str::trim) {
            match directive.split_once('=') {
                Some((part, level)) => {
                    let (part, level) = (part.trim(), level.trim());
                    is_part(part)?;
                    parts.push(format!("{part}={}", self::level(level)?));
                }
                None if all.is_some() => {
                    return Err(format!(
                        "{directive:?} beside another level for everything, expected one"
                    ));
                }
                None => all = Some(level(directive)?),
            }
        }
        parts.insert(0, all.unwrap_or_else(|| "info".to_owned()));
        let filter = Self(parts.join(","));
        match EnvFilter::builder().parse(&filter.0) {
            Ok(_) => Ok(filter),
            Err(error) => Err(format!("{text:?}, which cannot be used: {error}")),
        }
    }

    /// As the layer that decides takes it.
    pub(crate) fn build(&self) -> EnvFilter {
        EnvFilter::builder().parse_lossy(&self.0)
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn level(word: &str) -> Result<String, String> {
    let lower = word.to_ascii_lowercase();
    if LEVELS.contains(&lower.as_str()) {
        return Ok(lower);
    }
    let levels = LEVELS.join(", ");
    Err(format!("{word:?}, expected a level ({levels})"))
}

fn is_part(part: &str) -> Result<(), String> {
    let is_name =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-' | b'.');
    if part.is_empty() || !part.bytes().all(is_name) {
        return Err(format!(
            "{part:?}, expected a part's name such as auditrelay_dispatch before the ="
        ));
    }
    let library = part.split("::").next().unwrap_or_default();
    if library.starts_with("auditrelay") && !PARTS.contains(&library) {
        let parts = PARTS.join(", ");
        return Err(format!("{part:?}, which the relay does not have ({parts})"));
    }
    Ok(())
}

/// Who has the say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nobody said anything.
    Default,
    Environment,
    Configuration,
    Command,
}

impl Source {
    /// For people and scripts.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Environment => "RUST_LOG",
            Self::Configuration => "log.filter",
            Self::Command => "command",
        }
    }
}

/// All that have said something.
#[derive(Debug, Default)]
pub(crate) struct Voices {
    pub(crate) environment: Option<Filter>,
    configured: Option<Filter>,
    asked: Option<Asked>,
    /// How often a command had the say; a later one's end is not an earlier one's.
    commands: u64,
}

/// What a command asked for.
#[derive(Debug, Clone)]
struct Asked {
    filter: Filter,
    until: Option<Instant>,
}

impl Voices {
    /// The filter that counts, and whose it is.
    pub(crate) fn loudest(&self) -> (Filter, Source) {
        match &self.asked {
            Some(asked) => (asked.filter.clone(), Source::Command),
            None => self.without_command(),
        }
    }

    /// What it goes back to once no command has the say.
    pub(crate) fn without_command(&self) -> (Filter, Source) {
        match (&self.configured, &self.environment) {
            (Some(filter), _) => (filter.clone(), Source::Configuration),
            (None, Some(filter)) => (filter.clone(), Source::Environment),
            (None, None) => (Filter::default(), Source::Default),
        }
    }

    /// When a command's word ends, if it ends by itself.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.asked.as_ref().and_then(|asked| asked.until)
    }

    /// `log.filter` as it is now. Another one than before ends a command's word.
    pub(crate) fn configure(&mut self, filter: Option<Filter>) {
        if self.configured != filter {
            self.configured = filter;
            self.asked = None;
        }
    }

    /// A command's word, or that none has the say any more. It is known by the number.
    pub(crate) fn ask(&mut self, filter: Option<Filter>, until: Option<Instant>) -> u64 {
        self.asked = filter.map(|filter| Asked { filter, until });
        self.commands += 1;
        self.commands
    }

    /// The command of this number has no say any more; whether it had.
    pub(crate) fn end(&mut self, command: u64) -> bool {
        self.commands == command && self.asked.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        Filter::parse(text).expect(text).to_string()
    }

    #[test]
    fn a_filter_is_a_level_and_levels_of_parts() {
        for (text, same) in [
            ("info", "info"),
            (" WARN ", "warn"),
            ("off", "off"),
            (
                "auditrelay_dispatch=debug",
                "info,auditrelay_dispatch=debug",
            ),
            (
                "auditrelay_ingest::log_file=trace, error",
                "error,auditrelay_ingest::log_file=trace",
            ),
            ("trace,hyper=trace,h2=trace", "trace,hyper=trace,h2=trace"),
        ] {
            assert_eq!(read(text), same);
            assert_eq!(read(same), same, "its own spelling");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_with_the_reason() {
        for (text, reason) in [
            (
                "",
                "\"\", expected a level (off, error, warn, info, debug, trace)",
            ),
            (
                "inof",
                "\"inof\", expected a level (off, error, warn, info, debug, trace)",
            ),
            (
                "info,",
                "\"\" beside another level for everything, expected one",
            ),
            (
                "info,warn",
                "\"warn\" beside another level for everything, expected one",
            ),
            (
                "auditrelay=verbose",
                "\"verbose\", expected a level (off, error, warn, info, debug, trace)",
            ),
            (
                "=debug",
                "\"\", expected a part's name such as auditrelay_dispatch before the =",
            ),
            (
                "[span{user=x}]=trace",
                "\"[span{user\", expected a part's name such as auditrelay_dispatch before the =",
            ),
        ] {
            assert_eq!(Filter::parse(text), Err(reason.to_owned()), "{text:?}");
        }
        let typo = Filter::parse("auditrelay_dispach=debug").expect_err("no such part");
        assert!(typo.contains("does not have"), "{typo}");
        assert!(Filter::parse(&"x".repeat(2_000)).is_err());
    }

    #[test]
    fn the_parts_are_the_folders_with_a_package() {
        let manifest = include_str!("../../Cargo.toml");
        let members = manifest.lines().find(|line| line.starts_with("members"));
        let members = members.expect("a list").split('"').skip(1).step_by(2);
        let mut parts: Vec<String> = members
            .map(|member| match member {
                "." => "auditrelay".to_owned(),
                member => format!("auditrelay_{member}"),
            })
            .collect();
        parts.sort();
        assert_eq!(parts, PARTS);
    }

    #[test]
    fn a_command_is_stronger_than_the_configuration_and_that_than_the_environment() {
        let filter = |text: &str| Filter::parse(text).expect("a filter");
        let mut voices = Voices::default();
        assert_eq!(voices.loudest(), (filter("info"), Source::Default));
        voices.environment = Some(filter("warn"));
        assert_eq!(voices.loudest(), (filter("warn"), Source::Environment));
        voices.configure(Some(filter("error")));
        assert_eq!(voices.loudest(), (filter("error"), Source::Configuration));
        let first = voices.ask(Some(filter("debug")), None);
        // A reload that leaves it as it is changes nothing.
        voices.configure(Some(filter("error")));
        assert_eq!(voices.loudest(), (filter("debug"), Source::Command));
        assert_eq!(
            voices.without_command(),
            (filter("error"), Source::Configuration)
        );
        let second = voices.ask(Some(filter("trace")), None);
        assert!(!voices.end(first), "another command has the say");
        assert_eq!(voices.loudest(), (filter("trace"), Source::Command));
        assert!(voices.end(second));
        assert!(!voices.end(second), "it has ended");
        voices.ask(Some(filter("trace")), None);
        voices.configure(None);
        assert_eq!(voices.loudest(), (filter("warn"), Source::Environment));
    }
}
