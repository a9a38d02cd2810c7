//! Tokens and passwords, as far as they are kept: as keyed hashes.
//!
//! Invariants:
//! * what a file holds is hashed while it is read; the text itself is wiped, and nothing here can show it;
//! * whether a secret is the right one is asked of all that could be it, in a time that depends on
//!   neither: a keyed hash of each side, whose key nobody else knows, is compared without stopping early;
//! * errors and warnings name a line by its number, never by what stands there.

use std::fmt;

use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use subtle::{Choice, ConstantTimeEq};

/// Most secrets of one file. Two are what a rotation needs.
pub(super) const SECRETS_MAX: usize = 64;
/// Longest secret, in bytes. A service account's token has about 1,000.
pub(super) const SECRET_BYTES_MAX: usize = 4096;
/// What is shorter than this can be guessed, in bytes.
const SECRET_BYTES_WEAK: usize = 16;

/// Makes digests that only digests of the same process compare with.
pub(super) struct Hasher(hmac::Key);

/// Stands for a secret.
#[derive(Clone)]
pub(super) struct Digest([u8; 32]);

/// What a file of secrets may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// What can follow `Bearer` in a header.
    Token,
    /// Text that may hold spaces within.
    Password,
}

/// The secrets of one file.
#[derive(Debug, Clone)]
pub(super) struct Secrets {
    digests: Vec<Digest>,
    /// Lines with a secret that is short enough to be guessed.
    pub(super) weak_lines: Vec<usize>,
}

impl Hasher {
    /// With a key of this process.
    pub(super) fn new() -> Result<Self, String> {
        let mut key = [0; 32];
        SystemRandom::new()
            .fill(&mut key)
            .map_err(|_| "the system gives no random bytes".to_owned())?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }

    pub(super) fn digest(&self, secret: &[u8]) -> Digest {
        self.digest_of([secret])
    }

    /// Of parts as if they were one.
    pub(super) fn digest_of<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
        let mut context = hmac::Context::with_key(&self.0);
        parts.into_iter().for_each(|part| context.update(part));
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        Digest(digest)
    }
}

impl Digest {
    pub(super) fn is(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[digest]")
    }
}

impl Secrets {
    /// Reads one secret a line. Blank lines and those that begin with `#` are none.
    pub(super) fn parse(text: &[u8], kind: Kind, hasher: &Hasher) -> Result<Self, String> {
        let text = str::from_utf8(text).map_err(|_| "is not UTF-8".to_owned())?;
        // Some editors begin a file with this mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut secrets = Self {
            digests: Vec::new(),
            weak_lines: Vec::new(),
        };
        for (line, number) in text.lines().zip(1..) {
            let secret = line.trim();
            if secret.is_empty() || secret.starts_with('#') {
                continue;
            }
            if let Some(fault) = kind.fault(secret) {
                return Err(format!(
                    "holds no {} in line {number}: {fault}",
                    kind.name()
                ));
            }
            if secret.len() < SECRET_BYTES_WEAK {
                secrets.weak_lines.push(number);
            }
            secrets.digests.push(hasher.digest(secret.as_bytes()));
        }
        match secrets.digests.len() {
            0 => Err(format!("holds no {}; write one a line", kind.name())),
            1..=SECRETS_MAX => Ok(secrets),
            more => Err(format!(
                "holds {more} {}s, more than {SECRETS_MAX}; give each client a file of its own",
                kind.name()
            )),
        }
    }

    /// Whether this is one of them; all of them are looked at.
    pub(super) fn hold(&self, shown: &Digest) -> Choice {
        self.digests
            .iter()
            .fold(Choice::from(0), |held, digest| held | digest.is(shown))
    }

    pub(super) fn digests(&self) -> &[Digest] {
        &self.digests
    }
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Password => "password",
        }
    }

    fn fault(self, secret: &str) -> Option<&'static str> {
        if secret.len() > SECRET_BYTES_MAX {
            return Some("it is longer than 4096 bytes");
        }
        match self {
            Self::Token if !secret.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Some("only visible ASCII characters can be sent as one")
            }
            Self::Password if secret.chars().any(char::is_control) => {
                Some("it has a control character")
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: impl AsRef<[u8]>, kind: Kind) -> Result<(Secrets, Hasher), String> {
        let hasher = Hasher::new().unwrap();
        Secrets::parse(text.as_ref(), kind, &hasher).map(|secrets| (secrets, hasher))
    }

    #[test]
    fn one_secret_a_line_between_blank_lines_and_comments() {
        let text =
            "\u{feff}# old, until Friday\r\n  first-token-0123456789 \r\n\n\t\n#x\nsecond+/=\n";
        let (secrets, hasher) = parse(text, Kind::Token).unwrap();
        assert_eq!(secrets.digests.len(), 2);
        assert_eq!(secrets.weak_lines, [6]);
        let holds = |secret: &str| bool::from(secrets.hold(&hasher.digest(secret.as_bytes())));
        assert!(holds("first-token-0123456789"));
        assert!(holds("second+/="));
        for other in ["", "#x", "second+/", "first-token-0123456789 ", "old"] {
            assert!(!holds(other), "{other:?}");
        }
        let (passwords, hasher) = parse("pass word ß", Kind::Password).unwrap();
        assert!(bool::from(
            passwords.hold(&hasher.digest("pass word ß".as_bytes()))
        ));
    }

    #[test]
    fn every_place_in_a_file_is_looked_at() {
        let text: String = (0..SECRETS_MAX).map(|n| format!("token-{n}\n")).collect();
        let (secrets, hasher) = parse(text, Kind::Token).unwrap();
        for number in 0..SECRETS_MAX {
            let shown = hasher.digest(format!("token-{number}").as_bytes());
            assert!(bool::from(secrets.hold(&shown)), "{number}");
        }
        assert!(!bool::from(secrets.hold(&hasher.digest(b"token-64"))));
    }

    #[test]
    fn what_is_no_secret_is_told_by_its_line_and_never_quoted() {
        let many: String = (0..=SECRETS_MAX).map(|n| format!("t{n}\n")).collect();
        let long = "x".repeat(SECRET_BYTES_MAX + 1);
        let cases: [(&[u8], Kind, &str); 7] = [
            (b"", Kind::Token, "holds no token; write one a line"),
            (
                b"\n# a\n ",
                Kind::Password,
                "holds no password; write one a line",
            ),
            (b"\xff\xfe", Kind::Token, "is not UTF-8"),
            (
                b"fine\nhunter 2",
                Kind::Token,
                "holds no token in line 2: only visible ASCII characters can be sent as one",
            ),
            (
                b"hunter\x002",
                Kind::Password,
                "holds no password in line 1: it has a control character",
            ),
            (
                many.as_bytes(),
                Kind::Token,
                "holds 65 tokens, more than 64; give each client a file of its own",
            ),
            (
                long.as_bytes(),
                Kind::Password,
                "holds no password in line 1: it is longer than 4096 bytes",
            ),
        ];
        for (text, kind, expected) in cases {
            assert_eq!(parse(text, kind).err().as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_digest_is_of_its_process_and_shows_nothing() {
        let (one, other) = (Hasher::new().unwrap(), Hasher::new().unwrap());
        let digest = one.digest(b"hunter2");
        assert!(bool::from(digest.is(&one.digest(b"hunter2"))));
        assert!(!bool::from(digest.is(&other.digest(b"hunter2"))));
        assert_eq!(format!("{digest:?}"), "[digest]");
    }
}
