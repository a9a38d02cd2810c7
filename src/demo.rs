//! `auditrelay demo`: the relay as it is, on a temporary queue, against the local Slack, fed with real
//! audit events. Shows what arrives as it arrives, then the ledger.
//!
//! Nothing is staged: events go in over HTTP, messages come out over HTTP, and the exit code is 0 only
//! if every event is accounted for and every channel is empty.

use std::{
    io::{IsTerminal, Write, stdout},
    net::SocketAddr,
    process::ExitCode,
    time::Duration,
};

use auditrelay_config::{Overrides, load};
use auditrelay_dispatch::preview;
use auditrelay_loadtest::slack::{LocalSlack, Options, Post};
use auditrelay_store::{Engine, Ledger, Queue};
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, body::Bytes, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    sync::{broadcast, oneshot},
    time::{Instant, timeout},
};

use crate::{Failure, ledger, relay::Relay};

const INCIDENT: &[u8] = include_bytes!("demo/incident.json");
const STORM: &[u8] = include_bytes!("demo/storm.json");
const ODD_BYTES: &[u8] = include_bytes!("demo/odd-bytes.json");
const CONFIG: &str = include_str!("demo/config.yaml");

const DEMO_TIMEOUT: Duration = Duration::from_secs(50);

pub(crate) async fn run() -> Result<ExitCode, Failure> {
    let folder = tempfile::tempdir().map_err(other)?;
    let slack = LocalSlack::start(SocketAddr::from(([127, 0, 0, 1], 0)), Options::default())
        .await
        .map_err(other)?;
    let file = folder.path().join("demo.yaml");
    std::fs::write(&file, CONFIG).map_err(other)?;
    let environment = [
        ("AUDITRELAY__SLACK__API_URL".to_owned(), slack.api_url()),
        (
            "AUDITRELAY__DATA_DIR".to_owned(),
            folder.path().join("data").display().to_string(),
        ),
    ];
    let config = load(Some(&file), environment, Overrides::default())?.config;
    let relay = Relay::open(config).await?;
    let webhook = relay.webhook_address().map_err(other)?;
    let webhook = webhook.ok_or_else(|| Failure::Other("the demo has a webhook".to_owned()))?;
    let queue = relay.queue();
    let queue = queue.ok_or_else(|| Failure::Other("the demo's queue is on a disk".to_owned()))?;
    let (stop, stopped) = oneshot::channel::<()>();
    let relay = tokio::spawn(relay.run(async move { drop(stopped.await) }));
    say(&format!(
        "A relay on http://{webhook}/webhook, a Slack on {}, nothing leaves this machine.\n\n",
        slack.api_url()
    ))?;

    let deadline = Instant::now() + DEMO_TIMEOUT;
    let mut posts = slack.subscribe();
    feed(webhook).await?;
    let ledger = show_until_delivered(&queue, &mut posts, deadline).await?;
    // Nothing is under way any more.
    let verified = queue.verify().await;
    // The relay may have gone by itself; its outcome is read below.
    let _ = stop.send(());
    relay.await.map_err(other)??;
    let messages = slack.posts().len();
    slack.stop().await;
    let value = ledger::json(&ledger, &[], verified.err());
    say(&format!(
        "The ledger (`auditrelay ledger`):\n\n{}",
        ledger::table(&value)
    ))?;
    let finished = ledger.waiting == 0 && ledger.channels.values().all(|one| one.waiting == 0);
    if !finished {
        say("\nNot everything was delivered in time.\n")?;
    }
    say(&format!(
        "\n{} events became {messages} Slack messages.\n\
         The real thing: SLACK_TOKEN=… CHANNEL_ID=… cargo run --release -- serve\n",
        ledger.received
    ))?;
    Ok(if finished && value["balanced"] == true {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Posts the sample as API servers would: two clusters, a storm, and a batch that is sent twice.
async fn feed(webhook: SocketAddr) -> Result<(), Failure> {
    for (what, path, body) in [
        (
            "an incident in cluster prod-eu",
            "/webhook/prod-eu",
            INCIDENT,
        ),
        (
            "the same batch again, as an API server resends it",
            "/webhook/prod-eu",
            INCIDENT,
        ),
        (
            "an event with bytes that are no text",
            "/webhook/prod-eu",
            ODD_BYTES,
        ),
        ("a storm from cluster staging", "/webhook/staging", STORM),
    ] {
        let status = post(webhook, path, body).await?;
        say(&format!(
            "POST {path}  {} bytes, {what}: {status}\n",
            body.len()
        ))?;
    }
    say("\nWhat arrives in Slack:\n\n")
}

async fn post(address: SocketAddr, path: &str, body: &'static [u8]) -> Result<StatusCode, Failure> {
    let stream = TcpStream::connect(address).await.map_err(other)?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut client, connection) = handshake.map_err(other)?;
    let connection = tokio::spawn(connection);
    let request = Request::post(path)
        .header(HOST, address.to_string())
        .header(hyper::header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from_static(body)))
        .map_err(other)?;
    let response = client.send_request(request).await.map_err(other)?;
    let status = response.status();
    response.into_body().collect().await.map_err(other)?;
    connection.abort();
    Ok(status)
}

async fn show_until_delivered(
    queue: &Engine,
    posts: &mut broadcast::Receiver<Post>,
    deadline: Instant,
) -> Result<Ledger, Failure> {
    loop {
        let ledger = queue.ledger();
        let idle = ledger.waiting == 0
            && ledger.channels.values().all(|channel| channel.waiting == 0)
            && ledger.notices.values().all(|notices| notices.waiting == 0);
        if (idle && posts.is_empty()) || Instant::now() >= deadline {
            return Ok(ledger);
        }
        if let Ok(Ok(post)) = timeout(Duration::from_millis(100), posts.recv()).await {
            let blocks = post.body["blocks"].as_array().cloned().unwrap_or_default();
            say(&preview::show(
                &post.channel,
                &blocks,
                stdout().is_terminal(),
            ))?;
        }
    }
}

fn say(text: &str) -> Result<(), Failure> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::Other(format!("cannot write: {error}")))
}

fn other(error: impl std::fmt::Display) -> Failure {
    Failure::Other(error.to_string())
}
