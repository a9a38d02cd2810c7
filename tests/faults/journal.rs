//! The shim's journal, as `shim.c` writes it.

use std::{collections::HashMap, fs, path::Path};

/// One change that was made, or was about to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// `kept` is what was there before, as far as there was anything.
    Write {
        inode: u64,
        at: u64,
        bytes: u64,
        old: u64,
        kept: Vec<u8>,
    },
    /// `kept` is what was behind a shorter end.
    Length {
        inode: u64,
        old: u64,
        new: u64,
        kept: Vec<u8>,
    },
    Made {
        inode: u64,
        folder: u64,
        name: String,
    },
    /// `kept_as` numbers the file that was replaced; 0 if there was none.
    Renamed {
        inode: u64,
        from: u64,
        name: String,
        to: u64,
        other: String,
        kept_as: u64,
    },
    Removed {
        inode: u64,
        folder: u64,
        name: String,
        kept_as: u64,
    },
}

impl Change {
    pub fn inode(&self) -> u64 {
        match self {
            Self::Write { inode, .. }
            | Self::Length { inode, .. }
            | Self::Made { inode, .. }
            | Self::Renamed { inode, .. }
            | Self::Removed { inode, .. } => *inode,
        }
    }

    /// The file's length before.
    pub fn old_length(&self) -> u64 {
        match self {
            Self::Write { old, .. } | Self::Length { old, .. } => *old,
            _ => 0,
        }
    }

    /// The names that it changed.
    pub fn names(&self) -> Vec<(u64, &str)> {
        match self {
            Self::Made { folder, name, .. } | Self::Removed { folder, name, .. } => {
                vec![(*folder, name)]
            }
            Self::Renamed {
                from,
                name,
                to,
                other,
                ..
            } => vec![(*from, name), (*to, other)],
            Self::Write { .. } | Self::Length { .. } => Vec::new(),
        }
    }
}

/// A change, and where in the journal it stands.
#[derive(Debug)]
pub struct Entry {
    pub position: u64,
    pub change: Change,
}

/// The journal in two.
#[derive(Debug, Default)]
pub struct Folded {
    pub changes: Vec<Entry>,
    /// For each file and folder: what stood in the journal before this when its last sync began.
    pub synced: HashMap<u64, u64>,
    /// How many syncs there were.
    pub syncs: usize,
}

impl Folded {
    /// Whether a sync made it durable.
    pub fn covers(&self, entry: &Entry) -> bool {
        let by = |inode: u64| {
            let before = self.synced.get(&inode);
            before.is_some_and(|before| entry.position < *before)
        };
        let names = entry.change.names();
        if names.is_empty() {
            by(entry.change.inode())
        } else {
            names.iter().all(|(folder, _)| by(*folder))
        }
    }
}

const HEAD_BYTES: usize = 64;

/// Reads a journal; what is not whole at its end was not done yet.
pub fn read(path: &Path) -> Folded {
    let bytes = fs::read(path).unwrap_or_default();
    let mut folded = Folded::default();
    let mut at = 0;
    while let Some(head) = bytes.get(at..at + HEAD_BYTES) {
        let field = |n: usize| {
            let bytes = head[n * 8..n * 8 + 8].try_into().expect("eight bytes");
            u64::from_ne_bytes(bytes)
        };
        let length = |n: usize| usize::try_from(field(n)).expect("it fits");
        let mut end = at + HEAD_BYTES;
        let mut part = |length: usize| {
            let part = bytes.get(end..end + length);
            end += length;
            part
        };
        let (Some(name), Some(other), Some(kept)) =
            (part(length(5)), part(length(6)), part(length(7)))
        else {
            break;
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("a plain name");
        let [kind, inode, a, b, c] = [0, 1, 2, 3, 4].map(field);
        let position = at as u64;
        at = end;
        if kind == 6 {
            let before = folded.synced.entry(inode).or_default();
            *before = a.max(*before);
            folded.syncs += 1;
            continue;
        }
        let change = change(
            kind,
            [inode, a, b, c],
            [text(name), text(other)],
            kept.to_vec(),
        );
        folded.changes.push(Entry { position, change });
    }
    folded
}

fn change(kind: u64, numbers: [u64; 4], names: [String; 2], kept: Vec<u8>) -> Change {
    let [inode, a, b, c] = numbers;
    let [name, other] = names;
    match kind {
        1 => Change::Write {
            inode,
            at: a,
            bytes: b,
            old: c,
            kept,
        },
        2 => Change::Length {
            inode,
            old: c,
            new: b,
            kept,
        },
        3 => Change::Made {
            inode,
            folder: a,
            name,
        },
        4 => Change::Renamed {
            inode,
            from: a,
            name,
            to: b,
            other,
            kept_as: c,
        },
        5 => Change::Removed {
            inode,
            folder: a,
            name,
            kept_as: c,
        },
        kind => panic!("the journal has a record of kind {kind}"),
    }
}
