//! What a file is packed with, told by its first bytes: a name may lie, and standard input has none.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it is; it may grow.
    Plain,
    /// gzip, several members one after the other too.
    Gzip,
    /// zstd.
    Zstd,
}

impl Form {
    /// So many of the first bytes are needed to tell.
    pub const MARK_BYTES: usize = 4;

    /// By the first bytes of a file.
    pub fn of(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

/// The text of something that is written in this form.
///
/// # Errors
/// There is no memory for what unpacks it.
pub fn unpacked(from: impl Read + Send + 'static, form: Form) -> io::Result<Box<dyn Read + Send>> {
    Ok(match form {
        Form::Plain => Box::new(from),
        Form::Gzip => Box::new(MultiGzDecoder::new(BufReader::new(from))),
        Form::Zstd => Box::new(zstd::Decoder::new(from)?),
    })
}
