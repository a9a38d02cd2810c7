//! Servers that do a part of the relay's work and nothing else: each is the limit for the part above
//! it, on this machine, with this kernel, this HTTP library and this load generator.
//!
//! Contract: `discard` reads and forgets. The others answer 200 after an `fdatasync` that covers the
//! body (or what became of it), group-committed. None of them checks, redacts, routes or forgets
//! anything; what is written can not even be read again by record.

use std::{convert::Infallible, net::SocketAddr, path::Path, sync::Arc};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use tokio::net::TcpListener;

use crate::log::Log;

/// How much of the work a bare server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Work {
    /// Read the body, forget it, answer.
    Discard,
    /// Collect the body, append it, sync.
    Append,
    /// Split it with serde_json's `RawValue`, read each event's key, then append it and sync.
    Keys,
    /// The same, and append what zstd makes of it.
    KeysAndCompress,
}

/// Serves on a free loopback port; the first thing it does is to tell which.
///
/// # Errors
/// No port, or no file in `folder`.
pub async fn serve(
    work: Work,
    folder: &Path,
    listening: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let log = Arc::new(Log::create(&folder.join("log"))?);
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .context("no free port on loopback")?;
    listening(listener.local_addr()?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let log = Arc::clone(&log);
                async move { Ok::<_, Infallible>(answer(work, &log, request).await) }
            });
            // A client that goes away ends its connection and nothing else.
            let _ended = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(work: Work, log: &Log, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    if take(work, log, request).await.is_err() {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    response
}

async fn take(work: Work, log: &Log, request: Request<Incoming>) -> anyhow::Result<()> {
    let mut incoming = request.into_body();
    let expected = incoming.size_hint().exact().unwrap_or_default();
    let mut body = Vec::with_capacity(match work {
        Work::Discard => 0,
        _ => usize::try_from(expected)?,
    });
    while let Some(frame) = incoming.frame().await {
        if let Ok(data) = frame?.into_data()
            && work != Work::Discard
        {
            body.extend_from_slice(&data);
        }
    }
    match work {
        Work::Discard => Ok(()),
        Work::Append => log.append(body.into()).await,
        Work::Keys => {
            read_keys(&body)?;
            log.append(body.into()).await
        }
        Work::KeysAndCompress => {
            read_keys(&body)?;
            let compressed = zstd::bulk::compress(&body, 1)?;
            log.append(compressed.into()).await
        }
    }
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Key<'a> {
    #[serde(borrow, rename = "auditID")]
    audit_id: Cow<'a, str>,
    #[serde(borrow)]
    stage: Cow<'a, str>,
}

fn read_keys(body: &[u8]) -> anyhow::Result<()> {
    let list: List<'_> = serde_json::from_slice(body)?;
    for item in list.items {
        let key: Key<'_> = serde_json::from_str(item.get())?;
        anyhow::ensure!(!key.audit_id.is_empty() && !key.stage.is_empty(), "no key");
    }
    Ok(())
}
