//! `auditrelay reload`: the running relay loads its configuration again, and this command tells what came of it.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    header::{AUTHORIZATION, HOST},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::{PATH, Report, difference::Change};
use crate::{
    Failure,
    cli::PlaceArgs,
    output::{count, line, say, say_json, table},
    reach::{AdminAddress, silent},
};

const ANSWER_BYTES_MAX: usize = 16 << 20;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Of a reason, as of a configuration's error.
const REASON_CHARS_MAX: usize = 1_500;

/// What `reload` takes.
#[derive(Debug, Args)]
pub(crate) struct ReloadArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Print JSON for scripts.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) async fn run(args: &ReloadArgs) -> Result<ExitCode, Failure> {
    // The relay says what is wrong with it; this does where none is found.
    let data_dir = args
        .place
        .data_dir_of_relay()
        .map_err(|failure| match failure {
            Failure::Config(error) => Failure::NotLoaded(error.to_string()),
            other => other,
        })?;
    let relay = AdminAddress::read(&data_dir).ok_or_else(|| {
        let path = data_dir.display();
        Failure::No(format!(
            "no relay runs with {path}; name its data directory with --data-dir"
        ))
    })?;
    let answer = timeout(ANSWER_TIMEOUT, ask(&relay)).await;
    let (status, body) = answer.ok().flatten().ok_or_else(|| silent(&relay))?;
    if status != StatusCode::OK {
        let reason = String::from_utf8_lossy(&body);
        let reason = line(reason.trim(), REASON_CHARS_MAX);
        return Err(match status {
            StatusCode::BAD_REQUEST => Failure::NotLoaded(reason),
            status => Failure::Other(format!("the relay answered {status}: {reason}")),
        });
    }
    let report: Report = serde_json::from_slice(&body).map_err(|_| {
        let text = "the relay's answer cannot be read; is it another version?";
        Failure::Other(text.to_owned())
    })?;
    match args.json {
        true => say_json(&report)?,
        false => say(&shown(&report))?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(relay: &AdminAddress) -> Option<(StatusCode, Bytes)> {
    let stream = TcpStream::connect(relay.address).await.ok()?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut client, connection) = handshake.ok()?;
    // It ends when the answer was read, or with the process.
    tokio::spawn(connection);
    let request = Request::post(PATH)
        .header(HOST, relay.address.to_string())
        .header(AUTHORIZATION, relay.bearer())
        .body(Empty::<Bytes>::new())
        .ok()?;
    let answer = client.send_request(request).await.ok()?;
    let (status, body) = (answer.status(), answer.into_body());
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.ok()?;
    Some((status, body.to_bytes()))
}

/// A report for people.
fn shown(report: &Report) -> String {
    let mut text: String = report
        .notes
        .iter()
        .map(|note| format!("note: {}\n", line(note, 400)))
        .collect();
    let rows = |changes: &[Change], counts: &str| {
        let row = |one: &Change| {
            let (key, change) = (line(&one.key, 200), one.change.as_str().to_owned());
            vec![key, change, counts.to_owned()]
        };
        changes.iter().map(row).collect::<Vec<_>>()
    };
    let mut all = rows(&report.changed, "now");
    all.extend(rows(&report.restart_needed, "after a restart"));
    if !all.is_empty() {
        text.push_str(&table(&["key", "change", "counts"], &all));
        text.push('\n');
    }
    let changed = count(report.changed.len() as u64, "change");
    text.push_str(&match (report.changed.len(), report.restart_needed.len()) {
        (0, 0) => "the configuration was loaded again, nothing changed\n".to_owned(),
        (_, 0) => format!("the configuration was loaded again: {changed}\n"),
        (_, more) => format!(
            "the configuration was loaded again: {changed}, and {} after a restart\n",
            count(more as u64, "change")
        ),
    });
    text
}
