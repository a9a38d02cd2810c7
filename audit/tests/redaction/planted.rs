//! Events with a secret somewhere in them, made of bytes that chance or a fuzzer gives, and what has to hold of
//! them once they are redacted: the secret is nowhere, in no form; what comes out is an event; redacting twice
//! is redacting once. The tests on stable and the fuzz target `redact` share this.

use auditrelay_audit::{
    Envelope, HashKey,
    policy::GroupResources,
    redact::{Bodies, Redactor},
};
use serde_json::{Value, value::RawValue};

/// Long enough that nothing else holds it, and of characters that no encoding but Base64 and escapes changes.
pub const SECRET: &str = "hunter2-cAnArY.0f_all";
/// The part of its Base64 that does not depend on what stands beside it, for each of three alignments.
const ENCODED: [&str; 3] = [
    "aHVudGVyMi1jQW5BclkuMGZfYWxs",
    "bnRlcjItY0FuQXJZLjBmX2Fs",
    "dW50ZXIyLWNBbkFyWS4wZl9h",
];

/// Bytes as choices; when they are used up, every choice is the first.
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn number(&mut self, below: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        usize::from(*first) % below
    }

    fn one<'b>(&mut self, of: &[&'b str]) -> &'b str {
        of[self.number(of.len())]
    }

    fn yes(&mut self) -> bool {
        self.number(2) == 1
    }

    /// Text that stands around and means nothing, as a JSON string.
    fn noise(&mut self) -> String {
        let length = self.number(6).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        Value::from(String::from_utf8_lossy(taken).into_owned()).to_string()
    }

    /// A JSON string, some of it escaped.
    fn string(&mut self, text: &str) -> String {
        let (every, offset) = (self.number(4) * 3, self.number(3));
        let written = text.chars().enumerate().map(|(at, one)| match one {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            '\n' => "\\n".to_owned(),
            _ if every > 0 && at % every == offset => format!("\\u{:04x}", u32::from(one)),
            _ => one.to_string(),
        });
        format!("\"{}\"", written.collect::<String>())
    }

    /// A value with another one somewhere inside.
    fn around(&mut self, value: String) -> String {
        const NAMES: [&str; 12] = [
            "data",
            "spec",
            "status",
            "items",
            "rows",
            "object",
            "metadata",
            "conditions",
            "value",
            "x",
            "",
            "a b",
        ];
        let mut value = value;
        for _ in 0..self.number(5) {
            let (before, after) = (self.noise(), self.noise());
            value = match self.number(4) {
                0 => format!("[{value},{after}]"),
                1 => format!("[{before},{value}]"),
                2 => format!("{{\"{}\":{value},\"n\":{after}}}", self.one(&NAMES)),
                // The same name twice: one reader takes the first, another the last.
                _ => {
                    let name = self.one(&NAMES);
                    format!("{{\"{name}\":{value},\"{name}\":{before}}}")
                }
            };
        }
        if self.number(16) == 15 {
            let levels = 40 * self.number(8);
            value = "[".repeat(levels) + &value + &"]".repeat(levels);
        }
        value
    }
}

/// An event, and how the redactor is set up that has to hide its secret.
pub struct Planted {
    pub event: String,
    pub redactor: Redactor,
    pub bodies: Bodies,
}

/// What secret values are called, and `x`.
const NAMES: [&str; 6] = [
    "password",
    "token",
    "request",
    "certificate",
    "message",
    "x",
];
const RESOURCES: [&str; 4] = [
    "secrets",
    "tokenreviews",
    "tokenrequests",
    "certificatesigningrequests",
];

/// Plants the secret.
pub fn plant(bytes: &[u8]) -> Planted {
    let mut choices = Choices::new(bytes);
    let mut planted = Planted {
        event: String::new(),
        redactor: Redactor::new(HashKey::new([7; 32])),
        bodies: Bodies::Keep,
    };
    let form = choices.one(&[SECRET, ENCODED[0]]);
    let secret = choices.string(form);
    let name = choices.one(&NAMES);
    let leaf = format!("{{\"{name}\":{secret}}}");
    let (resource, body) = match choices.number(8) {
        0 => (choices.one(&RESOURCES), choices.around(leaf)),
        1 => ("configmaps", nested(&mut choices, &leaf)),
        2 => ("configmaps", applied(&mut choices, &secret)),
        3 => ("configmaps", as_text(&mut choices)),
        4 => {
            planted.redactor = planted.redactor.environment(true);
            ("pods", environment(&mut choices, &secret))
        }
        5 => {
            let group = GroupResources {
                group: "*".into(),
                resources: vec!["vaults".into()],
                resource_names: Vec::new(),
            };
            planted.redactor = planted.redactor.resources(vec![group]);
            ("vaults", choices.around(leaf))
        }
        6 => {
            planted.bodies = if choices.yes() {
                Bodies::Redact
            } else {
                Bodies::Drop
            };
            ("configmaps", choices.around(leaf))
        }
        _ => {
            planted.event = without_body(&mut choices);
            return planted;
        }
    };
    let field = choices.one(&["requestObject", "responseObject", "requestobject"]);
    let status = match choices.number(3) {
        0 if resource != "configmaps" && resource != "pods" => {
            format!(r#","responseStatus":{{"code":400,"message":"cannot read |{SECRET}|"}}"#)
        }
        1 => format!(
            r#","responseStatus":{{"code":422,"message":{}}}"#,
            choices.noise()
        ),
        _ => String::new(),
    };
    let annotations = choices.noise();
    planted.event = format!(
        r#"{{"level":"RequestResponse","stage":"ResponseComplete","verb":"create","objectRef":{{"resource":"{resource}","name":"n"}}{status},"annotations":{{"a":{annotations}}},"{field}":{body}}}"#
    );
    planted
}

fn nested(choices: &mut Choices<'_>, leaf: &str) -> String {
    let key = choices.one(&["kind", "KIND", "k\\u0069nd"]);
    let kind = choices.one(&[
        "Secret",
        "secret",
        "\\u0053ecret",
        "TokenReview",
        "CertificateSigningRequest",
    ]);
    let inner = choices.around(leaf.to_owned());
    choices.around(format!("{{\"{key}\":\"{kind}\",\"inner\":{inner}}}"))
}

fn applied(choices: &mut Choices<'_>, secret: &str) -> String {
    const NAME: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let name = choices.string(NAME);
    let pointer =
        choices.string("/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration");
    let held = choices.around(secret.to_owned());
    let op = match choices.number(3) {
        0 => format!("{{{name}:{held}}}"),
        1 => format!("{{\"op\":\"add\",\"path\":{pointer},\"value\":{held}}}"),
        _ => choices.string(&format!("annotations:\n  {NAME}: '{SECRET}'")),
    };
    choices.around(op)
}

fn as_text(choices: &mut Choices<'_>) -> String {
    let object = match choices.number(3) {
        0 => format!(r#"{{"kind":"Secret","data":{{"p":"{SECRET}"}}}}"#),
        1 => format!("apiVersion: v1\nkind: Secret\nstringData:\n  p: {SECRET}\n"),
        _ => Value::from(format!(
            r#"{{"kind": "Secret", "data": {{"p": "{SECRET}"}}}}"#
        ))
        .to_string(),
    };
    let text = choices.string(&object);
    choices.around(format!("{{\"manifest\":{text}}}"))
}

fn environment(choices: &mut Choices<'_>, secret: &str) -> String {
    let entry = format!("{{\"name\":\"A\",\"value\":{secret}}}");
    let env = choices.string("env");
    let op = match choices.number(5) {
        0 => format!("{{\"op\":\"add\",\"path\":\"/spec/containers/0/env\",\"value\":[{entry}]}}"),
        1 => format!(
            "{{\"op\":\"add\",\"path\":\"/spec/containers/0/{}/-\",\"value\":{entry}}}",
            &env[1..env.len() - 1]
        ),
        2 => format!(
            "{{\"op\":\"replace\",\"path\":\"/spec/containers/0/env/3/value\",\"value\":{secret}}}"
        ),
        3 => format!("{{\"initContainers\":[{{{env}:[{entry}]}}]}}"),
        _ => format!("{{\"containers\":[{{{env}:[{entry},{entry}]}}]}}"),
    };
    choices.around(op)
}

/// In the address, or what quotes it, or in an annotation.
fn without_body(choices: &mut Choices<'_>) -> String {
    let noise = choices.one(&[
        "",
        "stdin=true&",
        "command=sh&command=-c&",
        "a=b&&=&",
        "timeout=30s&",
    ]);
    let (query, quoted) = match choices.number(8) {
        0 => (
            format!("command=mysql&command=--password&command={SECRET}"),
            true,
        ),
        1 => (format!("command=env&command=API_TOKEN%3D{SECRET}"), true),
        2 => (
            format!("command=curl&command=-u&command=admin%3A{SECRET}"),
            true,
        ),
        3 => (
            format!("command=psql&command=postgres%3A%2F%2Fapp%3A{SECRET}%40db%2Fx"),
            false,
        ),
        4 => (format!("access_token={SECRET}"), true),
        5 => (format!("to=https%3A%2F%2Fx%2F%3Fpassword%3D{SECRET}"), true),
        6 => (format!("to=%252F%253Fpassword%253D{SECRET}"), false),
        _ => (String::new(), false),
    };
    let annotation = match query.is_empty() {
        true => format!(r#""patch.webhook.admission.k8s.io/round_0_index_0":"add {SECRET}""#),
        false if quoted => format!(r#""x.example/said":"no {SECRET}!""#),
        false => String::new(),
    };
    let message = if quoted {
        format!("cannot run {SECRET}")
    } else {
        String::new()
    };
    let uri = choices.string(&format!("/api/v1/namespaces/x/pods/p/exec?{noise}{query}"));
    format!(
        r#"{{"level":"Metadata","stage":"ResponseStarted","verb":"get","requestURI":{uri},"objectRef":{{"resource":"pods","subresource":"exec"}},"responseStatus":{{"code":500,"message":"{message}"}},"annotations":{{{annotation}}}}}"#
    )
}

/// What has to hold.
pub fn judge(planted: &Planted) -> Result<(), String> {
    let Ok(envelope) = Envelope::parse(&planted.event) else {
        return Err(format!("no event: {}", planted.event));
    };
    let redact = |text: &str| {
        let envelope = Envelope::parse(text).map_err(|error| format!("{error} in {text}"))?;
        let redacted = planted
            .redactor
            .redact(text, &envelope, true, planted.bodies);
        Ok::<_, String>(redacted.json.into_owned())
    };
    drop(envelope);
    let once = redact(&planted.event)?;
    serde_json::from_str::<&RawValue>(&once).map_err(|error| format!("{error} in {once}"))?;
    // A body of 128 levels is more than serde_json reads with an event around it.
    let value = serde_json::from_str::<Value>(&once).unwrap_or_default();
    if holds_secret(&once) || strings_hold_secret(&value) {
        return Err(format!("{once} of {}", planted.event));
    }
    let twice = redact(&once)?;
    if twice != once {
        return Err(format!("{twice} is not {once}"));
    }
    Ok(())
}

pub fn strings_hold_secret(value: &Value) -> bool {
    match value {
        Value::String(text) => holds_secret(text),
        Value::Array(values) => values.iter().any(strings_hold_secret),
        Value::Object(map) => map
            .iter()
            .any(|(name, inner)| holds_secret(name) || strings_hold_secret(inner)),
        _ => false,
    }
}

/// In plain text, in Base64, or percent-encoded.
pub fn holds_secret(text: &str) -> bool {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8_lossy();
    let holds = |text: &str| text.contains(SECRET) || ENCODED.iter().any(|one| text.contains(one));
    holds(text) || holds(&decoded)
}
