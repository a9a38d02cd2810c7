//! What the tests of loading share: a file in a folder of its own, and the one line of an error.

#![allow(dead_code, reason = "no test uses all of it")]

pub mod schema;

use std::path::PathBuf;

use auditrelay_config::{Config, ConfigError, Destination, Loaded, Overrides, load};
use secrecy::ExposeSecret;
use tempfile::TempDir;

/// A folder with a configuration file in it.
pub struct Case {
    pub folder: TempDir,
    file: Option<PathBuf>,
    env: Vec<(String, String)>,
    overrides: Overrides,
}

impl Case {
    /// No file, no variables.
    pub fn bare() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        Self {
            folder,
            file: None,
            env: Vec::new(),
            overrides: Overrides::default(),
        }
    }

    /// A file `a.yaml` with this text.
    pub fn file(text: impl AsRef<[u8]>) -> Self {
        let mut case = Self::bare();
        case.file = Some(case.write("a.yaml", text));
        case
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn overrides(mut self, overrides: Overrides) -> Self {
        self.overrides = overrides;
        self
    }

    /// Another file of the folder.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("a file can be written");
        path
    }

    fn run(&self) -> Result<Loaded, ConfigError> {
        load(
            self.file.as_deref(),
            self.env.clone(),
            self.overrides.clone(),
        )
    }

    pub fn loaded(&self) -> Loaded {
        // What is loaded is valid by the JSON Schema, whatever it is.
        if let Some(file) = &self.file {
            let text = std::fs::read_to_string(file).expect("text");
            assert_eq!(schema::faults(&text), None, "{text}");
        }
        self.run().unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn config(&self) -> Config {
        self.loaded().config
    }

    /// The error's line, the folder left out.
    pub fn line(&self) -> String {
        let error = self.run().expect_err("this configuration is not valid");
        let folder = format!("{}/", self.folder.path().display());
        error.to_string().replace(&folder, "")
    }
}

/// The error's line for a file with this text.
pub fn line(text: &str) -> String {
    Case::file(text).line()
}

/// Where the messages of a channel go, in words.
pub fn destination(config: &Config, channel: &str) -> String {
    match config.destination(&channel.parse().expect("a channel name")) {
        Some(Destination::SlackApi { channel, token }) => {
            format!("{channel} with {}", token.expose_secret())
        }
        Some(Destination::Webhook { url }) => format!("webhook {}", url.expose_secret()),
        Some(Destination::PlainWebhook { url }) => format!("plain {}", url.expose_secret()),
        Some(Destination::Preview) => "preview".to_owned(),
        None => "nowhere".to_owned(),
    }
}

/// The note about a missing token, if it concerns every channel.
pub const PREVIEW_NOTE: &str = "no Slack token is configured (SLACK_TOKEN, slack.token or \
                            slack.token_file): messages are shown in this terminal instead of \
                            being posted";
