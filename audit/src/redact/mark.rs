//! What stands where a secret stood: `[redacted 3f9c01ab]`.
//!
//! The eight digits are a keyed hash of the value, with a key that is used for nothing else and never leaves the relay.
//! Within one installation equal values have equal marks, so that a reader sees whether two values are the
//! same; who does not have the key cannot try values against a mark.
//!
//! What is hashed: of a string its content, whatever escapes it was written with; of anything else its JSON
//! without white space, names in order. Secret data is hashed as Kubernetes writes it, in Base64.
//!
//! `[redacted]`, without a hash, stands for what has too few possible values: booleans, and whatever has at
//! most five bytes, as such or in Base64. Whoever may have some values of their own redacted, and reads the marks,
//! would soon have them all. `null`, empty strings, lists and objects stay: nothing is in them.

use serde_json::Value;

use crate::key::HashKey;

/// What stands where a secret stood that has no hash.
pub const REDACTED: &str = "[redacted]";

const WITH_HASH: &str = "[redacted ";
const HASH_DIGITS: usize = 8;
/// Values of so many bytes at most have no hash.
const FEW_BYTES: usize = 5;
/// So many bytes have at most so many characters in Base64, of which the last is then padding.
const FEW_BYTES_ENCODED: usize = 8;

/// Whether this is what stands where a secret stood, in either form.
pub fn is_redacted(text: &str) -> bool {
    let digits = text
        .strip_prefix(WITH_HASH)
        .and_then(|rest| rest.strip_suffix(']'));
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text == REDACTED
        || digits.is_some_and(|digits| digits.len() == HASH_DIGITS && digits.bytes().all(is_digit))
}

/// The mark of a text.
pub(super) fn of_text(key: &HashKey, text: &str) -> String {
    if text.is_empty() || is_redacted(text) {
        return text.to_owned();
    }
    if is_one_of_few(text) {
        return REDACTED.to_owned();
    }
    format!("{WITH_HASH}{:08x}]", key.value(text.as_bytes()))
}

/// The mark of any value.
pub(super) fn of_value(key: &HashKey, value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Bool(_) => REDACTED.into(),
        Value::String(text) => of_text(key, text).into(),
        Value::Array(values) if values.is_empty() => Value::Array(Vec::new()),
        Value::Object(members) if members.is_empty() => value.clone(),
        other => of_text(key, &other.to_string()).into(),
    }
}

fn is_one_of_few(text: &str) -> bool {
    text.len() <= FEW_BYTES || (text.len() == FEW_BYTES_ENCODED && text.ends_with('='))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mark(secret: u8, value: &Value) -> String {
        let mark = of_value(&HashKey::new([secret; 32]), value);
        mark.as_str().expect("a string").to_owned()
    }

    #[test]
    fn equal_values_are_comparable_within_an_installation_and_nowhere_else() {
        let value = json!("correct horse");
        assert_eq!(mark(1, &value), mark(1, &value));
        assert_ne!(mark(1, &value), mark(2, &value));
        assert_ne!(mark(1, &value), mark(1, &json!("correct horse ")));
        assert!(is_redacted(&mark(1, &value)), "{}", mark(1, &value));
        let parsed = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        assert_eq!(
            mark(1, &parsed(r#"{"a":"xyz","b":[1,2]}"#)),
            mark(1, &parsed(r#"{ "b": [1, 2], "a": "\u0078yz" }"#))
        );
    }

    #[test]
    fn what_has_few_values_has_no_hash() {
        for few in [
            json!(true),
            json!(false),
            json!(1234),
            json!("false"),
            json!("12345"),
            json!("dHJ1ZQ=="),
            json!("ZmFsc2U="),
            json!([1, 2]),
        ] {
            assert_eq!(mark(1, &few), REDACTED, "{few}");
        }
        for many in [
            json!("hunter2"),
            json!(1_234_567),
            json!("aHVudGVyMg=="),
            json!("hunter22"),
        ] {
            assert_ne!(mark(1, &many), REDACTED, "{many}");
        }
    }

    #[test]
    fn nothing_stays_nothing_and_a_mark_stays_what_it_is() {
        let key = HashKey::new([1; 32]);
        for kept in [
            json!(null),
            json!(""),
            json!([]),
            json!({}),
            json!(REDACTED),
            json!("[redacted 0123abcd]"),
        ] {
            assert_eq!(of_value(&key, &kept), kept);
        }
        for other in [
            "[redacted 0123ABCD]",
            "[redacted 0123abc]",
            "[redacted]x",
            "[redacted  123abcd]",
        ] {
            assert!(!is_redacted(other), "{other}");
            assert_ne!(of_text(&key, other), other);
        }
    }
}
