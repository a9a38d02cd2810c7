//! The frame around every stored value, so that a record can be told from noise: when it is read, and
//! when it has to be carved out of a damaged file.
//!
//! Layout, integers big-endian:
//! `"ARQ3"` · kind u8 · seq u64 · commit start u64 · items u32 · plain bytes u32 · payload bytes u32 ·
//! CRC-32 u32 of all of the frame but itself · payload.

/// Largest payload of a frame in sled: a leaf of 17 such values fits a quarter of its segments of
/// 512 KiB; a larger one becomes a blob file, which sled never syncs and never deletes.
pub(crate) const SLED_PAYLOAD_BYTES_MAX: usize = 6 * 1024;

pub(crate) const MAGIC: &[u8; 4] = b"ARQ3";
pub(crate) const HEADER_BYTES: usize = 37;

/// What a frame holds: in a log, or (from `Dead` on, but for `Settled`) in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Block = 1,
    Seen = 2,
    Events = 3,
    Notices = 4,
    Dead = 5,
    Quarantine = 6,
    Seal = 7,
    Totals = 8,
    Channel = 9,
    Waiting = 10,
    Told = 11,
    /// In the log of deliveries: what became of some of them. The queue itself does not read it: a salvage and a trace do.
    Settled = 12,
    Salvage = 13,
    /// The first frame of a log's file that follows another: which one it is, and how long the other.
    Begin = 14,
    /// In a file of its own: how a store was left by a process that closed it.
    Closed = 15,
    FellBack = 16,
    Thread = 17,
    /// In the index: how far an input was read.
    Input = 18,
    /// In the index: how many events a route kept from everybody.
    Filtered = 19,
    /// In the index: what the rates of routes counted.
    Rates = 20,
    /// In the index: a mute.
    Mute = 21,
    /// In the index: how much a mute held back from a channel.
    MuteHeld = 22,
    /// On a ledger stream: what one commit changes in the index.
    Changes = 23,
    /// On a ledger stream: all rows of the index.
    Snapshot = 24,
}

/// The readable part of a frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: u8,
    pub(crate) seq: u64,
    /// In a log: where in its file the commit begins that wrote it. 0 in sled.
    pub(crate) commit_start: u64,
    /// How many items it holds.
    pub(crate) items: u32,
    /// Its size before compression.
    pub(crate) plain_bytes: u32,
}

/// A frame that is not whole.
#[derive(Debug, thiserror::Error)]
#[error("a stored record is damaged: {0}")]
pub(crate) struct Damaged(pub(crate) &'static str);

/// The frame of a small record.
pub(crate) fn single(kind: Kind, seq: u64, payload: &[u8]) -> Vec<u8> {
    debug_assert!(payload.len() <= SLED_PAYLOAD_BYTES_MAX);
    let mut out = Vec::with_capacity(HEADER_BYTES + payload.len());
    encode(&Header::new(kind, seq), &[payload], &mut out);
    out
}

impl Header {
    /// Of a record of one item, outside a log.
    pub(crate) fn new(kind: Kind, seq: u64) -> Self {
        Self {
            kind: kind as u8,
            seq,
            commit_start: 0,
            items: 1,
            plain_bytes: 0,
        }
    }
}

/// Appends a frame; its payload comes in pieces, so that none has to be copied before.
pub(crate) fn encode(header: &Header, payload: &[&[u8]], out: &mut Vec<u8>) {
    head(header, payload, out);
    for piece in payload {
        out.extend_from_slice(piece);
    }
}

/// The header of a frame whose payload is in its place already, behind the room for it.
pub(crate) fn fill(header: &Header, frame: &mut [u8]) {
    let (room, payload) = frame.split_at_mut(HEADER_BYTES);
    let mut filled = Vec::with_capacity(HEADER_BYTES);
    head(header, &[payload], &mut filled);
    room.copy_from_slice(&filled);
}

fn head(header: &Header, payload: &[&[u8]], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(MAGIC);
    out.push(header.kind);
    out.extend_from_slice(&header.seq.to_be_bytes());
    out.extend_from_slice(&header.commit_start.to_be_bytes());
    out.extend_from_slice(&header.items.to_be_bytes());
    out.extend_from_slice(&header.plain_bytes.to_be_bytes());
    let bytes: usize = payload.iter().map(|piece| piece.len()).sum();
    out.extend_from_slice(&(bytes as u32).to_be_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&out[start..]);
    for piece in payload {
        crc.update(piece);
    }
    out.extend_from_slice(&crc.finalize().to_be_bytes());
}

/// How many bytes the frame has that begins here, if one does.
pub(crate) fn length(head: &[u8; HEADER_BYTES]) -> Result<usize, Damaged> {
    if &head[..4] != MAGIC {
        return Err(Damaged("it does not begin with its mark"));
    }
    let payload = u32::from_be_bytes([head[29], head[30], head[31], head[32]]);
    Ok(HEADER_BYTES + payload as usize)
}

/// Reads a frame and its payload, checking both.
pub(crate) fn decode(bytes: &[u8]) -> Result<(Header, &[u8]), Damaged> {
    let (head, payload) = bytes
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or(Damaged("it is cut short"))?;
    if length(head)? != bytes.len() {
        return Err(Damaged("its length is wrong"));
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head[..33]);
    crc.update(payload);
    let u32_at =
        |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let u64_at = |at: usize| (u64::from(u32_at(at)) << 32) | u64::from(u32_at(at + 4));
    if crc.finalize() != u32_at(33) {
        return Err(Damaged("its checksum is wrong"));
    }
    let header = Header {
        kind: head[4],
        seq: u64_at(5),
        commit_start: u64_at(13),
        items: u32_at(21),
        plain_bytes: u32_at(25),
    };
    Ok((header, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = single(Kind::Seal, 1 << 40, b"members");
        assert_eq!(decode(&bytes).expect("whole").0.seq, 1 << 40);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged).is_err(), "bit {bit}");
        }
        assert!(decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(decode(b"").is_err());
    }

    #[test]
    fn a_frame_that_is_filled_in_is_as_one_that_is_encoded() {
        let mut filled = [&[0; HEADER_BYTES], b"members".as_slice()].concat();
        fill(&Header::new(Kind::Seal, 1 << 40), &mut filled);
        assert_eq!(filled, single(Kind::Seal, 1 << 40, b"members"));
    }
}
