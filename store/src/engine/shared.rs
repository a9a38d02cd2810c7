//! What the writer tells everybody: the ledger, that something was appended or waits, and failure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    path::Path,
    sync::{Arc, Mutex},
};

use auditrelay_audit::Severity;
use tokio::sync::{Notify, watch};

use super::{
    holdings::{BySeverity, Waiting},
    inputs::Told,
    keys,
    mutes::Mutes,
    owner::Owner,
    read::{CountedBacklog, CountedBacklogs, ReadError},
    records::Held,
    room::Room,
    tidy::bytes_before,
};
use crate::{
    Backlog, Ledger, Limits, QueueError, Space,
    frame::Damaged,
    log::{Log, Place},
};

pub(super) use crate::locked;

/// What the owner tells everybody.
pub(super) struct Shared {
    pub(super) ledger: Mutex<Ledger>,
    /// But for what [`Room`] knows better.
    pub(super) space: Mutex<Space>,
    /// What waits, of channels that ever had something.
    pub(super) backlogs: Mutex<BTreeMap<String, BySeverity>>,
    /// When the queue was opened: what waits since nobody knows when waited then.
    opened_unix_ms: i64,
    pub(super) room: Room,
    /// Oldest first; 48 bytes for a block of a few hundred events.
    pub(super) unrouted: Mutex<VecDeque<UnroutedBlock>>,
    pub(super) appended: Notify,
    /// How far inputs were read, durably.
    pub(super) inputs: Mutex<Told>,
    /// As of the last commit.
    pub(super) mutes: Mutex<Mutes>,
    /// How often one began or ended.
    pub(super) mutes_changes: watch::Sender<u64>,
    channels: Mutex<HashMap<String, Arc<Notify>>>,
    pub(super) failure: watch::Sender<Option<Arc<str>>>,
}

/// Where a durable block is that is not routed yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnroutedBlock {
    pub(super) seq: u64,
    pub(super) place: Place,
    pub(super) items: u32,
    pub(super) plain_bytes: u32,
}

impl Shared {
    pub(super) fn new(data_dir: Option<&Path>, limits: &Limits, now_unix_ms: i64) -> Self {
        let space = Space {
            bytes_max: limits.bytes_max,
            disk_free_bytes_min: limits.disk_free_bytes_min,
            channel_bytes_max: limits.channel_bytes_max,
            ..Space::default()
        };
        Self {
            ledger: Mutex::default(),
            space: Mutex::new(space),
            backlogs: Mutex::default(),
            opened_unix_ms: now_unix_ms,
            room: Room::new(data_dir.map(Path::to_owned), limits),
            unrouted: Mutex::default(),
            appended: Notify::new(),
            inputs: Mutex::default(),
            mutes: Mutex::default(),
            mutes_changes: watch::channel(0).0,
            channels: Mutex::default(),
            failure: watch::channel(None).0,
        }
    }

    /// Of every channel that the ledger knows, so that nothing can be told from an absence.
    pub(super) fn backlog(&self) -> Vec<Backlog> {
        let names: Vec<String> = locked(&self.ledger).channels.keys().cloned().collect();
        let backlogs = locked(&self.backlogs);
        let of_channel = |channel: String| {
            let waiting = backlogs.get(&channel).copied().unwrap_or_default();
            Severity::ALL
                .into_iter()
                .zip(waiting)
                .map(move |(severity, waiting)| {
                    let since = waiting.since_unix_ms();
                    Backlog {
                        channel: channel.clone(),
                        severity,
                        events: waiting.events,
                        bytes: waiting.bytes,
                        oldest_unix_ms: since.map(|since| match since {
                            0 => self.opened_unix_ms,
                            since => since,
                        }),
                    }
                })
        };
        names.into_iter().flat_map(of_channel).collect()
    }

    /// Compares what is told with what a scan found.
    pub(super) fn compare_backlog(&self, found: &CountedBacklogs) -> Result<(), String> {
        let backlogs = locked(&self.backlogs);
        let told = backlogs.iter().flat_map(|(channel, waiting)| {
            let of_severity = Severity::ALL.into_iter().zip(waiting);
            of_severity.map(|(severity, waiting)| ((channel.clone(), severity), waiting))
        });
        let told = told.filter(|(_, waiting)| **waiting != Waiting::default());
        let told = told.map(|(key, waiting)| {
            let backlog = CountedBacklog {
                events: waiting.events,
                bytes: waiting.bytes,
                first_since_unix_ms: waiting.since_unix_ms().unwrap_or_default(),
            };
            (key, backlog)
        });
        let told: CountedBacklogs = told.collect();
        if told == *found {
            return Ok(());
        }
        Err(format!(
            "a backlog of {told:?} is counted, the store holds {found:?}"
        ))
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Ledger)) {
        change(&mut locked(&self.ledger));
    }

    pub(super) fn channel(&self, name: &str) -> Arc<Notify> {
        let mut channels = locked(&self.channels);
        if let Some(notify) = channels.get(name) {
            return Arc::clone(notify);
        }
        Arc::clone(channels.entry(name.to_owned()).or_default())
    }

    /// Ends the queue. The first failure is the one that is told.
    pub(super) fn fail(&self, reason: &str) -> QueueError {
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            if first {
                *failure = Some(reason.into());
            }
            first
        });
        self.appended.notify_one();
        for notify in locked(&self.channels).values() {
            notify.notify_one();
        }
        self.check().err().unwrap_or(QueueError::Closed)
    }

    pub(super) fn check(&self) -> Result<(), QueueError> {
        match &*self.failure.borrow() {
            Some(reason) => Err(QueueError::Storage(Arc::clone(reason))),
            None => Ok(()),
        }
    }
}

impl super::Engine {
    /// Exchanges what may be kept on disk. What there is too much of then gives way as it always does.
    ///
    /// # Errors
    /// The storage's first failure.
    pub async fn set_limits(&self, limits: Limits) -> Result<(), QueueError> {
        self.write(super::Op::SetLimits(Box::new(limits)))
            .await
            .map(drop)
    }
}

impl Owner {
    /// Looks for what comes first now, where that went which did. After the commit: the index says it.
    pub(super) fn find_first(&mut self, touched: &BTreeSet<String>) -> Result<(), String> {
        let db = self.database.index.db();
        for channel in touched {
            for severity in Severity::ALL {
                let Some(waiting) = self.holdings.of(channel, severity) else {
                    continue;
                };
                if !waiting.lacks_first() {
                    continue;
                }
                let of_severity = keys::waiting_of_severity(channel, severity);
                let Some(row) = db.scan_prefix(of_severity).next() else {
                    continue;
                };
                let first = row.map_err(ReadError::from).and_then(|(key, stored)| {
                    let (_, waits) = Held::read_waiting(&stored)?;
                    let seq = keys::read_waiting(&key).map(|(_, _, seq)| seq);
                    Ok((seq.ok_or(Damaged("its key is no delivery's"))?, waits))
                });
                match first {
                    Ok((seq, waits)) => waiting.set_first(seq, waits),
                    Err(error) => return Err(self.reason(error.into())),
                }
            }
        }
        Ok(())
    }

    /// What there is too much of now is looked for at once.
    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.shared.room.set_limits(&limits);
        let mut space = locked(&self.shared.space);
        space.bytes_max = limits.bytes_max;
        space.disk_free_bytes_min = limits.disk_free_bytes_min;
        space.channel_bytes_max = limits.channel_bytes_max;
        drop(space);
        self.limits = limits;
        self.nothing_to_shed_at = None;
        self.more_to_bound = true;
    }

    /// Tells how much is used, and by which of these channels.
    pub(super) fn publish_space(&self, touched: &BTreeSet<String>) {
        let logs = &self.database.logs;
        let files = [&logs.events, &logs.deliveries, &logs.seen];
        let of_log = |log: &&Log| log.sizes().values().sum::<u64>() + log.files().overhead_bytes();
        let bytes: u64 = files.iter().map(of_log).sum();
        self.shared.room.set_used(bytes + self.index_bytes);
        let mut space = locked(&self.shared.space);
        for name in touched {
            let bytes = self.holdings.channel(name);
            match space.waiting_bytes.get_mut(name) {
                Some(told) => *told = bytes,
                None => drop(space.waiting_bytes.insert(name.clone(), bytes)),
            }
        }
        let mut backlogs = locked(&self.shared.backlogs);
        for name in touched {
            if let Some(waiting) = self.holdings.backlogs.get(name) {
                match backlogs.get_mut(name) {
                    Some(told) => *told = *waiting,
                    None => drop(backlogs.insert(name.clone(), *waiting)),
                }
            }
        }
        drop(backlogs);
        space.dead_bytes = self.holdings.dead;
        space.quarantine_bytes = self.totals.quarantine_bytes;
        space.detail_bytes = self.holdings.told;
        space.retained_bytes = bytes_before(&logs.events, self.totals.routed_end);
    }
}
