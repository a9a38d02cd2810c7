//! The admin port itself: who connects, and what is answered while the queue is not open yet.
//!
//! Invariants:
//! * it listens before the queue is opened, so that probes are answered while a large one is recovered; until then nothing
//!   but probes is;
//! * between the moment the queue is open and the one the relay runs, which is short, requests wait, but for `/livez`;
//! * who shows no token gets one answer on a connection, and has little time to take it ([`super::visitors`]);
//! * it ends when it is dropped; answers under way go on.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use auditrelay_config::Config;
use http_body_util::BodyExt;
use hyper::{
    Request, StatusCode,
    body::Incoming,
    header::{AUTHORIZATION, CONNECTION, HeaderValue},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

use super::{
    Admin,
    doorman::Doorman,
    text,
    visitors::{STRANGER_TIMEOUT, Visitor, Visitors},
};
use crate::{
    Failure,
    commands_port::{Answer, refuse},
    health, import,
};

/// A relay whose queue is open runs at once. Less than a connection has without a token, so that it is said.
const RUNS_WITHIN: Duration = Duration::from_secs(STRANGER_TIMEOUT.as_secs() / 2);

/// How far the relay is.
#[derive(Clone)]
enum Stage {
    /// What it does before its queue is open.
    Opening(&'static str),
    /// It runs in a moment.
    Opened,
    Running(Arc<Admin>),
}

/// The port, which listens until it is dropped.
pub(crate) struct Port {
    address: SocketAddr,
    inner: Arc<Inner>,
    tasks: [JoinHandle<()>; 2],
}

struct Inner {
    stage: watch::Sender<Stage>,
    doorman: Doorman,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Port {
    /// Listens where the configuration says, and answers probes.
    ///
    /// # Errors
    /// The address is not to be had, or the file of its tokens is of no use.
    pub(crate) async fn bind(config: &Config) -> Result<Self, Failure> {
        let doorman = Doorman::new(config)?;
        let failed = |error| {
            let address = config.admin_listen;
            Failure::Other(format!("cannot listen on {address}: {error}"))
        };
        let listener = TcpListener::bind(config.admin_listen)
            .await
            .map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        if !address.ip().to_canonical().is_loopback() {
            tracing::warn!(
                %address,
                "admin_listen can be reached by other machines and is not encrypted: whoever can listen on \
                 the way reads its tokens; let nobody but your Prometheus and the kubelet reach it"
            );
        }
        let stage = watch::Sender::new(Stage::Opening("opening the queue"));
        let inner = Arc::new(Inner { stage, doorman });
        let watching = Arc::clone(&inner);
        let tasks = [
            tokio::spawn(accept(listener, Arc::clone(&inner))),
            tokio::spawn(async move { watching.doorman.watch().await }),
        ];
        Ok(Self {
            address,
            inner,
            tasks,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where this machine reaches it.
    pub(crate) fn address_from_here(&self) -> SocketAddr {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address.is_ipv4() {
                true => std::net::Ipv4Addr::LOCALHOST.into(),
                false => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        address
    }

    /// What the relay does now, before its queue is open.
    pub(crate) fn doing(&self, what: &'static str) {
        self.inner.stage.send_replace(Stage::Opening(what));
    }

    /// The queue is open.
    pub(crate) fn opened(&self) {
        self.inner.stage.send_replace(Stage::Opened);
    }

    /// Answers everything, until it is dropped.
    pub(crate) async fn serve(self, admin: Arc<Admin>) {
        let running = Stage::Running(Arc::clone(&admin));
        self.inner.stage.send_replace(running);
        admin.look_on().await;
    }
}

async fn accept(listener: TcpListener, inner: Arc<Inner>) {
    let visitors = Arc::new(Visitors::default());
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(
                    %error,
                    "cannot accept a connection on the admin port: tried again by itself; where files are what lacks, \
                     raise their limit (LimitNOFILE)"
                );
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let visitor = visitors.enter();
        tokio::spawn(connection(stream, peer, Arc::clone(&inner), visitor));
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, inner: Arc<Inner>, visitor: Visitor) {
    let visitor = &visitor;
    let service = service_fn(move |request| {
        let inner = Arc::clone(&inner);
        async move {
            let mut answer = inner.answer(request, peer, visitor).await;
            if !visitor.is_known() {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(STRANGER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        served = serving => if let Err(error) = served {
            tracing::debug!(%error, "a connection on the admin port broke");
        },
        () = visitor.has_to_go() => {
            tracing::debug!("a connection on the admin port without a token had its time, or gave way to another");
        }
    }
}

impl Inner {
    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        visitor: &Visitor,
    ) -> Answer {
        let path = request.uri().path();
        if let Some((probe, only)) = health::asked(path)
            && request.method().is_safe()
        {
            return self.probe(probe, only, request.uri().query()).await;
        }
        // What has a token of its own asks for it.
        let is_command = [crate::commands_port::PATH, import::PATH].contains(&path);
        let is_admitted = self.doorman.admits(request.headers());
        // Before anybody is refused: the token of this run is written before the relay runs.
        let running = self.running().await;
        let header = request.headers().get(AUTHORIZATION);
        let is_own = matches!(&running, Ok(admin) if admin.commands.knows_token(header));
        if is_admitted || is_own {
            visitor.shows_token();
        } else if self.doorman.asks() && !is_command {
            return self.doorman.refusal(peer);
        }
        match running {
            Ok(admin) => admin.route(request, is_admitted).await,
            Err(doing) => {
                let reason = format!("{doing}; there is nothing to read before that is done");
                refuse(StatusCode::SERVICE_UNAVAILABLE, reason)
            }
        }
    }

    async fn probe(&self, probe: &str, only: Option<&str>, query: Option<&str>) -> Answer {
        let checks = match probe {
            "livez" => health::living(),
            _ => match (probe, self.running().await) {
                (_, Err(doing)) => health::starting(doing),
                ("startupz", Ok(_)) => health::started(),
                (_, Ok(admin)) => admin.ready(),
            },
        };
        let (status, lines) = health::answer(probe, only, query, &checks);
        text(status, lines).map(BodyExt::boxed)
    }

    /// The relay that runs, or what it does before it does.
    async fn running(&self) -> Result<Arc<Admin>, &'static str> {
        let mut stage = self.stage.subscribe();
        let runs = stage.wait_for(|stage| !matches!(stage, Stage::Opened));
        match timeout(RUNS_WITHIN, runs).await {
            Ok(Ok(stage)) => match &*stage {
                Stage::Running(admin) => Ok(Arc::clone(admin)),
                Stage::Opening(doing) => Err(doing),
                Stage::Opened => Err("starting"),
            },
            _ => Err("starting"),
        }
    }
}
