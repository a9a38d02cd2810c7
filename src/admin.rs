//! The admin port: `/metrics`, probes ([`crate::health`]), `/status`, `/ledger`, `/config`, and commands
//! ([`commands_port`]). On loopback anybody on the machine may read it; where other machines can reach it, or the
//! configuration names tokens, a token is asked for (`doorman`). Nothing secret is said here to anybody.

mod doorman;
mod port;
mod visitors;

use std::sync::Arc;

use auditrelay_store::Queue;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ACCEPT, ALLOW, AUTHORIZATION, CONTENT_TYPE},
};
use tokio::sync::watch;

use crate::{
    commands_port::{self, Answer, Commands},
    current::Current,
    execute::NOBODY_LEADS,
    health, import, ledger,
    metrics::{Format, LedgerMetrics, gauge_value, with_channels},
    reload::{self, Reloader},
    status::Vitals,
    term::Leading,
    when::now_unix_ms,
};

pub(crate) use port::Port;

/// What the port of a running relay tells of, and does.
pub(crate) struct Admin {
    /// The term that runs here.
    pub(crate) leading: watch::Receiver<Option<Arc<Leading>>>,
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
        let queue = || self.leading().map(|leading| leading.queue.clone());
        self.vitals.look_on(queue, &self.metrics).await;
    }

    fn ready(&self) -> Vec<health::Check> {
        match self.leading() {
            Some(leading) => health::ready(leading.queue.check(), &leading.queue.space()),
            None => health::starting(NOBODY_LEADS),
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
            self.answer(&request, is_admitted).map(BodyExt::boxed)
        }
    }

    fn metrics(&self, format: Format) -> Result<Vec<u8>, prometheus::Error> {
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

    fn status(&self) -> Response<Full<Bytes>> {
        let Some(leading) = self.leading() else {
            return text(StatusCode::SERVICE_UNAVAILABLE, NOBODY_LEADS);
        };
        let readings = self.metrics.readings();
        let config = self.current.load();
        let not_loaded = self.reloader.as_ref();
        let not_loaded = not_loaded.and_then(|reloader| reloader.last_failure());
        json(
            &self
                .vitals
                .report(&leading.queue, &config, &readings, not_loaded),
        )
    }

    fn ledger(&self) -> Response<Full<Bytes>> {
        let Some(leading) = self.leading() else {
            return text(StatusCode::SERVICE_UNAVAILABLE, NOBODY_LEADS);
        };
        let queue = &leading.queue;
        json(&ledger::json(&queue.ledger(), &queue.mutes(), None))
    }

    fn answer(&self, request: &Request<Incoming>, is_admitted: bool) -> Response<Full<Bytes>> {
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
            "/status" => self.status(),
            "/ledger" => self.ledger(),
            _ => text(
                StatusCode::NOT_FOUND,
                "here are /metrics, /livez, /readyz, /startupz, /status, /ledger and /config\n",
            ),
        }
    }
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
