//! A local Slack on a loopback port: the two doors through which messages are posted
//! (`chat.postMessage` and incoming webhooks), reading them back, updates, threads,
//! files and channels, at Slack's pace and with Slack's answers.
//!
//! Contract:
//! * what [`LocalSlack::posts`] lists was accepted, in that order, and nothing else
//!   was; [`LocalSlack::attempts`] lists every request to `/api/` and `/services/`,
//!   refused ones included;
//! * whether a message is accepted is decided under one lock, so order, pace, time
//!   stamps and injected faults are the same for all who look;
//! * a message passes, in this order: body syntax, token, scope, channel, pace,
//!   content, injected fault. A fault is therefore spent only on a message which would
//!   otherwise have been accepted, and pace counts accepted messages only;
//! * memory is bounded by count: the last [`Options::keep`] posts and as many
//!   attempts are kept, older ones are dropped and counted ([`Recorded`]);
//! * tokens are compared and forgotten: they are never recorded.
//!
//! Over HTTP, for tests in other processes: `GET /recorded` ([`Recorded`] as JSON),
//! `POST /inject` (a [`Fault`] as JSON), `POST /reset`, and, to change what there is,
//! `POST /control/channel` ([`Channel`]), `POST /control/token` ([`Token`]) and
//! `POST /control/webhook` (`{"channel":"audit","error":"no_service"}`).

mod audit;
mod blocks;
mod body;
mod control;
mod directory;
mod duplicates;
mod fault;
mod files;
mod history;
mod message;
mod methods;
mod multipart;
mod options;
mod pace;
mod rates;
mod record;
mod reply;
mod request;
mod server;
mod state;
mod submit;
mod update;
mod web_api;
mod webhook;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

pub use audit::findings;
pub use directory::{Channel, ChannelKind, Posting, SCOPES, Token, TokenState};
pub use duplicates::{Duplicate, EVENT_TYPE};
pub use fault::{Effect, Fault};
pub use files::File;
pub use hyper::StatusCode;
pub use message::validate;
pub use options::{BlockScope, ContentLimits, Limits, Options};
pub use record::{Attempt, Late, Outcome, Post, Recorded, Update, Via};

use state::Shared;

/// Everything but what RFC 3986 calls unreserved, so that `audit-prod` stays readable.
const CHANNEL_IN_URL: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A running local Slack. It ends with [`LocalSlack::stop`], or at once when dropped.
#[derive(Debug)]
pub struct LocalSlack {
    addr: SocketAddr,
    shared: Arc<Shared>,
    /// Never sent on with a meaning: a change, or its drop, tells the server to end.
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl LocalSlack {
    /// Listens on `listen` (port 0: any free one) and serves until stopped.
    pub async fn start(listen: SocketAddr, options: Options) -> io::Result<LocalSlack> {
        let listener = TcpListener::bind(listen).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared::new(options));
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(server::serve(listener, Arc::clone(&shared), stopped));
        Ok(LocalSlack {
            addr,
            shared,
            stop,
            server,
        })
    }

    /// The address listened on, with the port that was really taken.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL of the Web API, `http://127.0.0.1:PORT/api/`.
    pub fn api_url(&self) -> String {
        format!("http://{}/api/", self.reachable())
    }

    /// The incoming webhook which posts to `channel`.
    pub fn webhook_url(&self, channel: &str) -> String {
        let name = utf8_percent_encode(message::channel_name(channel), CHANNEL_IN_URL);
        format!("http://{}/services/T000/B000/{name}", self.reachable())
    }

    /// Every accepted message still kept, oldest first.
    pub fn posts(&self) -> Vec<Post> {
        self.shared.posts()
    }

    /// Every request still kept, refused ones included, oldest first.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.shared.attempts()
    }

    /// Posts and attempts as of one moment, with how many were dropped before them.
    pub fn recorded(&self) -> Recorded {
        self.shared.recorded()
    }

    /// Messages that are there more than once, told apart by their metadata
    /// (`event_type` [`EVENT_TYPE`], `event_payload.id`).
    pub fn duplicates(&self) -> Vec<Duplicate> {
        self.shared.duplicates()
    }

    /// Files announced, uploaded or shared, in the order they were announced.
    pub fn files(&self) -> Vec<File> {
        self.shared.files()
    }

    /// Changes a channel, told by ID or name: archives it, drops the membership. One
    /// that is not there is made, public and with the app in it.
    pub fn change_channel(&self, channel: &str, change: impl FnOnce(&mut Channel)) {
        self.shared.change_channel(channel, change);
    }

    /// Changes a token: revokes it, takes scopes from it. One that was not there is
    /// made, valid and with every scope.
    pub fn change_token(&self, token: &str, change: impl FnOnce(&mut Token)) {
        self.shared.change_token(token, change);
    }

    /// Lets the channel's webhooks answer this error (`no_service`, `no_team`,
    /// `team_disabled`, `invalid_token`, …) instead of taking messages, or take them
    /// again.
    pub fn set_webhook(&self, channel: &str, error: Option<&str>) {
        self.shared.set_webhook(channel, error.map(str::to_owned));
    }

    /// Messages as they are accepted, from now on. A receiver more than 4096 messages
    /// behind loses the oldest and is told so; [`LocalSlack::posts`] still has them.
    pub fn subscribe(&self) -> broadcast::Receiver<Post> {
        self.shared.subscribe()
    }

    /// Queues a fault behind those already queued.
    pub fn inject(&self, fault: Fault) {
        self.shared.inject(fault);
    }

    /// Forgets posts, attempts, faults, files, blocks and pace; channels, tokens and
    /// webhooks stay as they are. Time stamps go on growing, so
    /// that none is ever given twice.
    pub fn reset(&self) {
        self.shared.reset();
    }

    /// Stops listening, lets answers under way finish for up to a second, closes
    /// every connection and frees the port.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // The server task does not panic and is not cancelled; were it so, it would
        // be gone, which is what is asked here.
        let _gone = self.server.await;
    }

    /// The address a client on this machine connects to: `0.0.0.0` is no destination.
    fn reachable(&self) -> SocketAddr {
        let ip = match self.addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        SocketAddr::new(ip, self.addr.port())
    }
}
