//! How a command asks the queue: in the store that it opened itself, or through the relay that has it.

use std::{path::Path, path::PathBuf, sync::Arc, time::Duration};

use auditrelay_config::{Config, Overrides, data_dir_of, load};
use auditrelay_dispatch::Routes;
use auditrelay_store::{DeadLetter, Mute};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    StatusCode,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::mpsc, time::timeout};

use crate::{
    Failure,
    cli::{PlaceArgs, environment},
    commands_port,
    execute::{Context, execute},
    failure::cut_short,
    progress::Progress,
    reach::{AdminAddress, Found, command_options, needs_relay, reach, silent},
    request::{Aside, Line, Member, Outcome, Request},
    trace::{Means, Traced},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A relay says something every few seconds.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// An event as large as the relay takes, and what is said of it.
const LINE_BYTES_MAX: usize = 64 << 20;
const REFUSAL_BYTES_MAX: usize = 64 << 10;
impl PlaceArgs {
    /// The relay's data directory.
    pub(crate) fn data_dir(&self) -> Result<PathBuf, Failure> {
        match &self.data_dir {
            Some(data_dir) => Ok(data_dir.clone()),
            None => Ok(self.load()?.data_dir),
        }
    }

    /// The same for who looks for the relay that runs, and opens nothing: when its configuration was broken, it goes on
    /// with the one before, and that is when people ask.
    pub(crate) fn data_dir_of_relay(&self) -> Result<PathBuf, Failure> {
        let failure = match self.data_dir() {
            Err(failure @ Failure::Config(_)) => failure,
            found => return found,
        };
        let data_dir = data_dir_of(self.config.as_deref(), environment());
        match AdminAddress::read(&data_dir) {
            Some(_) => Ok(data_dir),
            None => Err(failure),
        }
    }

    /// The configuration, as `serve` reads it.
    pub(crate) fn load(&self) -> Result<Config, Failure> {
        let overrides = Overrides {
            data_dir: self.data_dir.clone(),
            ..Overrides::default()
        };
        Ok(load(self.config.as_deref(), environment(), overrides)?.config)
    }
}

/// A queue that can be asked.
pub(crate) struct Session {
    reached: Reached,
    data_dir: PathBuf,
}

enum Reached {
    Store(Arc<Context>),
    Relay(AdminAddress),
}

/// What a request brought.
pub(crate) struct Answer {
    pub(crate) letters: Vec<DeadLetter>,
    pub(crate) members: Vec<Member>,
    pub(crate) aside: Vec<Aside>,
    pub(crate) mutes: Vec<Mute>,
    pub(crate) traced: Vec<Traced>,
    pub(crate) outcome: Outcome,
}

impl Session {
    /// Opens the store, or finds the relay that has it. `with_config` is for a command that goes through the
    /// routes or needs room: it reads the configuration for a store that is opened; the relay has its own.
    pub(crate) async fn open(place: &PlaceArgs, with_config: bool) -> Result<Self, Failure> {
        let data_dir = place.data_dir()?;
        let config = with_config.then(|| place.load());
        let mut options = command_options(&data_dir);
        if let Some(Ok(config)) = &config {
            needs_relay(config)?;
            options.limits.bytes_max = config.queue.bytes_max.get();
            options.limits.disk_free_bytes_min = config.queue.disk_free_bytes_min.get();
        }
        let reached = match reach(&data_dir, &options).await? {
            Found::Store(queue) => {
                let context = if let Some(config) = config {
                    let config = config?;
                    let routes = Arc::new(Routes::new(&config));
                    let means = Means::of_stopped(&config);
                    {
                        let context = Context::new(*queue, &config, routes);
                        context.set_means(means);
                        context
                    }
                } else {
                    Context::without_routes(*queue, data_dir.clone())
                };
                Reached::Store(Arc::new(context))
            }
            Found::Relay { address, .. } => Reached::Relay(address),
        };
        Ok(Self { reached, data_dir })
    }

    /// Only the relay that runs, for what is nothing without one. Opens no store.
    pub(crate) fn with_relay(place: &PlaceArgs) -> Result<Self, Failure> {
        let data_dir = place.data_dir_of_relay()?;
        let Some(address) = AdminAddress::read(&data_dir) else {
            let path = data_dir.display();
            return Err(Failure::No(format!(
                "no relay runs on {path}; start it, or name its folder with --data-dir"
            )));
        };
        Ok(Self {
            reached: Reached::Relay(address),
            data_dir,
        })
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Asks, and shows progress on a terminal.
    pub(crate) async fn ask(
        &self,
        what: &'static str,
        request: Request,
    ) -> Result<Answer, Failure> {
        let mut heard = Heard::new(what);
        match &self.reached {
            Reached::Store(context) => {
                let (told, mut lines) = mpsc::channel(commands_port::LINES_MAX);
                let context = Arc::clone(context);
                let work = tokio::spawn(async move { execute(&context, request, &told).await });
                while let Some(line) = lines.recv().await {
                    heard.line(line);
                }
                work.await.map_err(|error| {
                    Failure::Other(format!("the command failed: {}", cut_short(&error)))
                })?;
            }
            Reached::Relay(relay) => {
                let answer = timeout(CONNECT_TIMEOUT, post(relay, &request)).await;
                let body = answer.unwrap_or_else(|_| Err(silent(relay)))?;
                heard.body(body, relay).await?;
            }
        }
        heard.finish()
    }
}

async fn post(relay: &AdminAddress, request: &Request) -> Result<Incoming, Failure> {
    let address = relay.address;
    let fail = |_: &dyn std::error::Error| silent(relay);
    let stream = TcpStream::connect(address).await.map_err(|e| fail(&e))?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut client, connection) = handshake.map_err(|e| fail(&e))?;
    // It ends when the answer was read, or with the process.
    tokio::spawn(connection);
    let body = serde_json::to_vec(request)
        .map_err(|error| Failure::Other(format!("cannot write the request: {error}")))?;
    let request = hyper::Request::post(commands_port::PATH)
        .header(HOST, address.to_string())
        .header(CONTENT_TYPE, "application/json")
        .header(AUTHORIZATION, relay.bearer())
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| Failure::Other("the token in admin.address is damaged".to_owned()))?;
    let answer = client.send_request(request).await.map_err(|e| fail(&e))?;
    let (status, body) = (answer.status(), answer.into_body());
    if status == StatusCode::OK {
        return Ok(body);
    }
    let reason = Limited::new(body, REFUSAL_BYTES_MAX).collect().await;
    let reason = reason.map(|body| body.to_bytes()).unwrap_or_default();
    let reason = String::from_utf8_lossy(&reason);
    let reason = auditrelay_dispatch::escape::clean(reason.trim(), 300);
    Err(Failure::Other(format!(
        "the relay answered {status}: {reason}"
    )))
}

/// What was heard so far.
struct Heard {
    progress: Progress,
    letters: Vec<DeadLetter>,
    members: Vec<Member>,
    aside: Vec<Aside>,
    mutes: Vec<Mute>,
    traced: Vec<Traced>,
    last: Option<Result<Outcome, String>>,
}

impl Heard {
    fn new(what: &'static str) -> Self {
        Self {
            progress: Progress::new(what),
            letters: Vec::new(),
            members: Vec::new(),
            aside: Vec::new(),
            mutes: Vec::new(),
            traced: Vec::new(),
            last: None,
        }
    }

    fn line(&mut self, line: Line) {
        match line {
            Line::Progress { done, total } => self.progress.set(done, total),
            Line::Letter(letter) => self.letters.push(letter),
            Line::Aside(item) => self.aside.push(*item),
            Line::Mute(mute) => self.mutes.push(*mute),
            Line::Traced(traced) => self.traced.push(*traced),
            Line::Member(member) => self.members.push(*member),
            Line::Result(outcome) => self.last = Some(Ok(outcome)),
            Line::Error(reason) => self.last = Some(Err(reason)),
        }
    }

    async fn body(&mut self, mut body: Incoming, relay: &AdminAddress) -> Result<(), Failure> {
        let mut text: Vec<u8> = Vec::new();
        loop {
            let frame = timeout(SILENCE_TIMEOUT, body.frame()).await;
            let Some(frame) = frame.map_err(|_| silent(relay))? else {
                return Ok(());
            };
            // A relay that ended within its answer has told no result, which is said below.
            let Ok(frame) = frame else { return Ok(()) };
            let data = frame.into_data().unwrap_or_default();
            let mut rest = &data[..];
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                text.extend_from_slice(&rest[..end]);
                rest = &rest[end + 1..];
                let line = serde_json::from_slice(&text).map_err(|_| {
                    let text = "the relay's answer cannot be read; is it another version?";
                    Failure::Other(text.to_owned())
                })?;
                self.line(line);
                text.clear();
            }
            text.extend_from_slice(rest);
            if text.len() > LINE_BYTES_MAX {
                let text = "the relay's answer is too long";
                return Err(Failure::Other(text.to_owned()));
            }
        }
    }

    fn finish(self) -> Result<Answer, Failure> {
        self.progress.end();
        let outcome = self.last.unwrap_or_else(|| {
            Err("it ended before it was done; what it did until then stays done".to_owned())
        });
        Ok(Answer {
            letters: self.letters,
            members: self.members,
            aside: self.aside,
            mutes: self.mutes,
            traced: self.traced,
            outcome: outcome.map_err(Failure::Other)?,
        })
    }
}

/// What no request of this kind is answered with.
pub(crate) fn unexpected() -> Failure {
    Failure::Other("the relay answered something else than was asked".to_owned())
}
