//! Records of deliveries.

use std::{borrow::Cow, ops::Range};

use serde::{Deserialize, Serialize};

use super::{
    BLOCK_ITEMS_MAX, BLOCK_PLAIN_BYTES, Class, Packed, Texts, compress, decompress, from_plain,
    pack, plain,
};
use crate::{
    frame::Damaged,
    model::{Block, BlockItem, Delivery, EventDelivery, ItemKind, Marks, Notice},
};

/// What a record of deliveries begins with.
#[derive(Debug, Serialize, Deserialize)]
struct DeliveryTable<'a> {
    /// Each cluster and route once; deliveries name them by number. Of copies, one more that none of them
    /// names is the channel that they were meant for.
    #[serde(borrow)]
    names: Vec<Cow<'a, str>>,
    rows: Vec<DeliveryRow>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct DeliveryRow {
    cluster: u32,
    route: u32,
    json_bytes: u32,
    marks: Marks,
}

/// An event for a channel, before it is stored.
#[derive(Debug, Clone, Copy)]
pub struct EventToDeliver<'a> {
    /// The cluster it happened in.
    pub cluster: &'a str,
    /// The route that sent it here; empty for the default.
    pub route: &'a str,
    /// Redacted JSON.
    pub json: &'a str,
    /// What else has to be said of it.
    pub marks: Marks,
}

/// Deliveries to one channel, compressed.
#[derive(Debug, Clone, Default)]
pub struct EncodedDeliveries {
    pub(crate) events: Vec<Packed>,
    pub(crate) notices: Option<Packed>,
    /// When the oldest of it was received, if it was said.
    pub(crate) since_unix_ms: Option<i64>,
}

impl EncodedDeliveries {
    /// All of it waits since this Unix time in milliseconds.
    #[must_use]
    pub fn waiting_since(mut self, unix_ms: i64) -> Self {
        self.since_unix_ms = Some(unix_ms);
        self
    }
}

/// Compresses deliveries as they are decided, block by block.
#[derive(Debug, Default)]
pub struct DeliveriesEncoder {
    events: Vec<Packed>,
    notices: Vec<Notice>,
    // The block that grows.
    names: Vec<String>,
    rows: Vec<DeliveryRow>,
    texts: Vec<u8>,
    meant_for: Option<String>,
    since_unix_ms: Option<i64>,
}

impl DeliveriesEncoder {
    /// Some of what is added was received at this Unix time in milliseconds; the earliest counts for all.
    pub fn received(&mut self, unix_ms: i64) {
        let earliest = self.since_unix_ms.map_or(unix_ms, |one| one.min(unix_ms));
        self.since_unix_ms = Some(earliest);
    }

    /// Adds an event.
    pub fn push(&mut self, event: &EventToDeliver<'_>) {
        self.put(event);
        if self.texts.len() >= BLOCK_PLAIN_BYTES || self.rows.len() == BLOCK_ITEMS_MAX {
            self.close();
        }
    }

    /// What follows was meant for another channel.
    pub(crate) fn meant_for(&mut self, channel: Option<&str>) {
        if self.meant_for.as_deref() != channel {
            if !self.rows.is_empty() {
                self.close();
            }
            self.meant_for = channel.map(str::to_owned);
        }
    }

    fn put(&mut self, event: &EventToDeliver<'_>) {
        let row = DeliveryRow {
            cluster: self.name(event.cluster),
            route: self.name(event.route),
            json_bytes: event.json.len() as u32,
            marks: event.marks,
        };
        self.rows.push(row);
        self.texts.extend_from_slice(event.json.as_bytes());
    }

    /// Adds all of a block's events, as they are packed already. `audit_id_reused` says it of an item, by
    /// its number.
    pub fn push_block(
        &mut self,
        block: &Block,
        route: &str,
        audit_id_reused: impl Fn(usize) -> bool,
    ) {
        if !self.rows.is_empty() {
            // What came before stays before.
            self.close();
        }
        let row = |(number, item): (usize, &BlockItem)| match item.kind {
            ItemKind::Event {
                json_bytes,
                body_unreadable,
                ..
            } => Some(DeliveryRow {
                cluster: 0,
                route: 1,
                json_bytes,
                marks: Marks {
                    body_unreadable,
                    audit_id_reused: audit_id_reused(number),
                    ..Marks::default()
                },
            }),
            ItemKind::Unwanted { .. } | ItemKind::Unreadable(_) => None,
        };
        let table = DeliveryTable {
            names: vec![Cow::Borrowed(&block.cluster), Cow::Borrowed(route)],
            rows: block.items.iter().enumerate().filter_map(row).collect(),
        };
        let mut payload = plain(&table);
        payload.extend_from_slice(block.packed_texts.compressed());
        self.events.push(Packed {
            items: table.rows.len() as u32,
            plain_bytes: block.packed_texts.plain_bytes,
            payload,
        });
    }

    /// Adds a notice of the relay's own.
    pub fn push_notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    fn name(&mut self, name: &str) -> u32 {
        // A handful: the newest is nearly always the one.
        let found = self.names.iter().rposition(|known| known == name);
        let number = found.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        number as u32
    }

    fn close(&mut self) {
        let names = std::mem::take(&mut self.names);
        let table = DeliveryTable {
            names: names
                .iter()
                .chain(&self.meant_for)
                .map(|name| Cow::Borrowed(name.as_str()))
                .collect(),
            rows: std::mem::take(&mut self.rows),
        };
        let mut payload = plain(&table);
        compress(&self.texts, &mut payload);
        self.events.push(Packed {
            items: table.rows.len() as u32,
            plain_bytes: self.texts.len() as u32,
            payload,
        });
        self.texts.clear();
    }

    /// All of them.
    pub fn finish(mut self) -> EncodedDeliveries {
        if !self.rows.is_empty() {
            self.close();
        }
        let notices = (!self.notices.is_empty()).then(|| pack(self.notices.len(), &self.notices));
        EncodedDeliveries {
            events: self.events,
            notices,
            since_unix_ms: self.since_unix_ms,
        }
    }
}

/// Deliveries of a record, by their number.
pub(crate) fn unpack(
    class: Class,
    plain_bytes: u32,
    payload: &[u8],
    range: Range<u32>,
) -> Result<Vec<Delivery>, Damaged> {
    match class {
        Class::Events | Class::Copies => unpack_events(class, plain_bytes, payload, range),
        Class::Notices => {
            let notices = unpack_notices(plain_bytes, payload, range)?;
            Ok(notices.into_iter().map(Delivery::Notice).collect())
        }
    }
}

/// A record of some deliveries of another.
pub(crate) fn cut(
    class: Class,
    plain_bytes: u32,
    payload: &[u8],
    range: Range<u32>,
) -> Result<Packed, Damaged> {
    if class == Class::Notices {
        let notices = unpack_notices(plain_bytes, payload, range)?;
        return Ok(pack(notices.len(), &notices));
    }
    let mut encoder = DeliveriesEncoder::default();
    for delivery in unpack_events(class, plain_bytes, payload, range)? {
        if let Delivery::Event(event) = delivery {
            encoder.meant_for(event.meant_for.as_deref());
            encoder.put(&EventToDeliver {
                cluster: &event.cluster,
                route: &event.route,
                json: &event.json,
                marks: event.marks,
            });
        }
    }
    encoder.close();
    encoder
        .events
        .pop()
        .ok_or(Damaged("it holds no deliveries"))
}

/// Deliveries of one class as records, with other marks.
pub(crate) fn repack(deliveries: Vec<Delivery>, mark: impl Fn(Marks) -> Marks) -> Vec<Packed> {
    let mut encoder = DeliveriesEncoder::default();
    for delivery in deliveries {
        match delivery {
            Delivery::Event(event) => {
                encoder.meant_for(event.meant_for.as_deref());
                encoder.push(&EventToDeliver {
                    cluster: &event.cluster,
                    route: &event.route,
                    json: &event.json,
                    marks: mark(event.marks),
                });
            }
            Delivery::Notice(notice) => encoder.push_notice(notice),
        }
    }
    let encoded = encoder.finish();
    encoded.events.into_iter().chain(encoded.notices).collect()
}

/// How many of some deliveries come from which cluster by which route; their texts are not read.
pub(crate) fn told_by(
    payload: &[u8],
    range: Range<u32>,
    mut count: impl FnMut(&str, &str),
) -> Result<(), Damaged> {
    let (table, _) = table(payload)?;
    for index in range {
        let (cluster, route) = table.names_of(index)?;
        count(cluster, route);
    }
    Ok(())
}

fn table(payload: &[u8]) -> Result<(DeliveryTable<'_>, &[u8]), Damaged> {
    postcard::take_from_bytes(payload).map_err(|_| Damaged("its content does not fit its kind"))
}

impl DeliveryTable<'_> {
    /// A record of an earlier version holds no name that no row names.
    fn meant_for(&self) -> Option<&str> {
        let named = self.rows.iter().map(|row| row.cluster.max(row.route));
        let next = named.max()? as usize + 1;
        self.names.get(next).map(AsRef::as_ref)
    }

    fn row(&self, index: u32) -> Result<&DeliveryRow, Damaged> {
        let row = self.rows.get(index as usize);
        row.ok_or(Damaged("it holds fewer deliveries than were leased"))
    }

    fn event(&self, class: Class, texts: &Texts, index: u32) -> Result<EventDelivery, Damaged> {
        let (cluster, route) = self.names_of(index)?;
        let meant_for = match class {
            Class::Copies => self.meant_for(),
            Class::Events | Class::Notices => None,
        };
        Ok(EventDelivery {
            cluster: cluster.to_owned(),
            route: route.to_owned(),
            json: texts.get(index as usize).to_owned(),
            marks: self.row(index)?.marks,
            meant_for: meant_for.map(str::to_owned),
        })
    }

    /// The cluster and the route of a row.
    fn names_of(&self, index: u32) -> Result<(&str, &str), Damaged> {
        let row = self.row(index)?;
        let name = |number: u32| {
            let name = self.names.get(number as usize);
            name.map(AsRef::as_ref)
                .ok_or(Damaged("a name of it is missing"))
        };
        Ok((name(row.cluster)?, name(row.route)?))
    }
}

fn unpack_events(
    class: Class,
    plain_bytes: u32,
    payload: &[u8],
    range: Range<u32>,
) -> Result<Vec<Delivery>, Damaged> {
    let (table, texts) = table(payload)?;
    let lengths = table.rows.iter().map(|row| row.json_bytes);
    let texts = Texts::unpack(plain_bytes, texts, lengths)?;
    let event = |index: u32| table.event(class, &texts, index).map(Delivery::Event);
    range.map(event).collect()
}

/// Events whose text is wanted, with their place among a record's deliveries.
pub(crate) fn find(
    class: Class,
    plain_bytes: u32,
    payload: &[u8],
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Vec<(u32, EventDelivery)>, Damaged> {
    let (table, texts) = table(payload)?;
    let lengths = table.rows.iter().map(|row| row.json_bytes);
    let texts = Texts::unpack(plain_bytes, texts, lengths)?;
    let wanted = (0..table.rows.len() as u32).filter(|index| is_wanted(texts.get(*index as usize)));
    wanted
        .map(|index| Ok((index, table.event(class, &texts, index)?)))
        .collect()
}

fn unpack_notices(
    plain_bytes: u32,
    payload: &[u8],
    range: Range<u32>,
) -> Result<Vec<Notice>, Damaged> {
    let notices: Vec<Notice> = from_plain(&decompress(plain_bytes, payload)?)?;
    let some = notices.get(range.start as usize..range.end as usize);
    some.map(<[Notice]>::to_vec)
        .ok_or(Damaged("it holds fewer notices than were leased"))
}

#[cfg(test)]
#[path = "deliveries_tests.rs"]
mod tests;
