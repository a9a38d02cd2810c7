//! What Slack does not have: reading the record and injecting faults over HTTP, for
//! tests in other processes.
//!
//! Contract: these requests are not attempts and leave no trace in the record; they
//! need no token, since the local Slack is for one machine.

use hyper::{Method, StatusCode};
use serde_json::json;

use super::fault::Fault;
use super::reply::{self, Reply};
use super::state::Shared;

/// Answers `/recorded`, `/inject` and `/reset`, and any other path with 404.
pub(super) fn answer(shared: &Shared, method: &Method, path: &str, body: &[u8]) -> Reply {
    match (path, method) {
        ("/recorded", &Method::GET) => recorded(shared),
        ("/inject", &Method::POST) => inject(shared, body),
        ("/reset", &Method::POST) => {
            shared.reset();
            done()
        }
        ("/recorded" | "/inject" | "/reset", _) => reply::page(StatusCode::METHOD_NOT_ALLOWED),
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

fn done() -> Reply {
    reply::json(StatusCode::OK, &json!({"ok": true}))
}

fn failed(status: StatusCode, error: &serde_json::Error) -> Reply {
    reply::json(status, &json!({"ok": false, "error": error.to_string()}))
}
