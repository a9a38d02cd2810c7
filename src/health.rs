//! `/livez`, `/readyz` and `/startupz`: whether the process lives, takes batches, and has opened its queue.
//!
//! Ready means that a batch could be committed. A queue without space refuses batches and stays
//! ready: it is answered 429, its backlog is delivered, and it takes batches again by itself; an
//! instance that is taken out of service for it would answer nobody. Slack being down never matters
//! here: an API server that finds no ready sink loses its events.
//!
//! As Kubernetes has it (`apiserver/pkg/server/healthz`): with `?verbose`, and where a check failed, a line for each
//! check: `[+]` well, `[!]` to be looked at, `[-]` failed; `?exclude=NAME` leaves one out; `/readyz/NAME` is one
//! alone.

use auditrelay_dispatch::escape::clean;
use auditrelay_store::{QueueError, Space};
use hyper::StatusCode;

const NAME_CHARS_MAX: usize = 60;

/// One thing that was looked at.
#[derive(Debug)]
pub(crate) struct Check {
    name: &'static str,
    mark: Mark,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Well,
    /// A person should look, and the probe does not fail for it.
    Look,
    Failed,
}

impl Check {
    fn new(name: &'static str, mark: Mark, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { name, mark, text }
    }

    fn line(&self) -> String {
        let sign = match self.mark {
            Mark::Well => '+',
            Mark::Look => '!',
            Mark::Failed => '-',
        };
        format!("[{sign}]{} {}", self.name, self.text)
    }
}

/// What a path of the admin port asks, if it asks how the relay is: a probe, and one check of it.
pub(crate) fn asked(path: &str) -> Option<(&'static str, Option<&str>)> {
    ["livez", "readyz", "startupz"]
        .into_iter()
        .find_map(|probe| {
            let rest = path.strip_prefix('/')?.strip_prefix(probe)?;
            match rest.strip_prefix('/') {
                Some(check) => Some((probe, Some(check).filter(|check| !check.is_empty()))),
                None => rest.is_empty().then_some((probe, None)),
            }
        })
}

/// Whoever can answer lives.
pub(crate) fn living() -> Vec<Check> {
    vec![Check::new("ping", Mark::Well, "ok")]
}

/// The queue is not open yet.
pub(crate) fn starting(doing: &str) -> Vec<Check> {
    let text = format!("failed: {doing}; batches are taken once that is done");
    vec![Check::new("startup", Mark::Failed, text)]
}

/// The queue is open.
pub(crate) fn started() -> Vec<Check> {
    vec![Check::new("startup", Mark::Well, "ok")]
}

/// From whether storage works and what space there is.
pub(crate) fn ready(storage: Result<(), QueueError>, space: &Space) -> Vec<Check> {
    let storage = match storage {
        Ok(()) => Check::new("storage", Mark::Well, "ok"),
        Err(error) => Check::new("storage", Mark::Failed, format!("failed: {error}")),
    };
    vec![storage, disk(space), queue(space), accepting(space)]
}

/// The same of a replica, whose batches go to an inbox that it shares with others.
pub(crate) fn ready_for_inbox(reached: Result<(), QueueError>, is_full: bool) -> Vec<Check> {
    let storage = match reached {
        Ok(()) => Check::new("storage", Mark::Well, "ok"),
        Err(error) => Check::new("storage", Mark::Failed, format!("failed: {error}")),
    };
    let accepting = match is_full {
        false => Check::new("accepting", Mark::Well, "ok"),
        true => {
            let text = "new batches are refused (429) while the inbox is full: the relay that leads takes them out of it";
            Check::new("accepting", Mark::Look, text)
        }
    };
    vec![storage, accepting]
}

/// The answer of a probe, whole or to one of its checks.
pub(crate) fn answer(
    probe: &str,
    only: Option<&str>,
    query: Option<&str>,
    checks: &[Check],
) -> (StatusCode, String) {
    if let Some(only) = only {
        return answer_one(only, checks);
    }
    let mut excluded = excluded(query);
    let mut lines = Vec::new();
    let mut is_well = true;
    for check in checks {
        let before = excluded.len();
        excluded.retain(|name| *name != check.name);
        if excluded.len() < before {
            lines.push(format!("[+]{} excluded: ok", check.name));
        } else {
            is_well &= check.mark != Mark::Failed;
            lines.push(check.line());
        }
    }
    if is_well && !is_verbose(query) {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    for name in excluded {
        let name = clean(name, NAME_CHARS_MAX);
        lines.push(format!("warn: there is no check {name:?} to exclude"));
    }
    let (status, end) = match is_well {
        true => (StatusCode::OK, "passed"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "failed"),
    };
    let lines = lines.join("\n");
    (status, format!("{lines}\n{probe} check {end}\n"))
}

fn answer_one(only: &str, checks: &[Check]) -> (StatusCode, String) {
    let Some(check) = checks.iter().find(|check| check.name == only) else {
        let names: Vec<&str> = checks.iter().map(|check| check.name).collect();
        let text = format!("there is no such check; there are: {}\n", names.join(", "));
        return (StatusCode::NOT_FOUND, text);
    };
    match check.mark {
        Mark::Failed => (StatusCode::SERVICE_UNAVAILABLE, check.line() + "\n"),
        _ => (StatusCode::OK, "ok\n".to_owned()),
    }
}

fn pairs(query: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.unwrap_or_default().split('&');
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Kubernetes: the query has the key `verbose`, whatever its value.
fn is_verbose(query: Option<&str>) -> bool {
    pairs(query).any(|(key, _)| key == "verbose")
}

fn excluded(query: Option<&str>) -> Vec<&str> {
    let named = pairs(query).filter(|(key, name)| *key == "exclude" && !name.is_empty());
    named.map(|(_, name)| name).collect()
}

fn disk(space: &Space) -> Check {
    let check = |mark, text| Check::new("disk-space", mark, text);
    let least = bytes(space.disk_free_bytes_min);
    match space.disk_free_bytes {
        None => {
            let text = "ok: the file system does not say how much is free";
            check(Mark::Well, text.to_owned())
        }
        Some(free) if free < space.disk_free_bytes_min => {
            let text = format!("low: {} free, at least {least}", bytes(free));
            check(Mark::Look, text)
        }
        Some(free) => {
            let text = format!("ok: {} free, at least {least}", bytes(free));
            check(Mark::Well, text)
        }
    }
}

fn queue(space: &Space) -> Check {
    let (used, most) = (bytes(space.used_bytes), bytes(space.bytes_max));
    let (mark, word) = match space.used_bytes > space.bytes_max {
        true => (Mark::Look, "full"),
        false => (Mark::Well, "ok"),
    };
    Check::new(
        "queue-space",
        mark,
        format!("{word}: {used} of at most {most}"),
    )
}

fn accepting(space: &Space) -> Check {
    match &space.refusing {
        None => Check::new("accepting", Mark::Well, "ok"),
        Some(why) => {
            let text = format!("refusing new batches (429): {why}; delivery goes on");
            Check::new("accepting", Mark::Look, text)
        }
    }
}

/// A size for people: `12.3 GiB`.
pub(crate) fn bytes(bytes: u64) -> String {
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

    fn readyz(
        query: Option<&str>,
        storage: Result<(), QueueError>,
        space: &Space,
    ) -> (StatusCode, String) {
        answer("readyz", None, query, &ready(storage, space))
    }

    fn livez(query: Option<&str>) -> (StatusCode, String) {
        answer("livez", None, query, &living())
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

    #[test]
    fn a_check_can_be_asked_alone_or_left_out() {
        let checks = ready(failed(), &space());
        let (status, line) = answer("readyz", Some("storage"), None, &checks);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(line.starts_with("[-]storage failed: "), "{line}");
        let (status, line) = answer("readyz", Some("accepting"), None, &checks);
        assert_eq!((status, line.as_str()), (StatusCode::OK, "ok\n"));
        let (status, line) = answer("readyz", Some("slack"), None, &checks);
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(
            line.contains("storage, disk-space, queue-space, accepting"),
            "{line}"
        );
        let query = Some("exclude=storage&exclude=a%20b&verbose");
        let (status, lines) = answer("readyz", None, query, &checks);
        assert_eq!(status, StatusCode::OK);
        assert!(
            lines.starts_with("[+]storage excluded: ok\n[+]disk"),
            "{lines}"
        );
        assert!(
            lines.contains("warn: there is no check \"a%20b\" to exclude\n"),
            "{lines}"
        );
        let other = answer("readyz", None, Some("exclude=accepting"), &checks);
        assert_eq!(other.0, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn a_relay_that_opens_its_queue_lives_and_is_neither_started_nor_ready() {
        let checks = starting("opening the queue");
        for probe in ["readyz", "startupz"] {
            let (status, lines) = answer(probe, None, None, &checks);
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(
                lines,
                format!(
                    "[-]startup failed: opening the queue; batches are taken once that is done\n{probe} check failed\n"
                )
            );
        }
        let well = answer("startupz", None, None, &started());
        assert_eq!(well, (StatusCode::OK, "ok\n".to_owned()));
    }

    #[test]
    fn the_paths_of_probes_are_told_from_others() {
        assert_eq!(asked("/readyz"), Some(("readyz", None)));
        assert_eq!(asked("/readyz/"), Some(("readyz", None)));
        assert_eq!(asked("/livez/ping"), Some(("livez", Some("ping"))));
        assert_eq!(asked("/startupz"), Some(("startupz", None)));
        for path in ["/", "/readyzz", "readyz", "/metrics", "/x/readyz"] {
            assert_eq!(asked(path), None, "{path}");
        }
    }
}
