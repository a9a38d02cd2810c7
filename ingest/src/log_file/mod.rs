//! The other door: files of the API server's log backend, one JSON event a line.
//!
//! What holds for everything in here:
//! * how far a file was read is stored in the block that holds its lines (`auditrelay_store::InputPosition`), so
//!   that after any crash each line was taken in exactly once;
//! * a file is known by what is in it, not by its name: by a hash of its first bytes and of those before the
//!   place that was reached. So it is found again renamed, copied or compressed; device and inode only decide
//!   between files of the same content;
//! * the file is the buffer: a queue without space, or out of reach, makes reading rest, and nothing is dropped;
//! * memory is bounded whatever is in a file ([`LINE_BYTES_MAX`]), and lines go the way of a webhook's events:
//!   keyed, redacted, judged, stored.
//!
//! `cut` makes lines of bytes, `lines` makes a batch of lines, `mark` is what is stored of a file, `open` unpacks,
//! `find` knows which files belong together, `files` which of them are read from where, `follow` does it all in a loop, `tracked` is one file of that loop.

mod cut;
mod files;
mod find;
mod first_line;
mod follow;
mod in_use;
mod lines;
mod looked;
mod mark;
mod metrics;
mod open;
mod since;
mod tracked;

pub use cut::{Chunk, Cutter, LINE_BYTES_MAX, Line, Reached};
pub use first_line::FirstLine;
pub use follow::{Follow, POLL_INTERVAL};
pub use in_use::{Importing, InUse};
pub use lines::{LinesInBatch, Noted};
pub use mark::{Mark, Place, TAIL_BYTES};
pub use metrics::LogFileMetrics;
pub use open::{Form, unpacked};

#[cfg(test)]
mod tests;
