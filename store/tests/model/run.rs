//! Does a case with a queue and with the model, and compares.

use std::collections::BTreeMap;

use auditrelay_audit::{EventKey, Severity};
use auditrelay_store::{
    Accepted, Batch, Content, Counts, DeliveriesEncoder, Delivery, DeliveryBlock, EncodedBatch,
    Engine, Entry, EventToDeliver, FilteredCount, LeaseId, LeaseLimit, Limits, Marks, Queue,
    RateCount, Routed, RoutedBlock, SledOptions,
};
use tempfile::TempDir;

use crate::{
    compare::{add, snapshot},
    medium::Medium,
    operation::{CHANNELS, Case, Fate, Operation},
    reference::{Members, Model, To, Waits},
    support::{burial, noise, quick_dir, texts},
};

const NOW_UNIX_MS: i64 = 1_700_000_000_000;

pub struct Run<'a> {
    pub dir: TempDir,
    medium: &'a Medium<'a>,
    options: SledOptions,
    pub queue: Option<Engine>,
    pub model: Model,
    /// Quotas drop what waits after the answer: what is gone is seen when it is not leased.
    pub drops: bool,
    number: u64,
    pub now_unix_ms: i64,
}

pub async fn run(case: &Case, medium: &Medium<'_>) {
    let dir = quick_dir();
    let quota = case.quota_bytes.unwrap_or(u64::MAX);
    let options = SledOptions {
        segment_bytes: case.segment_bytes,
        cache_bytes_max: 1 << 20,
        limits: Limits {
            detail_ms: 1 << 40,
            detail_bytes_max: 1 << 30,
            channel_bytes_max: quota,
            dead_bytes_max: quota,
            quarantine_entries_max: 3,
            ..Limits::default()
        },
        ..SledOptions::new(dir.path(), NOW_UNIX_MS)
    };
    let mut run = Run {
        dir,
        medium,
        options,
        queue: None,
        model: Model::default(),
        drops: case.quota_bytes.is_some(),
        number: 0,
        now_unix_ms: NOW_UNIX_MS,
    };
    run.open();
    for operation in &case.operations {
        run.step(operation).await;
        run.compare();
        run.compare_threads().await;
    }
    run.finish().await;
}

impl Run<'_> {
    pub fn queue(&self) -> &Engine {
        self.queue.as_ref().expect("it is open")
    }

    pub fn open(&mut self) {
        self.queue = Some(self.medium.open(&self.options));
    }

    async fn step(&mut self, operation: &Operation) {
        match operation {
            Operation::Append(sizes) => self.append(sizes).await,
            Operation::Route(blocks, fates) => self.route(*blocks, fates).await,
            Operation::Lease(channel, max) => self.lease(CHANNELS[*channel], *max).await,
            Operation::Ack(channel) => self.settle(CHANNELS[*channel], To::Delivered, None).await,
            Operation::AckWithThread(channel) => self.ack_with_thread(CHANNELS[*channel]).await,
            Operation::NoteThread(channel, number, done) => {
                self.note_thread(CHANNELS[*channel], *number, *done).await;
            }
            Operation::FallBack(from, to) => self.fall_back(CHANNELS[*from], CHANNELS[*to]).await,
            Operation::Bury(channel) => self.settle(CHANNELS[*channel], To::Dead, None).await,
            Operation::Release(channel) => self.release(CHANNELS[*channel]).await,
            Operation::Redrive(number) => self.redrive(*number).await,
            Operation::DropDead(number) => self.drop_dead(*number).await,
            Operation::Copies(channel, severity, events) => {
                self.copies(CHANNELS[*channel], *severity, *events).await;
            }
            Operation::Reopen => {
                self.queue = None;
                self.open();
            }
            Operation::Crash(torn_bytes) => {
                match self.medium {
                    Medium::Disk => self.crash(usize::from(*torn_bytes)),
                    Medium::Stream(..) => self.take_over().await,
                }
                self.verify().await;
            }
        }
    }

    /// Copies the folder under the open queue. What two looks in a row find was there at once, though
    /// the queue tidies up after its answer.
    fn crash(&mut self, torn_bytes: usize) {
        let dir = quick_dir();
        let mut before = snapshot(self.dir.path());
        let mut files = loop {
            let now = snapshot(self.dir.path());
            match now {
                Ok(now) if before.as_ref().is_ok_and(|before| *before == now) => break now,
                now => before = now,
            }
        };
        for log in ["queue/events-", "queue/deliveries-", "queue/seen-"] {
            let names = files.iter_mut();
            let own = names.filter(|(path, _)| path.to_string_lossy().starts_with(log));
            if let Some((_, last)) = own.last() {
                // The beginning of a frame, if it has one: less than a frame's header.
                let torn = last[..last.len().min(torn_bytes % 37)].to_vec();
                last.extend(torn);
            }
        }
        for (path, bytes) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("it has one")).expect("made");
            std::fs::write(path, bytes).expect("written");
        }
        self.options.data_dir = dir.path().to_owned();
        self.queue = None;
        self.dir = dir;
        self.open();
    }

    fn text(&mut self, bytes: u16) -> String {
        self.number += 1;
        format!("{} {}", self.number, noise(usize::from(bytes), self.number))
    }

    async fn append(&mut self, sizes: &[u16]) {
        let events: Vec<String> = sizes.iter().map(|bytes| self.text(*bytes)).collect();
        // Each batch at a time of its own, and not each later than the one before.
        self.now_unix_ms += if self.number.is_multiple_of(5) { -3 } else { 7 };
        let entry = |json: &String| Entry {
            key: key_of(json),
            content: Content::Event {
                json: json.clone().into(),
                body_unreadable: false,
            },
        };
        let batch = EncodedBatch::new(&Batch {
            cluster: "prod".into(),
            received_unix_ms: self.now_unix_ms,
            entries: events.iter().map(entry).collect(),
        });
        self.queue().append(batch).await.expect("durable");
        self.model.unrouted.push_back(events);
    }

    pub async fn route(&mut self, blocks_max: usize, fates: &[Fate]) {
        if self.model.unrouted.is_empty() {
            return;
        }
        let blocks = self.queue().unrouted(blocks_max).await.expect("blocks");
        assert_eq!(blocks.len(), blocks_max.min(self.model.unrouted.len()));
        let mut routed = Routed::default();
        let mut to: BTreeMap<(usize, Severity), DeliveriesEncoder> = BTreeMap::new();
        let mut fates = fates.iter().cycle();
        for block in &blocks {
            let events = self.model.unrouted.pop_front().expect("the model has it");
            assert_eq!(texts(block), events);
            let mut counts = Counts::default();
            let mut new_keys = Vec::new();
            for event in events {
                match fates.next().expect("they go round") {
                    Fate::To(channel, severity) => {
                        counts.routed += 1;
                        new_keys.push(key_of(&event));
                        let encoder = to.entry((*channel, *severity)).or_default();
                        encoder.received(block.received_unix_ms);
                        push(encoder, "r", &event);
                        let member = Waits::new(event, false);
                        self.model.deliver(CHANNELS[*channel], *severity, member);
                    }
                    Fate::Duplicate => counts.duplicates += 1,
                    Fate::Filtered => {
                        counts.filtered += 1;
                        self.filter_and_count(&event, &mut routed);
                    }
                    Fate::Quarantined => counts.quarantined += 1,
                }
            }
            self.model.keys += new_keys.len();
            add(&mut self.model.counts, &counts);
            routed.blocks.push(RoutedBlock {
                seq: block.seq,
                seen_unix_ms: NOW_UNIX_MS,
                new_keys,
                counts,
                quarantine: vec![],
            });
        }
        for ((channel, severity), encoder) in to {
            routed.deliveries.push(DeliveryBlock {
                channel: CHANNELS[channel].to_owned(),
                severity,
                deliveries: encoder.finish(),
            });
        }
        self.queue().route(routed).await.expect("routed");
    }

    /// Two of three that are filtered are by a route with a name, and each is counted by a rate. Now and then
    /// all that was counted is said anew.
    fn filter_and_count(&mut self, event: &str, routed: &mut Routed) {
        let key = key_of(event).identity;
        if !key.is_multiple_of(3) {
            let route = format!("r{}", key % 3);
            *self.model.filtered_by.entry(route.clone()).or_default() += 1;
            routed.filtered_by.push(FilteredCount { route, events: 1 });
        }
        let counted = RateCount {
            key: key % 5,
            slot: 1,
            events: 1,
        };
        self.model.rates.push(counted);
        routed.rates.counts.push(counted);
        if key.is_multiple_of(7) {
            routed.rates.is_all = true;
            routed.rates.counts.clone_from(&self.model.rates);
        }
    }

    pub async fn lease(&mut self, name: &str, max: usize) {
        let limit = LeaseLimit {
            events_max: max,
            bytes_max: usize::MAX,
        };
        self.now_unix_ms += 1;
        let now_unix_ms = self.now_unix_ms;
        let lease = self.queue().lease(name, limit, now_unix_ms).await;
        let lease = lease.expect("read");
        let members = lease.as_ref().map(|lease| self.events(&lease.members));
        let drops = self.drops;
        let channel = self.model.channel(name);
        if let Some((id, held)) = &channel.lease {
            let lease = lease.expect("it is held");
            assert_eq!((lease.id.id, lease.resumed), (*id, true));
            assert_eq!(lease.sealed_unix_ms, channel.sealed_unix_ms);
            assert_eq!(members.as_ref(), Some(held));
            return;
        }
        let members = members.unwrap_or_default();
        if drops {
            channel.skip_dropped(lease.is_some(), &members);
        } else {
            assert_eq!(lease.is_some(), !members.is_empty());
        }
        let expected = channel.next(if drops { members.len() } else { max });
        assert_eq!(members, expected);
        if let Some(lease) = lease {
            assert!(!lease.resumed);
            assert_eq!(lease.sealed_unix_ms, now_unix_ms);
            channel.sealed_unix_ms = now_unix_ms;
            channel.lease = Some((lease.id.id, members));
        } else {
            self.drop_untouched(name);
        }
    }

    /// Without the channel's entry where nothing was ever sent to it.
    fn drop_untouched(&mut self, name: &str) {
        let channel = self.model.channel(name);
        if channel.counts == Default::default() && channel.copies == Default::default() {
            self.model.channels.remove(name);
        }
    }

    /// The events among members, without notices of what was dropped.
    pub fn events(&self, members: &[(Severity, Delivery)]) -> Members {
        let event = |(severity, delivery): &(Severity, Delivery)| match delivery {
            Delivery::Event(event) => Some((
                *severity,
                Waits {
                    text: event.json.clone(),
                    is_copy: event.route == "copy" || event.meant_for.is_some(),
                    meant_for: event.meant_for.clone(),
                },
            )),
            Delivery::Notice(_) => None,
        };
        members.iter().filter_map(event).collect()
    }

    pub fn held(&self, name: &str) -> Option<LeaseId> {
        let (id, _) = self.model.channels.get(name)?.lease.as_ref()?;
        Some(LeaseId {
            channel: name.to_owned(),
            id: *id,
        })
    }

    pub async fn settle(&mut self, name: &str, to: To, thread: Option<String>) {
        let Some(lease) = self.held(name) else { return };
        let accepted = Accepted {
            now_unix_ms: NOW_UNIX_MS,
            thread,
            posted: None,
        };
        let settled = match to {
            To::Dead => self.queue().bury(&lease, burial("refused")).await,
            _ => self.queue().ack(&lease, accepted).await.map(drop),
        };
        settled.expect("held");
        self.model.settle(name, to);
        let again = self.queue().ack(&lease, Accepted::at(NOW_UNIX_MS)).await;
        again.expect_err("it is settled");
    }

    async fn release(&mut self, name: &str) {
        let Some(lease) = self.held(name) else { return };
        self.queue().release(&lease).await.expect("held");
        self.model.channel(name).lease = None;
    }

    fn nth_dead(&self, number: usize) -> Option<u64> {
        self.model.dead.keys().nth(number).copied()
    }

    async fn redrive(&mut self, number: usize) {
        self.drop_dead_by_quota().await;
        let Some(id) = self.nth_dead(number) else {
            return;
        };
        let asked = vec![id, u64::MAX, id];
        let found = self.queue().redrive(asked).await.expect("done");
        assert!(found == [id] || self.drops, "{found:?}");
        self.model.redrive(id);
        let again = self.queue().redrive(vec![id]).await;
        assert_eq!(again.expect("done"), [0; 0]);
    }

    async fn drop_dead(&mut self, number: usize) {
        self.drop_dead_by_quota().await;
        let Some(id) = self.nth_dead(number) else {
            return;
        };
        let found = self.queue().drop_dead(vec![id]).await.expect("done");
        assert!(found == [id] || self.drops, "{found:?}");
        self.model.drop_dead(id, To::DroppedByCommand);
    }

    async fn copies(&mut self, channel: &str, severity: Severity, events: u8) {
        let events: Vec<String> = (0..events).map(|_| self.text(40)).collect();
        let mut encoder = DeliveriesEncoder::default();
        for text in &events {
            push(&mut encoder, "copy", text);
            let copy = Waits::new(text.clone(), true);
            self.model.deliver(channel, severity, copy);
        }
        let copies = vec![DeliveryBlock {
            channel: channel.to_owned(),
            severity,
            deliveries: encoder.finish(),
        }];
        self.queue().deliver_copies(copies).await.expect("queued");
    }
}

fn key_of(text: &str) -> EventKey {
    let number = text.split(' ').next().and_then(|text| text.parse().ok());
    let number: u64 = number.expect("it begins with its number");
    EventKey {
        identity: number,
        fingerprint: u128::from(number).to_be_bytes(),
    }
}

fn push(encoder: &mut DeliveriesEncoder, route: &str, json: &str) {
    encoder.push(&EventToDeliver {
        cluster: "prod",
        route,
        json,
        marks: Marks::default(),
    });
}
