//! What the files make, unit by unit: the encryption is one, and each client's secrets are one.
//!
//! Invariants:
//! * a unit is whole: it was made from files that were all readable and fit together, as they were
//!   found at one time;
//! * a unit whose files cannot be used, or are being written, stays what it was; it keeps no other unit
//!   from becoming what its own files say. So one file that is missing keeps no other secret valid.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use auditrelay_config::{ClientConfig, TlsConfig};

use super::{
    clients::Secret,
    files::{Fingerprint, Reading},
    secrets::Hasher,
    server::{self, Encryption},
};

/// What was made of the files of one unit.
struct Part<T> {
    fingerprint: Fingerprint,
    made: Arc<T>,
    /// What is no reason to refuse its files, and should be known.
    oddities: Vec<String>,
}

/// Every unit: the encryption, then one for each client, as configured.
pub(super) struct Parts {
    encryption: Part<Option<Encryption>>,
    secrets: Vec<Part<Secret>>,
}

/// Where units come from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) tls: &'a TlsConfig,
    pub(super) clients: &'a [ClientConfig],
    pub(super) reading: &'a Reading,
    pub(super) hasher: &'a Hasher,
}

/// What became of a unit at one reading.
pub(super) enum Fate {
    /// Its files hold what is in use.
    Same,
    /// They hold something else than at the reading before.
    Unsettled,
    /// It is new; these of its files changed.
    Changed(Vec<PathBuf>),
    /// Its files hold what cannot be used, for this reason.
    Unusable(String),
}

/// Something made of files, and what is odd about them.
type Made<T> = Result<(T, Vec<String>), String>;

impl<T> Clone for Part<T> {
    fn clone(&self) -> Self {
        Self {
            fingerprint: self.fingerprint.clone(),
            made: Arc::clone(&self.made),
            oddities: self.oddities.clone(),
        }
    }
}

impl<T> Part<T> {
    fn new(fingerprint: Fingerprint, made: Made<T>) -> Result<Self, String> {
        made.map(|(made, oddities)| Self {
            fingerprint,
            made: Arc::new(made),
            oddities,
        })
    }

    /// What it is from now on, where its files are `found` and were `before` at the last reading.
    fn renewed(
        &self,
        found: Fingerprint,
        before: &Fingerprint,
        make: impl FnOnce() -> Made<T>,
    ) -> (Self, Fate) {
        if !found.is(before) {
            return (self.clone(), Fate::Unsettled);
        }
        let changed = found.changed_since(&self.fingerprint);
        let changed: Vec<PathBuf> = changed.into_iter().map(Path::to_path_buf).collect();
        if changed.is_empty() {
            return (self.clone(), Fate::Same);
        }
        match Self::new(found, make()) {
            Ok(part) => (part, Fate::Changed(changed)),
            Err(why) => (self.clone(), Fate::Unusable(why)),
        }
    }
}

impl Parts {
    /// Reads every unit; each must be of use.
    pub(super) fn read(source: Source<'_>) -> Result<Self, String> {
        let all = source.reading.fingerprint(source.hasher);
        let encryption = Part::new(all.of(&files_of_tls(source.tls)), source.encryption())?;
        let secrets = source.clients.iter().enumerate().map(|(index, client)| {
            Part::new(
                all.of(&files_of_client(client)),
                source.secret(index, client),
            )
        });
        Ok(Self {
            encryption,
            secrets: secrets.collect::<Result<_, _>>()?,
        })
    }

    /// What the units are from now on, and the fate of each in their order. All files are `found`, and
    /// were `before` at the last reading.
    pub(super) fn renewed(
        &self,
        source: Source<'_>,
        found: &Fingerprint,
        before: &Fingerprint,
    ) -> (Self, Vec<Fate>) {
        let (encryption, fate) =
            self.encryption
                .renewed(found.of(&files_of_tls(source.tls)), before, || {
                    source.encryption()
                });
        let mut fates = vec![fate];
        let mut secrets = Vec::new();
        for (index, (part, client)) in self.secrets.iter().zip(source.clients).enumerate() {
            let own = found.of(&files_of_client(client));
            let (part, fate) = part.renewed(own, before, || source.secret(index, client));
            secrets.push(part);
            fates.push(fate);
        }
        let parts = Self {
            encryption,
            secrets,
        };
        (parts, fates)
    }

    /// What connections are encrypted with; `None` for plain HTTP.
    pub(super) fn encryption(&self) -> Option<&Encryption> {
        self.encryption.made.as_ref().as_ref()
    }

    /// What each client shows beside a certificate, as configured.
    pub(super) fn secrets(&self) -> impl Iterator<Item = Arc<Secret>> {
        self.secrets.iter().map(|part| Arc::clone(&part.made))
    }

    pub(super) fn oddities(&self) -> impl Iterator<Item = &String> {
        let of_secrets = self.secrets.iter().flat_map(|part| &part.oddities);
        of_secrets.chain(&self.encryption.oddities)
    }
}

impl Source<'_> {
    fn encryption(&self) -> Made<Option<Encryption>> {
        let encryption = server::encryption(self.tls, self.reading)?;
        let key = self.tls.key_file.as_ref();
        let readable = key.filter(|file| self.reading.is_for_everybody(file));
        let odd = |file| server::problem("tls.key_file", file, super::READABLE_BY_EVERYBODY);
        Ok((
            encryption,
            readable.into_iter().map(|file| odd(file)).collect(),
        ))
    }

    fn secret(&self, index: usize, client: &ClientConfig) -> Made<Secret> {
        Secret::read(client, index, self.reading, self.hasher)
    }
}

/// The key of the configuration that a unit belongs to.
pub(super) fn key_of(unit: usize) -> String {
    match unit.checked_sub(1) {
        None => "tls".to_owned(),
        Some(index) => format!("clients[{index}]"),
    }
}

/// Every file that the configuration names, once.
pub(super) fn paths(tls: &TlsConfig, clients: &[ClientConfig]) -> BTreeSet<PathBuf> {
    let of_clients = clients.iter().flat_map(files_of_client);
    let named = files_of_tls(tls).into_iter().chain(of_clients);
    named.map(Path::to_path_buf).collect()
}

fn files_of_tls(tls: &TlsConfig) -> Vec<&Path> {
    let named = [&tls.certificate_file, &tls.key_file, &tls.client_ca_file];
    named.into_iter().flatten().map(PathBuf::as_path).collect()
}

fn files_of_client(client: &ClientConfig) -> Vec<&Path> {
    let named = [&client.token_file, &client.password_file];
    named.into_iter().flatten().map(PathBuf::as_path).collect()
}
