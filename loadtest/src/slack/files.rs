//! Files: an upload URL, the upload, and the share that makes a message of it.
//!
//! Contract: a file is announced with its length, uploaded once with exactly so many
//! bytes, then shared; at most [`FILES_MAX`] are kept, the oldest go first. A bot must
//! be a member of the channel: `chat:write.public` does not do here.

use std::collections::BTreeMap;

use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use serde_json::{Map, Value, json};

use super::fault::{Answering, Effect, Storing};
use super::message::{self, Refusal};
use super::methods::Call;
use super::record::{Post, Via};
use super::reply::{self, Reply};
use super::state::{Inner, Moment, Shared};
use super::{audit, multipart};

const FILES_MAX: usize = 100;
/// The path of upload URLs, before the file's ID.
pub(super) const UPLOADS: &str = "/upload/v1/";
/// How faults name the upload; of their effects it knows those that are a status.
const UPLOAD: &str = "upload";

/// A file as it was announced, uploaded and shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// `F…`.
    pub id: String,
    /// As announced.
    pub filename: String,
    /// As announced, in bytes.
    pub length: u64,
    /// What was uploaded; `None`: nothing yet.
    pub content: Option<Vec<u8>>,
    /// As given when it was shared.
    pub title: Option<String>,
    /// The channel it was shared in.
    pub channel: Option<String>,
}

/// All files.
#[derive(Debug, Default)]
pub(super) struct Files {
    last: u64,
    files: BTreeMap<u64, File>,
}

impl Files {
    pub(super) fn all(&self) -> Vec<File> {
        self.files.values().cloned().collect()
    }

    fn by_id(&mut self, id: &str) -> Option<&mut File> {
        let number: u64 = id.strip_prefix('F')?.parse().ok()?;
        self.files.get_mut(&number).filter(|file| file.id == id)
    }
}

/// `files.getUploadURLExternal`.
pub(super) fn begin(inner: &mut Inner, call: &Call) -> Result<Value, Refusal> {
    let filename = message::string(&call.fields, "filename")?.to_owned();
    let length = message::number(&call.fields, "length").map_err(|()| "invalid_arguments")?;
    let length = length.unwrap_or_default();
    if filename.is_empty() || length == 0 {
        return Err("missing_argument".into());
    }
    let files = &mut inner.files;
    files.last += 1;
    let id = format!("F{:09}", files.last);
    let file = File {
        id: id.clone(),
        filename,
        length,
        content: None,
        title: None,
        channel: None,
    };
    files.files.insert(files.last, file);
    if files.files.len() > FILES_MAX {
        files.files.pop_first();
    }
    let upload_url = format!("http://{}{UPLOADS}{id}", call.host);
    Ok(json!({"ok": true, "upload_url": upload_url, "file_id": id}))
}

/// The upload itself: raw bytes, or the first part of a form. It needs no token.
pub(super) fn upload(shared: &Shared, id: &str, parts: &Parts, body: &[u8]) -> Reply {
    let content_type = parts.headers.get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let form = content_type.filter(|value| value.starts_with("multipart/form-data"));
    let content = match form {
        None => Some(body),
        Some(form) => multipart::parts(form, body).and_then(|parts| Some(parts.first()?.1)),
    };
    let Some(content) = content else {
        return reply::page(StatusCode::BAD_REQUEST);
    };
    let fault = shared.with(|inner, _moment| inner.faults.take(UPLOAD, &[], |_| false));
    match fault.map(Effect::course) {
        Some((Storing::Never, Answering::Page(status))) => return reply::page(status),
        Some((Storing::Never, Answering::RateLimited(limited))) => {
            return reply::rate_limited(limited.seconds());
        }
        _ => {}
    }
    shared.with(|inner, _moment| match inner.files.by_id(id) {
        None => reply::page(StatusCode::NOT_FOUND),
        Some(file) if file.length != content.len() as u64 => reply::page(StatusCode::BAD_REQUEST),
        Some(file) => {
            file.content = Some(content.to_vec());
            reply::uploaded(content.len())
        }
    })
}

/// `files.completeUploadExternal`.
pub(super) fn complete(
    shared: &Shared,
    inner: &mut Inner,
    moment: Moment,
    call: &Call,
) -> Result<Value, Refusal> {
    let channel = message::string(&call.fields, "channel_id")?;
    let thread_ts = message::string(&call.fields, "thread_ts")?;
    let channel = if channel.is_empty() {
        None
    } else {
        let found = inner.directory.by_id(channel).ok_or("channel_not_found")?;
        if !found.member {
            return Err("not_in_channel".into());
        }
        found
            .takes(!thread_ts.is_empty())
            .map_err(|_| "posting_to_channel_denied")?;
        Some(found.id)
    };
    let wanted = wanted(call)?;
    let mut shared_files = Vec::new();
    for (id, title) in &wanted {
        let file = inner.files.by_id(id);
        let file = file.filter(|file| file.content.is_some());
        let file = file.ok_or("file_not_found")?;
        let title = title.clone().unwrap_or_else(|| file.filename.clone());
        shared_files.push(json!({"id": id, "name": file.filename, "title": title,
            "size": file.length, "permalink": format!("http://{}/files/{id}", call.host)}));
        file.title = Some(title);
        file.channel.clone_from(&channel);
    }
    if let Some(channel) = channel {
        let thread_ts = (!thread_ts.is_empty()).then(|| thread_ts.to_owned());
        let post = post(inner, moment, call, channel, &shared_files, thread_ts);
        shared.announce(inner, post);
    }
    Ok(json!({"ok": true, "files": shared_files}))
}

/// The message which a shared file is.
fn post(
    inner: &mut Inner,
    moment: Moment,
    call: &Call,
    channel: String,
    files: &[Value],
    thread_ts: Option<String>,
) -> Post {
    let comment = call.fields.get("initial_comment").and_then(Value::as_str);
    let text = comment.unwrap_or_default();
    let mut body = Map::new();
    body.insert("text".to_owned(), json!(text));
    body.insert("files".to_owned(), json!(files));
    // A comment unfurls nothing that the caller could turn off.
    body.insert("unfurl_links".to_owned(), json!(false));
    body.insert("unfurl_media".to_owned(), json!(false));
    Post {
        team: call.token.team.clone(),
        channel,
        ts: inner.next_ts(moment),
        text: text.to_owned(),
        audit: audit::findings(&body),
        body: Value::Object(body),
        received_unix_ms: moment.unix_us / 1000,
        elapsed_ms: moment.elapsed_ms,
        via: Via::File,
        thread_ts,
        late: None,
        updates: Vec::new(),
    }
}

/// `files`: IDs, each with a title or none.
fn wanted(call: &Call) -> Result<Vec<(String, Option<String>)>, Refusal> {
    let files = match call.fields.get("files") {
        // A form carries JSON in a string.
        Some(Value::String(encoded)) => serde_json::from_str(encoded).unwrap_or_default(),
        Some(other) => other.clone(),
        None => Value::Null,
    };
    let files = files.as_array().filter(|files| !files.is_empty());
    let files = files.ok_or("invalid_arguments")?;
    let one = |file: &Value| {
        let id = file["id"].as_str()?.to_owned();
        Some((id, file["title"].as_str().map(str::to_owned)))
    };
    let read: Option<Vec<_>> = files.iter().map(one).collect();
    read.ok_or_else(|| "invalid_arguments".into())
}
