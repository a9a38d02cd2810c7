//! The bodies of an event, in two steps: first each loses its own secrets, then those that quote the request lose
//! what was taken out elsewhere.
//!
//! Only two kinds of bodies quote: the options of a CONNECT request (`PodExecOptions`), which are its query, and
//! the answer of a failed one (`Status`), which may name values of what was sent. In any other body a text that
//! also stands in the address is the client's own word, and evidence.

use std::borrow::Cow;

use serde_json::{Map, Value, value::RawValue};

use super::{
    Bodies, Redactor, Task, refusal,
    scrub::{Scrubber, has_nothing_to_hide},
};

/// A parsed body takes up to 16 times its size; Kubernetes' own objects are limited to 3 MiB on the
/// wire, only lists are larger.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A body on its way out.
pub(super) enum Body<'a> {
    /// As it came: nothing was to be taken out of it.
    Raw(&'a str),
    Read(Value),
}

impl Task<'_> {
    /// A body without its own secrets; `None` where nothing may stand for it.
    pub(super) fn body<'a>(&mut self, raw: &'a RawValue, readable: bool) -> Option<Body<'a>> {
        let raw = raw.get();
        if !readable || raw.len() > BODY_BYTES_MAX || self.bodies == Bodies::Drop {
            return None;
        }
        let Redactor {
            key, environment, ..
        } = self.redactor;
        if self.shape.is_none() && has_nothing_to_hide(raw, *environment) {
            return Some(Body::Raw(raw));
        }
        // serde_json refuses more than 128 levels, so the recursion below is bounded too.
        let mut body: Value = serde_json::from_str(raw).ok()?;
        let mut scrubber = Scrubber {
            key,
            environment: *environment,
            lost: (self.shape.is_none() && self.may_quote).then_some(&mut self.lost),
        };
        match self.shape {
            Some(shape) => scrubber.mask_object(&mut body, shape),
            None => scrubber.scrub(&mut body),
        }
        Some(Body::Read(body))
    }

    /// The same without what it quotes; `None` where it cannot be read.
    pub(super) fn without_quotes<'a>(&self, name: &str, body: Body<'a>) -> Option<Cow<'a, str>> {
        let is_answer = name != "requestObject";
        let may_quote = self.shape.is_none()
            && (!self.asked.is_empty()
                || is_answer && (self.clean_status || !self.lost.is_empty()));
        // No escape can hide these words in a body that passes as it came.
        let names_kind = |raw: &str| raw.contains("Options") || raw.contains("Status");
        match body {
            Body::Raw(raw) if !may_quote || !names_kind(raw) => Some(Cow::Borrowed(raw)),
            Body::Raw(raw) => {
                let mut value: Value = serde_json::from_str(raw).ok()?;
                let is_changed = self.take_quotes(&mut value, is_answer);
                Some(if is_changed {
                    Cow::Owned(value.to_string())
                } else {
                    Cow::Borrowed(raw)
                })
            }
            Body::Read(mut value) => {
                if may_quote {
                    self.take_quotes(&mut value, is_answer);
                }
                Some(Cow::Owned(value.to_string()))
            }
        }
    }

    /// Whether it is a body that quotes.
    fn take_quotes(&self, body: &mut Value, is_answer: bool) -> bool {
        let Some(object) = body.as_object_mut() else {
            return false;
        };
        let kind = object.get("kind").and_then(Value::as_str);
        let kind = kind.unwrap_or_default();
        if is_answer && kind == "Status" {
            refusal::clean(object, self.clean_status, &[&self.asked, &self.lost]);
            return true;
        }
        let is_connect = ["Pod", "Service", "Node"];
        if !kind.ends_with("Options") || !is_connect.iter().any(|of| kind.starts_with(of)) {
            return false;
        }
        self.take_asked(object);
        true
    }

    /// What of the options comes from the address.
    fn take_asked(&self, options: &mut Map<String, Value>) {
        for name in ["command", "path"] {
            if let Some(asked) = options.get_mut(name) {
                self.asked.take_out(asked);
            }
        }
    }
}
