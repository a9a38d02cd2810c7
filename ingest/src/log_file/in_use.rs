//! Which files are followed now, so that nobody else reads them meanwhile.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::mark::Place;

/// What all followers of a relay read; clones are of the same.
#[derive(Debug, Clone, Default)]
pub struct InUse(Arc<Mutex<HashMap<String, Vec<Followed>>>>);

/// A file that is followed.
#[derive(Debug, Clone)]
pub(super) struct Followed {
    pub(super) place: Place,
    pub(super) input: String,
}

impl InUse {
    /// What the follower of a configured path reads now.
    pub(super) fn set(&self, path: &str, followed: Vec<Followed>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(path.to_owned(), followed);
    }

    /// Whether the file that lies here, or one of these inputs, is followed.
    pub fn has<'a>(&self, place: Place, inputs: impl IntoIterator<Item = &'a str>) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut followed = all.values().flatten();
        let inputs: Vec<&str> = inputs.into_iter().collect();
        followed.any(|one| {
            one.place.identity() == place.identity() || inputs.contains(&one.input.as_str())
        })
    }
}
