//! How much the queue keeps, and who may have how much of it.
//!
//! Contract: what is kept for one channel, and what is kept to be looked at, leave half of `bytes_max`
//! to what is not routed yet and to other channels: one dead channel alone never makes the relay
//! refuse. A quota that is not set shrinks with `bytes_max`, so that `bytes_max` is all that has to be
//! set for a small disk.

use serde::{Deserialize, Serialize};

use crate::bounded::Bounded;
use crate::jetstream::JetStreamConfig;
use crate::model::{GIB, MIB};
use crate::seal_key::SealKey;

/// One TiB, in bytes.
const TIB: u64 = 1 << 40;
/// Of `bytes_max`; the quotas' own defaults are parts of it.
const BYTES_MAX: u64 = 8 * GIB;

/// Keeping events until they are posted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConfig {
    /// Memory the queue may use to cache what is on disk.
    pub cache_bytes_max: Bounded<MIB, { 16 * GIB }>,
    /// Everything in the queue, on disk. Near it new batches are refused.
    pub bytes_max: Bounded<{ 64 * MIB }, { 16 * TIB }>,
    /// Free space that the file system of `data_dir` keeps. Near it new batches are refused.
    pub disk_free_bytes_min: Bounded<{ 16 * MIB }, TIB>,
    /// What may wait for one channel, as stored. Past it the least severe, oldest events become counts.
    pub channel_bytes_max: Bounded<MIB, { 4 * TIB }>,
    /// Dead letters, as stored. Past it the oldest go, and are counted.
    pub dead_bytes_max: Bounded<MIB, TIB>,
    /// Unreadable entries kept for inspection.
    pub quarantine_entries_max: Bounded<1, 1_000_000>,
    /// The same, as stored.
    pub quarantine_bytes_max: Bounded<MIB, GIB>,
    /// The key that the first bytes of a quarantined entry are sealed to before they are stored; without
    /// one none are kept.
    pub quarantine_raw: Option<SealKey>,
    /// How long what a message stood for stays readable; 0 for not at all.
    pub digest_detail_hours: Bounded<0, 720>,
    /// The same, as stored; 0 for none of it.
    pub digest_detail_bytes_max: Bounded<0, TIB>,
    /// How long routed events are kept for a replay; 0 for not at all.
    pub retain_hours: Bounded<0, 8_760>,
    /// The same, as stored.
    pub retain_bytes_max: Bounded<MIB, { 4 * TIB }>,
    /// Where the queue is instead of `data_dir`.
    pub jetstream: Option<JetStreamConfig>,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            cache_bytes_max: const { Bounded::preset(64 * MIB) },
            bytes_max: const { Bounded::preset(BYTES_MAX) },
            disk_free_bytes_min: const { Bounded::preset(256 * MIB) },
            channel_bytes_max: const { Bounded::preset(BYTES_MAX / 8) },
            dead_bytes_max: const { Bounded::preset(BYTES_MAX / 32) },
            quarantine_entries_max: const { Bounded::preset(10_000) },
            quarantine_bytes_max: const { Bounded::preset(BYTES_MAX / 128) },
            quarantine_raw: None,
            digest_detail_hours: const { Bounded::preset(24) },
            digest_detail_bytes_max: const { Bounded::preset(BYTES_MAX / 32) },
            retain_hours: const { Bounded::preset(0) },
            retain_bytes_max: const { Bounded::preset(BYTES_MAX / 8) },
            jetstream: None,
        }
    }
}

impl QueueConfig {
    /// Gives quotas that are not set the part of a smaller `bytes_max` that they have of its default.
    pub(crate) fn fit(&mut self, is_set: impl Fn(&str) -> bool) {
        let bytes_max = self.bytes_max.get().min(BYTES_MAX);
        if !is_set("channel_bytes_max") {
            shrink(&mut self.channel_bytes_max, bytes_max);
        }
        if !is_set("dead_bytes_max") {
            shrink(&mut self.dead_bytes_max, bytes_max);
        }
        if !is_set("quarantine_bytes_max") {
            shrink(&mut self.quarantine_bytes_max, bytes_max);
        }
        if !is_set("digest_detail_bytes_max") {
            shrink(&mut self.digest_detail_bytes_max, bytes_max);
        }
        if !is_set("retain_bytes_max") {
            shrink(&mut self.retain_bytes_max, bytes_max);
        }
    }

    /// The key to blame, and what is wrong, if the quotas are too large for `bytes_max`.
    pub(crate) fn fault(&self, is_set: impl Fn(&str) -> bool) -> Option<(&'static str, String)> {
        let quotas = [
            ("channel_bytes_max", self.channel_bytes_max.get(), true),
            ("dead_bytes_max", self.dead_bytes_max.get(), true),
            (
                "quarantine_bytes_max",
                self.quarantine_bytes_max.get(),
                true,
            ),
            (
                "digest_detail_bytes_max",
                self.digest_detail_bytes_max.get(),
                self.digest_detail_hours.get() > 0,
            ),
            (
                "retain_bytes_max",
                self.retain_bytes_max.get(),
                self.retain_hours.get() > 0,
            ),
        ];
        let counted = || quotas.iter().filter(|(_, _, is_on)| *is_on);
        let total: u64 = counted().map(|(_, bytes, _)| bytes).sum();
        let allowed = self.bytes_max.get() / 2;
        if total <= allowed {
            return None;
        }
        // Somebody set one of them too large: the largest of those is what has to be lowered.
        let (key, found, _) = counted().max_by_key(|(key, bytes, _)| (is_set(key), *bytes))?;
        let others = counted()
            .map(|(other, _, _)| *other)
            .filter(|other| other != key);
        let others: Vec<&str> = others.collect();
        let problem = format!(
            "found {found}, which with {} comes to {total}, expected at most half of bytes_max ({allowed})",
            others.join(", ")
        );
        Some((key, problem))
    }
}

fn shrink<const MIN: u64, const MAX: u64>(quota: &mut Bounded<MIN, MAX>, bytes_max: u64) {
    *quota = Bounded::clamped(part(quota.get(), bytes_max));
}

/// What is to a smaller `bytes_max` as `bytes` is to its default.
pub(crate) fn part(bytes: u64, bytes_max: u64) -> u64 {
    let part = u128::from(bytes) * u128::from(bytes_max.min(BYTES_MAX)) / u128::from(BYTES_MAX);
    // No more than `bytes`.
    part as u64
}
