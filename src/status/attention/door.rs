//! What of receiving needs a person: what is refused, what never ends, files and certificates, log files.
//!
//! Contract: every reason of a refusal stands in [`REFUSED`], or needs nobody (the tests name those): what only scanners and bad
//! networks make. What an API server sends again is said only where it goes on.

use super::super::report::{Certificate, Report};
use crate::{
    health::bytes,
    output::{self, count, duration, time},
};

const DAY_MS: i64 = 24 * 3_600 * 1_000;
/// How long before its end a certificate of the relay's own files is spoken of.
const OWN_MS: i64 = 7 * DAY_MS;
/// And one of a client, which somebody else has to renew.
const CLIENT_MS: i64 = 14 * DAY_MS;
/// Requests without an end that some API server's restart may leave.
const UNFINISHED_MAX: u64 = 10;
/// How soon after the start a log file has to be there.
const FOLLOWED_MS: i64 = 60 * 1_000;

/// When a reason is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// From the first one on: the batch is lost, or the next one will be refused too.
    AtOnce,
    /// Where it goes on: an API server sends the batch again.
    IfLasting,
}

const CREDENTIALS: &str = "if it is an API server, its events are being lost: mend what its webhook kubeconfig shows, or clients in the \
     configuration; the log names the address. If it is not, somebody tries the door";
const TOO_LARGE: &str = "such a batch is lost: raise the limit, or lower --audit-webhook-batch-max-size of the API server";
const NETWORK: &str =
    "look at the network between the API server and the relay; what it gives up after 90 s is lost";
const CLIENT: &str = "find the client by its address in the log; if it is an API server, or a proxy before one, its events are being lost";

/// Reasons, with what they mean and what to do.
const REFUSED: [(&str, Said, &str, &str); 25] = {
    use Said::{AtOnce, IfLasting};
    [
        (
            "unauthenticated",
            AtOnce,
            "nothing was shown of who it is (401)",
            CREDENTIALS,
        ),
        (
            "authorization_malformed",
            AtOnce,
            "the Authorization header says nothing valid (401)",
            CREDENTIALS,
        ),
        (
            "unknown_token",
            AtOnce,
            "a bearer token that no client has (401)",
            CREDENTIALS,
        ),
        (
            "wrong_password",
            AtOnce,
            "a user or password that no client has (401)",
            CREDENTIALS,
        ),
        (
            "credentials_incomplete",
            AtOnce,
            "a certificate without its token, or a token without its certificate (401)",
            CREDENTIALS,
        ),
        (
            "certificate_expired",
            AtOnce,
            "the client's certificate is not valid any more, or not yet (401)",
            CREDENTIALS,
        ),
        (
            "certificate_untrusted",
            AtOnce,
            "the CA of the client's certificate is not in tls.client_ca_file any more (401)",
            CREDENTIALS,
        ),
        (
            "unknown_certificate",
            AtOnce,
            "a certificate whose names no client has (403)",
            CREDENTIALS,
        ),
        (
            "wrong_cluster",
            AtOnce,
            "the path names a cluster that is another client's (403)",
            "correct server in the webhook kubeconfig, or cluster of the client; until then its events are being lost",
        ),
        (
            "handshake_failed",
            IfLasting,
            "TLS handshakes failed",
            "compare the CA in the webhook kubeconfig, the client's certificate and tls.client_ca_file; the log says which was not accepted",
        ),
        (
            "plain_http",
            IfLasting,
            "plain HTTP on a port with TLS",
            "server in the webhook kubeconfig has to begin with https",
        ),
        (
            "unexpected_tls",
            IfLasting,
            "TLS on a port without it",
            "set tls.certificate_file and tls.key_file, or let server in the webhook kubeconfig begin with http",
        ),
        (
            "path",
            IfLasting,
            "neither /webhook nor /webhook/CLUSTER (404)",
            "correct server in the API server's webhook kubeconfig; until then its events are being lost",
        ),
        (
            "encoding",
            AtOnce,
            "a compression other than gzip (415)",
            CLIENT,
        ),
        ("malformed", AtOnce, "the body is not JSON (400)", CLIENT),
        (
            "malformed_gzip",
            AtOnce,
            "the body says it is gzip and is not (400)",
            CLIENT,
        ),
        (
            "not_an_event_list",
            AtOnce,
            "JSON, but no EventList of audit.k8s.io/v1 (422)",
            CLIENT,
        ),
        (
            "body_too_large",
            AtOnce,
            "longer than ingest.body_bytes_max (413)",
            TOO_LARGE,
        ),
        (
            "decoded_too_large",
            AtOnce,
            "unpacked longer than ingest.decoded_bytes_max (413)",
            TOO_LARGE,
        ),
        (
            "too_many_events",
            AtOnce,
            "more events than ingest.events_per_list_max (413)",
            TOO_LARGE,
        ),
        (
            "body_timeout",
            IfLasting,
            "the body took longer than ingest.body_timeout_seconds (408)",
            NETWORK,
        ),
        (
            "body_too_slow",
            IfLasting,
            "the body came too slowly (408)",
            NETWORK,
        ),
        (
            "body_broken",
            IfLasting,
            "connections failed within the body (400)",
            NETWORK,
        ),
        (
            "bytes_in_flight",
            IfLasting,
            "batches come faster than they are committed (429)",
            "raise ingest.bytes_in_flight_max if memory allows, or find out why commits are slow",
        ),
        (
            "ack_timeout",
            IfLasting,
            "not durable within ingest.ack_timeout_milliseconds (503)",
            "the disk or the processor is too slow: give the relay faster ones",
        ),
    ]
};
/// Those of the relay's own limits and faults.
const OURS: [(&str, Said, &str, &str); 5] = [
    (
        "queue_full",
        Said::IfLasting,
        "the queue or its disk was full (429)",
        "free disk space or raise queue.bytes_max, and mend the channel that holds most",
    ),
    (
        "queue_unavailable",
        Said::IfLasting,
        "the NATS servers of the queue did not take batches (503)",
        "look at the NATS servers and the network to them",
    ),
    (
        "queue",
        Said::AtOnce,
        "storage failed (503)",
        "look at the disk; the log says what failed",
    ),
    (
        "connections",
        Said::IfLasting,
        "ingest.connections_max connections are open",
        "find out who opens so many, or raise it",
    ),
    (
        "internal",
        Said::AtOnce,
        "a bug of the relay (503)",
        "keep the log, restart the relay, and report it",
    ),
];

pub(super) fn judge(report: &Report, say: &mut impl FnMut(&str, Option<&str>, String, &str)) {
    lately(report, say);
    if report.files_current == Some(false) {
        say(
            "files",
            None,
            "a certificate, key, CA, token or password file cannot be used; what was read before is in use".to_owned(),
            "the log names the file and says why; mend it, and it is read again within seconds",
        );
    }
    for certificate in &report.certificates {
        of_certificate(report.now_unix_ms, certificate, say);
    }
    log_files(report, say);
}

fn lately(report: &Report, say: &mut impl FnMut(&str, Option<&str>, String, &str)) {
    let Some(lately) = &report.lately else {
        return;
    };
    let over = duration((lately.over_seconds * 1_000.0) as i64);
    for (reason, when, meaning, todo) in REFUSED.iter().chain(&OURS) {
        let refused = lately.refused.get(*reason);
        let is_said = |lasting: bool| *when == Said::AtOnce || lasting;
        let Some(refused) = refused.filter(|refused| is_said(refused.lasting)) else {
            continue;
        };
        let requests = count(refused.times, "request");
        let what = format!("{requests} refused in the last {over}: {reason}, {meaning}");
        say("refused", None, what, todo);
    }
    for (cluster, requests) in &lately.unfinished {
        if *requests > UNFINISHED_MAX {
            let requests = count(*requests, "request");
            say(
                "unfinished",
                None,
                format!(
                    "in the last {over} the end of {requests} of the cluster {cluster} was found missing"
                ),
                "events were lost on the way here: look at the API server's log (\"audit plugin\") and at what was refused",
            );
        }
    }
}

fn of_certificate(
    now_unix_ms: i64,
    one: &Certificate,
    say: &mut impl FnMut(&str, Option<&str>, String, &str),
) {
    let left_ms = one.not_after_unix_ms - now_unix_ms;
    let (whose, ahead_ms, todo) = match &one.client {
        Some(client) => (
            format!("the certificate of the client {}", output::line(client, 63)),
            CLIENT_MS,
            "renew the API server's client certificate: from its end on what it sends is refused, and lost",
        ),
        None => {
            let file = match one.kind.as_str() {
                "server" => "tls.certificate_file",
                _ => "tls.client_ca_file",
            };
            let todo = "renew it: API servers do not get through with an expired one, and lose their events";
            (format!("a certificate of {file}"), OWN_MS, todo)
        }
    };
    if left_ms < ahead_ms {
        let end = time(one.not_after_unix_ms);
        let what = match left_ms {
            ..=0 => format!("{whose} has expired: {end}"),
            _ => format!("{whose} expires in {}: {end}", duration(left_ms)),
        };
        say("certificate", None, what, todo);
    }
}

fn log_files(report: &Report, say: &mut impl FnMut(&str, Option<&str>, String, &str)) {
    let up_ms = report.now_unix_ms - report.started_unix_ms.unwrap_or(report.now_unix_ms);
    for (path, one) in &report.log_files {
        let path = output::line(path, 200);
        if one.failing_files > 0 {
            let files = count(one.failing_files, "file");
            say(
                "log_file",
                None,
                format!("{path}: {files} or folders cannot be read"),
                "the log names them and says why: give the relay's user the right to read them before the API server removes them",
            );
        } else if one.files == 0 && up_ms > FOLLOWED_MS {
            say(
                "log_file",
                None,
                format!("{path}: there is no such file, so nothing is read"),
                "the API server writes elsewhere, or not at all: compare with its --audit-log-path",
            );
        }
        if one.resting {
            let lag = bytes(one.lag_bytes);
            say(
                "log_file",
                None,
                format!("{path}: reading rests, as the queue has no room; {lag} are not read"),
                "make room in the queue before the API server removes the file (--audit-log-maxbackup, --audit-log-maxage)",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What only scanners and bad networks make, and what gives way of itself.
    const NOBODYS: [&str; 8] = [
        "method",
        "header_timeout",
        "malformed_head",
        "gave_way",
        "handshake_timeout",
        "http2",
        "answer_unread",
        "resets",
    ];

    #[test]
    fn every_reason_is_judged() {
        let documented = include_str!("../../../docs/metrics.md");
        let table = documented.split("| `reason` | Status |").nth(1);
        let rows = table.expect("a table").lines().skip(2);
        let rows = rows.take_while(|row| row.starts_with('|'));
        let documented: BTreeSet<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
        let judged = REFUSED.iter().chain(&OURS).map(|(reason, ..)| *reason);
        let judged: BTreeSet<&str> = judged.chain(NOBODYS).collect();
        assert_eq!(judged, documented);
    }
}
