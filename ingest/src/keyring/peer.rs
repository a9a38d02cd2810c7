//! Who is at the other end of a connection, as far as the connection tells.
//!
//! Invariant: a certificate counts at each request, not at the handshake only. A connection may be
//! open for months; by then the certificate's time may be over, or its CA be taken out of the file.

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
    facts: Option<Facts>,
    /// What a state of the files, by its number, made of the chain.
    verdict: Mutex<Option<(u64, Verdict)>>,
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
                facts: Facts::of(&chain[0]),
                verdict: Mutex::default(),
            })
        });
        Self { address, shown }
    }

    /// What its certificate is worth now.
    pub(super) fn certificate(&self, keys: &Keys, now: UnixTime) -> Certificate<'_> {
        let Some(shown) = &self.shown else {
            return Certificate::Absent;
        };
        let verdict = shown.verdict(keys, now);
        let Some(facts) = &shown.facts else {
            return Certificate::Foreign;
        };
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        match verdict {
            Verdict::Foreign => Certificate::Foreign,
            Verdict::Signed if facts.is_valid_at(now) => Certificate::Signed(&facts.names),
            Verdict::Signed | Verdict::Expired => Certificate::Expired,
        }
    }
}

impl Shown {
    fn verdict(&self, keys: &Keys, now: UnixTime) -> Verdict {
        let mut known = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, verdict)) = *known
            && of == keys.number
        {
            return verdict;
        }
        let verifier = keys
            .encryption
            .as_ref()
            .and_then(|part| part.verifier.as_ref());
        let verdict = verifier.map_or(Verdict::Foreign, |verifier| {
            server::verdict(&**verifier, &self.chain, now)
        });
        *known = Some((keys.number, verdict));
        verdict
    }
}

/// Now, as certificates count it.
pub(super) fn now() -> UnixTime {
    UnixTime::now()
}
