//! Secrets: Slack's bot tokens and incoming webhook URLs, and what NATS asks for.
//!
//! Contract: they show themselves to [`secrecy::ExposeSecret`] only. `Debug` and `Serialize` give
//! [`MASK`], and [`masked`] takes out of a message whatever looks like one, wherever it was put.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use crate::text::{self, FromText, is_safe_transport};

/// What stands for a secret wherever one would be shown.
pub const MASK: &str = "[secret]";

/// Longest secret, in bytes: Slack's are far shorter, a file given by mistake is longer.
pub(crate) const SECRET_BYTES_MAX: usize = 4096;

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident, $allowed:path, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(SecretString);

        impl $name {
            /// The secret, to hand on.
            #[must_use]
            pub fn as_secret(&self) -> &SecretString {
                &self.0
            }
        }

        impl FromText for $name {
            const EXPECTED: &'static str = $expected;
            const SECRET: bool = true;

            fn from_text(text: &str) -> Option<Self> {
                // Files and Kubernetes secrets tend to end with a newline nobody meant.
                let text = text.trim_end_matches(['\r', '\n']);
                (text.len() <= SECRET_BYTES_MAX && $allowed(text)).then(|| Self(text.into()))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.expose_secret() == other.0.expose_secret()
            }
        }

        impl Eq for $name {}

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(MASK)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(MASK)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                text::read(deserializer)
            }
        }
    };
}

secret!(
    /// A Slack token: it goes into an `Authorization` header.
    SlackToken,
    is_token,
    "a Slack token (letters, digits and . _ ~ + / = - only)"
);
secret!(
    /// A Slack incoming webhook's URL: whoever knows it can post.
    WebhookUrl,
    is_webhook_url,
    "an https:// URL (http:// only to a loopback host)"
);

secret!(
    /// A password or a token for NATS.
    NatsSecret,
    is_one_line,
    "one line of text"
);

/// What a form shows instead of a secret is none.
fn is_one_line(text: &str) -> bool {
    !text.is_empty() && text != MASK && !text.chars().any(char::is_control)
}

/// RFC 6750's `b64token`: it stands in a header as it is.
fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._~+/=-".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

fn is_webhook_url(text: &str) -> bool {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    visible && Url::parse(text).is_ok_and(|url| is_safe_transport(&url))
}

/// `message` with each word that looks like a Slack secret masked.
///
/// A secret in the wrong place (as a key, or as the value of another key) would otherwise be
/// quoted by the error about it.
pub(crate) fn masked(message: &str) -> String {
    let in_word = |character: char| {
        !character.is_whitespace() && !matches!(character, '"' | '\'' | '`' | ',' | '(' | ')')
    };
    let mut shown = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(first) = rest.chars().next() {
        let is_word = in_word(first);
        let end = rest
            .find(|character| in_word(character) != is_word)
            .unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        shown.push_str(if is_word && looks_secret(run) {
            MASK
        } else {
            run
        });
        rest = after;
    }
    shown
}

fn looks_secret(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    // xoxb-, xoxp-, xoxe.xoxp- and the like.
    let is_bot_token = word.match_indices("xox").any(|(start, _)| {
        let mut after = word[start..].bytes().skip(3);
        after.next().is_some() && matches!(after.next(), Some(b'-' | b'.'))
    });
    is_bot_token || word.contains("xapp-") || word.contains("hooks.slack")
}

#[cfg(test)]
mod tests {
    use super::{FromText, NatsSecret, SlackToken, WebhookUrl, masked};
    use secrecy::ExposeSecret;

    #[test]
    fn a_token_may_end_with_a_newline_but_holds_no_other_space() {
        let token = SlackToken::from_text("xoxb-1-a\r\n").unwrap();
        assert_eq!(token.as_secret().expose_secret(), "xoxb-1-a");
        let long = "a".repeat(4097);
        for bad in ["", "\n", "xoxb 1", "xoxb-1\nx", "xoxb-é", "[secret]", &long] {
            assert_eq!(SlackToken::from_text(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_password_is_one_line_of_anything() {
        let password = NatsSecret::from_text("one wörd; \"x\"\n").unwrap();
        assert_eq!(password.as_secret().expose_secret(), "one wörd; \"x\"");
        assert_eq!(format!("{password:?}"), "[secret]");
        for bad in ["", "\n", "a\nb", "a\0", "[secret]"] {
            assert_eq!(NatsSecret::from_text(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_webhook_url_is_encrypted_or_local() {
        for good in [
            "https://hooks.slack.com/services/T/B/x",
            "http://127.0.0.1:1/x",
        ] {
            assert!(WebhookUrl::from_text(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "http://hooks.slack.com/services/T/B/x",
            "hooks.slack.com/x",
            "https://a b/",
        ] {
            assert_eq!(WebhookUrl::from_text(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_secret_shows_itself_nowhere() {
        let token = SlackToken::from_text("hunter2").unwrap();
        assert_eq!(format!("{token:?}"), "[secret]");
        assert_eq!(serde_json::to_string(&token).unwrap(), "\"[secret]\"");
        let refusal = serde_json::from_str::<SlackToken>("\"hunter 2\"")
            .unwrap_err()
            .to_string();
        assert_eq!(
            refusal,
            "invalid value: a value that is not shown, as it is a secret, expected a Slack token \
             (letters, digits and . _ ~ + / = - only) at line 1 column 10"
        );
        let refusal = serde_json::from_str::<WebhookUrl>("31337")
            .unwrap_err()
            .to_string();
        assert!(!refusal.contains("31337"), "{refusal}");
    }

    #[test]
    fn what_looks_like_a_secret_is_masked_in_a_message() {
        assert_eq!(
            masked("found string \"xoxb-12-ab\", `XAPP-1` (https://hooks.slack.com/x) xoxe.xoxp-1"),
            "found string \"[secret]\", `[secret]` ([secret]) [secret]"
        );
        assert_eq!(
            masked("the fox, xox and xoxo stay"),
            "the fox, xox and xoxo stay"
        );
    }
}
