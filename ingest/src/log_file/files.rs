//! The files of one configured path: which are read, from where, and which are left alone.
//!
//! Invariants:
//! * what a mark stands for is read by one file at a time. Another of the same content waits until that one is gone
//!   or is something else: a copy (copy-truncate), or what is being compressed;
//! * what was rotated before the path was first followed is left alone, what is rotated later is read to its end,
//!   also if the relay was not there when it happened.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
    io,
    path::PathBuf,
};

use auditrelay_audit::HashKey;
use auditrelay_store::{EncodedBatch, InputPosition};

use super::{
    find::{self, Found},
    first_line::FirstLine,
    in_use::{Followed, InUse},
    looked::Looked,
    mark::{Mark, Place},
    since::Since,
    tracked::Tracked,
};
use crate::prepare::{Preparation, Stored};

/// A file, as the file system knows it.
pub(super) type Id = (u64, u64);

pub(super) struct Files {
    configured: PathBuf,
    key: HashKey,
    in_use: InUse,
    /// Its number among the followers.
    number: u64,
    tracked: HashMap<Id, Tracked>,
    since: Since,
    /// Copies of others, as they are not looked into again.
    waiting: HashMap<Id, Waits>,
    /// Rotated before that, and as they are not looked into again.
    ignored: HashMap<Id, Found>,
    failing: BTreeMap<PathBuf, String>,
}

/// In place of an input: it is shorter than what was read of it.
const SHORTER: &str = "shorter";

/// A file that waits, and for which input; none where another configured path, or an import, reads the file.
struct Waits {
    place: Place,
    input: String,
}

/// Lines of a file, ready to be appended.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) batch: Option<EncodedBatch>,
    pub(super) stored: Stored,
    pub(super) lines: u64,
    pub(super) bytes: u64,
    /// What to note once they are durable.
    pub(super) note: Option<InputPosition>,
}

impl Files {
    pub(super) fn new(
        configured: PathBuf,
        key: HashKey,
        in_use: InUse,
        nothing_is_old: bool,
    ) -> Self {
        Self {
            configured,
            key,
            number: in_use.join(),
            in_use,
            tracked: HashMap::new(),
            since: Since::new(nothing_is_old),
            waiting: HashMap::new(),
            ignored: HashMap::new(),
            failing: BTreeMap::new(),
        }
    }

    /// Says which files are read here.
    fn say_in_use(&self) {
        let all = self.tracked.values().map(|one| Followed {
            place: one.place,
            input: one.input.clone(),
            is_open: !one.is_closed(),
        });
        self.in_use.set(self.number, all.collect());
    }

    pub(super) fn followed(&self) -> usize {
        self.tracked.len()
    }

    pub(super) fn failing(&self) -> usize {
        let broken = self.tracked.values().filter(|one| one.broken.is_some());
        self.failing.len() + broken.count()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn lag_bytes(&self) -> u64 {
        self.tracked.values().map(Tracked::lag_bytes).sum()
    }

    /// Looks what there is now. What it returns has to be durable before anything is read.
    pub(super) fn look(
        &mut self,
        positions: &dyn Fn() -> Vec<InputPosition>,
        now_unix_ms: i64,
    ) -> Vec<InputPosition> {
        let known = positions();
        let listing = find::all(&self.configured);
        let notes = self.since.learn(&self.key, &listing, &known, now_unix_ms);
        let mut failing: BTreeMap<PathBuf, String> = listing.errors.into_iter().collect();
        for tracked in self.tracked.values_mut() {
            tracked.is_listed = false;
        }
        let listed: HashSet<Id> = listing
            .files
            .iter()
            .map(|one| one.place.identity())
            .collect();
        self.waiting.retain(|id, _| listed.contains(id));
        let mut unknown = Vec::new();
        for found in listing.files {
            let id = found.place.identity();
            if let Some(tracked) = self.tracked.get_mut(&id) {
                if tracked.still_is(&found) {
                    continue;
                }
                tracing::info!(
                    file = %found.path.display(),
                    "the log file is another one now, or was changed or cut: it is looked at anew"
                );
                self.tracked.remove(&id);
            }
            if self
                .ignored
                .get(&id)
                .is_none_or(|known| known.place != found.place)
            {
                if self.still_waits(&found) {
                    continue;
                }
                self.waiting.remove(&id);
                unknown.push(found);
            }
        }
        self.tracked
            .retain(|_, one| one.is_listed || one.stays_without_name(now_unix_ms));
        if !unknown.is_empty() {
            self.resolve(unknown, &known, positions, now_unix_ms, &mut failing);
        }
        self.say_failing(failing);
        self.say_in_use();
        notes
    }

    /// What is behind, the oldest first.
    pub(super) fn behind(&self, now_unix_ms: i64) -> Vec<Id> {
        let behind = self.tracked.iter();
        let behind = behind.filter(|(_, one)| one.is_behind(now_unix_ms));
        let mut behind: Vec<_> = behind
            .map(|(id, one)| (one.place.modified_ns, !one.is_rotated, *id))
            .collect();
        behind.sort_unstable();
        behind.into_iter().map(|(.., id)| id).collect()
    }

    /// Reads lines of a file, and makes a batch of them.
    pub(super) fn read(
        &mut self,
        id: Id,
        preparation: &Preparation,
        cluster: &str,
        bytes_max: u64,
        now_unix_ms: i64,
    ) -> Turn {
        let mut turn = Turn::default();
        let Some(tracked) = self.tracked.get_mut(&id) else {
            return turn;
        };
        if !tracked.is_as_it_was() {
            // The next look says what it is now.
            self.tracked.remove(&id);
            return turn;
        }
        let read = match tracked.read(bytes_max, now_unix_ms) {
            Ok(read) => read,
            Err(error) => {
                tracked.set_broken(error.to_string());
                return turn;
            }
        };
        for chunk in &read.chunks {
            let (path, place) = (&tracked.path, tracked.place);
            let mark = Mark::new(&self.key, path, place, &chunk.end, now_unix_ms);
            // A test holds that it fits whatever the path is. Without it lines could be read twice, or never.
            let position = match mark.position(&tracked.input) {
                Ok(position) => position,
                Err(error) => {
                    tracked.set_broken(error.to_string());
                    break;
                }
            };
            let made = preparation.lines(cluster, now_unix_ms, path, chunk, position);
            turn.lines += chunk.lines.len() as u64;
            turn.bytes += chunk.bytes;
            turn.stored.events += made.stored.events;
            turn.stored.unreadable += made.stored.unreadable;
            tracked.say_unreadable(&made.noted, made.legacy);
            match (&mut turn.batch, made.batch) {
                (Some(all), Some(more)) => all.join(more),
                (none, more) => *none = none.take().or(more),
            }
        }
        if read.is_at_end && tracked.is_closed() && tracked.reached().offset > 0 {
            let (path, place) = (&tracked.path, tracked.place);
            let mark = Mark::new(&self.key, path, place, tracked.reached(), now_unix_ms);
            let mark = mark.ended();
            turn.note = mark.position(&tracked.input).ok();
        }
        turn
    }

    /// Finds out which files these are. A mark is given first to the file that is where the mark says.
    fn resolve(
        &mut self,
        unknown: Vec<Found>,
        known: &[InputPosition],
        positions: &dyn Fn() -> Vec<InputPosition>,
        now_unix_ms: i64,
        failing: &mut BTreeMap<PathBuf, String>,
    ) {
        let marks = &Mark::all(known);
        let is_in_place = |found: &Found| {
            let id = found.place.identity();
            marks.iter().any(|(_, mark)| mark.place.identity() == id)
        };
        let (first, then): (Vec<_>, Vec<_>) = unknown.into_iter().partition(is_in_place);
        for found in first.into_iter().chain(then) {
            let place = found.place;
            if self.in_use.is_others(self.number, place, "") {
                self.wait(place, String::new());
                continue;
            }
            match self.open(&found, marks, now_unix_ms) {
                Ok(Some(tracked)) => {
                    let file = Followed {
                        place,
                        input: tracked.input.clone(),
                        is_open: true,
                    };
                    if !tracked.is_closed() && !self.in_use.claim(self.number, file) {
                        self.wait(place, tracked.input);
                    } else if tracked.is_closed() || self.is_current(&tracked, marks, positions) {
                        self.tracked.insert(place.identity(), tracked);
                    }
                    // Else something was taken since the marks were read, perhaps of this file: the next look.
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => drop(failing.insert(found.path, error.to_string())),
            }
        }
    }

    /// Opens a file at the place where reading goes on; `None` if it is left alone for now.
    fn open(
        &mut self,
        found: &Found,
        marks: &[(String, Mark)],
        now_unix_ms: i64,
    ) -> io::Result<Option<Tracked>> {
        let unchanged = marks
            .iter()
            .find(|(_, mark)| mark.ended && mark.place == found.place);
        if let Some((input, _)) = unchanged
            && !self.is_in_use(input)
        {
            return Ok(Some(Tracked::closed(found, input.clone())));
        }
        let looked = Looked::at(found)?;
        if !looked.has_a_line(found, now_unix_ms) {
            return Ok(None);
        }
        let key = self.key.clone();
        let id = found.place.identity();
        let mut of_it: Vec<_> = marks
            .iter()
            .filter(|(_, mark)| mark.has_head(&key, &looked.head))
            .collect();
        of_it.sort_by_key(|(_, mark)| (mark.place.identity() != id, Reverse(mark.offset)));
        let mut waits_for = None;
        for (input, mark) in of_it {
            match looked.is_of(found, mark, &key)? {
                Some(false) => {}
                // A copy of what is read elsewhere, or one that is being made.
                None => waits_for = Some(SHORTER),
                Some(true) if self.is_in_use(input) => waits_for = Some(input.as_str()),
                Some(true) => {
                    if let Some(tracked) = looked.read_on(found, input, mark, &key)? {
                        return Ok(Some(tracked));
                    }
                }
            }
        }
        if waits_for.is_none() && self.since.is_old(found) {
            self.ignored.insert(id, found.clone());
            return Ok(None);
        }
        let twin = self.begins_like(&looked.head).map(str::to_owned);
        if let Some(input) = waits_for.map(str::to_owned).or(twin) {
            tracing::info!(
                file = %found.path.display(),
                "a log file begins with the line of another one that is or was read: it waits until that one is \
                 gone, or until it is longer"
            );
            self.wait(found.place, input);
            return Ok(None);
        }
        let input = Mark::new_input(&key, found.place, &looked.head, Some(now_unix_ms));
        tracing::info!(file = %found.path.display(), "a log file is read from its beginning");
        self.since.renew();
        looked.read_whole(found, input).map(Some)
    }

    fn is_in_use(&self, input: &str) -> bool {
        !input.is_empty() && self.tracked.values().any(|one| one.input == input)
    }

    /// The input of another file that is read and begins with the same line. It may have no mark yet.
    fn begins_like(&self, head: &FirstLine) -> Option<&str> {
        let mut tracked = self.tracked.values();
        let twin = tracked.find(|one| one.begins() == head);
        twin.map(|one| one.input.as_str())
    }

    /// Whether the marks are still the newest ones of what begins like this file.
    fn is_current(
        &self,
        tracked: &Tracked,
        marks: &[(String, Mark)],
        positions: &dyn Fn() -> Vec<InputPosition>,
    ) -> bool {
        let newest = Mark::all(&positions());
        let mut of_it = newest
            .iter()
            .filter(|(_, mark)| mark.has_head(&self.key, tracked.begins()));
        of_it.all(|mark| marks.contains(mark))
    }

    fn wait(&mut self, place: Place, input: String) {
        let waits = Waits { place, input };
        self.waiting.insert(place.identity(), waits);
    }

    /// Whether it waits as it did.
    fn still_waits(&self, found: &Found) -> bool {
        let waits = self.waiting.get(&found.place.identity());
        waits.is_some_and(|one| {
            let is_read = self.is_in_use(&one.input)
                || self.in_use.is_others(self.number, one.place, &one.input);
            one.place == found.place && (one.input == SHORTER || is_read)
        })
    }

    /// Says each failure once, and when it is over.
    fn say_failing(&mut self, failing: BTreeMap<PathBuf, String>) {
        for (path, error) in &failing {
            if self.failing.get(path) != Some(error) {
                tracing::error!(
                    file = %path.display(), error,
                    "a log file cannot be read; its lines wait in it, and it is tried again. Look at its \
                     permissions and those of its folder"
                );
            }
        }
        for path in self.failing.keys() {
            if !failing.contains_key(path) {
                tracing::info!(file = %path.display(), "the log file can be read again");
            }
        }
        self.failing = failing;
    }
}
