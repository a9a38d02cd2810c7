//! The key that raw bytes are sealed to.
//!
//! Contract: it is a public key; the relay never has the other half, so what it sealed it cannot open.

use std::fmt;
use std::str::FromStr;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Unexpected, Visitor},
};

const PREFIX: &str = "x25519:";

/// An X25519 public key, as `auditrelay quarantine keygen` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealKey([u8; 32]);

impl SealKey {
    /// The key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key's bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; 32] {
        self.0
    }
}

impl FromStr for SealKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let digits = text.strip_prefix(PREFIX)?;
            let is_key = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_key.then_some(())?;
            let mut bytes = [0; 32];
            for (at, byte) in bytes.iter_mut().enumerate() {
                *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
            }
            // Anybody could open what is sealed to nothing.
            (bytes != [0; 32]).then_some(Self(bytes))
        };
        read().ok_or("expected x25519: and 64 hexadecimal digits")
    }
}

impl fmt::Display for SealKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl Serialize for SealKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SealKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = SealKey;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(
                    "null to keep no raw bytes, or the public key to seal them to, as \
                     `auditrelay quarantine keygen` prints it (x25519: and 64 hexadecimal digits)",
                )
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<SealKey, E> {
                // Not of a wrong type: quotes around it would not help.
                Err(E::invalid_value(Unexpected::Bool(value), &self))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<SealKey, E> {
                // Who takes the wrong half sets the secret one.
                let hidden = Unexpected::Other("text that is not shown, as it may be a secret key");
                text.parse().map_err(|_| E::invalid_value(hidden, &self))
            }
        }
        deserializer.deserialize_any(KeyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_and_nothing_else_is_one() {
        let key = SealKey([0xa5; 32]);
        let text = key.to_string();
        assert_eq!(text.parse(), Ok(key));
        assert_eq!(
            text.to_uppercase().replace("X25519", "x25519").parse(),
            Ok(key)
        );
        for wrong in [
            "",
            "true",
            "x25519:",
            &text[7..],
            &text[..text.len() - 1],
            &format!("{text}0"),
            &text.replace("a5", "g5"),
            &text.replace("a5", "+5"),
            &SealKey([0; 32]).to_string(),
            &text.replace("x25519", "x25519-secret"),
        ] {
            assert!(wrong.parse::<SealKey>().is_err(), "{wrong}");
        }
    }
}
