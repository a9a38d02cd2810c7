//! `/livez` and `/readyz`: whether the process lives, and whether it takes batches.
//!
//! Ready means that a batch could be committed. A queue without space refuses batches and stays
//! ready: it is answered 429, its backlog is delivered, and it takes batches again by itself; an
//! instance that is taken out of service for it would answer nobody. Slack being down never matters
//! here: an API server that finds no ready sink loses its events.
//!
//! With `?verbose`, and where a check failed, a line for each check (Kubernetes:
//! `apiserver/pkg/server/healthz`): `[+]` well, `[!]` to be looked at, `[-]` failed.

use auditrelay_store::{QueueError, Space};
use hyper::StatusCode;

/// The answer of `/livez`: whoever can give it lives.
pub(crate) fn livez(query: Option<&str>) -> (StatusCode, String) {
    let lines = "[+]ping ok\nlivez check passed\n";
    let short = if is_verbose(query) { lines } else { "ok\n" };
    (StatusCode::OK, short.to_owned())
}

/// The answer of `/readyz`, from whether storage works and what space there is.
pub(crate) fn readyz(
    query: Option<&str>,
    storage: Result<(), QueueError>,
    space: &Space,
) -> (StatusCode, String) {
    if storage.is_ok() && !is_verbose(query) {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    let (status, storage, end) = match storage {
        Ok(()) => (StatusCode::OK, "[+]storage ok".to_owned(), "passed"),
        Err(error) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("[-]storage failed: {error}"),
            "failed",
        ),
    };
    let lines = [storage, disk(space), queue(space), accepting(space)].join("\n");
    (status, format!("{lines}\nreadyz check {end}\n"))
}

/// Kubernetes: the query has the key `verbose`, whatever its value.
fn is_verbose(query: Option<&str>) -> bool {
    let mut pairs = query.unwrap_or_default().split('&');
    pairs.any(|pair| pair.split('=').next() == Some("verbose"))
}

fn disk(space: &Space) -> String {
    let least = bytes(space.disk_free_bytes_min);
    match space.disk_free_bytes {
        None => "[+]disk-space ok: the file system does not say how much is free".to_owned(),
        Some(free) if free < space.disk_free_bytes_min => {
            format!("[!]disk-space low: {} free, at least {least}", bytes(free))
        }
        Some(free) => format!("[+]disk-space ok: {} free, at least {least}", bytes(free)),
    }
}

fn queue(space: &Space) -> String {
    let (used, most) = (bytes(space.used_bytes), bytes(space.bytes_max));
    if space.used_bytes > space.bytes_max {
        format!("[!]queue-space full: {used} of at most {most}")
    } else {
        format!("[+]queue-space ok: {used} of at most {most}")
    }
}

fn accepting(space: &Space) -> String {
    match &space.refusing {
        None => "[+]accepting ok".to_owned(),
        Some(why) => {
            format!("[!]accepting refusing new batches (429): {why}; delivery goes on")
        }
    }
}

/// A size for people: `12.3 GiB`.
fn bytes(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["bytes", "KiB", "MiB", "GiB"] {
        if size < 1024.0 {
            let digits = usize::from(unit != "bytes");
            return format!("{size:.digits$} {unit}");
        }
        size /= 1024.0;
    }
    format!("{size:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn space() -> Space {
        Space {
            used_bytes: 1536 * MIB,
            bytes_max: 8192 * MIB,
            disk_free_bytes: Some(12_595 * MIB),
            disk_free_bytes_min: 256 * MIB,
            ..Space::default()
        }
    }

    fn failed() -> Result<(), QueueError> {
        Err(QueueError::Storage("the disk is gone".into()))
    }

    #[test]
    fn well_is_one_word_and_verbose_is_a_line_for_each_check() {
        let short = (StatusCode::OK, "ok\n".to_owned());
        for query in [None, Some(""), Some("timeout=1s"), Some("verbosely")] {
            assert_eq!(readyz(query, Ok(()), &space()), short);
            assert_eq!(livez(query), short);
        }
        for query in ["verbose", "verbose=true", "timeout=1s&verbose="] {
            let lines = "[+]storage ok
[+]disk-space ok: 12.3 GiB free, at least 256.0 MiB
[+]queue-space ok: 1.5 GiB of at most 8.0 GiB
[+]accepting ok
readyz check passed
";
            let answer = readyz(Some(query), Ok(()), &space());
            assert_eq!(answer, (StatusCode::OK, lines.to_owned()));
            let lines = "[+]ping ok\nlivez check passed\n";
            assert_eq!(livez(Some(query)), (StatusCode::OK, lines.to_owned()));
        }
    }

    #[test]
    fn a_queue_without_space_stays_ready_and_says_that_it_refuses() {
        let space = Space {
            used_bytes: 8200 * MIB,
            disk_free_bytes: Some(1023),
            refusing: Some("it holds 8.0 GiB".to_owned()),
            ..space()
        };
        let short = (StatusCode::OK, "ok\n".to_owned());
        assert_eq!(readyz(None, Ok(()), &space), short);
        let (status, lines) = readyz(Some("verbose"), Ok(()), &space);
        assert_eq!(status, StatusCode::OK);
        assert_eq!(
            lines,
            "[+]storage ok
[!]disk-space low: 1023 bytes free, at least 256.0 MiB
[!]queue-space full: 8.0 GiB of at most 8.0 GiB
[!]accepting refusing new batches (429): it holds 8.0 GiB; delivery goes on
readyz check passed
"
        );
        let silent = Space {
            disk_free_bytes: None,
            ..space
        };
        let (_, lines) = readyz(Some("verbose"), Ok(()), &silent);
        assert!(
            lines.contains("[+]disk-space ok: the file system"),
            "{lines}"
        );
    }

    #[test]
    fn storage_that_cannot_commit_is_not_ready_and_says_why_unasked() {
        for query in [None, Some("verbose")] {
            let (status, lines) = readyz(query, failed(), &space());
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
            let first = "[-]storage failed: the queue's storage failed: the disk is gone\n";
            assert!(lines.starts_with(first), "{lines}");
            assert!(lines.ends_with("\nreadyz check failed\n"), "{lines}");
        }
    }
}
