//! Ways to damage a store's files, chosen by a seed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::Dice;

const PAGE_BYTES: u64 = 4096;

/// What kind of file is harmed: each gets its share, however many files there are of it.
const TARGETS: [(&str, u64); 8] = [
    ("db", 30),
    ("events-", 16),
    ("deliveries-", 16),
    ("seen-", 10),
    ("snap.", 8),
    ("CURRENT", 6),
    ("conf", 4),
    ("CLOSED", 2),
];

/// What was done.
pub struct Harm {
    pub said: String,
    /// Nothing but the index or its name was touched.
    pub spares_logs: bool,
}

/// Damages a store.
pub fn harm(store: &Path, seed: u64) -> Harm {
    let said = any(store, seed);
    let spares_logs = !said.contains(".log") && !said.contains("\"\"");
    Harm { said, spares_logs }
}

fn any(store: &Path, seed: u64) -> String {
    let mut dice = Dice(seed.wrapping_mul(0x5851_f42d_4c95_7f2d));
    let said = match dice.below(20) {
        0 => folder(store, &mut dice),
        1 | 2 => leave_over(store, &mut dice),
        3 => swap(store, &mut dice),
        _ => {
            let Some(file) = target(store, &mut dice) else {
                return "nothing: there is no such file".to_owned();
            };
            let name = relative(store, &file);
            change(&file, &mut dice).map(|how| format!("{name}: {how}"))
        }
    };
    said.expect("the test may write")
}

fn relative(store: &Path, file: &Path) -> String {
    let name = file.strip_prefix(store).unwrap_or(file);
    name.display().to_string()
}

/// Every file below a folder, sorted.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("listed") {
        let path = entry.expect("listed").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

fn named(store: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut all = files(store);
    all.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(prefix))
    });
    all
}

fn target(store: &Path, dice: &mut Dice) -> Option<PathBuf> {
    let all = TARGETS.iter().map(|(_, share)| share).sum();
    let mut left = dice.below(all);
    for (prefix, share) in TARGETS {
        if left < share {
            let some = named(store, prefix);
            return (!some.is_empty()).then(|| dice.pick(&some).clone());
        }
        left -= share;
    }
    None
}

fn change(file: &Path, dice: &mut Dice) -> io::Result<String> {
    let mut bytes = fs::read(file)?;
    let length = bytes.len() as u64;
    let how = dice.below(12);
    if how == 0 || length == 0 {
        fs::remove_file(file)?;
        return Ok("deleted".to_owned());
    }
    // Most of sled's file is empty: its beginning is where the records are.
    let is_mostly_empty = length > 256 * 1024;
    let place = match is_mostly_empty && dice.below(4) > 0 {
        true => used(&bytes, dice),
        false => dice.below(length),
    };
    let said = match how {
        1 => {
            bytes.clear();
            "emptied".to_owned()
        }
        2 | 3 => {
            bytes.truncate(place as usize);
            format!("truncated to {place} of {length}")
        }
        4..=6 => {
            let bit = dice.below(8);
            bytes[place as usize] ^= 1 << bit;
            format!("bit {bit} of byte {place} of {length} flipped")
        }
        7 => {
            let byte = dice.next() as u8;
            bytes[place as usize] = byte;
            format!("byte {place} of {length} set to {byte}")
        }
        8 | 9 => {
            let start = place / PAGE_BYTES * PAGE_BYTES;
            let end = (start + PAGE_BYTES).min(length);
            bytes[start as usize..end as usize].fill(0);
            format!("zeroed from {start} to {end} of {length}")
        }
        10 => {
            let end = (place + 1 + dice.below(600)).min(length);
            for byte in &mut bytes[place as usize..end as usize] {
                *byte = dice.next() as u8;
            }
            format!("noise from {place} to {end} of {length}")
        }
        _ => {
            let more = 1 + dice.below(3 * PAGE_BYTES);
            bytes.extend((0..more).map(|_| dice.next() as u8));
            format!("{more} bytes of noise behind {length}")
        }
    };
    fs::write(file, bytes)?;
    Ok(said)
}

/// A byte of a file near one that is not 0.
fn used(bytes: &[u8], dice: &mut Dice) -> u64 {
    for _ in 0..200 {
        let place = dice.below(bytes.len() as u64) as usize;
        if bytes[place] != 0 {
            return place as u64;
        }
    }
    0
}

fn folder(store: &Path, dice: &mut Dice) -> io::Result<String> {
    let mut folders: Vec<PathBuf> = fs::read_dir(store)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    folders.retain(|path| path.is_dir());
    folders.sort();
    let blobs: Vec<PathBuf> = folders.iter().map(|index| index.join("blobs")).collect();
    folders.extend(blobs.into_iter().filter(|path| path.is_dir()));
    folders.push(store.to_owned());
    let folder = dice.pick(&folders);
    let name = relative(store, folder);
    fs::remove_dir_all(folder)?;
    // A store that is not there at all is a data directory that was never used.
    if dice.below(2) == 0 && folder != store {
        return Ok(format!("folder {name} deleted"));
    }
    fs::create_dir(folder)?;
    Ok(format!("folder {name:?} emptied"))
}

fn leave_over(store: &Path, dice: &mut Dice) -> io::Result<String> {
    let data_dir = store.parent().unwrap_or(store);
    let noise: Vec<u8> = (0..dice.below(9_000)).map(|_| dice.next() as u8).collect();
    let indexes = named(store, "db");
    let index = indexes.first().and_then(|db| db.parent()).unwrap_or(store);
    let path = match dice.below(7) {
        0 => index.join("snap.00000000000FFFFF.generating"),
        1 => store.join("index-00000002/db"),
        2 => store.join("index-00000007/conf"),
        3 => store.join("CURRENT.new"),
        4 => data_dir.join("queue.new/index-00000001/db"),
        5 => store.join("events-0000000000000003.log.swp"),
        _ => index.join("blobs/0000000000000017"),
    };
    fs::create_dir_all(path.parent().unwrap_or(store))?;
    fs::write(&path, noise)?;
    Ok(format!("left over: {}", relative(data_dir, &path)))
}

fn swap(store: &Path, dice: &mut Dice) -> io::Result<String> {
    let all = match dice.below(4) {
        0 => files(store),
        1 => named(store, "events-"),
        2 => named(store, "seen-"),
        _ => named(store, "deliveries-"),
    };
    let (one, other) = (dice.pick(&all).clone(), dice.pick(&all).clone());
    let aside = store.join("aside");
    if one != other {
        fs::rename(&one, &aside)?;
        fs::rename(&other, &one)?;
        fs::rename(&aside, &other)?;
    }
    let names = (relative(store, &one), relative(store, &other));
    Ok(format!("{} and {} swapped", names.0, names.1))
}

/// Copies a folder.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        match path.is_dir() {
            true => copy(&path, &to.join(name))?,
            false => drop(fs::copy(&path, to.join(name))?),
        }
    }
    Ok(())
}

/// What is in a folder, by where it is in it.
fn within(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = super::files_of(dir).into_iter();
    let within = |path: PathBuf| path.strip_prefix(dir).map(Path::to_owned).unwrap_or(path);
    files.map(|(path, bytes)| (within(path), bytes)).collect()
}

/// A copy of a folder that an open queue works on, as it is at one moment: what changes while it tidies up is copied again.
pub fn copy_of(dir: &Path) -> tempfile::TempDir {
    loop {
        let to = super::quick_dir();
        match copy(dir, to.path()) {
            // Otherwise it has some of before and some of after.
            Ok(()) if within(to.path()) == within(dir) => return to,
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => panic!("cannot copy: {error}"),
        }
    }
}
