//! What the configuration lets the queue keep, as the store counts it.

use auditrelay_config::QueueConfig;
use auditrelay_store::Limits;

const HOUR_MS: u64 = 3_600_000;

/// The limits of a configuration.
pub(crate) fn limits(queue: &QueueConfig) -> Limits {
    // At most a year, so it fits.
    let milliseconds = |hours: u64| i64::try_from(hours * HOUR_MS).unwrap_or(i64::MAX);
    Limits {
        bytes_max: queue.bytes_max.get(),
        disk_free_bytes_min: queue.disk_free_bytes_min.get(),
        channel_bytes_max: queue.channel_bytes_max.get(),
        dead_bytes_max: queue.dead_bytes_max.get(),
        quarantine_bytes_max: queue.quarantine_bytes_max.get(),
        quarantine_entries_max: queue.quarantine_entries_max.get(),
        detail_ms: milliseconds(queue.digest_detail_hours.get()),
        detail_bytes_max: queue.digest_detail_bytes_max.get(),
        retain_ms: milliseconds(queue.retain_hours.get()),
        retain_bytes_max: queue.retain_bytes_max.get(),
    }
}

#[cfg(test)]
mod tests {
    use auditrelay_config::{Overrides, load};

    use super::*;

    /// The limits of a file's `queue` section.
    fn of(section: &str) -> Limits {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("a.yaml");
        std::fs::write(&file, format!("queue: {{{section}}}")).expect("written");
        let loaded = load(Some(&file), [], Overrides::default()).expect("valid");
        limits(&loaded.config.queue)
    }

    #[test]
    fn each_knob_is_the_limit_that_it_names() {
        const MIB: u64 = 1 << 20;
        let set = of(
            "bytes_max: 1073741824, disk_free_bytes_min: 16777216, channel_bytes_max: 2097152, \
             dead_bytes_max: 3145728, quarantine_bytes_max: 4194304, quarantine_entries_max: 5, \
             digest_detail_hours: 6, digest_detail_bytes_max: 7, retain_hours: 8, \
             retain_bytes_max: 9437184",
        );
        let expected = Limits {
            bytes_max: 1024 * MIB,
            disk_free_bytes_min: 16 * MIB,
            channel_bytes_max: 2 * MIB,
            dead_bytes_max: 3 * MIB,
            quarantine_bytes_max: 4 * MIB,
            quarantine_entries_max: 5,
            detail_ms: 6 * 3_600_000,
            detail_bytes_max: 7,
            retain_ms: 8 * 3_600_000,
            retain_bytes_max: 9 * MIB,
        };
        assert_eq!(set, expected);
        let longest = of("digest_detail_hours: 720, retain_hours: 8760");
        assert_eq!(longest.detail_ms, 30 * 86_400_000);
        assert_eq!(longest.retain_ms, 365 * 86_400_000);
        assert_eq!(of("").retain_ms, 0, "it is off by default");
    }
}
