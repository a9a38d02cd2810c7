//! Who may read the admin port, where a token is asked for.
//!
//! Invariants: with `admin_token_file` nothing but the probes is answered to who shows neither one of its tokens nor this
//! run's token, which only who can read the data directory knows; a token is compared in constant time and stands in no
//! log; failed tries cost a line a minute at the most, however many there are.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use auditrelay_config::Config;
use auditrelay_ingest::{RELOAD_INTERVAL, TokenFile};
use hyper::{
    HeaderMap, StatusCode,
    header::{HeaderValue, WWW_AUTHENTICATE},
};
use tokio::time::Instant;

use crate::{
    Failure,
    commands_port::{Answer, refuse},
};

/// Between two lines about failed tries.
const QUIET: Duration = Duration::from_secs(60);

/// Asks for tokens, if there are any.
pub(super) struct Doorman {
    tokens: Option<Arc<TokenFile>>,
    tries: Mutex<Tries>,
}

#[derive(Default)]
struct Tries {
    told: Option<Instant>,
    untold: u64,
}

impl Doorman {
    /// With the tokens of the configuration's file.
    pub(super) fn new(config: &Config) -> Result<Self, Failure> {
        let tokens = match &config.admin_token_file {
            Some(path) => {
                let opened = TokenFile::open("admin_token_file", path);
                let opened = opened.map_err(|error| Failure::Credentials(error.to_string()))?;
                Some(Arc::new(opened))
            }
            None => None,
        };
        let tries = Mutex::default();
        Ok(Self { tokens, tries })
    }

    /// Reads the file again and again, if there is one.
    pub(super) async fn watch(&self) {
        match &self.tokens {
            Some(tokens) => Arc::clone(tokens).watch(RELOAD_INTERVAL).await,
            None => std::future::pending().await,
        }
    }

    /// Whether a token is asked for.
    pub(super) fn asks(&self) -> bool {
        self.tokens.is_some()
    }

    /// Whether a request shows one of the tokens.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let tokens = self.tokens.as_ref();
        tokens.is_some_and(|tokens| tokens.admits(headers))
    }

    /// The answer to who shows none.
    pub(super) fn refusal(&self, peer: SocketAddr) -> Answer {
        self.tell(peer);
        let reason = "a token of admin_token_file is needed: Authorization: Bearer TOKEN";
        let mut answer = refuse(StatusCode::UNAUTHORIZED, reason.to_owned());
        let value = HeaderValue::from_static("Bearer realm=\"auditrelay\"");
        answer.headers_mut().insert(WWW_AUTHENTICATE, value);
        answer
    }

    fn tell(&self, peer: SocketAddr) {
        let Some(untold) = self.to_tell(Instant::now()) else {
            return;
        };
        tracing::warn!(
            peer = %peer.ip(),
            others_since_the_last_line = untold,
            "a request to the admin port was refused (401): it shows no token of admin_token_file. If it is your \
             Prometheus, give it one of them (authorization.credentials_file)"
        );
    }

    /// How many tries nobody was told of, if it is time for a line.
    fn to_tell(&self, now: Instant) -> Option<u64> {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        if tries.told.is_some_and(|told| now - told < QUIET) {
            tries.untold += 1;
            return None;
        }
        tries.told = Some(now);
        Some(std::mem::take(&mut tries.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_tries_are_told_once_a_minute_and_none_is_forgotten() {
        let doorman = Doorman {
            tokens: None,
            tries: Mutex::default(),
        };
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let told: Vec<_> = (0..130)
            .filter_map(|n| doorman.to_tell(start + n * second))
            .collect();
        assert_eq!(told, [0, 59, 59]);
    }
}
