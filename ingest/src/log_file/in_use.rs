//! Which files are followed now, so that nobody else reads them meanwhile: another configured path whose pattern
//! matches the same file, or an import.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::mark::Place;

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
        let number = all.len() as u64;
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
        let others = all.iter().filter(|(other, _)| **other != follower);
        let is_taken = others
            .flat_map(|(_, files)| files)
            .any(|one| one.place.identity() == file.place.identity() || one.input == file.input);
        if !is_taken {
            all.entry(follower).or_default().push(file);
        }
        !is_taken
    }

    /// Whether the file that lies here, or one of these inputs, is followed.
    pub fn has<'a>(&self, place: Place, inputs: impl IntoIterator<Item = &'a str>) -> bool {
        let all = self.locked();
        let mut followed = all.values().flatten().filter(|one| one.is_open);
        let inputs: Vec<&str> = inputs.into_iter().collect();
        followed.any(|one| {
            one.place.identity() == place.identity() || inputs.contains(&one.input.as_str())
        })
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<u64, Vec<Followed>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
