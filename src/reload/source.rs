//! What a relay was started with, to be loaded again.

use std::{
    fs::{self, File},
    io::Read,
    path::PathBuf,
};

use auditrelay_config::{Config, ConfigError, Loaded, Overrides, fingerprint, load};
use secrecy::{ExposeSecret, SecretSlice};

use super::guard;

/// More than a configuration may have.
const TEXT_BYTES_MAX: u64 = 2 << 20;

/// What a file says, secrets and all. Empty without a file.
pub(super) type Text = SecretSlice<u8>;

/// The sources of a configuration.
pub(crate) struct Source {
    file: Option<PathBuf>,
    environment: Vec<(String, String)>,
    overrides: Overrides,
    /// What the command line says beside settings.
    amend: Box<dyn Fn(&mut Config) + Send + Sync>,
    /// Of what was loaded first.
    began_with: u64,
    first_text: Text,
}

impl Source {
    /// Loads a configuration, and keeps what it was loaded from.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub(crate) fn first(
        file: Option<PathBuf>,
        environment: impl IntoIterator<Item = (String, String)>,
        overrides: Overrides,
        amend: impl Fn(&mut Config) + Send + Sync + 'static,
    ) -> Result<(Self, Loaded), ConfigError> {
        let mut source = Self {
            file,
            environment: environment.into_iter().collect(),
            overrides,
            amend: Box::new(amend),
            began_with: 0,
            first_text: Vec::new().into(),
        };
        // Before: what changes while it is loaded is another content then, and loaded again.
        source.began_with = source.fingerprint();
        source.first_text = source.text();
        let mut loaded = source.load()?;
        if source.is_read_once() {
            loaded.notes.push(format!(
                "{} is no regular file: it was read once, is not watched, and cannot be loaded again",
                source.name()
            ));
        }
        Ok((source, loaded))
    }

    pub(super) fn take_first_text(&mut self) -> Text {
        std::mem::replace(&mut self.first_text, Vec::new().into())
    }

    pub(crate) fn began_with(&self) -> u64 {
        self.began_with
    }

    /// Loads it again, with the text of its file. `in_use` is what its file said before.
    ///
    /// # Errors
    /// The configuration is wrong, or surely not meant: one line that says where and why.
    pub(super) fn again(&self, in_use: &Text) -> Result<(Loaded, Text), String> {
        if self.is_read_once() {
            return Err(format!(
                "{}: is no regular file, so it cannot be loaded again; restart the relay with it",
                self.name()
            ));
        }
        let text = self.text();
        let (says, said) = (text.expose_secret(), in_use.expose_secret());
        let loaded = self.load().map_err(|error| error.to_string())?;
        if self.file.is_some() && guard::says_nothing(says) && !guard::says_nothing(said) {
            return Err(format!(
                "{}: it says nothing any more (it is empty, or has comments alone), which would take out all that was \
                 configured. If that is meant, restart the relay",
                self.name()
            ));
        }
        Ok((loaded, text))
    }

    /// Whether the file is a pipe or its like.
    fn is_read_once(&self) -> bool {
        let kind = self.file.as_ref().and_then(|file| fs::metadata(file).ok());
        kind.is_some_and(|kind| !kind.is_file() && !kind.is_dir())
    }

    /// What the file says. Nothing if it cannot be read: who loads it says why.
    fn text(&self) -> Text {
        let file = self.file.as_ref().filter(|_| !self.is_read_once());
        let mut text = Vec::new();
        let read = file.map(|file| {
            File::open(file)?
                .take(TEXT_BYTES_MAX)
                .read_to_end(&mut text)
        });
        match read {
            Some(Ok(_)) => text.into(),
            Some(Err(_)) | None => Vec::new().into(),
        }
    }

    /// Reads files.
    ///
    /// # Errors
    /// The configuration is wrong.
    fn load(&self) -> Result<Loaded, ConfigError> {
        let environment = self.environment.iter().cloned();
        let overrides = self.overrides.clone();
        let mut loaded = load(self.file.as_deref(), environment, overrides)?;
        (self.amend)(&mut loaded.config);
        Ok(loaded)
    }

    /// Tells one content of its files from another. Reads them.
    pub(crate) fn fingerprint(&self) -> u64 {
        fingerprint(self.file.as_deref(), &self.environment)
    }

    /// What to call it where a reason names a key alone.
    pub(crate) fn name(&self) -> String {
        match &self.file {
            Some(file) => file.display().to_string(),
            None => "environment".to_owned(),
        }
    }
}
