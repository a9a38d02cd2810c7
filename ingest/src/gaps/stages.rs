//! What a batch says of requests: which begin, and which end. It is noted while the batch is read, and counts when it is
//! durable.

use std::{collections::hash_map::RandomState, hash::BuildHasher};

use auditrelay_audit::{Envelope, Stage};

use super::Key;

/// What one batch says of requests.
#[derive(Debug, Default)]
pub struct Stages {
    pub(super) watch: Option<Watch>,
    pub(super) begun: Vec<Key>,
    pub(super) ended: Vec<Key>,
}

#[derive(Debug)]
pub(super) struct Watch {
    pub(super) hasher: RandomState,
    /// The cluster's policy keeps beginnings.
    pub(super) keeps_ends: bool,
}

impl Stages {
    /// Notes an event.
    #[inline]
    pub(crate) fn note(&mut self, cluster: &str, envelope: &Envelope<'_>) {
        let Some(watch) = &self.watch else {
            return;
        };
        let is_begun = envelope.stage == Stage::RequestReceived;
        if !is_begun && !watch.keeps_ends {
            return;
        }
        if envelope.audit_id.is_empty() || is_long_running(envelope) {
            return;
        }
        let key = watch.hasher.hash_one((cluster, &*envelope.audit_id));
        if is_begun {
            self.begun.push(key);
        } else {
            self.ended.push(key);
        }
    }
}

/// As the API server sees it (its `BasicLongRunningRequestCheck`), and profiles.
fn is_long_running(envelope: &Envelope<'_>) -> bool {
    const SUBRESOURCES: [&str; 5] = ["exec", "attach", "portforward", "proxy", "log"];
    let object = envelope.object_ref.as_ref();
    matches!(&*envelope.verb, "watch" | "proxy")
        || object.is_some_and(|object| SUBRESOURCES.contains(&&*object.subresource))
        || envelope.request_uri.starts_with("/debug/pprof/")
}
