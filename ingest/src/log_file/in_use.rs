//! Which files are followed now, so that nobody else reads them meanwhile: another configured path whose pattern
//! matches the same file, or an import.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::mark::Place;

/// Numbers of imports; those of followers count from 0.
const IMPORTS_FROM: u64 = 1 << 32;

/// What all followers of a relay read; clones are of the same.
#[derive(Debug, Clone, Default)]
pub struct InUse(Arc<Mutex<HashMap<u64, Vec<Followed>>>>);

/// A file that is followed.
#[derive(Debug, Clone)]
pub(super) struct Followed {
    pub(super) place: Place,
    pub(super) input: String,
    /// Not read to its end and closed: then an import may read it again.
    pub(super) is_open: bool,
}

impl InUse {
    /// The number of one more follower.
    pub(super) fn join(&self) -> u64 {
        let mut all = self.locked();
        let followers = all.keys().filter(|number| **number < IMPORTS_FROM);
        let number = followers.count() as u64;
        all.insert(number, Vec::new());
        number
    }

    /// What a follower reads now.
    pub(super) fn set(&self, follower: u64, followed: Vec<Followed>) {
        self.locked().insert(follower, followed);
    }

    /// Adds a file to what a follower reads, unless another one reads it.
    pub(super) fn claim(&self, follower: u64, file: Followed) -> bool {
        let mut all = self.locked();
        let is_free = !is_taken(&all, follower, &file);
        if is_free {
            all.entry(follower).or_default().push(file);
        }
        is_free
    }

    /// Whether another follower, or an import, reads this file.
    pub(super) fn is_others(&self, follower: u64, place: Place, input: &str) -> bool {
        let file = Followed {
            place,
            input: input.to_owned(),
            is_open: true,
        };
        is_taken(&self.locked(), follower, &file)
    }

    /// Keeps followers off a file while an import takes lines of it; none if one of them follows it.
    pub fn import(&self, place: Place, input: &str) -> Option<Importing> {
        let file = Followed {
            place,
            input: input.to_owned(),
            is_open: true,
        };
        let mut all = self.locked();
        let is_same = |one: &&Followed| one.is_open && is_either(one, &file);
        if all.values().flatten().find(is_same).is_some() {
            return None;
        }
        let number = (IMPORTS_FROM..).find(|number| !all.contains_key(number))?;
        all.insert(number, vec![file]);
        Some(Importing {
            in_use: self.clone(),
            number,
        })
    }

    /// Whether the file that lies here, or one of these inputs, is followed.
    pub fn has<'a>(&self, place: Place, inputs: impl IntoIterator<Item = &'a str>) -> bool {
        let all = self.locked();
        let followers = all.iter().filter(|(number, _)| **number < IMPORTS_FROM);
        let mut followed = followers
            .flat_map(|(_, files)| files)
            .filter(|one| one.is_open);
        let inputs: Vec<&str> = inputs.into_iter().collect();
        followed.any(|one| {
            one.place.identity() == place.identity() || inputs.contains(&one.input.as_str())
        })
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<u64, Vec<Followed>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An import takes lines of a file; no more when this is dropped.
#[derive(Debug)]
pub struct Importing {
    in_use: InUse,
    number: u64,
}

impl Drop for Importing {
    fn drop(&mut self) {
        self.in_use.locked().remove(&self.number);
    }
}

fn is_either(one: &Followed, file: &Followed) -> bool {
    let is_same_input = !file.input.is_empty() && one.input == file.input;
    one.place.identity() == file.place.identity() || is_same_input
}

fn is_taken(all: &HashMap<u64, Vec<Followed>>, follower: u64, file: &Followed) -> bool {
    let others = all.iter().filter(|(other, _)| **other != follower);
    others
        .flat_map(|(_, files)| files)
        .any(|one| is_either(one, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_followed_or_imported_and_never_both() {
        let in_use = InUse::default();
        let (one, other) = (in_use.join(), in_use.join());
        let place = |inode| Place {
            inode,
            ..Place::default()
        };
        let file = |inode, is_open| Followed {
            place: place(inode),
            input: format!("log-file/{inode}"),
            is_open,
        };
        assert!(in_use.claim(one, file(1, true)));
        assert!(!in_use.claim(other, file(1, true)));
        assert!(in_use.is_others(other, place(1), ""));
        assert!(in_use.import(place(1), "log-file/x").is_none());
        assert!(in_use.import(place(7), "log-file/1").is_none());
        let importing = in_use.import(place(2), "log-file/2").expect("free");
        assert!(in_use.import(place(2), "log-file/2").is_none());
        assert!(!in_use.claim(other, file(2, true)));
        assert!(!in_use.has(place(2), []), "it is imported, not followed");
        drop(importing);
        assert!(in_use.claim(other, file(2, true)));
        // Read to its end and closed it may be imported again.
        in_use.set(other, vec![file(2, false)]);
        assert!(in_use.import(place(2), "log-file/2").is_some());
    }
}
