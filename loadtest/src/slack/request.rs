//! Reading a request: its body, its arguments and its token.
//!
//! Contract: a body is at most 1 MiB (a file 16 MiB) and arrives within 30 s; arguments
//! come from a form or from a JSON object, or from the query where there is no body,
//! never from two of them; a token comes from the `Authorization` header or a form
//! field. Slack forbids a token in the query or in JSON; such a request is `not_authed`
//! here even if the header carries a good one, so that no client leaks its token
//! unnoticed. Slack also takes JSON as `text/plain`; here it is refused, since it does
//! not document it for one method.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::http::request::Parts;
use serde_json::{Map, Value};
use tokio::time::timeout;
use url::form_urlencoded;

use super::message::Refusal;
use super::multipart;

/// The largest body read; Slack publishes no number, and no valid message comes near.
pub(super) const BODY_MAX_BYTES: usize = 1024 * 1024;
/// The largest file read.
pub(super) const FILE_MAX_BYTES: usize = 16 * 1024 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no body.
#[derive(Debug)]
pub(super) enum BodyError {
    TooLarge,
    /// The client went away, broke HTTP or stalled: there is no one to answer.
    Broken,
}

pub(super) async fn read_body(body: Incoming, max_bytes: usize) -> Result<Bytes, BodyError> {
    let collected = timeout(BODY_TIMEOUT, Limited::new(body, max_bytes).collect());
    match collected.await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Ok(Err(_)) | Err(_) => Err(BodyError::Broken),
    }
}

/// A request's arguments.
#[derive(Debug)]
pub(super) struct Arguments {
    /// Without the form's token.
    pub(super) fields: Map<String, Value>,
    /// Slack's remark on the charset, given with success and error alike.
    pub(super) warning: Option<&'static str>,
    form_token: Option<String>,
    token_in_json: bool,
}

impl Arguments {
    /// Reads a Web API call's arguments. A method that takes no JSON sees none in it.
    pub(super) fn read(parts: &Parts, body: &[u8], takes_json: bool) -> Result<Self, Refusal> {
        // Slack's own SDK announces JSON and sends nothing where there are no arguments.
        if body.is_empty() {
            let query = parts.uri.query().unwrap_or_default();
            return Ok(Self::form(form_fields(query.as_bytes()), None));
        }
        let content_type = parts
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let Some(content_type) = content_type else {
            return Err("missing_post_type".into());
        };
        let charset = charset(content_type);
        // Slack also takes iso-8859-1; here it is refused rather than misread.
        if charset.as_deref().is_some_and(|name| name != "utf-8") {
            return Err("invalid_charset".into());
        }
        match essence(content_type).as_str() {
            "application/x-www-form-urlencoded" => {
                let warning = charset.map(|_| "superfluous_charset");
                Ok(Self::form(form_fields(body), warning))
            }
            "multipart/form-data" => {
                let fields = multipart::text_fields(content_type, body);
                Ok(Self::form(fields.ok_or("invalid_form_data")?, None))
            }
            "application/json" => {
                let warning = charset.is_none().then_some("missing_charset");
                let mut arguments = Self::json(body, warning)?;
                if !takes_json {
                    arguments.fields = Map::new();
                }
                Ok(arguments)
            }
            _ => Err("invalid_post_type".into()),
        }
    }

    fn form(mut fields: Map<String, Value>, warning: Option<&'static str>) -> Self {
        let form_token = match fields.remove("token") {
            Some(Value::String(token)) => Some(token),
            _ => None,
        };
        Self {
            fields,
            warning,
            form_token,
            token_in_json: false,
        }
    }

    fn json(body: &[u8], warning: Option<&'static str>) -> Result<Self, Refusal> {
        let Value::Object(fields) = serde_json::from_slice(body).map_err(|_| "invalid_json")?
        else {
            return Err("json_not_object".into());
        };
        let token_in_json = fields.get("token").is_some_and(|token| !token.is_null());
        Ok(Self {
            fields,
            warning,
            form_token: None,
            token_in_json,
        })
    }

    /// The token, from a place where Slack takes one.
    pub(super) fn token<'a>(&'a self, parts: &'a Parts) -> Result<&'a str, Refusal> {
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let token_in_query = form_urlencoded::parse(query).any(|(name, _)| name == "token");
        if token_in_query || self.token_in_json {
            return Err("not_authed".into());
        }
        bearer(parts)
            .or(self.form_token.as_deref())
            .filter(|token| !token.is_empty())
            .ok_or_else(|| "not_authed".into())
    }
}

/// The fields of a form; of a repeated one, the last.
fn form_fields(body: &[u8]) -> Map<String, Value> {
    form_urlencoded::parse(body)
        .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
        .collect()
}

/// A webhook's JSON: the body itself, or the `payload` of a form. The type is not
/// enforced: Slack's own examples post JSON under several.
pub(super) fn webhook_payload(parts: &Parts, body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    let content_type = parts
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let is_form =
        content_type.is_some_and(|value| essence(value) == "application/x-www-form-urlencoded");
    let payload = if is_form {
        let fields = form_fields(body);
        fields
            .get("payload")
            .and_then(Value::as_str)
            .and_then(|json| serde_json::from_str(json).ok())
    } else {
        serde_json::from_slice(body).ok()
    };
    match payload {
        Some(Value::Object(fields)) => Ok(fields),
        _ => Err("invalid_payload".into()),
    }
}

fn bearer(parts: &Parts) -> Option<&str> {
    let header = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A content type without its parameters, in lower case.
fn essence(content_type: &str) -> String {
    content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

fn charset(content_type: &str) -> Option<String> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_charset = name.trim().eq_ignore_ascii_case("charset");
        is_charset.then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    })
}
