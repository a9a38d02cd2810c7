//! Where the lines of an export go.
//!
//! Contract: the last line, without which no import takes the others for whole, is written by [`Shared::finish`] alone.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

/// What lines are written into.
pub(super) enum Sink {
    Plain(Box<dyn Write + Send>),
    Zstd(zstd::Encoder<'static, Box<dyn Write + Send>>),
}

impl Sink {
    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Plain(out) => out,
            Self::Zstd(encoder) => encoder,
        }
    }
}

/// A sink, the line that was written last, and what there is of the next one.
struct Out {
    sink: Sink,
    last: Vec<u8>,
    next: Vec<u8>,
}

/// The queue takes its writer for good, and a compressed file needs an end.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Option<Out>>>);

impl Shared {
    pub(super) fn new(sink: Sink) -> Self {
        let (last, next) = (Vec::new(), Vec::new());
        Self(Arc::new(Mutex::new(Some(Out { sink, last, next }))))
    }

    /// Writes the last line, and what a file's end needs.
    pub(super) fn finish(&self) -> io::Result<()> {
        let out = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut out) = out else { return Ok(()) };
        let writer = out.sink.writer();
        writer.write_all(&out.last)?;
        writer.write_all(&out.next)?;
        match out.sink {
            Sink::Plain(mut out) => out.flush(),
            Sink::Zstd(encoder) => encoder.finish()?.flush(),
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Out) -> io::Result<T>) -> io::Result<T> {
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match out.as_mut() {
            Some(out) => act(out),
            None => Err(io::Error::other("the file is closed")),
        }
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|out| {
            for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                out.next.extend_from_slice(piece);
                if piece.ends_with(b"\n") {
                    out.sink.writer().write_all(&out.last)?;
                    std::mem::swap(&mut out.last, &mut out.next);
                    out.next.clear();
                }
            }
            Ok(bytes.len())
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.with(|out| out.sink.writer().flush())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        io::Read,
    };

    use super::*;

    #[test]
    fn a_compressed_file_has_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("queue.jsonl.zst");
        let out = Box::new(File::create(&path).expect("made"));
        let encoder = zstd::Encoder::new(out as Box<dyn Write + Send>, 3);
        let shared = Shared::new(Sink::Zstd(encoder.expect("made")));
        shared.clone().write_all(b"{}\n").expect("written");
        shared.finish().expect("ended");
        assert!(shared.clone().write_all(b"more").is_err());
        let mut text = String::new();
        zstd::Decoder::new(File::open(&path).expect("there"))
            .expect("zstd")
            .read_to_string(&mut text)
            .expect("whole");
        assert_eq!(text, "{}\n");
    }

    #[test]
    fn the_last_line_comes_at_the_end_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("queue.jsonl");
        let out = Box::new(File::create(&path).expect("made"));
        let mut shared = Shared::new(Sink::Plain(out));
        for piece in ["one\ntw", "o", "\n", "thr", "ee\n"] {
            shared.write_all(piece.as_bytes()).expect("written");
        }
        shared.flush().expect("flushed");
        assert_eq!(fs::read_to_string(&path).expect("text"), "one\ntwo\n");
        shared.finish().expect("ended");
        let whole = fs::read_to_string(&path).expect("text");
        assert_eq!(whole, "one\ntwo\nthree\n");
    }
}
