//! Names people choose: of channels, routes, clusters, and a channel's name at Slack.
//!
//! Contract: a name that exists is made of the characters its type allows, so it can stand in a
//! log line, a metric label, a file name or a URL segment without escaping.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::text::{self, FromText};

/// Longest channel, route or cluster name, in characters: that of a Kubernetes label value.
const NAME_CHARACTERS_MAX: usize = 63;
/// Longest `slack_channel`, in characters: that of a channel name at Slack.
const SLACK_CHANNEL_CHARACTERS_MAX: usize = 80;

/// Text that is no name of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("found {found:?}, expected {expected}")]
pub struct InvalidName {
    found: String,
    expected: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $allowed:path, $expected:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromText for $name {
            const EXPECTED: &'static str = $expected;

            fn from_text(text: &str) -> Option<Self> {
                $allowed(text).then(|| Self(text.to_owned()))
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::from_text(text)
                    .ok_or_else(|| InvalidName { found: text.to_owned(), expected: $expected })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                text::read(deserializer)
            }
        }
    };
}

name!(
    /// The relay's own name of a channel: a place messages go to.
    ChannelName,
    is_channel_name,
    "a name of 1 to 63 characters a-z 0-9 _ -, the first a letter or digit"
);
name!(
    /// The name of a route.
    RouteName,
    is_wide_name,
    "a name of 1 to 63 characters A-Z a-z 0-9 . _ -, the first a letter or digit"
);
name!(
    /// The name of a cluster whose API server posts here.
    ClusterName,
    is_wide_name,
    "a name of 1 to 63 characters A-Z a-z 0-9 . _ -, the first a letter or digit"
);
name!(
    /// The relay's own name of a client: somebody who may post.
    ClientName,
    is_wide_name,
    "a name of 1 to 63 characters A-Z a-z 0-9 . _ -, the first a letter or digit"
);
name!(
    /// What the names of JetStream's streams and subjects begin with.
    StreamName,
    is_stream_name,
    "a name of 1 to 63 characters A-Z a-z 0-9 _ -, the first a letter or digit"
);
name!(
    /// What a relay is called among those that are one.
    RelayName,
    is_wide_name,
    "a name of 1 to 63 characters A-Z a-z 0-9 . _ -, the first a letter or digit"
);
name!(
    /// A channel as Slack knows it: an id such as `C0123456789`, or a name such as `#audit`.
    SlackChannel,
    is_slack_channel,
    "a Slack channel id or name of 1 to 80 characters without spaces or commas"
);

fn is_channel_name(text: &str) -> bool {
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    is_name(text, lower, b"_-")
}

fn is_wide_name(text: &str) -> bool {
    is_name(text, |byte| byte.is_ascii_alphanumeric(), b"._-")
}

/// A dot would begin another token of a subject.
fn is_stream_name(text: &str) -> bool {
    is_name(text, |byte| byte.is_ascii_alphanumeric(), b"_-")
}

fn is_name(text: &str, first: impl Fn(u8) -> bool, also_later: &[u8]) -> bool {
    text.len() <= NAME_CHARACTERS_MAX
        && text.bytes().next().is_some_and(&first)
        && text
            .bytes()
            .all(|byte| first(byte) || also_later.contains(&byte))
}

fn is_slack_channel(text: &str) -> bool {
    let plain =
        |character: char| !character.is_whitespace() && !character.is_control() && character != ',';
    !text.trim_start_matches(['#', '@']).is_empty()
        && text.chars().count() <= SLACK_CHANNEL_CHARACTERS_MAX
        && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::{ChannelName, ClusterName, RouteName, SlackChannel, StreamName};

    #[test]
    fn channel_names() {
        for good in ["a", "0", "a-b_c9", &"a".repeat(63)] {
            assert_eq!(good.parse::<ChannelName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "A",
            "-a",
            "_a",
            "a.b",
            "a b",
            "é",
            "a\n",
            &"a".repeat(64),
        ] {
            assert!(bad.parse::<ChannelName>().is_err(), "{bad:?}");
        }
        assert_eq!(
            "Sec".parse::<ChannelName>().unwrap_err().to_string(),
            "found \"Sec\", expected a name of 1 to 63 characters a-z 0-9 _ -, the first a letter or digit"
        );
    }

    #[test]
    fn route_and_cluster_names() {
        for good in ["a", "A.b-c_D", "0.1", &"Z".repeat(63)] {
            assert_eq!(good.parse::<RouteName>().unwrap().to_string(), good);
            assert_eq!(good.parse::<ClusterName>().unwrap().as_ref(), good);
        }
        for bad in ["", ".a", "-a", "_a", "a/b", "a b", "ü", &"a".repeat(64)] {
            assert!(bad.parse::<RouteName>().is_err(), "{bad:?}");
            assert!(bad.parse::<ClusterName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn stream_names() {
        for good in ["a", "A-b_9", &"Z".repeat(63)] {
            assert_eq!(good.parse::<StreamName>().unwrap().as_str(), good);
        }
        for bad in ["", "a.b", "-a", "a*", "a>", "a b", "ü", &"a".repeat(64)] {
            assert!(bad.parse::<StreamName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn slack_channels() {
        for good in ["C0123456789", "#audit", "@bob", "журнал", &"a".repeat(80)] {
            assert_eq!(good.parse::<SlackChannel>().unwrap().as_str(), good);
        }
        for bad in ["", "#", "a b", "a,b", "a\n", &"a".repeat(81)] {
            assert!(bad.parse::<SlackChannel>().is_err(), "{bad:?}");
        }
    }
}
