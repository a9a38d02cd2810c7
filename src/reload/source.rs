//! What a relay was started with, to be loaded again.

use std::path::PathBuf;

use auditrelay_config::{Config, ConfigError, Loaded, Overrides, fingerprint, load};

/// The sources of a configuration.
pub(crate) struct Source {
    file: Option<PathBuf>,
    environment: Vec<(String, String)>,
    overrides: Overrides,
    /// What the command line says beside settings.
    amend: Box<dyn Fn(&mut Config) + Send + Sync>,
    /// Of what was loaded first.
    began_with: u64,
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
        };
        // Before: what changes while it is loaded is another content then, and loaded again.
        source.began_with = source.fingerprint();
        let loaded = source.load()?;
        Ok((source, loaded))
    }

    pub(crate) fn began_with(&self) -> u64 {
        self.began_with
    }

    /// Loads it again. Reads files.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub(crate) fn load(&self) -> Result<Loaded, ConfigError> {
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
