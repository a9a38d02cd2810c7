//! What Slack does not have: reading the record, injecting faults and changing what
//! there is over HTTP, for tests in other processes.
//!
//! Contract: these requests are not attempts and leave no trace in the record; they
//! need no token, since the local Slack is for one machine.

use hyper::{Method, StatusCode};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::fault::Fault;
use super::reply::{self, Reply};
use super::state::Shared;

/// Answers `/recorded`, `/inject`, `/reset` and `/control/…`, any other path with 404.
pub(super) fn answer(shared: &Shared, method: &Method, path: &str, body: &[u8]) -> Reply {
    match (path, method) {
        ("/recorded", &Method::GET) => recorded(shared),
        ("/inject", &Method::POST) => inject(shared, body),
        ("/reset", &Method::POST) => {
            shared.reset();
            done()
        }
        ("/control/channel", &Method::POST) => settled(change_channel(shared, body)),
        ("/control/token", &Method::POST) => settled(change_token(shared, body)),
        ("/control/webhook", &Method::POST) => settled(change_webhook(shared, body)),
        (
            "/recorded" | "/inject" | "/reset" | "/control/channel" | "/control/token"
            | "/control/webhook",
            _,
        ) => reply::page(StatusCode::METHOD_NOT_ALLOWED),
        _ => reply::page(StatusCode::NOT_FOUND),
    }
}

fn recorded(shared: &Shared) -> Reply {
    match serde_json::to_value(shared.recorded()) {
        Ok(recorded) => reply::json(StatusCode::OK, &recorded),
        Err(error) => failed(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}

fn inject(shared: &Shared, body: &[u8]) -> Reply {
    match serde_json::from_slice::<Fault>(body) {
        Ok(fault) => {
            shared.inject(fault);
            done()
        }
        Err(error) => failed(StatusCode::BAD_REQUEST, &error),
    }
}

fn change_channel(shared: &Shared, body: &[u8]) -> serde_json::Result<()> {
    let (id, patch) = patch(body, "id")?;
    shared.with(|inner, _moment| {
        // A patch that is refused makes no channel.
        let changed = patched(&inner.directory.channel_or_new(&id), patch)?;
        *inner.directory.channel_mut(&id) = changed;
        Ok(())
    })
}

fn change_token(shared: &Shared, body: &[u8]) -> serde_json::Result<()> {
    let (token, patch) = patch(body, "token")?;
    shared.with(|inner, _moment| {
        let changed = patched(&inner.directory.token_or_new(&token), patch)?;
        *inner.directory.token_mut(&token) = changed;
        Ok(())
    })
}

fn change_webhook(shared: &Shared, body: &[u8]) -> serde_json::Result<()> {
    let hook: Hook = serde_json::from_slice(body)?;
    shared.set_webhook(&hook.channel, hook.error);
    Ok(())
}

/// `POST /control/webhook`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hook {
    channel: String,
    /// `null`: it takes messages again.
    error: Option<String>,
}

/// The fields to change, and the one which says of what.
fn patch(body: &[u8], key: &str) -> serde_json::Result<(String, Map<String, Value>)> {
    let mut patch: Map<String, Value> = serde_json::from_slice(body)?;
    match patch.remove(key) {
        Some(Value::String(name)) if !name.is_empty() => Ok((name, patch)),
        _ => Err(serde_json::Error::custom(format!("{key} is missing"))),
    }
}

fn patched<T: Serialize + DeserializeOwned>(
    value: &T,
    patch: Map<String, Value>,
) -> serde_json::Result<T> {
    let mut whole = serde_json::to_value(value)?;
    for (name, value) in patch {
        whole[name] = value;
    }
    serde_json::from_value(whole)
}

fn settled(result: serde_json::Result<()>) -> Reply {
    match result {
        Ok(()) => done(),
        Err(error) => failed(StatusCode::BAD_REQUEST, &error),
    }
}

fn done() -> Reply {
    reply::json(StatusCode::OK, &json!({"ok": true}))
}

fn failed(status: StatusCode, error: &serde_json::Error) -> Reply {
    reply::json(status, &json!({"ok": false, "error": error.to_string()}))
}
