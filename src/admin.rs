//! The admin port: `/metrics`, `/livez`, `/readyz`, `/ledger`, and commands ([`commands_port`]). Loopback
//! only, as nobody is authenticated who reads; the configuration holds that. What `/livez` and `/readyz`
//! say is in [`crate::health`].

use std::sync::Arc;

use auditrelay_store::{Queue, SledQueue};
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, AUTHORIZATION, CONTENT_TYPE},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore};

use crate::{
    commands_port::{self, Answer, Commands},
    current::Current,
    health, import, ledger,
    metrics::{LedgerMetrics, gauge_value},
};

/// Enough for every scraper and a person; a forgotten client costs nobody else.
const CONNECTIONS_MAX: usize = 64;

pub(crate) struct Admin {
    pub(crate) queue: SledQueue,
    pub(crate) current: Current,
    pub(crate) metrics: LedgerMetrics,
    pub(crate) commands: Commands,
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, admin: Arc<Admin>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection on the admin port: tried again by itself; where files are what lacks, raise their \
                     limit (LimitNOFILE)");
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                continue;
            }
        };
        let admin = Arc::clone(&admin);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let admin = Arc::clone(&admin);
                async move { Ok::<_, std::convert::Infallible>(admin.route(request).await) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(std::time::Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a connection on the admin port broke");
            }
            drop(permit);
        });
    }
}

impl Admin {
    async fn route(&self, request: Request<Incoming>) -> Answer {
        if request.uri().path() == commands_port::PATH {
            self.commands.answer(request).await
        } else if request.uri().path() == import::PATH {
            self.commands.import(request).await
        } else {
            self.answer(&request).map(BodyExt::boxed)
        }
    }

    fn metrics(&self) -> Result<Vec<u8>, prometheus::Error> {
        let active = self
            .queue
            .mutes()
            .iter()
            .filter(|mute| mute.is_active())
            .count();
        self.metrics.mutes.active.set(gauge_value(active as u64));
        self.metrics.text(&self.queue.ledger(), &self.queue.space())
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
            response
                .headers_mut()
                .insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/livez" => {
                let (status, lines) = health::livez(request.uri().query());
                text(status, lines)
            }
            "/readyz" => {
                let (storage, space) = (self.queue.check(), self.queue.space());
                let (status, lines) = health::readyz(request.uri().query(), storage, &space);
                text(status, lines)
            }
            "/metrics" => match self.metrics() {
                Ok(metrics) => respond(StatusCode::OK, "text/plain; version=0.0.4", metrics),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            },
            "/config" => match serde_json::to_vec_pretty(&*self.current.load()) {
                Ok(config) => respond(StatusCode::OK, "application/json", config),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            },
            // Who has the token of another relay has taken this one for it.
            "/ledger"
                if !self
                    .commands
                    .is_for_us(request.headers().get(AUTHORIZATION)) =>
            {
                text(StatusCode::UNAUTHORIZED, "this is another relay\n")
            }
            "/ledger" => {
                let ledger = ledger::json(&self.queue.ledger(), &self.queue.mutes(), None);
                respond(
                    StatusCode::OK,
                    "application/json",
                    ledger.to_string().into_bytes(),
                )
            }
            _ => text(
                StatusCode::NOT_FOUND,
                "here are /metrics, /livez, /readyz, /config and /ledger\n",
            ),
        }
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
