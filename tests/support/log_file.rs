//! Where a relay writes its log: a file, so that what it said before it answered is there when the answer is. A pipe has to
//! be read by somebody, who may be late.

use std::{fs::File, os::unix::fs::FileExt};

pub struct LogFile(File);

impl LogFile {
    pub fn new() -> Self {
        Self(tempfile::tempfile().expect("a file"))
    }

    /// For the process that writes it.
    pub fn writer(&self) -> File {
        self.0.try_clone().expect("a descriptor")
    }

    /// Every whole line so far.
    pub fn lines(&self) -> String {
        let mut text = self.text();
        text.truncate(text.rfind('\n').unwrap_or(0));
        text
    }

    /// All that is there.
    pub fn text(&self) -> String {
        let (mut bytes, mut some) = (Vec::new(), [0; 16 << 10]);
        // At a place: the offset of both descriptors is that of who writes.
        loop {
            let at = bytes.len() as u64;
            match self.0.read_at(&mut some, at).expect("its log") {
                0 => return String::from_utf8_lossy(&bytes).into_owned(),
                read => bytes.extend_from_slice(&some[..read]),
            }
        }
    }
}
