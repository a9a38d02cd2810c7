//! Whether a request was to change nothing: `dryRun`, where it is certain that the API server heeded it.
//!
//! A client can write `?dryRun=All` behind any address, and of most it means nothing: a read is done all the
//! same, `exec` runs, a token is issued, and a delete that has a body takes its options from there alone. A route that passes
//! over dry runs must not pass over those. So whatever is not certain is no dry run.
//!
//! Kubernetes: `endpoints/handlers/{create,update,patch,delete}.go` for who reads it from where; Go's `net/url` for what
//! of a query is read at all (a pair with a semicolon or a broken escape is left out, and with too many
//! pairs everything is).

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::event::{Envelope, Text};

/// Go: 10,000 by default. No honest client has as many.
const PAIRS_MAX: usize = 1_000;
/// A delete's options are shorter by far.
const OPTIONS_BYTES_MAX: usize = 64 * 1024;
/// Subresources that are stored as their object is; others do something (`exec`, `token`, `proxy`).
const STORED: [&str; 7] = [
    "",
    "approval",
    "ephemeralcontainers",
    "finalize",
    "resize",
    "scale",
    "status",
];

/// Whether it is certain that the request was to change nothing.
pub(super) fn is_dry(event: &Envelope<'_>) -> bool {
    let Some(object) = &event.object_ref else {
        return false;
    };
    match &*event.verb {
        "create" | "update" | "patch" => {
            STORED.contains(&&*object.subresource) && query_is_dry(&event.request_uri)
        }
        "delete" | "deletecollection" => {
            object.subresource.is_empty() && event.request_object.is_some_and(options_are_dry)
        }
        _ => false,
    }
}

fn query_is_dry(uri: &str) -> bool {
    let Some((_, query)) = uri.split_once('?') else {
        return false;
    };
    let mut values = 0;
    for (number, pair) in query.split('&').enumerate() {
        if number == PAIRS_MAX {
            return false;
        }
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(key), Some(value)) = (unescaped(key), unescaped(value)) else {
            continue;
        };
        if *key == *b"dryRun" {
            // Kubernetes refuses any other value.
            if *value != *b"All" {
                return false;
            }
            values += 1;
        }
    }
    values > 0
}

/// A part of a query as Go reads it; `None` where it leaves the pair out.
fn unescaped(part: &str) -> Option<Cow<'_, [u8]>> {
    let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = part.as_bytes();
    let is_escape = |at: usize| is_hex(bytes.get(at + 1)) && is_hex(bytes.get(at + 2));
    let is_broken = |(at, byte): (usize, &u8)| *byte == b';' || *byte == b'%' && !is_escape(at);
    if bytes.iter().enumerate().any(is_broken) {
        return None;
    }
    // A plus is a space, which is in neither word that is looked for.
    Some(percent_decode_str(part).into())
}

fn options_are_dry(body: &str) -> bool {
    #[derive(Deserialize)]
    struct Options<'a> {
        #[serde(borrow, rename = "dryRun", default)]
        dry_run: Vec<Text<'a>>,
    }
    // The API server writes down what it has understood of them, not what was sent.
    let is_such = |body: &&str| body.len() <= OPTIONS_BYTES_MAX && body.starts_with('{');
    let options = Some(body).filter(is_such);
    let options = options.and_then(|body| serde_json::from_str::<Options<'_>>(body).ok());
    options.is_some_and(|options| {
        !options.dry_run.is_empty() && options.dry_run.iter().all(|one| one.as_str() == "All")
    })
}
