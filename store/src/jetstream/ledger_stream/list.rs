//! The list of all messages, from their headers.
//!
//! Invariant: a list is compared with the counts of the stream's leader, subject by subject. A server that lags may
//! still have messages that are purged: these are the oldest of their subject, and left out. None may be missing.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::Arc,
};

use async_nats::header::HeaderName;
use futures_util::TryStreamExt as _;

use super::{
    Entry, FENCE, LedgerStream,
    read::{Attempt, Plan, entry},
};

/// NATS: what a consumer of headers only says of the payload.
const MESSAGE_SIZE: HeaderName = HeaderName::from_static("Nats-Msg-Size");
/// Messages asked for at once; only their headers come.
const HEADERS_AT_ONCE: usize = 1_000;
/// Lists that do not agree with the leader's counts before that is an error.
const LISTS_MAX: usize = 3;

impl LedgerStream {
    /// All messages up to this writer's last one, oldest first, without fences: also parts of appends that are not
    /// whole. For a writer that just took over and does not write meanwhile.
    ///
    /// # Errors
    /// The stream cannot be reached, or what it lists is not what it says it has.
    pub(crate) fn list(&self) -> io::Result<Vec<Entry>> {
        self.jetstream.block_on(self.list_async())
    }

    async fn list_async(&self) -> io::Result<Vec<Entry>> {
        let mut missing = String::new();
        for _ in 0..LISTS_MAX {
            let counts = self.counts().await?;
            let mut entries = self.list_once().await?;
            match keep_what_is_counted(&mut entries, counts) {
                Ok(()) => return Ok(entries.into_iter().filter_map(|(entry, _)| entry).collect()),
                Err(subject) => missing = subject,
            }
        }
        let text = format!("the ledger stream has messages of {missing} that it does not list");
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    }

    /// Entries and their subjects; there is no entry where a message is not a relay's.
    async fn list_once(&self) -> io::Result<Vec<(Option<Entry>, Arc<str>)>> {
        let mut subjects: HashSet<Arc<str>> = HashSet::new();
        let mut entries = Vec::new();
        let plan = Plan {
            subject: format!("{}>", self.prefix),
            is_headers_only: true,
            at_once: HEADERS_AT_ONCE,
        };
        // Not simply this writer's last one: that may be purged.
        let end = async || self.last_of(&plan.subject).await;
        self.scan(&plan, 1, end, |message| {
            let suffix = self.suffix(message);
            let subject = subjects.get(suffix).cloned().unwrap_or_else(|| {
                let subject: Arc<str> = suffix.into();
                subjects.insert(subject.clone());
                subject
            });
            if &*subject != FENCE {
                let size = || {
                    let headers = message.headers.as_ref()?;
                    headers.get(MESSAGE_SIZE)?.as_str().parse().ok()
                };
                let entry = entry(message, subject.clone());
                let entry = entry.filter(|entry| size() == Some(entry.bytes));
                entries.push((entry, subject));
            }
            Ok(())
        })
        .await?;
        let strange = entries.iter().filter(|(entry, _)| entry.is_none()).count();
        if strange > 0 {
            tracing::warn!(
                messages = strange,
                "the ledger stream has messages that are not the relay's; they are left out, publish nothing to it"
            );
        }
        Ok(entries)
    }

    /// How many messages each subject has, as the stream's leader says.
    async fn counts(&self) -> io::Result<HashMap<String, usize>> {
        let what = || "the subjects of the ledger stream".to_owned();
        self.patiently(what, async || {
            let filter = format!("{}>", self.prefix);
            let info = self.stream.info_with_subjects(filter).await;
            let mut info = info.map_err(Attempt::again)?;
            if info.info.state.last_sequence < self.last() {
                return Err(Attempt::again("the stream's leader is behind"));
            }
            let mut counts = HashMap::new();
            while let Some((subject, count)) = info.try_next().await.map_err(Attempt::again)? {
                counts.insert(self.strip(&subject).to_owned(), count);
            }
            Ok(counts)
        })
        .await
    }
}

/// Leaves out what the leader does not count any more, the oldest of each subject. Names a subject that has more than
/// is listed.
fn keep_what_is_counted<T>(
    entries: &mut Vec<(T, Arc<str>)>,
    mut counts: HashMap<String, usize>,
) -> Result<(), String> {
    counts.remove(FENCE);
    let mut surplus: HashMap<Arc<str>, usize> = HashMap::new();
    for (_, subject) in entries.iter() {
        match counts.get_mut(&**subject) {
            Some(count) if *count > 0 => *count -= 1,
            _ => *surplus.entry(subject.clone()).or_default() += 1,
        }
    }
    if let Some((subject, _)) = counts.into_iter().find(|(_, count)| *count > 0) {
        return Err(subject);
    }
    if !surplus.is_empty() {
        entries.retain(|(_, subject)| match surplus.get_mut(subject) {
            Some(count) if *count > 0 => {
                *count -= 1;
                false
            }
            _ => true,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_what_the_leader_counts() {
        let listed = |seqs: &[(u64, &str)]| -> Vec<(u64, Arc<str>)> {
            seqs.iter()
                .map(|(seq, subject)| (*seq, (*subject).into()))
                .collect()
        };
        let counts = |counts: &[(&str, usize)]| {
            let counts = counts
                .iter()
                .map(|(subject, count)| ((*subject).to_owned(), *count));
            counts.collect::<HashMap<_, _>>()
        };
        let mut entries = listed(&[(1, "a"), (2, "b"), (3, "a"), (4, "a")]);
        // Purged on the leader, listed by one that lags: the oldest of "a" and all of "b".
        keep_what_is_counted(&mut entries, counts(&[("a", 2), ("fence", 1)])).unwrap();
        assert_eq!(entries, listed(&[(3, "a"), (4, "a")]));
        let missing = keep_what_is_counted(&mut entries, counts(&[("a", 3)])).unwrap_err();
        assert_eq!(missing, "a");
        let missing = keep_what_is_counted(&mut entries, counts(&[("a", 2), ("c", 1)]));
        assert_eq!(missing.unwrap_err(), "c");
    }
}
