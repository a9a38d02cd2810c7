//! Where imported lines go: into the store that this command opened, or to the relay that has it.

use std::{sync::Arc, time::Duration};

use auditrelay_dispatch::Routes;
use auditrelay_ingest::log_file::InUse;
use auditrelay_store::Engine;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    StatusCode,
    body::Bytes,
    client::conn::http1::SendRequest,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::{
    chunk::{Ask, Importer, Said},
    port,
};
use crate::{
    Failure,
    cli::PlaceArgs,
    data_dir::hash_key,
    preparation::{for_nobody, preparation},
    reach::{AdminAddress, Found, command_options, needs_relay, reach, silent},
    when::now_unix_ms,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A chunk is durable long before, unless the disk stands still.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Who takes lines.
pub(super) enum Target {
    Store(Box<Importer>),
    Relay(AdminAddress, SendRequest<Full<Bytes>>),
}

impl Target {
    /// Opens the store, which is made if there is none, or finds the relay that has it.
    pub(super) async fn open(place: &PlaceArgs) -> Result<Self, Failure> {
        let config = place.load()?;
        needs_relay(&config)?;
        let mut options = command_options(&config.data_dir);
        options.limits.bytes_max = config.queue.bytes_max.get();
        options.limits.disk_free_bytes_min = config.queue.disk_free_bytes_min.get();
        let is_elsewhere = config.queue.jetstream.is_some();
        let queue = if is_elsewhere || config.data_dir.join("queue").is_dir() {
            match reach(&config.data_dir, &options).await? {
                Found::Store(queue) => *queue,
                Found::Relay { address, .. } => return Self::connect(address).await,
            }
        } else {
            Engine::open(&options)?.queue
        };
        let key = hash_key(&config)?;
        let routes = Arc::new(Routes::new(&config));
        let preparations = (
            preparation(&config, &key, &routes).into(),
            for_nobody(&config, &key, &routes).into(),
        );
        let cluster = config.cluster.to_string();
        let importer = Importer::new(queue, preparations, key, InUse::default(), cluster);
        Ok(Self::Store(Box::new(importer)))
    }

    async fn connect(relay: AdminAddress) -> Result<Self, Failure> {
        let connecting = async {
            let stream = TcpStream::connect(relay.address).await.ok()?;
            hyper::client::conn::http1::handshake(TokioIo::new(stream))
                .await
                .ok()
        };
        let connected = timeout(CONNECT_TIMEOUT, connecting).await.ok().flatten();
        let (client, connection) = connected.ok_or_else(|| silent(&relay))?;
        // It ends with the client.
        tokio::spawn(connection);
        Ok(Self::Relay(relay, client))
    }

    pub(super) fn is_relay(&self) -> bool {
        matches!(self, Self::Relay(..))
    }

    /// Asks; `text` is that of the lines.
    pub(super) async fn ask(&mut self, ask: &Ask, text: &[u8]) -> Result<Said, Failure> {
        match self {
            Self::Store(importer) => {
                let now = now_unix_ms();
                Ok(importer.answer(ask.clone(), text.to_vec(), now).await)
            }
            Self::Relay(relay, client) => {
                let answer = timeout(ANSWER_TIMEOUT, post(relay, client, ask, text)).await;
                answer.unwrap_or_else(|_| Err(silent(relay)))
            }
        }
    }
}

async fn post(
    relay: &AdminAddress,
    client: &mut SendRequest<Full<Bytes>>,
    ask: &Ask,
    text: &[u8],
) -> Result<Said, Failure> {
    let mut body = serde_json::to_vec(ask)
        .map_err(|error| Failure::Other(format!("cannot write the request: {error}")))?;
    body.push(b'\n');
    body.extend_from_slice(text);
    let request = hyper::Request::post(port::PATH)
        .header(HOST, relay.address.to_string())
        .header(CONTENT_TYPE, port::CONTENT)
        .header(AUTHORIZATION, relay.bearer())
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| Failure::Other("the token in admin.address is damaged".to_owned()))?;
    let gone = |_: &dyn std::error::Error| {
        Failure::Other(
            "the relay ended meanwhile; what was imported stays. Run it again: it goes on where it was"
                .to_owned(),
        )
    };
    client.ready().await.map_err(|error| gone(&error))?;
    let answer = client
        .send_request(request)
        .await
        .map_err(|error| gone(&error))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await;
    let body = body.map_err(|error| gone(&*error))?.to_bytes();
    if status != StatusCode::OK {
        let reason = String::from_utf8_lossy(&body);
        let reason = auditrelay_dispatch::escape::clean(reason.trim(), 300);
        return Err(Failure::Other(format!(
            "the relay answered {status}: {reason}"
        )));
    }
    serde_json::from_slice(&body).map_err(|_| {
        Failure::Other("the relay's answer cannot be read; is it another version?".to_owned())
    })
}
