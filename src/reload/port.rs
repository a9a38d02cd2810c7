//! `POST /-/reload` of the admin port: loads the configuration again, and answers what came of it. Who may: as with
//! commands, the token of this run is needed. There is no body.

use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};

use super::{NotLoaded, Reloader, Trigger};
use crate::commands_port::{Answer, Commands, refuse};

pub(crate) const PATH: &str = "/-/reload";

/// Answers 200 with a report, or 400 with the reason in one line.
pub(crate) async fn answer(
    reloader: Option<&Arc<Reloader>>,
    commands: &Commands,
    request: Request<Incoming>,
) -> Answer {
    if request.method() != Method::POST {
        let reason = "only POST is served here".to_owned();
        return refuse(StatusCode::METHOD_NOT_ALLOWED, reason);
    }
    if let Err((status, reason)) = commands.needs_token(request.headers().get(AUTHORIZATION)) {
        return refuse(status, reason.to_owned());
    }
    let Some(reloader) = reloader else {
        let reason = "this relay was started without a configuration that could be loaded again";
        return refuse(StatusCode::NOT_FOUND, reason.to_owned());
    };
    let report = match Arc::clone(reloader).reload(Trigger::Request).await {
        Ok(report) => report,
        Err(NotLoaded::Invalid(reason)) => return refuse(StatusCode::BAD_REQUEST, reason),
        Err(NotLoaded::Moving) => {
            let reason = "the configuration changed while it was loaded; try again".to_owned();
            return refuse(StatusCode::CONFLICT, reason);
        }
        Err(NotLoaded::Storage(error)) => {
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
        }
    };
    match serde_json::to_vec_pretty(&report) {
        Ok(mut body) => {
            body.push(b'\n');
            let mut answer = hyper::Response::new(Full::new(Bytes::from(body)).boxed());
            let value = HeaderValue::from_static("application/json");
            answer.headers_mut().insert(CONTENT_TYPE, value);
            answer
        }
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
