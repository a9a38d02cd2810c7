//! The admin port: `/metrics`, probes ([`crate::health`]), `/status`, `/ledger`, `/config`, and commands
//! ([`commands_port`]). On loopback anybody on the machine may read it; where other machines can reach it, or the
//! configuration names tokens, a token is asked for (`doorman`). Nothing secret is said here to anybody.

mod doorman;
mod port;
mod visitors;

use std::sync::Arc;

use auditrelay_store::{Engine, Intake, Queue};
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ACCEPT, ALLOW, AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    commands_port::{self, Answer, Commands},
    current::Current,
    door_queue::DoorQueue,
    execute::NOBODY_LEADS,
    far::{Asked, Refused, Replica},
    health, import,
    leader_metrics::LeaderMetrics,
    ledger,
    metrics::{Format, LedgerMetrics, gauge_value, with_channels},
    reload::{self, Reloader},
    status::{Own, Report, Vitals},
    term::Leading,
    when::now_unix_ms,
};

pub(crate) use port::Port;

/// What the port of a running relay tells of, and does.
pub(crate) struct Admin {
    /// The term that runs here.
    pub(crate) leading: watch::Receiver<Option<Arc<Leading>>>,
    pub(crate) door: DoorQueue,
    /// Those that are one with this one; None where the queue is on a disk.
    pub(crate) replica: Option<Replica>,
    pub(crate) leader_metrics: LeaderMetrics,
    pub(crate) current: Current,
    pub(crate) metrics: LedgerMetrics,
    pub(crate) commands: Commands,
    pub(crate) vitals: Vitals,
    /// None where there is nothing to load again.
    pub(crate) reloader: Option<Arc<Reloader>>,
}

impl Admin {
    /// The term that runs here.
    fn leading(&self) -> Option<Arc<Leading>> {
        self.leading.borrow().clone()
    }

    /// Notes how the counts grow, for as long as the relay runs.
    async fn look_on(&self) {
        self.vitals
            .look_on(self.leading.clone(), &self.metrics)
            .await;
    }

    /// Whether a batch could be committed: which of several relays leads is of no concern to who sends one.
    fn ready(&self) -> Vec<health::Check> {
        match &self.door {
            DoorQueue::Engine(queue) => health::ready(queue.check(), &queue.space()),
            door @ DoorQueue::Inbox(inbox, _) => {
                health::ready_for_inbox(door.check(), inbox.admit(0).is_err())
            }
        }
    }

    /// `is_admitted`: the request showed a token of `admin_token_file`.
    async fn route(&self, request: Request<Incoming>, is_admitted: bool) -> Answer {
        if request.uri().path() == commands_port::PATH {
            self.commands.answer(request).await
        } else if request.uri().path() == import::PATH {
            self.commands.import(request).await
        } else if request.uri().path() == reload::PATH {
            reload::answer(self.reloader.as_ref(), &self.commands, request).await
        } else {
            let answer = self.answer(&request, is_admitted).await;
            answer.map(BodyExt::boxed)
        }
    }

    fn metrics(&self, format: Format) -> Result<Vec<u8>, prometheus::Error> {
        self.leader_metrics.reaches(self.door.check().is_ok());
        self.leader_metrics.inbox.copy(self.door.inbox());
        let Some(leading) = self.leading() else {
            return self.metrics.text_of_door(format);
        };
        let queue = &leading.queue;
        let active = queue.mutes().iter().filter(|mute| mute.is_active()).count();
        self.metrics.mutes.active.set(gauge_value(active as u64));
        let backlog = queue.backlog();
        self.metrics.backlog.copy(&backlog, now_unix_ms());
        let config = self.current.load();
        let configured = config.channels.keys().map(AsRef::as_ref);
        let ledger = with_channels(queue.ledger(), configured);
        self.metrics.text(&ledger, &queue.space(), format)
    }

    /// How this replica is, or what the one that leads says and what is its own.
    async fn status(&self) -> Response<Full<Bytes>> {
        match (self.leading(), &self.replica) {
            (None, Some(replica)) => {
                let theirs = replica.page(&Asked::Status {}).await;
                json(&self.report_with(replica, theirs))
            }
            (Some(leading), _) => json(&self.report(&leading.queue)),
            (None, None) => text(StatusCode::SERVICE_UNAVAILABLE, NOBODY_LEADS),
        }
    }

    async fn ledger(&self) -> Response<Full<Bytes>> {
        match (self.leading(), &self.replica) {
            (None, Some(replica)) => match replica.page(&Asked::Ledger {}).await {
                Ok(page) => json(&page),
                Err((status, reason)) => text(status, reason + "\n"),
            },
            (Some(leading), _) => json(&ledger_of(&leading)),
            (None, None) => text(StatusCode::SERVICE_UNAVAILABLE, NOBODY_LEADS),
        }
    }

    /// The ledger, where this replica leads, for another one.
    pub(crate) fn own_ledger(&self) -> Result<Vec<u8>, Refused> {
        written(&ledger_of(&*self.led()?))
    }

    /// How this replica is, where it leads, for another one.
    pub(crate) fn own_status(&self) -> Result<Vec<u8>, Refused> {
        written(&self.report(&self.led()?.queue))
    }

    fn led(&self) -> Result<Arc<Leading>, Refused> {
        let nobody = || (StatusCode::SERVICE_UNAVAILABLE, NOBODY_LEADS.to_owned());
        self.leading().ok_or_else(nobody)
    }

    fn report(&self, queue: &Engine) -> Report {
        let config = self.current.load();
        let mut report = self.vitals.report(queue, &config, &self.own());
        report.leads = true;
        report.inbox = self.door.inbox().map(Into::into);
        if let Some(replica) = &self.replica {
            report.replica = Some(replica.name.clone());
            report.leader = Some(replica.name.clone());
        }
        report
    }

    fn report_with(&self, replica: &Replica, theirs: Result<Value, Refused>) -> Report {
        let theirs = theirs.map_err(|(_, reason)| reason).and_then(|page| {
            let told = serde_json::from_value(page).ok();
            told.ok_or_else(|| "the relay that leads is of another version".to_owned())
        });
        let mut report = self
            .vitals
            .of_replica(theirs, &self.own(), self.door.check().err());
        report.replica = Some(replica.name.clone());
        report.leader = replica.leader();
        report.inbox = self.door.inbox().map(Into::into);
        report
    }

    /// What this process says of itself.
    fn own(&self) -> Own {
        let not_loaded = self.reloader.as_ref();
        Own {
            readings: self.metrics.readings(),
            not_loaded: not_loaded.and_then(|reloader| reloader.last_failure()),
        }
    }

    async fn answer(
        &self,
        request: &Request<Incoming>,
        is_admitted: bool,
    ) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
            response
                .headers_mut()
                .insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/metrics" => {
                let accept = request.headers().get_all(ACCEPT).iter();
                let format = Format::asked_for(accept.filter_map(|value| value.to_str().ok()));
                match self.metrics(format) {
                    Ok(metrics) => respond(StatusCode::OK, format.content_type(), metrics),
                    Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
                }
            }
            "/config" => json(&*self.current.load()),
            // Who has the token of another relay has taken this one for it.
            "/ledger" | "/status"
                if !is_admitted
                    && !self
                        .commands
                        .is_for_us(request.headers().get(AUTHORIZATION)) =>
            {
                text(StatusCode::UNAUTHORIZED, "this is another relay\n")
            }
            "/status" => self.status().await,
            "/ledger" => self.ledger().await,
            _ => text(
                StatusCode::NOT_FOUND,
                "here are /metrics, /livez, /readyz, /startupz, /status, /ledger and /config\n",
            ),
        }
    }
}

fn ledger_of(leading: &Leading) -> Value {
    let queue = &leading.queue;
    ledger::json(&queue.ledger(), &queue.mutes(), None)
}

fn written(page: &impl serde::Serialize) -> Result<Vec<u8>, Refused> {
    serde_json::to_vec(page).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

fn json(value: &impl serde::Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec_pretty(value) {
        Ok(json) => respond(StatusCode::OK, "application/json", json),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn text(status: StatusCode, body: impl Into<String>) -> Response<Full<Bytes>> {
    respond(
        status,
        "text/plain; charset=utf-8",
        body.into().into_bytes(),
    )
}

fn respond(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let value = hyper::header::HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, value);
    response
}
