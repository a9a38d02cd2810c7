//! Which files a configuration is read from: the file itself, and those of the secrets that it names.
//!
//! Contract: the configuration may be one that cannot be used; then what can be read of it counts, as its files may be
//! what is wrong. Files of the door (`tls`, `clients`) are not among them: who uses those reads them again.

use std::{
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::Read,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use config::{Value, ValueKind};

use crate::file::{FILE_BYTES_MAX, parse_yaml};

/// Keys whose value is a file with a secret in it.
const KEYS: [&str; 4] = [
    "token_file",
    "webhook_url_file",
    "url_file",
    "password_file",
];
/// Where they are.
const SECTIONS: [&str; 4] = ["slack", "channels", "watchdog", "queue"];
/// Deepest map that may hold one.
const DEPTH_MAX: usize = 4;

/// What tells one content of all these files from another, whatever their names lead to. A file that cannot be read
/// is a content of its own. One that is no regular file is not read: what a pipe says can be read once, and is for who
/// loads it.
#[must_use]
pub fn fingerprint(file: Option<&Path>, env: &[(String, String)]) -> u64 {
    let mut hash = DefaultHasher::new();
    let text = file.map(read);
    text.hash(&mut hash);
    let text = text.and_then(Result::ok).unwrap_or_default();
    // A text that the parser fails on is told by whoever loads it.
    let secrets = catch_unwind(AssertUnwindSafe(|| secret_files(&text, env)));
    for path in secrets.unwrap_or_default() {
        path.hash(&mut hash);
        read(&path).hash(&mut hash);
    }
    hash.finish()
}

/// Up to the bound and one byte more, as it is read for good.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let kind = std::fs::metadata(path).map_err(|error| error.kind().to_string())?;
    if !kind.is_file() {
        return Err("no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let limit = FILE_BYTES_MAX as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| error.kind().to_string())?;
    Ok(bytes)
}

fn secret_files(text: &[u8], env: &[(String, String)]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let table = std::str::from_utf8(text).ok().map(parse_yaml);
    if let Some(Ok(table)) = table {
        for section in SECTIONS {
            if let Some(value) = table.get(section) {
                walk(value, DEPTH_MAX, &mut found);
            }
        }
    }
    for (name, value) in env {
        let name = name.to_ascii_lowercase();
        let mut steps = name.split("__");
        let is_ours = steps.next() == Some("auditrelay")
            && steps.next().is_some_and(|one| SECTIONS.contains(&one))
            && steps.last().is_some_and(|one| KEYS.contains(&one));
        if is_ours {
            found.push(PathBuf::from(value));
        }
    }
    // The parser's maps have no order.
    found.sort_unstable();
    found.dedup();
    found
}

fn walk(value: &Value, depth: usize, found: &mut Vec<PathBuf>) {
    let ValueKind::Table(table) = &value.kind else {
        return;
    };
    for (key, value) in table {
        match &value.kind {
            ValueKind::String(path) if KEYS.contains(&key.as_str()) => found.push(path.into()),
            ValueKind::Table(_) if depth > 0 => walk(value, depth - 1, found),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_secrets_are_found_also_in_a_configuration_that_is_wrong() {
        let text = b"slack: {token_file: /s/token, no_such_key: 1}\n\
            channels: {a: {webhook_url_file: /s/a}, b: {token_file: /s/b, message_burst: wrong}}\n\
            watchdog: {url_file: /s/w}\nclients: [{name: c, token_file: /s/door}]\n";
        let env = [
            ("AUDITRELAY__CHANNELS__C__TOKEN_FILE", "/s/env"),
            ("AUDITRELAY__CLIENTS", "token_file"),
            ("TOKEN_FILE", "/s/other"),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let found = secret_files(text, &env);
        let expected = ["/s/a", "/s/b", "/s/env", "/s/token", "/s/w"].map(PathBuf::from);
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_regular_file_is_left_to_who_loads_it() {
        let dir = tempfile::tempdir().expect("a folder");
        // A socket: whoever opens it to read it fails in another way.
        let path = dir.path().join("socket");
        let _socket = std::os::unix::net::UnixListener::bind(&path).expect("bound");
        assert_eq!(read(&path), Err("no regular file".to_owned()));
        assert!(read(dir.path()).is_err());
    }

    #[test]
    fn the_content_counts_and_not_the_file_it_is_in() {
        let dir = tempfile::tempdir().expect("a folder");
        let (file, secret) = (dir.path().join("a.yaml"), dir.path().join("secret"));
        let write = |path: &Path, text: &str| std::fs::write(path, text).expect("written");
        let of_secret = format!("slack: {{token_file: {}}}\n", secret.display());
        write(&file, &of_secret);
        let look = || fingerprint(Some(&file), &[]);
        let absent = look();
        write(&secret, "one");
        let first = look();
        assert_ne!(absent, first, "a file that came is another content");
        let other = dir.path().join("b.yaml");
        write(&other, &of_secret);
        std::fs::rename(&other, &file).expect("renamed");
        assert_eq!(look(), first, "another inode with the same content");
        write(&secret, "two");
        assert_ne!(look(), first);
        write(&secret, "one");
        assert_eq!(look(), first);
    }
}
