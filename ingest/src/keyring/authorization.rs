//! What a request's `Authorization` header says, as digests.
//!
//! Invariants: no header makes this panic; a request that says two things says nothing valid; what was
//! sent leaves here as digests only.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{HeaderMap, header::AUTHORIZATION};
use secrecy::{ExposeSecret, SecretBox};

use super::secrets::{Digest, Hasher};

/// What a request shows beside a certificate.
pub(super) enum Authorization {
    /// Nothing.
    Absent,
    /// RFC 6750.
    Bearer(Digest),
    /// RFC 7617.
    Basic {
        /// What stands before the first colon.
        user: Digest,
        /// What stands behind it.
        password: Digest,
    },
    /// A header that says nothing valid; what is wrong with it, in words that quote nothing.
    Malformed(&'static str),
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "nothing",
            Self::Bearer(_) => "a bearer token",
            Self::Basic { .. } => "a user and a password",
            Self::Malformed(_) => "nothing valid",
        })
    }
}

impl Authorization {
    /// Reads it; the error says what is wrong with it, in words that quote nothing.
    pub(super) fn read(headers: &HeaderMap, hasher: &Hasher) -> Result<Self, &'static str> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Ok(Self::Absent);
        };
        if values.next().is_some() {
            return Err("the request has several Authorization headers; send one");
        }
        let value = value.as_bytes().trim_ascii();
        let end = value
            .iter()
            .position(|byte| *byte == b' ')
            .unwrap_or(value.len());
        let (scheme, rest) = value.split_at(end);
        let rest = rest.trim_ascii();
        if scheme.eq_ignore_ascii_case(b"bearer") {
            return bearer(rest, hasher);
        }
        if scheme.eq_ignore_ascii_case(b"basic") {
            return basic(rest, hasher);
        }
        Err("the Authorization header is neither Bearer nor Basic")
    }
}

fn bearer(token: &[u8], hasher: &Hasher) -> Result<Authorization, &'static str> {
    if token.is_empty() {
        return Err("the Authorization header says Bearer and has no token");
    }
    Ok(Authorization::Bearer(hasher.digest(token)))
}

fn basic(encoded: &[u8], hasher: &Hasher) -> Result<Authorization, &'static str> {
    let mut is_base64 = true;
    // Where it is written stays in one place, which is wiped.
    let pair = SecretBox::<Vec<u8>>::init_with_mut(|pair| {
        pair.reserve_exact(encoded.len());
        is_base64 = STANDARD.decode_vec(encoded, pair).is_ok();
    });
    let pair = pair.expose_secret();
    let colon = pair.iter().position(|byte| *byte == b':');
    match colon {
        Some(colon) if is_base64 => Ok(Authorization::Basic {
            user: hasher.digest(&pair[..colon]),
            password: hasher.digest(&pair[colon + 1..]),
        }),
        _ => Err("the Authorization header says Basic and is not the base64 of user:password"),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(values: &[&[u8]]) -> Result<(Authorization, Hasher), &'static str> {
        let hasher = Hasher::new().unwrap();
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        Authorization::read(&headers, &hasher).map(|read| (read, hasher))
    }

    #[test]
    fn schemes_are_read_in_any_case() {
        for value in ["Bearer a.b", "bearer a.b", "BEARER   a.b "] {
            let (Authorization::Bearer(token), hasher) = read(&[value.as_bytes()]).unwrap() else {
                panic!("{value}");
            };
            assert!(bool::from(token.is(&hasher.digest(b"a.b"))), "{value}");
        }
        // RFC 7617, 2: "Aladdin:open sesame"; a password may hold colons, a user none.
        for (value, who, word) in [
            (
                "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
                "Aladdin",
                "open sesame",
            ),
            ("bASIC YTpiOmM=", "a", "b:c"),
            ("Basic Og==", "", ""),
            ("Basic dGVzdDoxMjPCow==", "test", "123£"),
        ] {
            let (Authorization::Basic { user, password }, hasher) =
                read(&[value.as_bytes()]).unwrap()
            else {
                panic!("{value}");
            };
            assert!(
                bool::from(user.is(&hasher.digest(who.as_bytes()))),
                "{value}"
            );
            assert!(
                bool::from(password.is(&hasher.digest(word.as_bytes()))),
                "{value}"
            );
        }
        assert!(matches!(read(&[]), Ok((Authorization::Absent, _))));
    }

    #[test]
    fn what_says_nothing_valid_is_told_apart_and_not_quoted() {
        let cases: [(&[&[u8]], &str); 9] = [
            (&[b"Bearer a", b"Bearer a"], "several"),
            (&[b"Bearer a", b""], "several"),
            (&[b""], "neither"),
            (&[b"Negotiate hunter2"], "neither"),
            (&[b"Bearerhunter2"], "neither"),
            (&[b"Bearer  "], "no token"),
            (&[b"Basic"], "base64"),
            (&[b"Basic hunter2!"], "base64"),
            (&[b"Basic aHVudGVyMg=="], "base64"), // No colon.
        ];
        for (values, expected) in cases {
            let error = read(values).map(|(read, _)| read).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("hunter"), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn no_header_makes_it_panic(
            values in prop::collection::vec(
                (
                    prop::sample::select(vec!["", "Bearer ", "basic ", "Basic ", "x"]),
                    prop::collection::vec(any::<u8>(), 0..80),
                    any::<bool>(),
                ),
                0..3,
            )
        ) {
            let hasher = Hasher::new().unwrap();
            let mut headers = HeaderMap::new();
            for (scheme, rest, encode) in values {
                let rest = if encode { STANDARD.encode(rest).into_bytes() } else { rest };
                if let Ok(value) = HeaderValue::from_bytes(&[scheme.as_bytes(), &rest].concat()) {
                    headers.append(AUTHORIZATION, value);
                }
            }
            let said = format!("{:?}", Authorization::read(&headers, &hasher));
            prop_assert!(said.len() < 100);
        }
    }
}
