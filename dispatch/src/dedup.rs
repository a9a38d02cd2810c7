//! The dedup window in memory: which events were seen lately (promise P3).
//!
//! Two tables, of fingerprints and of identities: an audit ID that a client uses for everything is one
//! entry of the second, not a chain of collisions. Entries belong to generations, each an eighth of the window long or an eighth of `entries_max`
//! large, and are forgotten a generation at a time, so an entry stays for at least the window and at
//! most an eighth longer. Past `entries_max` the oldest generations go early; [`Forgotten::early`] counts
//! them, and [`Seen::window_seconds`] says how far back the table reaches.
//! The queue holds the same keys by block, and fills the table again after a restart.
//!
//! Memory: 28 bytes for each place of the tables, of which there are a power of two and at most 7/8 are
//! taken; while a generation is forgotten, a table stands there twice.

use std::{collections::VecDeque, time::Duration};

use auditrelay_audit::EventKey;
use hashbrown::HashTable;

const GENERATIONS_PER_WINDOW: u8 = 8;

/// What the window knows of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// Neither the event nor its audit ID was seen.
    New,
    /// The same event was seen.
    Duplicate,
    /// Another event with the same cluster, audit ID and stage was seen.
    ReusedId,
}

/// What left the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// The last block whose keys are forgotten.
    pub last_seq: Option<u64>,
    /// Keys that were forgotten before the window had passed, as there were too many. A key that was
    /// older than the window but forgotten with them counts too: ages are known by generation.
    pub early: u64,
}

struct Generation {
    /// What entries call it.
    number: u8,
    first_unix_ms: i64,
    last_unix_ms: i64,
    last_seq: u64,
    entries: usize,
}

/// Bytes of a keyed hash, and the number of a generation: packed, as nothing else packs them.
type Entry<const BYTES: usize> = [u8; BYTES];
const FINGERPRINT: usize = 16;
const IDENTITY: usize = 8;

/// What is stored is a keyed hash already.
fn hash_of<const BYTES: usize>(entry: &Entry<BYTES>) -> u64 {
    entry
        .first_chunk::<8>()
        .map_or(0, |word| u64::from_ne_bytes(*word))
}

/// Leaves a generation out. The rest moves to a table of its size: removing entries leaves marks behind,
/// and a table that is full of them doubles.
fn forget<const BYTES: usize>(table: &mut HashTable<Entry<BYTES>>, generation: u8) {
    let is_kept = |entry: &&Entry<BYTES>| entry[BYTES - 1] != generation;
    let kept = table.iter().filter(is_kept).count();
    let mut fresh = HashTable::with_capacity(kept + kept / 8);
    for entry in table.iter().filter(is_kept) {
        fresh.insert_unique(hash_of(entry), *entry, hash_of);
    }
    *table = fresh;
}

fn milliseconds(window: Duration) -> i64 {
    i64::try_from(window.as_millis()).unwrap_or(i64::MAX / 2)
}

/// The window.
pub struct Seen {
    window_ms: i64,
    entries_max: usize,
    generations: VecDeque<Generation>,
    fingerprints: HashTable<Entry<{ FINGERPRINT + 1 }>>,
    identities: HashTable<Entry<{ IDENTITY + 1 }>>,
}

impl Seen {
    /// An empty window.
    pub fn new(window: Duration, entries_max: usize) -> Self {
        Self {
            window_ms: milliseconds(window),
            entries_max,
            generations: VecDeque::new(),
            fingerprints: HashTable::new(),
            identities: HashTable::new(),
        }
    }

    /// Another window from now on. A longer one reaches further back as time goes on.
    pub fn set_window(&mut self, window: Duration) {
        self.window_ms = milliseconds(window);
    }

    /// Notes a key that came with block `seq`, and says what was known of it.
    pub fn note(&mut self, key: &EventKey, seq: u64, received_unix_ms: i64) -> Sighting {
        let mut fingerprint = [0; FINGERPRINT + 1];
        fingerprint[..FINGERPRINT].copy_from_slice(&key.fingerprint);
        let hash = hash_of(&fingerprint);
        let same = |known: &Entry<{ FINGERPRINT + 1 }>| known[..FINGERPRINT] == key.fingerprint;
        if self.fingerprints.find(hash, same).is_some() {
            return Sighting::Duplicate;
        }
        let generation = self.current(seq, received_unix_ms);
        generation.last_seq = generation.last_seq.max(seq);
        generation.last_unix_ms = generation.last_unix_ms.max(received_unix_ms);
        generation.entries += 1;
        let number = generation.number;
        fingerprint[FINGERPRINT] = number;
        self.fingerprints.insert_unique(hash, fingerprint, hash_of);
        if key.identity != 0 && self.is_known(key.identity, number) {
            Sighting::ReusedId
        } else {
            Sighting::New
        }
    }

    /// Whether the identity was seen; it is of this generation now, as its newest event is.
    fn is_known(&mut self, identity: u64, generation: u8) -> bool {
        let mut entry = [generation; IDENTITY + 1];
        entry[..IDENTITY].copy_from_slice(&identity.to_ne_bytes());
        let same = |known: &Entry<{ IDENTITY + 1 }>| known[..IDENTITY] == entry[..IDENTITY];
        match self.identities.find_mut(hash_of(&entry), same) {
            Some(known) => {
                known[IDENTITY] = generation;
                true
            }
            None => {
                self.identities
                    .insert_unique(hash_of(&entry), entry, hash_of);
                false
            }
        }
    }

    fn current(&mut self, seq: u64, received_unix_ms: i64) -> &mut Generation {
        let length_ms = self.window_ms / i64::from(GENERATIONS_PER_WINDOW);
        let entries_max = self.entries_max / usize::from(GENERATIONS_PER_WINDOW);
        let fits = |one: &Generation| {
            // A block's keys are forgotten together on disk, so they stay together here.
            one.last_seq == seq
                || (received_unix_ms < one.first_unix_ms + length_ms
                    && one.entries < entries_max.max(1))
        };
        if !self.generations.back().is_some_and(fits) {
            // There are about nine at once, so a number is free again long before it comes round.
            let last = self.generations.back().map_or(0, |one| one.number);
            self.generations.push_back(Generation {
                number: last.wrapping_add(1),
                first_unix_ms: received_unix_ms,
                last_unix_ms: received_unix_ms,
                last_seq: 0,
                entries: 0,
            });
        }
        self.generations
            .back_mut()
            .expect("one was pushed if there was none")
    }

    /// Forgets what is older than the window or too much.
    pub fn expire(&mut self, now_unix_ms: i64) -> Forgotten {
        let mut forgotten = Forgotten::default();
        while let Some(oldest) = self.generations.front() {
            let is_old = now_unix_ms - oldest.last_unix_ms > self.window_ms;
            let is_too_much = self.generations.len() > 1 && self.entries() > self.entries_max;
            if !is_old && !is_too_much {
                break;
            }
            forgotten.last_seq = Some(oldest.last_seq);
            if !is_old {
                forgotten.early += oldest.entries as u64;
            }
            let number = oldest.number;
            self.generations.pop_front();
            // A look at every entry, eight times a window.
            forget(&mut self.fingerprints, number);
            forget(&mut self.identities, number);
        }
        forgotten
    }

    /// How many events are remembered.
    pub fn entries(&self) -> usize {
        self.fingerprints.len()
    }

    /// How far back the table reaches, in seconds.
    pub fn window_seconds(&self, now_unix_ms: i64) -> i64 {
        self.generations
            .front()
            .map_or(0, |one| (now_unix_ms - one.first_unix_ms).max(0) / 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(identity: u64, content: u8) -> EventKey {
        EventKey {
            identity,
            fingerprint: [content; 16],
        }
    }

    #[test]
    fn only_the_same_content_is_a_duplicate() {
        let mut seen = Seen::new(Duration::from_secs(900), 100);
        assert_eq!(seen.note(&key(1, 1), 1, 0), Sighting::New);
        assert_eq!(seen.note(&key(1, 1), 2, 0), Sighting::Duplicate);
        assert_eq!(seen.note(&key(1, 2), 2, 0), Sighting::ReusedId);
        assert_eq!(seen.note(&key(0, 3), 2, 0), Sighting::New);
        assert_eq!(seen.note(&key(0, 4), 2, 0), Sighting::New);
    }

    #[test]
    fn an_entry_stays_for_the_whole_window_and_not_much_longer() {
        let mut seen = Seen::new(Duration::from_secs(800), 100);
        for second in 0..=2_000i64 {
            seen.note(&key(0, (second % 251) as u8), second as u64, second * 1_000);
            seen.expire(second * 1_000);
        }
        let mut exact = Seen::new(Duration::from_secs(800), 100);
        exact.note(&key(7, 7), 5, 0);
        assert_eq!(exact.expire(800_000), Forgotten::default());
        assert_eq!(exact.note(&key(7, 7), 6, 800_000), Sighting::Duplicate);
        // In time, so not early.
        let in_time = Forgotten {
            last_seq: Some(5),
            early: 0,
        };
        assert_eq!(exact.expire(900_001), in_time);
        assert_eq!(exact.note(&key(7, 7), 6, 900_001), Sighting::New);
        assert!(
            seen.window_seconds(2_000_000) <= 900,
            "{}",
            seen.window_seconds(2_000_000)
        );
    }

    #[test]
    fn a_flood_within_one_moment_stays_bounded_too() {
        let mut seen = Seen::new(Duration::from_secs(800), 80);
        let mut early = 0;
        for n in 0..250u8 {
            seen.note(&key(0, n), u64::from(n), 1_000);
            early += seen.expire(1_000).early;
            assert!(seen.entries() <= 80);
            assert_eq!(early + seen.entries() as u64, u64::from(n) + 1);
        }
        assert_eq!(seen.note(&key(0, 249), 250, 1_000), Sighting::Duplicate);
        assert_eq!(seen.note(&key(0, 1), 250, 1_000), Sighting::New);
    }

    #[test]
    fn too_many_entries_shorten_the_window_and_are_counted() {
        let mut seen = Seen::new(Duration::from_secs(800), 10);
        let mut early = 0;
        for n in 0..50u8 {
            seen.note(&key(0, n), u64::from(n), i64::from(n) * 50_000);
            early += seen.expire(i64::from(n) * 50_000).early;
        }
        assert!(seen.entries() <= 10);
        // Sixteen fit into the window, so every one that went had to go early.
        assert_eq!(early, 50 - seen.entries() as u64);
        assert!(seen.window_seconds(2_500_000) < 800);
        assert_eq!(seen.note(&key(0, 49), 50, 2_500_000), Sighting::Duplicate);
    }

    #[test]
    fn what_fits_is_never_forgotten_early() {
        let mut seen = Seen::new(Duration::from_secs(800), 10);
        for n in 0..50u8 {
            seen.note(&key(0, n), u64::from(n), i64::from(n) * 100_000);
            assert_eq!(seen.expire(i64::from(n) * 100_000).early, 0, "{n}");
        }
    }
}
