//! Why a command ended, and with which exit code (sysexits.h).

use auditrelay_config::{ConfigError, EX_CONFIG};
use auditrelay_store::{OpenError, QueueError};

/// sysexits.h: the input was wrong.
pub(crate) const EX_DATAERR: u8 = 65;

/// How a task of the process ended that did not end by itself, without a panic's own words: they may quote what was
/// being worked on.
pub(crate) fn cut_short(error: &tokio::task::JoinError) -> &'static str {
    match error.is_panic() {
        true => "it panicked, and the log tells where; please report it",
        false => "it was cut short, as the process ends",
    }
}

/// An error that ends a command. Its text is one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// A template of the configuration; the text names its key.
    #[error("{0}")]
    Template(String),
    /// The running relay cannot use its new configuration; the text names the key.
    #[error("{0}; the relay goes on with the configuration before")]
    NotLoaded(String),
    /// A certificate, key, token or password file of the configuration; the text names its key.
    #[error("{0}")]
    Credentials(String),
    /// A key of the configuration that is judged by who uses it; the text names it.
    #[error("{0}")]
    Key(String),
    /// The queue could not be opened.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// The queue's storage failed while running.
    #[error(
        "{0}; nothing is acknowledged any more, what was acknowledged is in the queue; \
         mend the disk and start again"
    )]
    Storage(#[from] QueueError),
    /// The command was called in a way that it cannot do.
    #[error("{0}")]
    Usage(String),
    /// What a command was given to look into cannot be read as what it must be, such as an audit policy.
    #[error("{0}")]
    Data(String),
    /// The command's own "no": there is nothing of what was asked for.
    #[error("{0}")]
    No(String),
    /// A file of the data directory beside the queue, or the queue in a way that it has no words for.
    #[error("{0}; mend the disk and start again")]
    Disk(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::No(_) => 1,
            Self::Usage(_) => 2,
            Self::Data(_) => EX_DATAERR,
            Self::Config(_)
            | Self::Template(_)
            | Self::NotLoaded(_)
            | Self::Credentials(_)
            | Self::Key(_) => EX_CONFIG,
            Self::Open(_) | Self::Storage(_) | Self::Disk(_) => 74,
            Self::Other(_) => 70,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_words_of_a_panic_are_not_told() {
        let task = tokio::spawn(async { std::panic::panic_any("what was read".to_owned()) });
        let error = task.await.expect_err("it panicked");
        assert!(error.to_string().contains("what was read"), "{error}");
        let told = cut_short(&error);
        assert!(
            told.contains("panicked") && !told.contains("what was read"),
            "{told}"
        );
    }
}
