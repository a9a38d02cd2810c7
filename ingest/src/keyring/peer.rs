//! Who is at the other end of a connection, as far as the connection tells.
//!
//! Invariants:
//! * a certificate counts at each request, not at the handshake only. A connection may be open for
//!   months; by then the certificate's time may be over, or its CA be taken out of the file;
//! * what was found out about a chain counts as long as no certificate in it begins or ends to be valid,
//!   the ones between it and the CA included. That its time is not now is found out each time: a clock
//!   may be set right.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};

use super::{
    Keys,
    certificate::Facts,
    clients::Certificate,
    server::{self, Verdict},
    unix_s,
};

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    shown: Option<Arc<Shown>>,
}

/// A chain that passed the handshake.
#[derive(Debug)]
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    /// What the client's own certificate says; `None` if it cannot be read.
    own: Option<Facts>,
    /// When certificates of the chain begin and end to be valid; `None` if one cannot be read.
    times: Option<Vec<(i64, i64)>>,
    /// What was found out about the chain.
    known: Mutex<Option<Known>>,
}

/// What a state of the files made of a chain, and for how long that holds.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// The number of the state.
    of: u64,
    verdict: Verdict,
    /// Unix time, seconds; both ends belong to it.
    from: i64,
    until: i64,
}

impl Peer {
    /// On a connection without a certificate.
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self {
            address,
            shown: None,
        }
    }

    /// On a connection whose handshake verified this chain of a client, if one was shown.
    pub(crate) fn encrypted(address: SocketAddr, chain: Option<&[CertificateDer<'_>]>) -> Self {
        let shown = chain.filter(|chain| !chain.is_empty()).map(|chain| {
            let owned = chain.iter().map(|part| part.clone().into_owned());
            Arc::new(Shown {
                chain: owned.collect(),
                own: Facts::of(&chain[0]),
                times: chain.iter().map(|part| times(part)).collect(),
                known: Mutex::default(),
            })
        });
        Self { address, shown }
    }

    /// What its certificate is worth now.
    pub(super) fn certificate(&self, keys: &Keys, now: UnixTime) -> Certificate<'_> {
        let Some(shown) = &self.shown else {
            return Certificate::Absent;
        };
        let Some(own) = &shown.own else {
            return Certificate::Foreign;
        };
        let now_unix_s = unix_s(now);
        let known = shown.judge(keys, now, now_unix_s);
        match known.verdict {
            Verdict::Foreign => Certificate::Foreign,
            Verdict::Signed if own.is_valid_at(now_unix_s) => Certificate::Signed {
                names: &own.names,
                until: known.until.min(own.not_after),
            },
            Verdict::Signed | Verdict::Expired => Certificate::Expired,
        }
    }
}

impl Shown {
    fn judge(&self, keys: &Keys, now: UnixTime, now_unix_s: i64) -> Known {
        let mut slot = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = *slot
            && known.of == keys.number
            && (known.from..=known.until).contains(&now_unix_s)
        {
            return known;
        }
        let encryption = keys.parts.encryption();
        let verifier = encryption.and_then(|part| part.verifier.as_ref());
        let verdict = verifier.map_or(Verdict::Foreign, |verifier| {
            server::verdict(&**verifier, &self.chain, now)
        });
        // Up to the next time that anything in the chain changes, in each direction.
        let (from, until) = match &self.times {
            Some(times) => unchanged_around(times, now_unix_s),
            None => (now_unix_s, now_unix_s),
        };
        let known = Known {
            of: keys.number,
            verdict,
            from,
            until,
        };
        *slot = (verdict != Verdict::Expired).then_some(known);
        known
    }
}

fn times(der: &[u8]) -> Option<(i64, i64)> {
    Facts::of(der).map(|facts| (facts.not_before, facts.not_after))
}

/// The longest time around `now` in which no certificate begins or ends to be valid.
fn unchanged_around(times: &[(i64, i64)], now: i64) -> (i64, i64) {
    // The seconds from which on something is different.
    let changes = || {
        let each =
            |(not_before, not_after): &(i64, i64)| [*not_before, not_after.saturating_add(1)];
        times.iter().flat_map(each)
    };
    let from = changes().filter(|at| *at <= now).max();
    let until = changes().filter(|at| *at > now).min();
    (
        from.unwrap_or(i64::MIN),
        until.map_or(i64::MAX, |at| at.saturating_sub(1)),
    )
}

/// Now, as certificates count it.
pub(super) fn now() -> UnixTime {
    UnixTime::now()
}

#[cfg(test)]
mod tests;
