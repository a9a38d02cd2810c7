//! The index's rows: sled's database on a disk, a sorted map in memory on JetStream.
//!
//! Who reads while the writer writes sees each row as it was before a commit or after it, and every row that is
//! there all the time.

use std::{
    collections::BTreeMap,
    ops::{Bound, RangeBounds},
    sync::{Arc, PoisonError, RwLock},
};

use sled::IVec;

use crate::frame::Damaged;

/// In place of a value's length: the row goes.
const GONE: u32 = u32::MAX;

/// A row's key and value; reading sled may fail.
pub(super) type Row = sled::Result<(IVec, IVec)>;

/// The rows; clones are of the same.
#[derive(Clone)]
pub(super) enum Db {
    Sled(sled::Db),
    Memory(Rows),
}

/// Rows in memory.
#[derive(Clone, Default)]
pub(super) struct Rows(Arc<RwLock<BTreeMap<IVec, IVec>>>);

/// Changes that are committed together, in their order.
#[derive(Default)]
pub(super) struct Changes(Vec<(IVec, Option<IVec>)>);

impl Changes {
    pub(super) fn insert(&mut self, key: impl Into<IVec>, value: impl Into<IVec>) {
        self.0.push((key.into(), Some(value.into())));
    }

    pub(super) fn remove(&mut self, key: impl Into<IVec>) {
        self.0.push((key.into(), None));
    }

    /// Appends them as they are stored.
    pub(super) fn store(&self, stored: &mut Vec<u8>) {
        store(
            self.0.iter().map(|(key, value)| (key, value.as_ref())),
            stored,
        );
    }

    pub(super) fn read(mut stored: &[u8]) -> Result<Self, Damaged> {
        const CUT: Damaged = Damaged("its changes are cut short");
        let length = |stored: &mut &[u8]| {
            let (length, rest) = stored.split_first_chunk().ok_or(CUT)?;
            *stored = rest;
            Ok::<u32, Damaged>(u32::from_be_bytes(*length))
        };
        let take = |stored: &mut &[u8], length: u32| {
            let (taken, rest) = stored.split_at_checked(length as usize).ok_or(CUT)?;
            *stored = rest;
            Ok::<IVec, Damaged>(taken.into())
        };
        let mut changes = Self::default();
        while !stored.is_empty() {
            let bytes = length(&mut stored)?;
            let key = take(&mut stored, bytes)?;
            let value = match length(&mut stored)? {
                GONE => None,
                bytes => Some(take(&mut stored, bytes)?),
            };
            changes.0.push((key, value));
        }
        Ok(changes)
    }

    pub(super) fn into_sled(self) -> sled::Batch {
        let mut batch = sled::Batch::default();
        for (key, value) in self.0 {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        batch
    }
}

/// Of each row its key and its value, with their lengths before them; a row that goes has none.
fn store<'a>(
    rows: impl Iterator<Item = (&'a IVec, Option<&'a IVec>)> + Clone,
    stored: &mut Vec<u8>,
) {
    let size =
        |(key, value): (&IVec, Option<&IVec>)| key.len() + value.map_or(0, |value| value.len()) + 8;
    stored.reserve_exact(rows.clone().map(size).sum());
    for (key, value) in rows {
        stored.extend((key.len() as u32).to_be_bytes());
        stored.extend_from_slice(key);
        match value {
            Some(value) => {
                stored.extend((value.len() as u32).to_be_bytes());
                stored.extend_from_slice(value);
            }
            None => stored.extend(GONE.to_be_bytes()),
        }
    }
}

impl Rows {
    pub(super) fn apply(&self, changes: Changes) {
        let mut rows = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in changes.0 {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
    }

    /// Appends all of them, as changes of nothing are stored. They may be large, so nothing else is made of them.
    pub(super) fn store(&self, stored: &mut Vec<u8>) {
        let rows = self.0.read().unwrap_or_else(PoisonError::into_inner);
        store(rows.iter().map(|(key, value)| (key, Some(value))), stored);
    }

    fn next(&self, from: &Bound<IVec>, to: &Bound<IVec>) -> Option<(IVec, IVec)> {
        let rows = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let bounds = (from.as_ref(), to.as_ref());
        if let (
            Bound::Included(from) | Bound::Excluded(from),
            Bound::Included(to) | Bound::Excluded(to),
        ) = bounds
            && from >= to
            && bounds != (Bound::Included(to), Bound::Included(from))
        {
            return None;
        }
        let (key, value) = rows.range::<IVec, _>(bounds).next()?;
        Some((key.clone(), value.clone()))
    }
}

impl Db {
    pub(super) fn get(&self, key: impl AsRef<[u8]>) -> sled::Result<Option<IVec>> {
        match self {
            Self::Sled(db) => db.get(key),
            Self::Memory(rows) => {
                let rows = rows.0.read().unwrap_or_else(PoisonError::into_inner);
                Ok(rows.get(key.as_ref()).cloned())
            }
        }
    }

    /// Rows whose keys begin so, in order.
    pub(super) fn scan_prefix(&self, prefix: impl AsRef<[u8]>) -> RowsInOrder {
        match self {
            Self::Sled(db) => RowsInOrder::Sled(db.scan_prefix(prefix)),
            Self::Memory(rows) => {
                let prefix = prefix.as_ref();
                RowsInOrder::memory(rows, Bound::Included(prefix.into()), behind(prefix))
            }
        }
    }

    /// Rows in a range of keys, in order.
    pub(super) fn range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> RowsInOrder {
        let bound = |bound: Bound<&K>| bound.map(|key| IVec::from(key.as_ref()));
        let (from, to) = (bound(range.start_bound()), bound(range.end_bound()));
        match self {
            Self::Sled(db) => RowsInOrder::Sled(db.range::<IVec, _>((from, to))),
            Self::Memory(rows) => RowsInOrder::memory(rows, from, to),
        }
    }
}

/// Where keys end that begin with a prefix.
fn behind(prefix: &[u8]) -> Bound<IVec> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Bound::Excluded(end.into());
        }
    }
    Bound::Unbounded
}

/// Rows, one after the other; see the module's head.
pub(super) enum RowsInOrder {
    Sled(sled::Iter),
    Memory {
        rows: Rows,
        from: Bound<IVec>,
        to: Bound<IVec>,
    },
}

impl RowsInOrder {
    fn memory(rows: &Rows, from: Bound<IVec>, to: Bound<IVec>) -> Self {
        let rows = rows.clone();
        Self::Memory { rows, from, to }
    }
}

impl Iterator for RowsInOrder {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        match self {
            Self::Sled(rows) => rows.next(),
            Self::Memory { rows, from, to } => {
                let (key, value) = rows.next(from, to)?;
                *from = Bound::Excluded(key.clone());
                Some(Ok((key, value)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        // Few bytes, the last ones among them, so that prefixes meet.
        proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(254), Just(255)], 0..4)
    }

    fn keys(rows: RowsInOrder) -> Vec<(IVec, IVec)> {
        rows.map(|row| row.expect("read")).collect()
    }

    fn stored(store: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut stored = Vec::new();
        store(&mut stored);
        stored
    }

    #[test]
    fn changes_that_are_cut_short_are_damage() {
        let mut changes = Changes::default();
        changes.insert(b"key", b"value");
        changes.remove(b"gone");
        let stored = stored(|out| changes.store(out));
        for length in 1..=stored.len() {
            let is_whole = Changes::read(&stored[..length]).is_ok();
            assert_eq!(is_whole, [16, stored.len()].contains(&length), "{length}");
        }
    }

    proptest! {
        #[test]
        fn rows_in_memory_are_as_sled_has_them(
            changes in proptest::collection::vec((key(), proptest::option::of(0_u8..9)), 0..40),
            prefix in key(), from in key(), to in key(),
        ) {
            let config = sled::Config::new().temporary(true).flush_every_ms(None);
            let sled = config.open().expect("opens");
            let memory = Rows::default();
            let of = || {
                let mut all = Changes::default();
                for (key, value) in &changes {
                    match value {
                        Some(value) => all.insert(key.as_slice(), &[*value]),
                        None => all.remove(key.as_slice()),
                    }
                }
                all
            };
            sled.apply_batch(of().into_sled()).expect("applied");
            memory.apply(Changes::read(&stored(|out| of().store(out))).expect("as it was"));
            let copied = Rows::default();
            copied.apply(Changes::read(&stored(|out| memory.store(out))).expect("as it was"));
            for rows in [memory, copied] {
                let (one, other) = (Db::Sled(sled.clone()), Db::Memory(rows));
                prop_assert_eq!(keys(one.scan_prefix(&prefix)), keys(other.scan_prefix(&prefix)));
                prop_assert_eq!(keys(one.range(from.clone()..)), keys(other.range(from.clone()..)));
                if from <= to {
                    let range = (Bound::Excluded(from.clone()), Bound::Included(to.clone()));
                    if from < to {
                        prop_assert_eq!(keys(one.range(range.clone())), keys(other.range(range)));
                    }
                }
                prop_assert_eq!(one.get(&prefix).expect("read"), other.get(&prefix).expect("read"));
            }
        }
    }
}
