//! HTTP/2 by hand (RFC 9113), for what no honest client sends.
#![allow(dead_code)] // Each test file uses its own part.

use tokio::io::{AsyncRead, AsyncReadExt};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame as it was read.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// How a client begins.
pub fn hello() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// The header block of a POST, each field spelled out (RFC 7541).
pub fn post(path: &str, content_length: usize) -> Vec<u8> {
    let mut block = vec![0x83, 0x87]; // :method POST, :scheme https
    literal(&mut block, &[0x04], path.as_bytes());
    literal(&mut block, &[0x01], b"localhost");
    let length = content_length.to_string();
    literal(&mut block, &[0x0f, 0x0d], length.as_bytes());
    block
}

/// A field of which only the name is in the static table.
fn literal(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.extend(name);
    block.push(u8::try_from(value.len()).expect("short"));
    block.extend(value);
}

/// A field `x` whose value has this many bytes, at most 100.
pub fn padding(bytes: u8) -> Vec<u8> {
    let mut block = vec![0x00, 1, b'x', bytes];
    block.extend(vec![b'y'; usize::from(bytes)]);
    block
}

pub fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()) // CANCEL
}

/// The next frame; `None` at the connection's end.
pub async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await.ok()?;
    Some(Frame {
        kind: head[3],
        flags: head[4],
        stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
        payload,
    })
}

impl Frame {
    /// The error code of a RST_STREAM or GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        let code = self.payload[at..at + 4].try_into().expect("four bytes");
        u32::from_be_bytes(code)
    }

    /// The value of a setting.
    pub fn setting(&self, id: u16) -> Option<u32> {
        self.payload.chunks(6).find_map(|entry| {
            let value = u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]);
            (u16::from_be_bytes([entry[0], entry[1]]) == id).then_some(value)
        })
    }
}
