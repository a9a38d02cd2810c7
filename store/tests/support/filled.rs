//! A store that holds some of everything, and all that can be read from a store, piece by piece.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use auditrelay_audit::{EventKey, Severity};
use auditrelay_store::{
    Accepted, Batch, Block, Content, Counts, Cursor, DeadFilter, DeliveriesEncoder, Delivery,
    DeliveryBlock, EncodedBatch, Engine, Entry, EventToDeliver, LeaseLimit, Limits, Marks, Members,
    Notice, QuarantineRecord, Queue, QueueError, Routed, RoutedBlock, Sealed, SledOptions, Source,
    Unreadable,
};

use super::{ALL, Dice, burial, texts};

/// Each in a segment that holds little more than one commit.
pub const SEGMENT_BYTES: u64 = 6 * 1024;
const FIRST_UNIX_MS: i64 = 1_700_000_000_000;
/// When what is appended last is appended.
const LAST_UNIX_MS: i64 = FIRST_UNIX_MS + 1_000;
const CHANNELS: [&str; 3] = ["ops", "sec", "dev"];
const FEW: LeaseLimit = LeaseLimit {
    events_max: 4,
    ..ALL
};

pub fn options(data_dir: &Path) -> SledOptions {
    SledOptions {
        segment_bytes: SEGMENT_BYTES,
        cache_bytes_max: 1 << 20,
        limits: Limits {
            detail_ms: 1 << 40,
            detail_bytes_max: 1 << 30,
            retain_ms: 1 << 40,
            retain_bytes_max: 1 << 30,
            quarantine_entries_max: 100,
            ..Limits::default()
        },
        ..super::options(data_dir)
    }
}

/// An event's text: unique, and hard to compress.
fn event(dice: &mut Dice, number: u64) -> String {
    let noise: String = (0..20).map(|_| format!("{:016x}", dice.next())).collect();
    format!("{{\"n\":{number},\"noise\":\"{noise}\"}}")
}

struct Filler {
    queue: Engine,
    dice: Dice,
    number: u64,
    routed: usize,
    now_unix_ms: i64,
}

impl Filler {
    async fn append(&mut self, events: u64) {
        let first = self.number;
        self.number += events;
        let entries = (first..self.number).map(|number| Entry {
            key: EventKey {
                identity: number,
                fingerprint: u128::from(number).to_be_bytes(),
            },
            content: Content::Event {
                json: event(&mut self.dice, number).into(),
                body_unreadable: number % 7 == 0,
            },
        });
        let batch = Batch {
            cluster: Cow::Borrowed("prod"),
            received_unix_ms: self.now_unix_ms,
            entries: entries.collect(),
        };
        let batch = EncodedBatch::new(&batch);
        self.queue.append(batch).await.expect("durable");
    }

    /// Routes all that waits: each block to one channel and severity, its last event a duplicate, and
    /// something of it in quarantine now and then.
    async fn route(&mut self) {
        for block in self.queue.unrouted(100).await.expect("blocks") {
            self.routed += 1;
            let channel = CHANNELS[self.routed % 3];
            let severity = *self.dice.pick(&Severity::ALL);
            let routed = self.routed(&block, channel, severity);
            self.queue.route(routed).await.expect("routed");
        }
    }

    fn routed(&mut self, block: &Block, channel: &str, severity: Severity) -> Routed {
        let all = texts(block);
        let told = all.len() - 1;
        let quarantined = self.dice.below(3) == 0;
        let fresh = &block.items[..told];
        let record = QuarantineRecord {
            cluster: "prod".into(),
            received_unix_ms: block.received_unix_ms,
            fingerprint: [block.seq as u8; 16],
            unreadable: Unreadable {
                reason: format!("reason {}", block.seq),
                offset_bytes: 3,
                length_bytes: 4,
                sealed: Some(Sealed {
                    to: [1; 8],
                    bytes: (0..4_000).map(|_| self.dice.next() as u8).collect(),
                }),
                source: Some(Source {
                    file: "audit.log".to_owned(),
                    line: block.seq,
                }),
            },
        };
        let routed = RoutedBlock {
            seq: block.seq,
            seen_unix_ms: block.received_unix_ms,
            new_keys: fresh.iter().map(|item| item.key).collect(),
            counts: Counts {
                routed: told as u64,
                duplicates: u64::from(!quarantined),
                quarantined: u64::from(quarantined),
                ..Counts::default()
            },
            quarantine: if quarantined { vec![record] } else { vec![] },
        };
        Routed {
            blocks: vec![routed],
            deliveries: vec![deliveries(channel, severity, &all[..told], quarantined)],
            ..Routed::default()
        }
    }

    async fn settle(&self, channel: &str, bury: bool) -> u64 {
        let lease = self.queue.lease(channel, FEW, 5).await.expect("read");
        let lease = lease.expect("something waits").id;
        let settled = match bury {
            true => self.queue.bury(&lease, burial("invalid_blocks")).await,
            false => {
                let accepted = Accepted {
                    now_unix_ms: 1_700_000_000_500,
                    thread: Some(format!("t{}", lease.id)),
                    posted: None,
                };
                self.queue.ack(&lease, accepted).await.map(drop)
            }
        };
        settled.expect("held");
        lease.id
    }
}

fn deliveries(
    channel: &str,
    severity: Severity,
    texts: &[String],
    with_notice: bool,
) -> DeliveryBlock {
    let mut encoder = DeliveriesEncoder::default();
    for json in texts {
        encoder.push(&EventToDeliver {
            cluster: "prod",
            route: "r1",
            json,
            marks: Marks::default(),
        });
    }
    if with_notice {
        encoder.push_notice(Notice {
            text: "could not be read".into(),
            events: 1,
            cluster: "prod".into(),
        });
    }
    DeliveryBlock {
        channel: channel.into(),
        severity,
        deliveries: encoder.finish(),
    }
}

/// Fills a data directory with unrouted blocks, waiting deliveries of several channels and
/// severities, a sealed lease, dead letters, told messages, copies, threads, notices, quarantine and seen keys, each
/// log over several segments; closes it. Says which messages were told.
pub async fn fill(data_dir: &Path) -> Vec<u64> {
    let open = || Engine::open(&options(data_dir)).expect("opens").queue;
    let mut filler = Filler {
        queue: open(),
        dice: Dice(1),
        number: 1,
        routed: 0,
        now_unix_ms: FIRST_UNIX_MS,
    };
    let mut told = Vec::new();
    for round in 0..34u64 {
        filler.append(5 + round % 3).await;
        filler.append(4).await;
        filler.route().await;
        if round % 3 == 1 {
            told.push(filler.settle("ops", false).await);
            filler.settle("dev", true).await;
        }
    }
    let copies = [event(&mut Dice(7), 1), event(&mut Dice(8), 2)];
    let copies = deliveries("dev", Severity::Warning, &copies, false);
    filler
        .queue
        .deliver_copies(vec![copies])
        .await
        .expect("queued");
    let fell_back = filler.queue.fall_back("sec", "dev").await.expect("copied");
    assert!(fell_back.events > 0 && !fell_back.more, "{fell_back:?}");
    let dead = filler.queue.dead(DeadFilter::default(), 0, 1).await;
    let first = dead.expect("readable")[0].id;
    filler.queue.redrive(vec![first]).await.expect("redriven");
    let seen = filler.queue.seen().await.expect("readable");
    filler
        .queue
        .forget_seen(seen[1].seq)
        .await
        .expect("forgotten");
    // sled writes a snapshot when it opens; what comes after it is in its log alone.
    drop(filler.queue);
    filler.queue = open();
    for _ in 0..6 {
        filler.append(6).await;
    }
    told.push(filler.settle("sec", false).await);
    let sealed = filler.queue.lease("sec", FEW, 5).await.expect("read");
    sealed.expect("something waits");
    filler.now_unix_ms = LAST_UNIX_MS;
    for _ in 0..3 {
        filler.append(3).await;
    }
    told
}

/// What was read from a queue.
#[derive(Debug, Default)]
pub struct Reading {
    /// A name for each piece, and the piece; nothing where the queue said that it cannot read it.
    pub pieces: BTreeMap<String, Option<String>>,
    /// The text of each event that is not delivered: unrouted, waiting or dead.
    pub deliverable: Vec<String>,
    /// The text of every event.
    pub all: BTreeSet<String>,
    /// Of these, what was appended after the last change of the index.
    pub last_appended: BTreeSet<String>,
}

impl Reading {
    fn put(&mut self, name: String, piece: String) {
        self.pieces.insert(name, Some(piece));
    }

    /// What may be unreadable without harm to the queue.
    fn put_kept(
        &mut self,
        name: String,
        piece: Result<String, QueueError>,
    ) -> Result<(), QueueError> {
        let piece = match piece {
            Ok(piece) => Some(piece),
            Err(QueueError::Unreadable(_)) => None,
            Err(error) => return Err(error),
        };
        self.pieces.insert(name, piece);
        Ok(())
    }

    fn block(&mut self, block: &Block) -> String {
        let texts = texts(block);
        self.all.extend(texts.iter().cloned());
        format!("{} {:?} {texts:?}", block.seq, block.items)
    }

    fn members(&mut self, members: &Members, delivered: bool) -> String {
        for (_, delivery) in members {
            if let Delivery::Event(event) = delivery {
                self.all.insert(event.json.clone());
                if !delivered {
                    self.deliverable.push(event.json.clone());
                }
            }
        }
        format!("{members:?}")
    }

    /// Reads everything that can be read. `told` are the messages to look at; the channels are drained at
    /// the end.
    pub async fn read(&mut self, queue: &Engine, told: &[u64]) -> Result<(), QueueError> {
        let ledger = queue.ledger();
        self.put("ledger".into(), format!("{ledger:?}"));
        if ledger.waiting > 0 {
            for block in queue.unrouted(1_000).await? {
                let piece = self.block(&block);
                self.deliverable.extend(texts(&block));
                if block.received_unix_ms == LAST_UNIX_MS {
                    self.last_appended.extend(texts(&block));
                }
                self.put(format!("unrouted {}", block.seq), piece);
            }
        }
        for block in queue.seen().await? {
            self.put(format!("seen {}", block.seq), format!("{block:?}"));
        }
        self.read_kept(queue, told).await?;
        for channel in ledger.channels.keys() {
            let mut n = 0;
            while let Some(lease) = queue.lease(channel, FEW, 5).await? {
                n += 1;
                let members = self.members(&lease.members, false);
                let piece = format!("resumed {} {members}", lease.resumed);
                self.put(format!("lease {channel} {n}"), piece);
                queue
                    .ack(&lease.id, Accepted::at(1_700_000_001_000))
                    .await?;
            }
        }
        self.deliverable.sort();
        Ok(())
    }

    async fn read_kept(&mut self, queue: &Engine, told: &[u64]) -> Result<(), QueueError> {
        let letters = queue.dead(DeadFilter::default(), 0, 1_000).await;
        self.put_kept("dead".into(), letters.clone().map(|all| format!("{all:?}")))?;
        for letter in letters.unwrap_or_default() {
            let members = queue.dead_members(letter.id).await;
            let members = members.map(|some| self.members(&some.unwrap_or_default(), false));
            self.put_kept(format!("dead {}", letter.id), members)?;
        }
        for id in told {
            let name = format!("told {id}");
            match queue.told(*id).await {
                Ok(None) => {}
                Ok(Some(told)) => {
                    let members = self.members(&told.members, true);
                    let piece = format!("{} {} {members}", told.channel, told.told_unix_ms);
                    self.put(name, piece);
                }
                Err(error) => self.put_kept(name, Err(error))?,
            }
        }
        for channel in CHANNELS {
            let threads = queue.threads(channel).await;
            let threads = threads.map(|all| format!("{all:?}"));
            self.put_kept(format!("threads {channel}"), threads)?;
        }
        let mut from = Some(Cursor::default());
        let mut retained = Ok(String::new());
        while let (Some(cursor), Ok(so_far)) = (from, &mut retained) {
            match queue.retained(cursor).await {
                Ok(some) => {
                    for block in &some.blocks {
                        *so_far += &self.block(block);
                    }
                    from = some.next;
                }
                Err(error) => retained = Err(error),
            }
        }
        self.put_kept("retained".into(), retained)
    }
}
