//! What the data directory holds beside the queue: files that are whole or not there.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use auditrelay_audit::HashKey;

use crate::Failure;

/// The key for a command that writes nothing: the relay's, or one that is not kept where there is none that
/// this user may read. What is hashed with that is comparable within one run.
pub(crate) fn hash_key_to_look(file: &Path) -> Result<HashKey, Failure> {
    if let Ok(bytes) = fs::read(file)
        && let Ok(key) = <[u8; 32]>::try_from(bytes)
    {
        return Ok(HashKey::new(key));
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key)
        .map_err(|error| Failure::Other(format!("the system gives no random bytes: {error}")))?;
    Ok(HashKey::new(key))
}

/// Reads the key of the dedup hashes, or makes one. It stays outside the store on purpose.
pub(crate) fn hash_key(file: &Path) -> Result<HashKey, Failure> {
    let text = |what: &str, error: &dyn std::fmt::Display| {
        format!("cannot {what} the dedup key {}: {error}", file.display())
    };
    let fail = |what: &str, error: &dyn std::fmt::Display| Failure::Other(text(what, error));
    let disk = |what: &str, error: &dyn std::fmt::Display| Failure::Disk(text(what, error));
    match fs::read(file) {
        Ok(bytes) => {
            let length = bytes.len();
            let key = <[u8; 32]>::try_from(bytes).map_err(|_| {
                fail(
                    "use",
                    &format!("it has {length} bytes, expected 32 random bytes"),
                )
            })?;
            Ok(HashKey::new(key))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key = [0; 32];
            getrandom::fill(&mut key).map_err(|error| fail("make", &error))?;
            write_durably(file, &key).map_err(|error| disk("write", &error))?;
            Ok(HashKey::new(key))
        }
        Err(error) => Err(disk("read", &error)),
    }
}

/// Writes a file that is there whole or not at all, readable by its owner only.
pub(crate) fn write_durably(file: &Path, content: &[u8]) -> io::Result<()> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.map_or_else(|| PathBuf::from("."), Path::to_owned);
    let mut new = tempfile::NamedTempFile::new_in(&folder)?;
    new.write_all(content)?;
    new.as_file().sync_all()?;
    // Not `persist`: it calls the kernel past libc, where the tests of power loss do not see it.
    let path = new.into_temp_path();
    fs::rename(&path, file)?;
    path.keep()?;
    fs::File::open(folder)?.sync_all()
}
