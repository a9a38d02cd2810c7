//! The two halves of the key that unreadable items are sealed to.
//!
//! Contract: the secret half is written once, into a file of its owner's alone, and printed nowhere. The
//! relay needs the public half only.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use auditrelay_config::SealKey;
use crypto_box::{SecretKey, aead::OsRng};
use secrecy::{ExposeSecret, SecretString};

use crate::{Failure, quarantine::hex};

const PREFIX: &str = "x25519-secret:";
/// More than any key file holds.
const FILE_BYTES_MAX: u64 = 4 * 1024;

/// Makes a key, and writes its secret half into a new file.
pub(super) fn make(out: &Path) -> Result<SealKey, Failure> {
    let key = SecretKey::generate(&mut OsRng);
    let file = out.display();
    let text = SecretString::from(format!("{PREFIX}{}\n", hex(&key.to_bytes())));
    let fail = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::Usage(format!(
            "{file} is there already, and is not overwritten: what was sealed to its key would be lost; \
             name another with --out"
        )),
        _ => Failure::Other(format!("cannot write {file}: {error}")),
    };
    let mut new = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(out)
        .map_err(fail)?;
    let written = new.write_all(text.expose_secret().as_bytes());
    written.and_then(|()| new.sync_all()).map_err(fail)?;
    Ok(SealKey::new(*key.public_key().as_bytes()))
}

/// Reads the secret half.
pub(super) fn read(path: &Path) -> Result<SecretKey, Failure> {
    let file = path.display();
    let mut text = String::new();
    File::open(path)
        .and_then(|opened| opened.take(FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| Failure::Usage(format!("cannot read the key in {file}: {error}")))?;
    let text = SecretString::from(text);
    let found = text.expose_secret().trim();
    if found.parse::<SealKey>().is_ok() {
        return Err(Failure::Usage(format!(
            "{file} holds the public half of a key; what is sealed is opened with the file that \
             `auditrelay quarantine keygen` wrote"
        )));
    }
    // Both halves are written alike but for how they begin.
    let key = found.strip_prefix(PREFIX).and_then(|digits| {
        let bytes: SealKey = format!("x25519:{digits}").parse().ok()?;
        Some(SecretKey::from(bytes.bytes()))
    });
    key.ok_or_else(|| {
        Failure::Usage(format!(
            "{file} holds no key; name the file that `auditrelay quarantine keygen` wrote"
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_written_once_for_its_owner_alone_and_comes_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.key");
        let public = make(&path).expect("written");
        let mode = std::fs::metadata(&path)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let secret = read(&path).expect("its own words");
        assert_eq!(*secret.public_key().as_bytes(), public.bytes());
        let text = std::fs::read_to_string(&path).expect("text");
        assert!(matches!(make(&path), Err(Failure::Usage(_))));
        assert_eq!(std::fs::read_to_string(&path).expect("text"), text);

        for (wrong, words) in [
            (public.to_string(), "public half"),
            (String::new(), "no key"),
            (text.replace("x25519", "x448"), "no key"),
            (text.replace('\n', "0\n"), "no key"),
        ] {
            std::fs::write(&path, &wrong).expect("written");
            let error = read(&path).expect_err(&wrong).to_string();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains(&text[PREFIX.len()..][..32]), "{error}");
        }
    }
}
