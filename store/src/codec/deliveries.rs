//! Records of deliveries.

use std::{borrow::Cow, ops::Range};

use serde::{Deserialize, Serialize};

use super::{
    BLOCK_ITEMS_MAX, BLOCK_PLAIN_BYTES, Packed, Texts, compress, decompress, from_plain, pack,
    plain,
};
use crate::{
    frame::Damaged,
    model::{Block, BlockItem, Delivery, EventDelivery, ItemKind, Marks, Notice},
};

/// What a record of deliveries begins with.
#[derive(Debug, Serialize, Deserialize)]
struct DeliveryTable<'a> {
    /// Each cluster and route once; deliveries name them by number.
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
}

impl DeliveriesEncoder {
    /// Adds an event.
    pub fn push(&mut self, event: &EventToDeliver<'_>) {
        let row = DeliveryRow {
            cluster: self.name(event.cluster),
            route: self.name(event.route),
            json_bytes: event.json.len() as u32,
            marks: event.marks,
        };
        self.rows.push(row);
        self.texts.extend_from_slice(event.json.as_bytes());
        if self.texts.len() >= BLOCK_PLAIN_BYTES || self.rows.len() == BLOCK_ITEMS_MAX {
            self.close();
        }
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
            ItemKind::Unwanted | ItemKind::Unreadable(_) => None,
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
        }
    }
}

/// The events `range` of a record.
pub(crate) fn unpack_deliveries(
    plain_bytes: u32,
    payload: &[u8],
    range: Range<u32>,
) -> Result<Vec<Delivery>, Damaged> {
    let (table, texts) = postcard::take_from_bytes::<DeliveryTable<'_>>(payload)
        .map_err(|_| Damaged("its content does not fit its kind"))?;
    let lengths = table.rows.iter().map(|row| row.json_bytes);
    let texts = Texts::unpack(plain_bytes, texts, lengths)?;
    let name = |number: u32| {
        let name = table.names.get(number as usize);
        name.map(|name| name.clone().into_owned())
            .ok_or(Damaged("a name of it is missing"))
    };
    let mut deliveries = Vec::with_capacity(range.len());
    for index in range {
        let row = table
            .rows
            .get(index as usize)
            .ok_or(Damaged("it holds fewer deliveries than were leased"))?;
        deliveries.push(Delivery::Event(EventDelivery {
            cluster: name(row.cluster)?,
            route: name(row.route)?,
            json: texts.get(index as usize).to_owned(),
            marks: row.marks,
        }));
    }
    Ok(deliveries)
}

/// The notices `range` of a record.
pub(crate) fn unpack_notices(
    plain_bytes: u32,
    payload: &[u8],
    range: Range<u32>,
) -> Result<Vec<Delivery>, Damaged> {
    let notices: Vec<Notice> = from_plain(&decompress(plain_bytes, payload)?)?;
    let leased = notices
        .get(range.start as usize..range.end as usize)
        .ok_or(Damaged("it holds fewer notices than were leased"))?;
    Ok(leased.iter().cloned().map(Delivery::Notice).collect())
}
