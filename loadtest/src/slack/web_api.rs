//! The Web API: who calls what, and how the answer leaves.
//!
//! Contract: every answer is HTTP 200 and says `ok`, but for 429 and for what a fault
//! asks. An unknown method is `unknown_method`, before anybody asks for a token. A call
//! passes, in this order: body syntax, token, scope, channel (of a message), pace or
//! the minute's count, content (of a message), injected fault.

use std::sync::Arc;
use std::time::Duration;

use hyper::http::request::Parts;
use serde_json::{Map, Value, json};

use super::directory::{Channel, Token};
use super::fault::{Answering, Effect, Limited, Storing};
use super::history::{self, Threads};
use super::message::{self, Refusal};
use super::methods::{self, Call, Method};
use super::pace::retry_after_seconds;
use super::rates::Wait;
use super::record::{Outcome, Post, Via};
use super::reply::{self, Reply};
use super::request::Arguments;
use super::server::{Closed, fail, hold_back};
use super::state::{Inner, Moment, Shared, text_start};
use super::submit::{Submission, Verdict, failed_after, not_stored, rate_limited, refused};

/// Answers a call of `method`.
pub(super) async fn call(
    shared: &Arc<Shared>,
    method: &str,
    parts: &Parts,
    body: &[u8],
) -> Result<Reply, Closed> {
    let Some(known) = Method::named(method) else {
        return Ok(refuse(shared, method, None, &"unknown_method".into()));
    };
    let arguments = match Arguments::read(parts, body, known.json) {
        Ok(arguments) => arguments,
        Err(refusal) => return Ok(refuse(shared, method, None, &refusal)),
    };
    let token = arguments
        .token(parts)
        .and_then(|token| shared.with(|inner, _moment| inner.directory.token(token)));
    let token = match token {
        Ok(token) => token,
        Err(refusal) => return Ok(refuse(shared, method, Some(&arguments), &refusal)),
    };
    let scopes = token.scopes.clone();
    let reply = if let Err(refusal) = token.needs(known.scopes) {
        Ok(refuse(shared, method, Some(&arguments), &refusal))
    } else if known.name == "chat.postMessage" {
        post_message(shared, token, arguments).await
    } else {
        other(shared, known, token, arguments, parts).await
    };
    reply.map(|reply| reply::with_scopes(reply, &scopes, known.scopes))
}

async fn post_message(
    shared: &Arc<Shared>,
    token: Token,
    mut arguments: Arguments,
) -> Result<Reply, Closed> {
    let (channel, thread_ts) = match destination(shared, &token, &arguments.fields) {
        Ok(found) => found,
        Err(refusal) => {
            let method = "chat.postMessage";
            return Ok(refuse(shared, method, Some(&arguments), &refusal));
        }
    };
    let text_start = text_start(message::raw_text(&arguments.fields));
    let content = message::check(&mut arguments.fields, &shared.options.content);
    let warning = arguments.warning;
    let submission = Submission {
        via: Via::PostMessage,
        team: token.team,
        channel: channel.id,
        name: channel.name,
        body: arguments.fields,
        thread_ts,
        text_start,
        content,
    };
    let verdict = shared.submit(submission);
    answer(verdict, warning, |post| posted(&post)).await
}

/// What the caller of any method is told.
async fn answer<T>(
    verdict: Verdict<T>,
    warning: Option<&'static str>,
    body: impl FnOnce(T) -> Value,
) -> Result<Reply, Closed> {
    match verdict {
        Verdict::Accepted { answer, delay } => {
            hold_back(delay).await;
            Ok(reply::web_api(body(answer), warning))
        }
        Verdict::RateLimited {
            retry_after_seconds,
        } => Ok(reply::rate_limited(retry_after_seconds)),
        Verdict::Refused(refusal) => Ok(reply::web_api_error(&refusal, warning)),
        Verdict::Failed(failure) => fail(failure).await,
    }
}

/// The channel and the thread; a channel that is missing is as little found as one
/// that is wrong. A parent Slack does not know is let pass, as Slack does.
fn destination(
    shared: &Shared,
    token: &Token,
    fields: &Map<String, Value>,
) -> Result<(Channel, Option<String>), Refusal> {
    let channel = message::string(fields, "channel")?;
    let thread_ts = message::string(fields, "thread_ts")?;
    shared.with(|inner, _moment| {
        let channel = methods::destination(inner, token, channel, !thread_ts.is_empty())?;
        if thread_ts.is_empty() {
            return Ok((channel, None));
        }
        let parent = |post: &&Post| post.channel == channel.id && post.ts == thread_ts;
        let parent = inner.log.posts.iter().rev().find(parent);
        if parent.is_some_and(|post| post.thread_ts.is_some()) {
            return Err("cannot_reply_to_message".into());
        }
        Ok((channel, Some(thread_ts.to_owned())))
    })
}

/// Any method but chat.postMessage.
async fn other(
    shared: &Arc<Shared>,
    method: &'static Method,
    token: Token,
    arguments: Arguments,
    parts: &Parts,
) -> Result<Reply, Closed> {
    let host = parts
        .headers
        .get("host")
        .and_then(|host| host.to_str().ok());
    let warning = arguments.warning;
    let call = Call {
        method,
        fields: arguments.fields,
        token,
        host: host.unwrap_or("localhost").to_owned(),
    };
    let verdict = shared.with(|inner, moment| {
        let (outcome, verdict) = decide(shared, inner, moment, &call);
        let channel = call.channel_name().map(str::to_owned);
        let text = text_start(message::raw_text(&call.fields));
        inner.attempt(moment, method.name, channel, text, outcome);
        verdict
    });
    answer(verdict, warning, |body| body).await
}

fn decide(
    shared: &Shared,
    inner: &mut Inner,
    moment: Moment,
    call: &Call,
) -> (Outcome, Verdict<Value>) {
    let (team, name) = (call.token.team.as_str(), call.method.name);
    let limit = call.method.limit(&shared.options.limits);
    match inner.rates.wait(team, name, limit, moment.now) {
        Some(Wait::Counted(wait)) => {
            let seconds = retry_after_seconds(wait);
            if shared.options.strict_blocks {
                let length = Duration::from_secs(seconds);
                inner.rates.block(team, name, moment.now, length);
            }
            return rate_limited(Some(seconds));
        }
        Some(Wait::Blocked(wait)) => return rate_limited(Some(retry_after_seconds(wait))),
        None => inner.rates.count(team, name, moment.now),
    }
    let names: Vec<&str> = call.channel_name().into_iter().collect();
    let effect = inner.faults.take(name, &names);
    let usual = (Storing::Now, Answering::Late(Duration::ZERO));
    let (storing, answering) = effect.map_or(usual, Effect::course);
    match (storing, answering) {
        (_, Answering::RateLimited(limited)) => {
            let seconds = match limited {
                Limited::WithoutHeader => return rate_limited(None),
                Limited::AsConfigured { seconds } | Limited::Method { seconds } => seconds,
            };
            let length = Duration::from_secs(seconds);
            inner.rates.block(team, name, moment.now, length);
            rate_limited(Some(seconds))
        }
        // Only messages can be late: of other methods the work is then not done.
        (Storing::Never | Storing::Later(_), Answering::Error(code)) if code == "missing_scope" => {
            refused(call.token.lacks(call.method.scopes))
        }
        (Storing::Never | Storing::Later(_), answering) => not_stored(answering),
        (Storing::Now, answering) => done(shared, inner, moment, call, answering),
    }
}

fn done(
    shared: &Shared,
    inner: &mut Inner,
    moment: Moment,
    call: &Call,
    answering: Answering,
) -> (Outcome, Verdict<Value>) {
    let answer = match methods::perform(shared, inner, moment, call) {
        Ok(answer) => answer,
        Err(refusal) => return refused(refusal),
    };
    let Answering::Late(delay) = answering else {
        return failed_after(String::new(), answering);
    };
    if call.method.name == "conversations.history"
        && let Some(channel) = call.channel_name()
    {
        inner.looked_up(channel);
    }
    (Outcome::Answered, Verdict::Accepted { answer, delay })
}

fn refuse(
    shared: &Shared,
    method: &str,
    arguments: Option<&Arguments>,
    refusal: &Refusal,
) -> Reply {
    let fields = arguments.map(|arguments| &arguments.fields);
    let channel = fields
        .and_then(|fields| fields.get("channel"))
        .and_then(Value::as_str)
        .map(message::channel_name);
    let text = fields.map(message::raw_text).unwrap_or_default();
    let outcome = Outcome::Refused {
        error: refusal.code.to_string(),
    };
    shared.note(method, channel, text, outcome);
    reply::web_api_error(refusal, arguments.and_then(|arguments| arguments.warning))
}

/// The answer to a posted message.
fn posted(post: &Post) -> Value {
    let message = history::message(post, true, &Threads::default());
    json!({"ok": true, "channel": post.channel, "ts": post.ts, "message": message})
}
