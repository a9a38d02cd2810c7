//! Just enough of `multipart/form-data` for what Slack's SDKs send: fields and files.
//!
//! Contract: parts in order, each with its name and its bytes as they are; a body
//! that does not keep to the form is `None`.

use serde_json::{Map, Value};

/// One part: its name and its bytes.
pub(super) type Part<'a> = (String, &'a [u8]);

/// The parts of a body with this content type.
pub(super) fn parts<'a>(content_type: &str, body: &'a [u8]) -> Option<Vec<Part<'a>>> {
    let (_, boundary) = content_type.split_once("boundary=")?;
    let boundary = boundary.split(';').next()?.trim().trim_matches('"');
    let delimiter = format!("--{boundary}");
    let mut rest = after(body, delimiter.as_bytes())?;
    let delimiter = format!("\r\n--{boundary}");
    let mut found = Vec::new();
    while !rest.starts_with(b"--") {
        let rest_of_head = rest.strip_prefix(b"\r\n")?;
        let head_end = position(rest_of_head, b"\r\n\r\n")?;
        let (head, content) = rest_of_head.split_at(head_end);
        let content = content.strip_prefix(b"\r\n\r\n")?;
        let end = position(content, delimiter.as_bytes())?;
        found.push((name(head)?, content.get(..end)?));
        rest = content.get(end + delimiter.len()..)?;
    }
    Some(found)
}

/// The parts as a form's fields.
pub(super) fn text_fields(content_type: &str, body: &[u8]) -> Option<Map<String, Value>> {
    let text = |(name, content): Part<'_>| {
        let content = std::str::from_utf8(content).ok()?;
        Some((name, Value::String(content.to_owned())))
    };
    parts(content_type, body)?.into_iter().map(text).collect()
}

/// `name="…"` of a part's head.
fn name(head: &[u8]) -> Option<String> {
    let head = std::str::from_utf8(head).ok()?;
    let (_, name) = head.split_once(" name=\"")?;
    Some(name.split('"').next()?.to_owned())
}

fn after<'a>(text: &'a [u8], what: &[u8]) -> Option<&'a [u8]> {
    text.get(position(text, what)? + what.len()..)
}

fn position(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=xx";

    #[test]
    fn parts_are_read_byte_by_byte() {
        let body = b"--xx\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\n1\r\n2\r\n--xx\r\n\
            Content-Disposition: form-data; name=\"file\"; filename=\"f\"\r\nx: y\r\n\r\n\r\n--xx--\r\n";
        let read = parts(TYPE, body).unwrap();
        let expected: [Part<'_>; 2] = [("a".into(), b"1\r\n2"), ("file".into(), b"")];
        assert_eq!(read, expected);
        assert_eq!(text_fields(TYPE, body).unwrap()["a"], "1\r\n2");
    }

    #[test]
    fn what_keeps_to_no_form_is_none() {
        for body in ["", "--xx", "--xx\r\nname=\"a\"\r\n\r\nno end"] {
            assert_eq!(parts(TYPE, body.as_bytes()), None);
        }
        assert_eq!(parts("multipart/form-data", b"--xx--"), None);
    }
}
