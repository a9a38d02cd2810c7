//! What servers promise for a message that they acknowledge, asked of them.
//!
//! Contract:
//! * a relay begins only if each server that holds a stream says by its monitoring port that it syncs each message
//!   before it acknowledges it, or if that is done without explicitly and three or more servers hold each message;
//! * a holder that the leader of the stream has not heard for a while is not waited for, whether it does not answer or has
//!   no monitoring port that is known (a server that began without it does not know its name): it acknowledges nothing
//!   now. It is asked when it is back: the question is repeated for as long as the value lives, since a server may start
//!   anew with other settings and a stream may move to another one;
//! * a stream that somebody deleted is made again when it is asked for: without it nothing goes on, and what it held is
//!   lost in any case.
//!
//! JetStream as it comes syncs every two minutes, and acknowledges before: what all servers of a cluster held in their
//! page caches is lost when they lose power together.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use async_nats::jetstream::{
    Context,
    stream::{Info, PeerInfo},
};
use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use url::Url;

use super::{
    Durability, JetStreamOptions,
    connect::Inner,
    error::JetStreamError,
    streams::{self, Streams},
};

/// How long a monitoring port has for its answer.
const ANSWER: Duration = Duration::from_secs(5);
/// The longest answer; a real one has a few kilobytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How often the question is repeated.
const REPEAT: Duration = Duration::from_secs(60);
/// How often while something is wrong.
const REPEAT_SOON: Duration = Duration::from_secs(5);
/// Who was not heard by the leader of a stream for so long is away. (`offline` is said about a minute later.)
const AWAY: Duration = Duration::from_secs(5);
/// With so many replicas a message is on another server when one loses what it had not synced.
const REPLICAS_MIN: usize = 3;

/// What a monitoring port says about its server.
#[derive(Debug, serde::Deserialize)]
struct Varz {
    server_name: String,
    #[serde(default)]
    jetstream: Varzstream,
}

#[derive(Debug, Default, serde::Deserialize)]
struct Varzstream {
    /// None where JetStream is off, and for ever where it was not on yet when the server was asked first (NATS keeps what it
    /// said then). So `/jsz` is asked, too.
    config: Option<VarzConfig>,
}

/// What it says about JetStream.
#[derive(Debug, serde::Deserialize)]
struct Jsz {
    /// It is off, or not on yet. There is a configuration all the same, with nothing in it.
    #[serde(default)]
    disabled: bool,
    config: Option<VarzConfig>,
}

#[derive(Debug, PartialEq, serde::Deserialize)]
struct VarzConfig {
    /// Left out when it is not so.
    #[serde(default)]
    sync_always: bool,
}

/// Who holds a stream.
struct Holder {
    server: String,
    is_away: bool,
}

/// Asks the servers once.
pub(super) async fn check(
    context: &Context,
    streams: &Streams,
    options: &JetStreamOptions,
) -> Result<(), JetStreamError> {
    let mut infos = Vec::new();
    for stream in streams.all() {
        let mut info = streams::info(context, &stream).await?;
        if info.is_none() {
            tracing::error!(
                stream,
                "a stream of the queue is not there any more, nor what it held: somebody deleted it; it is made again"
            );
            // A server that has just started may say so of a stream that it has; it is asked again before one is made.
            tokio::time::sleep(REPEAT_SOON).await;
            Streams::open(context, options).await?;
            info = streams::info(context, &stream).await?;
        }
        let Some(info) = info else {
            return Err(JetStreamError::failed(
                format!("keep stream {stream}"),
                &"somebody deleted it",
            ));
        };
        infos.push(info);
    }
    match &options.durability {
        Durability::ReplicatedWithoutFsync => infos.iter().try_for_each(is_replicated),
        Durability::Synced(urls) => {
            let connected = context.client().server_info().server_name;
            let holders: Vec<Holder> = infos
                .iter()
                .flat_map(|info| holders(info, &connected))
                .collect();
            are_synced(&holders, &ask_all(urls).await)
        }
    }
}

/// Whether as many servers hold it as a message needs that no server has synced.
fn is_replicated(info: &Info) -> Result<(), JetStreamError> {
    let others = info
        .cluster
        .as_ref()
        .map_or(0, |cluster| cluster.replicas.len());
    let replicas = info.config.num_replicas.min(others + 1);
    if replicas >= REPLICAS_MIN {
        return Ok(());
    }
    Err(JetStreamError::TooFewReplicas {
        stream: info.config.name.clone(),
        replicas,
    })
}

/// Who holds a stream; where there is no cluster it is the server that answers.
fn holders(info: &Info, connected: &str) -> Vec<Holder> {
    let holder = |server: &str, is_away| Holder {
        server: server.to_owned(),
        is_away,
    };
    let Some(cluster) = &info.cluster else {
        return vec![holder(connected, false)];
    };
    let leader = cluster.leader.iter().map(|leader| holder(leader, false));
    let others = cluster
        .replicas
        .iter()
        .map(|other| holder(&other.name, is_away(other)));
    leader.chain(others).collect()
}

/// Zero is never, since the leader leads.
fn is_away(peer: &PeerInfo) -> bool {
    peer.offline || (!peer.current && (peer.active.is_zero() || peer.active >= AWAY))
}

/// What monitoring ports said, in their order.
type Answers<'a> = Vec<(&'a Url, Result<Varz, String>)>;

fn are_synced(holders: &[Holder], answers: &Answers<'_>) -> Result<(), JetStreamError> {
    let mut said = BTreeMap::new();
    let mut silent = None;
    for (url, answer) in answers {
        match answer {
            Ok(varz) => {
                said.insert(varz.server_name.as_str(), varz.jetstream.config.as_ref());
            }
            Err(why) => {
                silent = Some(JetStreamError::Monitoring {
                    address: shown(url),
                    why: why.clone(),
                });
            }
        }
    }
    // Also one that holds nothing now: a stream may move there.
    let lax = said
        .iter()
        .find(|(_, config)| config.is_some_and(|config| !config.sync_always));
    if let Some((server, _)) = lax {
        return Err(JetStreamError::NotSynced {
            server: (*server).to_owned(),
        });
    }
    // One that holds a stream has JetStream, so one that says nothing of it has not answered.
    let says_nothing = holders
        .iter()
        .find(|holder| !holder.is_away && said.get(holder.server.as_str()) == Some(&None));
    if let Some(holder) = says_nothing {
        return Err(JetStreamError::failed(
            "say how they sync",
            &format_args!(
                "the monitoring port of {} says nothing of JetStream, which it has",
                holder.server
            ),
        ));
    }
    let is_unknown =
        |holder: &&Holder| !holder.is_away && !said.contains_key(holder.server.as_str());
    match (holders.iter().find(is_unknown), silent) {
        (None, _) => Ok(()),
        (Some(_), Some(silent)) => Err(silent),
        // Every port answers, so it has none among them.
        (Some(holder), None) => Err(JetStreamError::NotMonitored {
            server: holder.server.clone(),
        }),
    }
}

async fn ask_all(urls: &[Url]) -> Answers<'_> {
    join_all(urls.iter().map(async |url| (url, ask(url).await))).await
}

async fn get<T: serde::de::DeserializeOwned>(
    url: &Url,
    path: &str,
    query: Option<&str>,
) -> Result<T, String> {
    let path = format!("{}/{path}", url.path().trim_end_matches('/'));
    let mut address = url.clone();
    address.set_path(&path);
    address.set_query(query);
    let uri: hyper::Uri = address
        .as_str()
        .parse()
        .map_err(|_| "it is no address".to_owned())?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let answer = client.get(uri).await.map_err(|error| innermost(&error))?;
    if answer.status() != hyper::StatusCode::OK {
        return Err(format!("it answers {}", answer.status()));
    }
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| error.to_string())?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| {
        format!("it does not answer as the monitoring port of a NATS server: {error}")
    })
}

async fn ask(url: &Url) -> Result<Varz, String> {
    let answer = async {
        let mut varz: Varz = get(url, "varz", None).await?;
        if varz.jetstream.config.is_none() {
            let jsz: Jsz = get(url, "jsz", Some("config=true")).await?;
            varz.jetstream.config = jsz.config.filter(|_| !jsz.disabled);
        }
        Ok(varz)
    };
    match tokio::time::timeout(ANSWER, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer in {} s", ANSWER.as_secs())),
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

/// Host and port of an address, which may hold a password besides.
fn shown(url: &Url) -> String {
    format!(
        "{}:{}",
        url.host_str().unwrap_or_default(),
        url.port_or_known_default().unwrap_or_default()
    )
}

/// Repeats the question for as long as the connection's value lives. What is wrong counts when it is said twice: while
/// a stream moves a moment's answer may be half of it. It is asked sooner then, and so is whether it has ended.
pub(super) fn watch(inner: &Arc<Inner>) {
    let weak = Arc::downgrade(inner);
    inner.handle().spawn(async move {
        let mut is_doubted = false;
        loop {
            tokio::time::sleep(if is_doubted { REPEAT_SOON } else { REPEAT }).await;
            let Some(asked) = ask_again(&weak) else {
                return;
            };
            let answer = asked.await;
            let Some(inner) = weak.upgrade() else { return };
            let is_wrong = answer
                .as_ref()
                .is_err_and(|error| !error.is_of_the_moment());
            if !is_wrong || is_doubted {
                note(&inner, answer);
            }
            is_doubted = is_wrong || !inner.is_durable();
        }
    });
}

/// Asks once more, without holding the value meanwhile: the last one to hold it must not be its own runtime.
fn ask_again(
    weak: &Weak<Inner>,
) -> Option<impl Future<Output = Result<(), JetStreamError>> + use<>> {
    let inner = weak.upgrade()?;
    let (context, streams, options) = (
        inner.context().clone(),
        inner.streams().clone(),
        inner.options().clone(),
    );
    Some(async move { check(&context, &streams, &options).await })
}

/// Says what has changed. What cannot be asked now changes nothing.
pub(super) fn note(inner: &Inner, answer: Result<(), JetStreamError>) {
    match answer {
        Ok(()) => {
            if inner.set_durable(true) {
                tracing::info!("NATS keeps again what is asked of it for acknowledged messages");
            }
        }
        Err(error) if error.is_of_the_moment() => {
            tracing::debug!(%error, "NATS could not be asked how it keeps messages");
        }
        Err(error) => {
            if inner.set_durable(false) {
                tracing::error!(
                    %error,
                    "NATS no longer keeps acknowledged messages as it did at the start: what it acknowledges could be lost when servers lose power, so batches are refused until it does again"
                );
            }
        }
    }
}
