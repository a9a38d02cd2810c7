//! Reading the files again, for as long as the relay runs.
//!
//! Invariants:
//! * a change is looked at once two readings in a row found the same. So a file that is being
//!   written, or a certificate whose key comes a moment later, is no change and no error yet;
//! * what cannot be used changes nothing: what is in use stays, one line says why, and the metric says
//!   so until the files can be used again. A problem that stays is not told again;
//! * no connection ends because of a change, and no thread that serves connections reads a file.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use super::{
    Keyring, Keys,
    files::{Fingerprint, Reading},
    keys, paths, peer,
};

/// How often the files are read. A change is in use after two of these at the most, and the time that
/// one reading takes.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// What is remembered between two readings.
#[derive(Default)]
struct Watch {
    /// What the reading before found.
    before: Option<Fingerprint>,
    /// What cannot be used, and why.
    unusable: Option<(Fingerprint, String)>,
    /// Warnings that were given, so that each is given once as long as it holds.
    warned: BTreeSet<String>,
}

/// What one reading led to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// The files hold what is in use.
    Same,
    /// They do again, after they did not.
    SameAgain,
    /// They hold something else than at the reading before.
    Unsettled,
    /// They hold something new, which is in use now; these are the files that changed.
    Changed(Vec<String>),
    /// They hold what cannot be used, for a reason that was not told yet.
    Unusable(String),
    /// They still do.
    StillUnusable,
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
                        "reading certificates and tokens again panicked; please report it"
                    );
                    (Watch::default(), Outcome::Same, Vec::new())
                }
            };
            tell(&outcome);
            for warning in warnings {
                tracing::warn!("{warning}");
            }
        }
    }

    fn look(&self, watch: &mut Watch, reading: &Reading) -> Outcome {
        let found = reading.fingerprint(&self.hasher);
        let is_settled = watch.before.as_ref().is_some_and(|before| found.is(before));
        watch.before = Some(found.clone());
        if !is_settled {
            return Outcome::Unsettled;
        }
        let current = self.current.load();
        if found.is(&current.fingerprint) {
            let again = watch.unusable.take().is_some();
            self.metrics.as_before();
            return if again {
                Outcome::SameAgain
            } else {
                Outcome::Same
            };
        }
        if let Some((unusable, _)) = &watch.unusable
            && found.is(unusable)
        {
            return Outcome::StillUnusable;
        }
        let number = current.number + 1;
        match keys(&self.tls, &self.clients, reading, &self.hasher, number) {
            Ok(keys) => {
                watch.unusable = None;
                self.exchange(keys)
            }
            Err(why) => {
                let told = watch
                    .unusable
                    .as_ref()
                    .is_some_and(|(_, told)| *told == why);
                self.metrics.outdated(!told);
                watch.unusable = Some((found, why.clone()));
                if told {
                    Outcome::StillUnusable
                } else {
                    Outcome::Unusable(why)
                }
            }
        }
    }

    fn exchange(&self, keys: Keys) -> Outcome {
        let before = self.current.swap(Arc::new(keys));
        let current = self.current.load();
        self.metrics.in_use(&current);
        self.metrics.reloaded();
        let changed = current.fingerprint.changed_since(&before.fingerprint);
        let name = |path: &Path| path.display().to_string();
        Outcome::Changed(changed.into_iter().map(name).collect())
    }

    /// Those that did not hold at the reading before.
    fn new_warnings(&self, watch: &mut Watch) -> Vec<String> {
        let warnings = self.current.load().warnings(&self.tls, peer::now());
        let holding: BTreeSet<String> = warnings.into_iter().collect();
        let new = holding.difference(&watch.warned).cloned().collect();
        watch.warned = holding;
        new
    }
}

fn tell(outcome: &Outcome) {
    match outcome {
        Outcome::Same | Outcome::Unsettled | Outcome::StillUnusable => {}
        Outcome::SameAgain => {
            tracing::info!(
                "certificates, keys, tokens and passwords are again those that are in use"
            );
        }
        Outcome::Changed(files) => tracing::info!(
            files = files.join(", "),
            "certificates, keys, tokens or passwords changed and are in use; connections stay open"
        ),
        Outcome::Unusable(why) => tracing::error!(
            "{why}. What was read before stays in use; mend the file, it is read again every few seconds"
        ),
    }
}

#[cfg(test)]
mod tests;
