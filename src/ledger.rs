//! `auditrelay ledger`: what was received, and where it is.
//!
//! Asks a running relay through its admin port; where none runs, reads the store itself and then also
//! counts every record, so that a counter that lies is found. Exit code 1 if anything is unaccounted
//! for.

use std::{io::Write, net::SocketAddr, path::Path, process::ExitCode, time::Duration};

use auditrelay_store::{Ledger, OpenError, Queue, SledQueue};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, header::HOST};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;

use crate::{Failure, cli::LedgerArgs, relay::sled_options, session::AdminAddress};

const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) async fn run(args: &LedgerArgs) -> Result<ExitCode, Failure> {
    let data_dir = args.place.data_dir()?;
    let ledger = read_ledger(&data_dir).await?;
    let text = if args.json {
        format!("{ledger:#}\n")
    } else {
        table(&ledger)
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Failure::Other(format!("cannot write: {error}")))?;
    Ok(if ledger["balanced"] == true {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The running relay's answer; `None` when it gives none.
async fn from_relay(data_dir: &Path) -> Option<Value> {
    let address = AdminAddress::read(data_dir)?.address;
    tokio::time::timeout(ANSWER_TIMEOUT, get(address, "/ledger"))
        .await
        .ok()?
}

async fn get(address: SocketAddr, path: &str) -> Option<Value> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .ok()?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path).header(HOST, address.to_string());
    let response = client
        .send_request(request.body(Empty::<Bytes>::new()).ok()?)
        .await
        .ok()?;
    let is_ok = response.status() == StatusCode::OK;
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .ok()?;
    connection.abort();
    let value: Value = serde_json::from_slice(&body.to_bytes()).ok()?;
    (is_ok && value.get("balanced").is_some()).then_some(value)
}

/// The store's own ledger, checked by a full count; the running relay's where one has it.
async fn read_ledger(data_dir: &Path) -> Result<Value, Failure> {
    if !data_dir.join("queue").is_dir() {
        let path = data_dir.display();
        return Err(Failure::Other(format!(
            "there is no queue in {path}; name it with --data-dir"
        )));
    }
    let opened = match SledQueue::open(&sled_options(data_dir, None)) {
        Ok(opened) => opened,
        // The lock says that a relay runs here, so the address is its own and not a leftover.
        Err(in_use @ OpenError::InUse(_)) => {
            return from_relay(data_dir).await.ok_or_else(|| {
                Failure::Other(format!("{in_use}; it does not answer on its admin port"))
            });
        }
        Err(error) => return Err(error.into()),
    };
    let verified = opened.queue.verify().await;
    Ok(json(&opened.queue.ledger(), verified.err()))
}

/// The ledger for scripts. `fault` is what a full count found wrong.
pub(crate) fn json(ledger: &Ledger, fault: Option<String>) -> Value {
    let channels: Map<String, Value> = ledger
        .channels
        .iter()
        .map(|(name, counts)| (name.clone(), json!(counts)))
        .collect();
    let mut value = json!({
        "received": ledger.received,
        "duplicates": ledger.counts.duplicates,
        "filtered": ledger.counts.filtered,
        "muted": ledger.counts.muted,
        "quarantined": ledger.counts.quarantined,
        "routed": ledger.counts.routed,
        "waiting": ledger.waiting,
        "balanced": ledger.is_balanced() && fault.is_none(),
        "channels": channels,
    });
    if let Some(fault) = fault {
        value["fault"] = fault.into();
    }
    value
}

/// The ledger for people.
pub(crate) fn table(ledger: &Value) -> String {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let mut text = String::from("events\n");
    for (name, meaning) in [
        ("received", "acknowledged to an API server"),
        ("duplicates", "seen before, not told again"),
        ("filtered", "no route wanted them"),
        ("muted", "muted on purpose"),
        ("quarantined", "could not be read"),
        ("routed", "went to a channel"),
        ("waiting", "not routed yet"),
    ] {
        text.push_str(&format!(
            "  {name:<12}{:>12}   {meaning}\n",
            number(&ledger[name])
        ));
    }
    let columns = ["routed", "delivered", "waiting", "dead", "dropped"];
    let channels = ledger["channels"].as_object();
    let width = channels
        .into_iter()
        .flatten()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or(0)
        .max(7);
    text.push_str(&format!("\n{:<width$}", "channel"));
    text.extend(columns.map(|column| format!("{column:>12}")));
    text.push('\n');
    for (name, counts) in channels.into_iter().flatten() {
        text.push_str(&format!("{name:<width$}"));
        text.extend(columns.map(|column| format!("{:>12}", number(&counts[column]))));
        text.push('\n');
    }
    text.push_str(match (&ledger["balanced"], ledger["fault"].as_str()) {
        (Value::Bool(true), _) => "\nbalanced: every event is accounted for\n",
        (_, None) => "\nNOT BALANCED: the numbers above do not add up\n",
        (_, Some(fault)) => return format!("{text}\nNOT BALANCED: {fault}\n"),
    });
    text
}

#[cfg(test)]
mod tests {
    use auditrelay_store::{ChannelCounts, Dropped};

    use super::*;

    #[test]
    fn the_json_has_the_documented_keys_and_says_whether_it_balances() {
        let mut ledger = Ledger {
            received: 5,
            waiting: 2,
            ..Ledger::default()
        };
        ledger.counts.routed = 3;
        let counts = ChannelCounts {
            routed: 3,
            delivered: 1,
            waiting: 1,
            dead: 1,
            dropped: Dropped::default(),
        };
        ledger.channels.insert("ops".into(), counts);
        let value = json(&ledger, None);
        assert_eq!(
            value,
            json!({"received": 5, "duplicates": 0, "filtered": 0, "muted": 0, "quarantined": 0,
                "routed": 3, "waiting": 2, "balanced": true,
                "channels": {"ops": {"routed": 3, "delivered": 1, "waiting": 1, "dead": 1,
                    "dropped": {"quota": 0, "command": 0}}}})
        );
        assert_eq!(json(&ledger, Some("x".into()))["balanced"], false);
        ledger.received = 6;
        assert_eq!(json(&ledger, None)["balanced"], false);
        assert!(table(&json(&ledger, None)).contains("NOT BALANCED"));
    }
}
