//! Reading the files again, for as long as the relay runs.
//!
//! Invariants:
//! * a change is looked at once two readings in a row found the same. So a file that is being
//!   written, or a certificate whose key comes a moment later, is no change and no error yet;
//! * what cannot be used changes nothing: the old state of its unit stays (the encryption is a unit, and
//!   each client's secrets are one), one line says why, and the metric says so until every unit is what
//!   its files hold. A problem that stays is not told again, and keeps no other unit from changing;
//! * no connection ends because of a change, and no thread that serves connections reads a file.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};

use super::{
    Keyring, Keys,
    files::{Fingerprint, Reading},
    parts::{Fate, Source, key_of, paths},
};

/// How often the files are read. A change is in use after two of these at the most, and the time that
/// one reading takes.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// What is remembered between two readings.
#[derive(Default)]
struct Watch {
    /// What the reading before found.
    before: Option<Fingerprint>,
    /// The units whose files cannot be used, and why.
    unusable: BTreeMap<usize, String>,
    /// Warnings that were given, so that each is given once as long as it holds.
    warned: BTreeSet<String>,
}

/// What one reading led to; nothing, where all stayed as it was.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// Files that changed and are in use now.
    changed: BTreeSet<String>,
    /// Why files cannot be used, where that was not told yet.
    problems: Vec<String>,
    /// Keys whose files hold again what is in use, after they did not.
    mended: Vec<String>,
}

impl Keyring {
    /// Reads the files again every `every`, until it is dropped.
    pub async fn watch(self: Arc<Self>, every: Duration) {
        let mut watch = Watch::default();
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let keyring = Arc::clone(&self);
            let looking = tokio::task::spawn_blocking(move || {
                let reading = Reading::of(paths(&keyring.tls, &keyring.clients));
                let outcome = keyring.look(&mut watch, &reading);
                let warnings = keyring.new_warnings(&mut watch);
                (watch, outcome, warnings)
            });
            let outcome;
            let warnings;
            (watch, outcome, warnings) = match looking.await {
                Ok(looked) => looked,
                Err(_panicked) => {
                    // Without the panic's own words: they may quote a file.
                    tracing::error!(
                        "reading certificates and tokens again panicked: what was read before stays in use; please report it"
                    );
                    (Watch::default(), Outcome::default(), Vec::new())
                }
            };
            tell(&outcome);
            for warning in warnings {
                tracing::warn!(
                    warning,
                    "something about certificates, keys, tokens or passwords needs a look"
                );
            }
        }
    }

    fn look(&self, watch: &mut Watch, reading: &Reading) -> Outcome {
        let mut outcome = Outcome::default();
        let found = reading.fingerprint(&self.hasher);
        let Some(before) = watch.before.replace(found.clone()) else {
            return outcome;
        };
        let current = self.current.load_full();
        let source = Source {
            tls: &self.tls,
            clients: &self.clients,
            reading,
            hasher: &self.hasher,
        };
        let (parts, fates) = current.parts.renewed(source, &found, &before);
        for (unit, fate) in fates.into_iter().enumerate() {
            match fate {
                Fate::Unsettled => {}
                Fate::Same => {
                    let mended = watch.unusable.remove(&unit).map(|_| key_of(unit));
                    outcome.mended.extend(mended);
                }
                Fate::Changed(files) => {
                    watch.unusable.remove(&unit);
                    let names = files.iter().map(|file| file.display().to_string());
                    outcome.changed.extend(names);
                }
                Fate::Unusable(why) => {
                    if watch.unusable.get(&unit) != Some(&why) {
                        outcome.problems.push(why.clone());
                        watch.unusable.insert(unit, why);
                    }
                }
            }
        }
        if !outcome.changed.is_empty() {
            let keys = Arc::new(Keys::new(current.number + 1, parts, &self.clients));
            // Counted once they are in use, and not before: whoever sees the count is right about the next request.
            self.current.store(Arc::clone(&keys));
            self.metrics.in_use(&keys);
            self.metrics.reloaded();
        }
        let is_current = watch.unusable.is_empty();
        self.metrics.looked(outcome.problems.len(), is_current);
        outcome
    }

    /// Those that did not hold at the reading before.
    fn new_warnings(&self, watch: &mut Watch) -> Vec<String> {
        let holding: BTreeSet<String> = self.warnings().into_iter().collect();
        let new = holding.difference(&watch.warned).cloned().collect();
        watch.warned = holding;
        new
    }
}

fn tell(outcome: &Outcome) {
    if !outcome.changed.is_empty() {
        let files: Vec<&str> = outcome.changed.iter().map(String::as_str).collect();
        tracing::info!(
            files = files.join(", "),
            "certificates, keys, tokens or passwords changed and are in use; connections stay open"
        );
    }
    if !outcome.mended.is_empty() {
        tracing::info!(
            keys = outcome.mended.join(", "),
            "certificates, keys, tokens or passwords are again those that are in use"
        );
    }
    for why in &outcome.problems {
        tracing::error!(
            reason = why,
            "certificates, keys, tokens or passwords cannot be used: what was read before for this stays in use; mend the \
             file, it is read again every few seconds"
        );
    }
}

#[cfg(test)]
mod tests;
