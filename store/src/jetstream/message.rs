//! What a message of the inbox holds.
//!
//! | kind | subject | payload |
//! | --- | --- | --- |
//! | `block` | `<name>.inbox` | a block of events, framed (`crate::frame`) |
//! | `part` | `<name>.inbox.<id>` | a piece of such a frame; the header says which of how many |
//! | `given-up` | `<name>.inbox.<id>` | nothing: no part comes any more, see [`super::parts`] |
//! | `notes` | `<name>.inbox` | how far inputs were read, framed |
//! | `question` | `<name>.inbox` | where the answer goes: how far inputs were read, up to this message |
//!
//! Kind and version are in headers. What a later version wrote is left alone until a relay of that version leads; what
//! is not whole is told apart from it.

use async_nats::{
    HeaderMap,
    jetstream::message::{PublishMessage, StreamMessage},
};
use bytes::Bytes;

use crate::{
    InputPosition, codec,
    codec::Packed,
    frame::{self, Damaged, Header, Kind},
};

const KIND: &str = "Auditrelay-Kind";
const VERSION: &str = "Auditrelay-Version";
const PART: &str = "Auditrelay-Part";
const VERSION_NOW: &str = "1";

/// Room that is left in a message for its headers.
pub(super) const HEADERS_BYTES_MAX: usize = 1_024;

/// What was read.
#[derive(Debug)]
pub(super) enum Read {
    Block(Packed),
    Part(Part),
    GivenUp { id: String },
    Notes(Vec<InputPosition>),
    Question { reply: String },
    Later,
    Broken(&'static str),
}

/// A piece of a block's frame.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) id: String,
    /// From 0.
    pub(super) number: usize,
    pub(super) of: usize,
    pub(super) bytes: Bytes,
}

/// A block as it is sent, or cut.
pub(super) fn framed(block: &Packed) -> Bytes {
    let header = Header {
        items: block.items,
        plain_bytes: block.plain_bytes,
        ..Header::new(Kind::Block, 0)
    };
    let mut frame = Vec::with_capacity(frame::HEADER_BYTES + block.payload.len());
    frame::encode(&header, &[&block.payload], &mut frame);
    frame.into()
}

/// The block in a frame.
pub(super) fn unframed(frame: &[u8]) -> Result<Packed, Damaged> {
    let (header, payload) = frame::decode(frame)?;
    if header.kind != Kind::Block as u8 {
        return Err(Damaged("it is no block"));
    }
    Ok(Packed {
        items: header.items,
        plain_bytes: header.plain_bytes,
        payload: payload.to_vec(),
    })
}

pub(super) fn positions_framed(positions: &[InputPosition]) -> Bytes {
    let payload = codec::plain(positions);
    let mut frame = Vec::with_capacity(frame::HEADER_BYTES + payload.len());
    frame::encode(&Header::new(Kind::Input, 0), &[&payload], &mut frame);
    frame.into()
}

pub(super) fn positions_unframed(frame: &[u8]) -> Result<Vec<InputPosition>, Damaged> {
    let (header, payload) = frame::decode(frame)?;
    if header.kind != Kind::Input as u8 {
        return Err(Damaged("it holds no positions"));
    }
    codec::from_plain(payload)
}

fn of_kind(kind: &str, payload: Bytes) -> PublishMessage {
    PublishMessage::build()
        .payload(payload)
        .header(KIND, kind)
        .header(VERSION, VERSION_NOW)
}

pub(super) fn block(frame: Bytes) -> PublishMessage {
    of_kind("block", frame)
}

pub(super) fn part(number: usize, of: usize, bytes: Bytes) -> PublishMessage {
    of_kind("part", bytes).header(PART, &*format!("{number}/{of}"))
}

pub(super) fn given_up() -> PublishMessage {
    of_kind("given-up", Bytes::new())
}

pub(super) fn notes(positions: &[InputPosition]) -> PublishMessage {
    of_kind("notes", positions_framed(positions))
}

pub(super) fn question(reply: &str) -> PublishMessage {
    of_kind("question", reply.to_owned().into())
}

/// Headers of a piece of an answer.
pub(super) fn piece(id: &str, number: usize, of: usize) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(KIND, id);
    headers.insert(PART, &*format!("{number}/{of}"));
    headers
}

/// A piece of an answer.
pub(super) fn read_piece(message: async_nats::Message) -> Option<Part> {
    let headers = message.headers.as_ref()?;
    let (number, of) = numbers(headers)?;
    Some(Part {
        id: headers.get(KIND)?.as_str().to_owned(),
        number,
        of,
        bytes: message.payload,
    })
}

fn numbers(headers: &HeaderMap) -> Option<(usize, usize)> {
    let (number, of) = headers.get(PART)?.as_str().split_once('/')?;
    let (number, of) = (number.parse().ok()?, of.parse().ok()?);
    (number < of).then_some((number, of))
}

/// What a message is; `subject` is that of whole blocks.
pub(super) fn read(message: StreamMessage, subject: &str) -> Read {
    let header = |name| message.headers.get(name).map(|value| value.as_str());
    match (header(VERSION), header(KIND)) {
        (None, _) | (_, None) => return Read::Broken("it is none of a relay"),
        (Some(VERSION_NOW), Some(_)) => {}
        _ => return Read::Later,
    }
    let id = || {
        let id = message.subject.strip_prefix(subject)?.strip_prefix('.')?;
        Some(id.to_owned())
    };
    let read = match header(KIND) {
        Some("block") => unframed(&message.payload).map(Read::Block),
        Some("notes") => positions_unframed(&message.payload).map(Read::Notes),
        Some("question") => String::from_utf8(message.payload.to_vec())
            .map(|reply| Read::Question { reply })
            .map_err(|_| Damaged("its question is no text")),
        Some("part") => match (id(), numbers(&message.headers)) {
            (Some(id), Some((number, of))) => Ok(Read::Part(Part {
                id,
                number,
                of,
                bytes: message.payload,
            })),
            _ => Err(Damaged("it does not say which part it is")),
        },
        Some("given-up") => id()
            .map(|id| Read::GivenUp { id })
            .ok_or(Damaged("it does not say what is given up")),
        _ => Err(Damaged("its kind is not known")),
    };
    read.unwrap_or_else(|Damaged(why)| Read::Broken(why))
}
