//! Some of many: the oldest and the newest.
//!
//! Invariant: whoever repeats an audit ID, before or behind the use that matters, crowds out what is between and neither
//! the first nor the last uses; how many were left out is counted.

use std::collections::VecDeque;

/// So many of the oldest are kept, and as many of the newest.
pub(super) const EACH_MAX: usize = 100;

/// What was put in, oldest first.
pub(super) struct Kept<T> {
    oldest: Vec<T>,
    newest: VecDeque<T>,
    /// So many between those are not kept.
    pub(super) left_out: u64,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self {
            oldest: Vec::new(),
            newest: VecDeque::new(),
            left_out: 0,
        }
    }
}

impl<T> Kept<T> {
    pub(super) fn push(&mut self, one: T) {
        if self.oldest.len() < EACH_MAX {
            self.oldest.push(one);
            return;
        }
        if self.newest.len() == EACH_MAX {
            self.newest.pop_front();
            self.left_out += 1;
        }
        self.newest.push_back(one);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.oldest.iter().chain(&self.newest)
    }
}

impl<T> IntoIterator for Kept<T> {
    type Item = T;
    type IntoIter =
        std::iter::Chain<std::vec::IntoIter<T>, std::collections::vec_deque::IntoIter<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.oldest.into_iter().chain(self.newest)
    }
}
