//! Events that nobody should send, and what is said to become of each.

use crate::{SECRET, common::event};

/// What becomes of an item.
#[derive(Debug, Clone, PartialEq)]
pub enum Becomes {
    Told,
    ToldWithoutBody,
    Quarantined(&'static str),
}
use Becomes::{Quarantined, Told, ToldWithoutBody};

/// An event with something in place of something else, which may be any bytes.
fn with(from: &str, to: impl AsRef<[u8]>) -> Vec<u8> {
    let whole = event("a", r#","requestObject":{"spec":"x"},"userAgent":"curl""#);
    let at = whole.find(from).expect(from);
    let (head, tail) = (&whole[..at], &whole[at + from.len()..]);
    [head.as_bytes(), to.as_ref(), tail.as_bytes()].concat()
}

fn more(rest: &str) -> Vec<u8> {
    event("a", rest).into_bytes()
}

pub fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub fn events_and_what_becomes_of_them() -> Vec<(&'static str, Vec<u8>, Becomes)> {
    let twice = Quarantined("a field occurs twice");
    let wrong_type = Quarantined("a field has the wrong type");
    let out_of_range = Quarantined("a field has a value out of range");
    let not_json = Quarantined("not valid JSON");
    let no_object = Quarantined("not an object");
    let body = r#"{"spec":"x"}"#;
    vec![
        (
            "a key twice in the envelope",
            more(r#","verb":"get""#),
            twice.clone(),
        ),
        (
            "a key twice in the user",
            with(r#""username":"alice""#, r#""username":"a","username":"b""#),
            twice.clone(),
        ),
        (
            "a body twice",
            with(body, r#"{},"requestObject":{}"#),
            twice,
        ),
        (
            "an annotation twice",
            more(r#","annotations":{"a":"b","a":"c"}"#),
            Told,
        ),
        (
            "a key that is not known twice",
            more(r#","x":1,"x":2"#),
            Told,
        ),
        (
            "a key twice in a body",
            with(body, r#"{"a":1,"a":2}"#),
            Told,
        ),
        (
            "half a character in the envelope",
            with("curl", r"\ud800"),
            ToldWithoutBody,
        ),
        (
            "half a character in a name",
            more(r#","annotations":{"\udc00":"x"}"#),
            ToldWithoutBody,
        ),
        (
            "half a character in a body",
            with(body, r#"{"a":"\ud800"}"#),
            ToldWithoutBody,
        ),
        ("1e999 in a body", with(body, r#"{"a":1e999}"#), Told),
        (
            "30 digits in a body",
            with(body, r#"{"a":123456789012345678901234567890}"#),
            Told,
        ),
        (
            "1e999 as code",
            more(r#","responseStatus":{"code":1e999}"#),
            out_of_range.clone(),
        ),
        (
            "30 digits as code",
            more(r#","responseStatus":{"code":123456789012345678901234567890}"#),
            wrong_type.clone(),
        ),
        (
            "5,000,000,000 as code",
            more(r#","responseStatus":{"code":5000000000}"#),
            out_of_range,
        ),
        (
            "a fraction as code",
            more(r#","responseStatus":{"code":200.5}"#),
            wrong_type.clone(),
        ),
        (
            "a NUL byte in a string",
            with("curl", "cu\0rl"),
            not_json.clone(),
        ),
        (
            "an escaped NUL in a string",
            with("curl", r"cu\u0000rl"),
            Told,
        ),
        (
            "an escaped NUL in a body",
            with(body, r#"{"a":"\u0000"}"#),
            Told,
        ),
        (
            "fields that are not known",
            more(
                r#","x":{"y":[1,{}]},"objectRef":{"z":1},"responseStatus":{"z":[]},"impersonatedUser":{"z":{}}"#,
            ),
            Told,
        ),
        ("no auditID", with(r#""auditID":"a","#, ""), Told),
        (
            "an auditID of null",
            with(r#""auditID":"a""#, r#""auditID":null"#),
            Told,
        ),
        (
            "no level",
            with(r#""level":"RequestResponse","#, ""),
            Quarantined("missing field \"level\""),
        ),
        (
            "no stage",
            with(r#""stage":"ResponseComplete","#, ""),
            Quarantined("missing field \"stage\""),
        ),
        (
            "an empty stage",
            with("ResponseComplete", ""),
            Quarantined("missing field \"stage\""),
        ),
        (
            "an unknown level",
            with("\"RequestResponse\"", "\"Everything\""),
            Told,
        ),
        (
            "an unknown stage",
            with("ResponseComplete", "ResponseAbandoned"),
            Told,
        ),
        (
            "a level that is no text",
            with("\"RequestResponse\"", "7"),
            wrong_type.clone(),
        ),
        (
            "a user that is text",
            with(r#"{"username":"alice"}"#, format!("\"{SECRET}\"")),
            wrong_type.clone(),
        ),
        (
            "a verb that is a number",
            with(r#""create""#, "7"),
            wrong_type.clone(),
        ),
        (
            "groups that are one",
            with(r#""username":"alice""#, r#""groups":"a""#),
            wrong_type.clone(),
        ),
        ("an item of null", b"null".to_vec(), no_object.clone()),
        (
            "an item that is text",
            format!("\"{SECRET}\"").into_bytes(),
            no_object.clone(),
        ),
        (
            "an item that is an array",
            br#"["Metadata","Panic"]"#.to_vec(),
            no_object,
        ),
        (
            "null wherever Go may write it",
            more(
                r#","annotations":null,"sourceIPs":null,"objectRef":null,"impersonatedUser":{"groups":null},"responseStatus":null,"requestObject":null"#,
            ),
            Told,
        ),
        (
            "a user of null",
            with(r#"{"username":"alice"}"#, "null"),
            Told,
        ),
        (
            "10,000 levels in a body",
            with(body, nested(10_000)),
            ToldWithoutBody,
        ),
        (
            "10,000 levels in a field that is not known",
            more(&format!(r#","x":{}"#, nested(10_000))),
            ToldWithoutBody,
        ),
        (
            "10,000 levels in the envelope",
            with(r#""create""#, nested(10_000)),
            wrong_type,
        ),
        (
            "bytes that are not UTF-8 in a body",
            with(body, b"{\"a\":\"\xff\xfe\"}"),
            ToldWithoutBody,
        ),
        (
            "bytes that are not UTF-8 in the envelope",
            with("curl", b"cu\xffrl"),
            ToldWithoutBody,
        ),
        (
            "a user agent of 1 MB",
            with("curl", "x".repeat(1 << 20)),
            Told,
        ),
        (
            "a line of a log file",
            with("{", r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","#),
            Told,
        ),
        (
            "v1beta1",
            with("{", r#"{"apiVersion":"audit.k8s.io/v1beta1","#),
            Quarantined(
                "an event of audit.k8s.io/v1beta1, which is not supported (Kubernetes removed it with 1.24)",
            ),
        ),
        (
            "v1alpha1",
            with("{", r#"{"apiVersion":"audit.k8s.io/v1alpha1","#),
            Quarantined(
                "an event of audit.k8s.io/v1alpha1, which is not supported (Kubernetes removed it with 1.24)",
            ),
        ),
        ("no JSON", b"{broken}".to_vec(), not_json.clone()),
        ("a comma too many", with("{", "{,"), not_json.clone()),
        ("NaN in a body", with(body, "NaN"), not_json.clone()),
        ("an escape that is none", with("curl", r"\x41"), not_json),
    ]
}
