//! What a scalar of YAML is, by the rules of YAML 1.1 as the API server's reader has them.
//!
//! Kubernetes: `sigs.k8s.io/yaml`, which reads with a copy of go-yaml v2: `yes`, `on` and `y` are booleans,
//! `0x1f`, `0b1`, `017` and `1_000` numbers; dates stay text, and base 60 is none.

use super::tree::Value;

/// A scalar without quotes and without a tag.
pub(super) fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Value::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        _ if is_number(text) => Value::Number(text.to_owned()),
        _ => Value::Text(text.to_owned()),
    }
}

/// A scalar with one of YAML's own tags; `None` if it is not what the tag says.
pub(super) fn tagged(tag: &str, text: &str) -> Option<Value> {
    let value = plain(text);
    match (tag, &value) {
        ("str", _) => Some(Value::Text(text.to_owned())),
        ("bool", Value::Bool(_)) | ("null", Value::Null) | ("float", Value::Number(_)) => {
            Some(value)
        }
        ("int", Value::Number(number)) if is_integer(&without_underscores(number)) => Some(value),
        _ => None,
    }
}

fn is_number(text: &str) -> bool {
    let is_special = |sign: &str| {
        let text = text.strip_prefix(sign).unwrap_or(text);
        matches!(text, ".inf" | ".Inf" | ".INF")
    };
    if is_special("+") || is_special("-") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    match text.as_bytes().first() {
        Some(b'.') => is_decimal(text),
        Some(b'0'..=b'9' | b'+' | b'-') => {
            let text = without_underscores(text);
            is_integer(&text) || is_decimal(&text)
        }
        _ => false,
    }
}

fn without_underscores(text: &str) -> String {
    text.replace('_', "")
}

/// Of any size, in any of the bases that Go reads.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let all = |digits: &str, base: u32| {
        !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(base))
    };
    let lower = digits.to_ascii_lowercase();
    for (prefix, base) in [("0x", 16), ("0b", 2), ("0o", 8)] {
        if let Some(digits) = lower.strip_prefix(prefix) {
            return all(digits, base);
        }
    }
    match digits.strip_prefix('0') {
        // What is no octal number may still be a decimal one (`089`).
        Some(rest) if !rest.is_empty() => all(rest, 8),
        _ => all(digits, 10),
    }
}

/// `12`, `12.`, `1.5e-3`, `.5`, with or without a sign.
fn is_decimal(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let has_digits = |text: &str| !text.is_empty() && are_digits(text);
    let is_mantissa = match mantissa.split_once('.') {
        Some(("", fraction)) => has_digits(fraction),
        Some((whole, fraction)) => has_digits(whole) && are_digits(fraction),
        None => has_digits(mantissa),
    };
    let is_exponent =
        exponent.is_none_or(|digits| has_digits(digits.strip_prefix(['+', '-']).unwrap_or(digits)));
    is_mantissa && is_exponent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_booleans_and_nothing_as_in_yaml_1_1() {
        for text in ["yes", "On", "TRUE", "y"] {
            assert_eq!(plain(text), Value::Bool(true), "{text}");
        }
        for text in ["no", "Off", "FALSE", "n"] {
            assert_eq!(plain(text), Value::Bool(false), "{text}");
        }
        for text in ["", "~", "null", "NULL"] {
            assert_eq!(plain(text), Value::Null, "{text}");
        }
        for text in [
            "yEs",
            "nO",
            "tRUE",
            "nil",
            "Metadata",
            "None",
            "*",
            "/healthz*",
        ] {
            assert_eq!(plain(text), Value::Text(text.into()), "{text}");
        }
    }

    #[test]
    fn numbers_are_those_of_go() {
        for text in [
            "0",
            "7",
            "-7",
            "+7",
            "1_000",
            "0x1F",
            "017",
            "0o17",
            "0b101",
            "089",
            "1.",
            "1.5e-3",
            ".5",
            "-.Inf",
            ".nan",
            "99999999999999999999999",
            "1e3",
        ] {
            assert_eq!(plain(text), Value::Number(text.into()), "{text}");
        }
        for text in [
            "1.2.3",
            "0x",
            "0xg",
            "-",
            "+",
            ".",
            "1e",
            "e1",
            "2026-11-21",
            "10.0.0.1",
            "1:30",
            "v1",
            "-a",
        ] {
            assert_eq!(plain(text), Value::Text(text.into()), "{text}");
        }
    }

    #[test]
    fn a_tag_says_what_a_scalar_is_and_must_be_right() {
        assert_eq!(tagged("str", "12"), Some(Value::Text("12".into())));
        assert_eq!(tagged("bool", "yes"), Some(Value::Bool(true)));
        assert_eq!(tagged("int", "0x1f"), Some(Value::Number("0x1f".into())));
        assert_eq!(tagged("float", "1"), Some(Value::Number("1".into())));
        for (tag, text) in [
            ("int", "1.5"),
            ("bool", "1"),
            ("null", "x"),
            ("binary", "eA=="),
        ] {
            assert_eq!(tagged(tag, text), None, "{tag} {text}");
        }
    }
}
