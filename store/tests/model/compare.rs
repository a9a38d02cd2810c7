//! What a queue says beside what the model says.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use auditrelay_audit::Severity;
use auditrelay_store::{Counts, DeadFilter, Queue};

use crate::{
    operation::{CHANNELS, Fate},
    reference::{Members, To, Waits},
    run::Run,
};

impl Run<'_> {
    pub fn compare(&self) {
        let ledger = self.queue().ledger();
        assert!(ledger.is_balanced(), "{ledger:?}");
        let expected = self.model.ledger();
        if self.drops {
            let received = (ledger.received, ledger.counts, ledger.waiting);
            assert_eq!(
                received,
                (expected.received, expected.counts, expected.waiting)
            );
        } else {
            assert_eq!(ledger, expected);
            self.compare_backlog();
        }
    }

    /// How much waits in which severity. Bytes, and since when, are compared with the records ([`Run::verify`]).
    fn compare_backlog(&self) {
        for backlog in self.queue().backlog() {
            let channel = &self.model.channels[&backlog.channel];
            let waiting = channel.waiting.get(&backlog.severity);
            let expected = waiting.map_or(0, |some| some.len() as u64);
            assert_eq!(backlog.events, expected, "{backlog:?}");
            assert_eq!(backlog.bytes > 0, expected > 0, "{backlog:?}");
            assert_eq!(
                backlog.oldest_unix_ms.is_some(),
                expected > 0,
                "{backlog:?}"
            );
        }
    }

    /// Everything that is left is what the model has left.
    pub async fn finish(mut self) {
        self.verify().await;
        self.drop_dead_by_quota().await;
        self.compare_kept().await;
        for (from, to) in [("ops", "sec"), ("sec", "ops")] {
            self.fall_back(from, to).await;
        }
        while !self.model.unrouted.is_empty() {
            self.route(2, &[Fate::To(0, Severity::Info)]).await;
        }
        let seen = self.queue().seen().await.expect("read");
        let keys: usize = seen.iter().map(|block| block.keys.len()).sum();
        assert_eq!(keys, self.model.keys);
        let rates = self.queue().rates().await.expect("read");
        assert_eq!(rates, self.model.rates);
        for name in CHANNELS {
            loop {
                self.lease(name, 5).await;
                if self.held(name).is_none() {
                    break;
                }
                self.settle(name, To::Delivered, None).await;
            }
        }
        self.verify().await;
        self.compare_end();
    }

    pub async fn verify(&self) {
        let verified = self.queue().verify().await;
        assert_eq!(verified, Ok(()), "counters agree with records");
    }

    /// Dead letters and what was told.
    async fn compare_kept(&mut self) {
        let letters = self.queue().dead(DeadFilter::default(), 0, 1_000).await;
        let ids: Vec<u64> = letters
            .expect("readable")
            .iter()
            .map(|one| one.id)
            .collect();
        let expected: Vec<u64> = self.model.dead.keys().copied().collect();
        assert!(ids == expected || self.drops, "{ids:?} {expected:?}");
        for (id, (_, expected)) in &self.model.dead {
            assert_eq!(self.dead_events(*id).await, *expected);
        }
        for (id, (channel, expected)) in &self.model.told {
            let told = self.queue().told(*id).await.expect("readable");
            let told = told.expect("it was told");
            assert_eq!(told.channel, *channel);
            assert_eq!(self.events(&told.members), *expected);
        }
    }

    async fn dead_events(&self, id: u64) -> Members {
        let members = self.queue().dead_members(id).await.expect("readable");
        self.events(&members.unwrap_or_default())
    }

    /// Forgets in the model what the quota of dead letters took.
    pub async fn drop_dead_by_quota(&mut self) {
        if !self.drops {
            return;
        }
        let ids: Vec<u64> = self.model.dead.keys().copied().collect();
        for id in ids {
            let left = self.dead_events(id).await;
            let (channel, before) = self.model.dead.remove(&id).expect("it is dead");
            let is_there = |one: &(Severity, Waits)| left.contains(one);
            let (there, gone): (Members, Members) = before.into_iter().partition(is_there);
            assert_eq!(there, left, "nothing else is dead");
            let channel_counts = self.model.channel(&channel);
            channel_counts.recount(&gone, To::Dead, To::DroppedByQuota);
            self.model.dead.insert(id, (channel, left));
        }
    }

    /// What was not delivered is dead or was dropped, and all of it is counted.
    fn compare_end(&self) {
        let ledger = self.queue().ledger();
        assert!(ledger.is_balanced(), "{ledger:?}");
        for (name, channel) in &self.model.channels {
            let (counts, copies) = (ledger.channels[name], ledger.copies[name]);
            let (expected, expected_copies) = (channel.counts, channel.copies);
            assert_eq!((counts.waiting, copies.waiting), (0, 0));
            assert_eq!(counts.routed, expected.routed);
            assert_eq!(counts.delivered, expected.delivered);
            assert_eq!(copies.delivered, expected_copies.delivered);
            if !self.drops {
                assert_eq!((counts, copies), (expected, expected_copies));
            }
        }
    }
}

/// Every file and what is in it.
pub fn snapshot(dir: &Path) -> io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(dir).expect("it is in it").to_owned();
            files.insert(name, std::fs::read(&path)?);
        }
    }
    Ok(files)
}

/// Counts more.
pub fn add(counts: &mut Counts, more: &Counts) {
    counts.duplicates += more.duplicates;
    counts.filtered += more.filtered;
    counts.quarantined += more.quarantined;
    counts.routed += more.routed;
}
