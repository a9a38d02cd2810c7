//! Whether there is room for another batch: the one place where batches are refused for space.
//!
//! A batch is admitted if it fits as it came, twice: it may not compress, and routing writes what is
//! routed a second time, as it will with all that is appended and not routed yet. So neither mark is
//! ever met by writing what was admitted. The answer needs two loads and a `statvfs`, and waits for nobody.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use super::shared::locked;
use crate::{Admitted, Full, Limits};

/// After a refusal batches are admitted again below nine tenths of `bytes_max`.
const LOW_WATER_TENTHS: u64 = 9;
/// Of the disk so much more than its mark has to be free again, or a tenth of the mark if that is less.
const DISK_STEP_BYTES_MAX: u64 = 256 * 1024 * 1024;

pub(super) struct Room {
    /// Where it lies on a disk of this machine.
    dir: Option<PathBuf>,
    bytes_max: AtomicU64,
    disk_free_bytes_min: AtomicU64,
    /// All files of the store.
    used: AtomicU64,
    /// Of these, what will be written a second time.
    unrouted: AtomicU64,
    reserved: Arc<AtomicU64>,
    refusing: Mutex<Option<String>>,
}

impl Room {
    pub(super) fn new(dir: Option<PathBuf>, limits: &Limits) -> Self {
        Self {
            dir,
            bytes_max: AtomicU64::new(limits.bytes_max),
            disk_free_bytes_min: AtomicU64::new(limits.disk_free_bytes_min),
            used: AtomicU64::new(0),
            unrouted: AtomicU64::new(0),
            reserved: Arc::default(),
            refusing: Mutex::default(),
        }
    }

    pub(super) fn set_limits(&self, limits: &Limits) {
        self.bytes_max.store(limits.bytes_max, Ordering::Relaxed);
        self.disk_free_bytes_min
            .store(limits.disk_free_bytes_min, Ordering::Relaxed);
    }

    pub(super) fn set_used(&self, bytes: u64) {
        self.used.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn appended(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.unrouted.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn routed(&self, bytes: u64) {
        self.unrouted.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Free bytes of the file system; `None` if it does not say, or there is none.
    pub(super) fn disk_free(&self) -> Option<u64> {
        let told = rustix::fs::statvfs(self.dir.as_ref()?).ok()?;
        Some(told.f_bavail.saturating_mul(told.f_frsize))
    }

    /// Why batches are refused, if they still are.
    pub(super) fn refusing(&self) -> Option<String> {
        let mut refusing = locked(&self.refusing);
        if refusing.is_some() {
            *refusing = self.lack(self.reserved.load(Ordering::Relaxed), LOW_WATER_TENTHS);
        }
        refusing.clone()
    }

    /// What there is not enough of for so many bytes of bodies, at so many tenths of the mark.
    fn lack(&self, bytes: u64, tenths: u64) -> Option<String> {
        let unrouted = self.unrouted.load(Ordering::Relaxed);
        let coming = unrouted.saturating_add(bytes.saturating_mul(2));
        let used = self.used().saturating_add(coming);
        let bytes_max = self.bytes_max.load(Ordering::Relaxed);
        if used > bytes_max / 10 * tenths {
            return Some(format!(
                "the queue holds or awaits {used} of at most {bytes_max} bytes (queue.bytes_max)"
            ));
        }
        let free_min = self.disk_free_bytes_min.load(Ordering::Relaxed);
        let free = self.disk_free()?.saturating_sub(coming);
        let more = match tenths {
            10 => 0,
            _ => (free_min / 10).min(DISK_STEP_BYTES_MAX),
        };
        (free < free_min.saturating_add(more)).then(|| {
            format!(
                "the disk has or will have {free} bytes free, at least {free_min} have to stay \
                 (queue.disk_free_bytes_min)"
            )
        })
    }

    /// Reserves space for a body of so many bytes.
    pub(super) fn admit(&self, bytes: u64) -> Result<Admitted, Full> {
        let mut refusing = locked(&self.refusing);
        let reserved = self.reserved.load(Ordering::Relaxed);
        if refusing.is_some() {
            *refusing = self.lack(reserved, LOW_WATER_TENTHS);
            if let Some(why) = &*refusing {
                return Err(Full(why.clone()));
            }
            tracing::info!("there is room in the queue again: batches are accepted");
        }
        if let Some(why) = self.lack(reserved.saturating_add(bytes), 10) {
            // A body that is too large for what is left says nothing of a smaller one.
            if self.lack(reserved, LOW_WATER_TENTHS).is_some() {
                tracing::error!(
                    reason = why,
                    "batches are refused with 429, as there is no room in the queue; delivery goes on, and the API \
                     server sends again for 90 s at least: make room on the disk, raise what the reason names, or \
                     mend the channel that most waits for (`auditrelay ledger`)"
                );
                *refusing = Some(why.clone());
            }
            return Err(Full(why));
        }
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        Ok(Admitted {
            reserved: Arc::clone(&self.reserved),
            bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(bytes_max: u64) -> Room {
        let limits = Limits {
            bytes_max,
            ..Limits::default()
        };
        Room::new(Some(".".into()), &limits)
    }

    #[test]
    fn what_is_admitted_fits_twice_with_all_that_was_admitted_before() {
        let room = room(1_000);
        let first = room.admit(300).expect("600 of 1,000");
        room.admit(250).expect_err("1,100 of 1,000");
        assert_eq!(room.refusing(), None, "a smaller one is welcome");
        room.admit(200).expect("1,000 of 1,000");
        drop(first);
        room.admit(250).expect("500 of 1,000, the others are gone");
    }

    #[test]
    fn after_a_refusal_it_opens_below_the_low_water_mark_only() {
        let room = room(1_000);
        room.set_used(950);
        room.admit(100).expect_err("1,150 of 1,000");
        assert!(room.refusing().is_some());
        room.set_used(920);
        room.admit(1).expect_err("922 is above nine tenths");
        room.set_used(890);
        room.admit(1).expect("it fits");
        assert_eq!(room.refusing(), None);
    }

    #[test]
    fn what_is_not_routed_counts_twice() {
        let room = room(1_000);
        room.appended(480);
        room.admit(100).expect_err("480, 480 again, and 200");
        room.routed(480);
        room.admit(100).expect("480 and 200");
    }

    #[test]
    fn the_disk_keeps_its_free_space() {
        let limits = Limits {
            disk_free_bytes_min: 1 << 60,
            ..Limits::default()
        };
        let full = Room::new(Some(".".into()), &limits)
            .admit(1)
            .expect_err("no disk is so large");
        assert!(full.0.contains("disk_free_bytes_min"), "{full}");
    }
}
