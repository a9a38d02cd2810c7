//! Carving what is whole out of a store that was moved aside, and queueing it.
//!
//! Nothing of it is opened: its index may be what is damaged. The logs say enough by themselves. A record
//! of deliveries names its channel; what became of it stands behind it in the same log
//! ([`super::records::Settlement`]); a block of appended events was routed if the log of seen keys has its keys.
//!
//! Invariants:
//! * a delivery that was settled is not queued again, as long as the record that says so is whole. What is
//!   queued is marked as possibly repeated: a message may have been under way;
//! * how far it has come is committed with what it queued, so a salvage that was interrupted goes on, and
//!   a second one does nothing. Blocks go through dedup like anything that is appended;
//! * memory is bounded by the number of records, not by their size.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Engine,
    files::{CORRUPT, LogNames},
    job::{Op, Restored, RestoredDelivery},
    keys,
    records::{SettledAs, Settlement, small},
    remains::{Remains, each},
};
use crate::{
    Admitted, Burial, Delivery, Marks, Queue, SalvageError, Salvaged,
    codec::{self, Packed},
    frame::Kind,
    log::{Place, Position, Reader},
};

/// How the name of a store begins that was salvaged.
const SALVAGED: &str = "queue.salvaged-";
/// How much is queued at once, as stored.
const BYTES_PER_STEP: u64 = 1024 * 1024;

/// What a store's logs hold that is whole and was not settled.
struct Found {
    deliveries: Vec<(Place, u64)>,
    /// By record: the note's sequence, from which to which delivery, and what became of them.
    settled: HashMap<u64, Vec<(u64, u32, u32, SettledAs)>>,
    blocks: Vec<Place>,
    bytes: u64,
    damaged_bytes: u64,
}

impl Found {
    /// `routed_end`, where it is known: keys of blocks before it may be forgotten.
    fn look(names: &LogNames, routed_end: Option<Position>) -> io::Result<Self> {
        let mut found = Self {
            deliveries: Vec::new(),
            settled: HashMap::new(),
            blocks: Vec::new(),
            bytes: 0,
            damaged_bytes: 0,
        };
        // Blocks are routed in their order, so the keys of one say it of all before it.
        let mut routed_last = 0;
        found.damaged_bytes += each(
            &names.seen,
            |_| true,
            |header, _, _| {
                if header.kind == Kind::Seen as u8 {
                    routed_last = header.seq.max(routed_last);
                }
            },
        )?;
        let mut records: BTreeMap<u64, Place> = BTreeMap::new();
        let settled = &mut found.settled;
        found.damaged_bytes += each(
            &names.deliveries,
            |_| true,
            |header, place, stored| {
                if header.kind == Kind::Settled as u8 {
                    let Ok(Settlement {
                        fate, deliveries, ..
                    }) = small::<Settlement>(stored)
                    else {
                        return;
                    };
                    for (record, from, to) in deliveries {
                        let fate = fate.clone();
                        let note = (header.seq, from, to, fate);
                        settled.entry(record).or_default().push(note);
                    }
                } else if [Kind::Events as u8, Kind::Notices as u8].contains(&header.kind) {
                    // A record that was moved stands twice; the later is the one that was in use.
                    records.insert(header.seq, place);
                }
            },
        )?;
        found.deliveries = records
            .into_iter()
            .map(|(seq, place)| (place, seq))
            .collect();
        let mut blocks: BTreeMap<u64, Place> = BTreeMap::new();
        found.damaged_bytes += each(
            &names.events,
            |_| true,
            |header, place, _| {
                let is_routed = header.seq <= routed_last
                    || routed_end.is_some_and(|routed_end| place.start < routed_end);
                if header.kind == Kind::Block as u8 && !is_routed {
                    blocks.insert(header.seq, place);
                }
            },
        )?;
        found.blocks = blocks.into_values().collect();
        let places = found
            .deliveries
            .iter()
            .map(|(place, _)| place)
            .chain(&found.blocks);
        found.bytes = places.map(|place| u64::from(place.bytes)).sum();
        Ok(found)
    }

    /// What became of a record's deliveries, by number from `first` on.
    fn fates(&self, record: u64, first: u32, items: u32) -> Vec<Option<&SettledAs>> {
        let mut fates = vec![None; items as usize];
        let notes = self.settled.get(&record).into_iter().flatten();
        let mut notes: Vec<_> = notes.collect();
        // One that was said again keeps its sequence.
        notes.sort_by_key(|(seq, ..)| *seq);
        for (_, from, to, fate) in notes {
            for number in *from..*to {
                let index = number.checked_sub(first).map(|index| index as usize);
                if let Some(place) = index.and_then(|index| fates.get_mut(index)) {
                    *place = Some(fate);
                }
            }
        }
        fates
    }
}

impl Engine {
    /// Brings what is whole in a store that was moved aside into this queue, and renames the folder to
    /// `queue.salvaged-…`. `progress` is told how many of how many bytes are done.
    ///
    /// # Errors
    /// See [`SalvageError`]. What was brought before an error stays, and is not brought twice.
    pub async fn salvage(
        &self,
        dir: &Path,
        progress: impl Fn(u64, u64) + Send + Sync + 'static,
    ) -> Result<Salvaged, SalvageError> {
        let unreadable = {
            let path = dir.to_owned();
            move |reason: String| SalvageError::Unreadable {
                path: path.clone(),
                reason,
            }
        };
        let name = name_of(dir);
        // It may be called as it is once that is done.
        let time = name.strip_prefix(SALVAGED).unwrap_or(&name);
        let name = format!("{CORRUPT}{}", time.strip_prefix(CORRUPT).unwrap_or(time));
        let store = dir.to_owned();
        let look = tokio::task::spawn_blocking(move || {
            let remains = Remains::of(&store);
            let routed_end = remains.as_ref().map(|remains| remains.routed_end);
            let found = Found::look(&LogNames::new(&store), routed_end)?;
            Ok::<_, io::Error>((found, remains.map(|remains| remains.kept)))
        });
        let looked = look.await.map_err(|error| unreadable(error.to_string()))?;
        let (found, kept) = looked.map_err(|error| unreadable(error.to_string()))?;
        let begun = self.salvaged_before(&name).await?;
        let mut work = Work {
            queue: self,
            names: LogNames::new(dir),
            name,
            begun,
            done: 0,
            salvaged: Salvaged {
                damaged_bytes: found.damaged_bytes,
                ..Salvaged::default()
            },
        };
        work.bring(&found, &progress, &unreadable).await?;
        let salvaged = work.salvaged;
        let brought = salvaged.unrouted_events + salvaged.waiting_events + salvaged.dead_events;
        if begun == 0 {
            let lost_events = kept.map(|kept| kept.saturating_sub(brought));
            set_done(dir).map_err(|error| unreadable(error.to_string()))?;
            return Ok(Salvaged {
                lost_events,
                ..salvaged
            });
        }
        set_done(dir).map_err(|error| unreadable(error.to_string()))?;
        Ok(salvaged)
    }

    /// How many records of the store an earlier salvage brought.
    async fn salvaged_before(&self, name: &str) -> Result<u64, SalvageError> {
        let key = keys::salvage(name);
        let done = self
            .look(move |inner| {
                let stored = inner.index.db().get(key)?;
                Ok(stored.map(|stored| small::<u64>(&stored)).transpose()?)
            })
            .await?;
        Ok(done.unwrap_or_default())
    }
}

struct Work<'q> {
    queue: &'q Engine,
    names: LogNames,
    name: String,
    /// So many records were brought before.
    begun: u64,
    done: u64,
    salvaged: Salvaged,
}

impl Work<'_> {
    async fn bring(
        &mut self,
        found: &Found,
        progress: &(impl Fn(u64, u64) + Send + Sync),
        unreadable: &(impl Fn(String) -> SalvageError + Send + Sync),
    ) -> Result<(), SalvageError> {
        let mut done_bytes = 0;
        let mut deliveries = found.deliveries.iter().peekable();
        while deliveries.peek().is_some() {
            let mut restored = Restored {
                counted: true,
                ..Restored::default()
            };
            let mut step_bytes = 0;
            while step_bytes < BYTES_PER_STEP
                && let Some((place, seq)) = deliveries.next()
            {
                step_bytes += u64::from(place.bytes);
                self.done += 1;
                if self.done > self.begun {
                    self.deliveries(found, *place, *seq, &mut restored)
                        .map_err(unreadable)?;
                }
            }
            done_bytes += step_bytes;
            self.commit(restored).await?;
            progress(done_bytes, found.bytes);
        }
        for place in &found.blocks {
            self.done += 1;
            done_bytes += u64::from(place.bytes);
            if self.done > self.begun {
                self.block(*place, unreadable).await?;
            }
            progress(done_bytes, found.bytes);
        }
        Ok(())
    }

    async fn commit(&mut self, mut restored: Restored) -> Result<(), SalvageError> {
        if self.done <= self.begun {
            return Ok(());
        }
        let records = restored.deliveries.iter();
        let _admitted = self.room(records.map(|one| one.packed.payload.len()).sum())?;
        restored.salvaged = Some((self.name.clone(), self.done));
        self.queue.write(Op::Restore(restored)).await?;
        Ok(())
    }

    /// The marks hold for a salvage too: the store that it comes from is on the same disk.
    fn room(&self, bytes: usize) -> Result<Admitted, SalvageError> {
        let admitted = self.queue.admit(bytes as u64);
        admitted.map_err(|full| SalvageError::Full(full.0))
    }

    /// Adds what of a record was not settled.
    fn deliveries(
        &mut self,
        found: &Found,
        place: Place,
        seq: u64,
        restored: &mut Restored,
    ) -> Result<(), String> {
        let mut reader = Reader::new(self.names.deliveries.clone());
        let record = reader.read(place).map_err(|error| error.to_string())?;
        let said = codec::take_address(record.payload());
        let Ok((address, rest)) = said else {
            self.salvaged.damaged_bytes += u64::from(place.bytes);
            return Ok(());
        };
        let (items, plain_bytes) = (record.header.items, record.header.plain_bytes);
        let Ok(all) = codec::unpack(address.class, plain_bytes, rest, 0..items) else {
            self.salvaged.damaged_bytes += u64::from(place.bytes);
            return Ok(());
        };
        let fates = found.fates(seq, address.first, items);
        let mut waiting = Vec::new();
        let mut dead: Vec<(Burial, Vec<Delivery>)> = Vec::new();
        for (delivery, fate) in all.into_iter().zip(fates) {
            match fate {
                Some(SettledAs::Gone) => {}
                Some(SettledAs::Dead(burial)) => match dead.last_mut() {
                    Some((same, some)) if same == burial => some.push(delivery),
                    _ => dead.push((burial.clone(), vec![delivery])),
                },
                None | Some(SettledAs::Waits) => waiting.push(delivery),
            }
        }
        let parts = [(None, waiting)];
        let dead = dead.into_iter().map(|(burial, some)| (Some(burial), some));
        for (burial, some) in parts.into_iter().chain(dead) {
            let is_dead = burial.is_some();
            for packed in codec::repack(some, |marks| Marks {
                possibly_repeated: marks.possibly_repeated || !is_dead,
                ..marks
            }) {
                let events = u64::from(packed.items);
                if address.class == codec::Class::Events {
                    restored.found += events;
                    match is_dead {
                        true => self.salvaged.dead_events += events,
                        false => self.salvaged.waiting_events += events,
                    }
                }
                restored.deliveries.push(RestoredDelivery {
                    channel: address.channel.clone().into_owned(),
                    severity: address.severity,
                    class: address.class,
                    packed,
                    burial: burial.clone(),
                });
            }
        }
        Ok(())
    }

    /// Appends a block that was not routed, as it is.
    async fn block(
        &mut self,
        place: Place,
        unreadable: &(impl Fn(String) -> SalvageError + Send + Sync),
    ) -> Result<(), SalvageError> {
        let mut reader = Reader::new(self.names.events.clone());
        let record = reader
            .read(place)
            .map_err(|error| unreadable(error.to_string()))?;
        let (items, plain_bytes) = (record.header.items, record.header.plain_bytes);
        // How far its input had come then says nothing to a reader that began anew since.
        let payload = codec::without_reached(items, record.payload());
        let _admitted = self.room(payload.len())?;
        let block = Packed {
            items,
            plain_bytes,
            payload,
        };
        let append = Op::Append {
            blocks: vec![block],
            reached: Vec::new(),
        };
        self.queue.write(append).await?;
        self.salvaged.unrouted_events += u64::from(items);
        self.commit(Restored {
            found: u64::from(items),
            ..Restored::default()
        })
        .await
    }
}

/// Renames a store that was salvaged, so that nobody does it again. It is not removed.
fn set_done(dir: &Path) -> io::Result<()> {
    match done_name(dir) {
        done if done == dir => Ok(()),
        done => fs::rename(dir, done),
    }
}

/// What a store is called once it is salvaged; of another folder its own name.
pub(super) fn done_name(dir: &Path) -> PathBuf {
    match name_of(dir).strip_prefix(CORRUPT) {
        Some(time) => dir.with_file_name(format!("{SALVAGED}{time}")),
        None => dir.to_owned(),
    }
}

fn name_of(dir: &Path) -> String {
    let name = dir.file_name().and_then(|name| name.to_str());
    name.unwrap_or_default().to_owned()
}
