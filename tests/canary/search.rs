//! Looking for a text wherever bytes are: as it is, in Base64, percent-encoded, and in what is compressed.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use memchr::memmem;

/// A word in all the forms that it is looked for in.
pub struct Needle(Vec<Vec<u8>>);

impl Needle {
    /// Of letters and digits: its beginning as it is and percent-encoded, and its Base64, wherever in other text it
    /// stands.
    pub fn new(word: &str) -> Self {
        let start = &word[..7];
        let every: String = start.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let mut forms = vec![
            start.as_bytes().to_vec(),
            every.to_lowercase().into_bytes(),
            every.into_bytes(),
        ];
        for before in 0..3 {
            let padded = ["\0".repeat(before).as_str(), word].concat();
            let encoded = STANDARD_NO_PAD.encode(&padded);
            // What depends on no byte before and behind.
            let (from, to) = (if before == 0 { 0 } else { 4 }, padded.len() / 3 * 4);
            forms.push(encoded.as_bytes()[from..to].to_vec());
        }
        Self(forms)
    }

    /// Each find, with what stands around it.
    pub fn found_in(&self, bytes: &[u8]) -> Vec<String> {
        let finds = |form| memmem::find_iter(bytes, form);
        let around = |at: usize| {
            let (from, to) = (at.saturating_sub(80), (at + 60).min(bytes.len()));
            String::from_utf8_lossy(&bytes[from..to]).into_owned()
        };
        self.0.iter().flat_map(finds).map(around).collect()
    }
}

/// Bytes, and all that is compressed in them (zstd: RFC 8878), each behind the other.
pub fn unpacked(bytes: &[u8]) -> Vec<u8> {
    const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    let mut all = bytes.to_vec();
    for at in memmem::find_iter(bytes, &MAGIC) {
        let Ok(decoder) = zstd::stream::read::Decoder::new(&bytes[at..]) else {
            continue;
        };
        // What is no frame, or is cut off, ends in an error: what was read before it counts.
        let mut decoder = decoder.single_frame().take(64 << 20);
        let mut buffer = [0; 8192];
        while let Ok(read @ 1..) = decoder.read(&mut buffer) {
            all.extend_from_slice(&buffer[..read]);
        }
    }
    all
}

/// Every file below a folder, unpacked, with its name.
pub fn folder(folder: &Path) -> Vec<(String, Vec<u8>)> {
    files(folder)
        .into_iter()
        .map(|file| {
            let bytes = fs::read(&file).expect("it can be read");
            (file.display().to_string(), unpacked(&bytes))
        })
        .collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}
