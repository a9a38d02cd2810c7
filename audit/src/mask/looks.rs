//! What by its name or by its looks is a secret.

use std::{borrow::Cow, sync::LazyLock};

use aho_corasick::AhoCorasick;

use super::MASK;

/// What is shorter may be a word.
const RANDOM_BYTES_MIN: usize = 20;

/// Parts of names that say secret wherever they stand.
const SECRET_PARTS: [&str; 18] = [
    "password",
    "passwd",
    "passphrase",
    "passwort",
    "pwd",
    "secret",
    "token",
    "credential",
    "apikey",
    "accesskey",
    "privatekey",
    "authorization",
    "bearer",
    "cookie",
    "signature",
    "sessionid",
    "connectionstring",
    "fromliteral",
];
/// Words that say so only by themselves.
const SECRET_WORDS: [&str; 14] = [
    "pass", "pw", "auth", "key", "keys", "pin", "otp", "jwt", "sas", "creds", "cred", "passin",
    "passout", "dsn",
];
/// Beginnings of well-known tokens.
const TOKEN_STARTS: [&str; 33] = [
    "eyJ",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "gldt-",
    "glrt-",
    "glptt-",
    "xoxa-",
    "xoxb-",
    "xoxe-",
    "xoxe.",
    "xoxp-",
    "xoxr-",
    "xoxs-",
    "xapp-",
    "xwfp-",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "sk-",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "hvs.",
    "hvb.",
    "npm_",
    "dckr_pat_",
    KEY_START,
];
/// How a key or a certificate begins (RFC 7468).
pub(super) const KEY_START: &str = "-----BEGIN";

/// Whether what has this name is a secret, as far as a name can say.
pub fn is_secret_name(name: &str) -> bool {
    let name: String = name.chars().take(200).collect();
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for character in name.chars() {
        let ends =
            !character.is_ascii_alphanumeric() || (was_lower && character.is_ascii_uppercase());
        if ends {
            words.push(String::new());
        }
        if let (true, Some(word)) = (character.is_ascii_alphanumeric(), words.last_mut()) {
            word.push(character.to_ascii_lowercase());
        }
        was_lower = character.is_ascii_lowercase();
    }
    let joined: String = words.concat();
    SECRET_PARTS.iter().any(|part| joined.contains(part))
        || words
            .iter()
            .any(|word| SECRET_WORDS.contains(&word.as_str()))
}

/// Whether text by itself looks like a token or a key.
pub fn looks_secret(text: &str) -> bool {
    static STARTS: LazyLock<AhoCorasick> =
        LazyLock::new(|| AhoCorasick::new(TOKEN_STARTS).expect("a handful of short words"));
    let begins_word = |at: usize| at == 0 || !text.as_bytes()[at - 1].is_ascii_alphanumeric();
    if STARTS
        .find_overlapping_iter(text)
        .any(|found| begins_word(found.start()))
    {
        return true;
    }
    if text.len() < RANDOM_BYTES_MIN {
        return false;
    }
    if is_base64(text) {
        return true;
    }
    // A digest names content, and hides nothing.
    let text = if text.contains("sha256:") {
        Cow::Owned(text.replace("sha256:", "sha256:-"))
    } else {
        Cow::Borrowed(text)
    };
    let runs = text
        .split(|character: char| !character.is_ascii_alphanumeric() && !"+=".contains(character));
    let mut before = "";
    for run in runs {
        if is_random(run) && before != "sha256" {
            return true;
        }
        if !run.is_empty() {
            before = run;
        }
    }
    false
}

/// Text of a sentence without the words that look like a token or a key; what is called secret in it stays.
pub fn without_tokens(text: &str) -> String {
    if !looks_secret(text) {
        return text.to_owned();
    }
    if let Some((before, _)) = text.split_once(KEY_START) {
        return without_tokens(before) + MASK;
    }
    let words = text.split_inclusive(|one: char| one.is_whitespace() || "\"'`,;()".contains(one));
    let shown = words.map(|word| {
        let end =
            word.trim_end_matches(|one: char| one.is_whitespace() || "\"'`,;()".contains(one));
        if looks_secret(end) {
            format!("{MASK}{}", &word[end.len()..])
        } else {
            word.to_owned()
        }
    });
    shown.collect()
}

/// Base64 in which no run between two slashes is long enough by itself.
fn is_base64(text: &str) -> bool {
    let is_of_it =
        |character: char| character.is_ascii_alphanumeric() || "+/_-".contains(character);
    text.split(|character| !is_of_it(character)).any(|run| {
        let bytes = run.as_bytes();
        let rises = bytes
            .windows(2)
            .filter(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase());
        run.len() >= 32 && rises.count() >= 5 && run.bytes().any(|byte| byte.is_ascii_digit())
    })
}

fn is_random(run: &str) -> bool {
    let count = |is: fn(&u8) -> bool| run.bytes().filter(is).count();
    let (digits, upper, lower) = (
        count(u8::is_ascii_digit),
        count(u8::is_ascii_uppercase),
        count(u8::is_ascii_lowercase),
    );
    let mut distinct = [false; 128];
    run.bytes()
        .for_each(|byte| distinct[usize::from(byte & 127)] = true);
    let distinct = distinct.iter().filter(|seen| **seen).count();
    let with_digits =
        run.len() >= RANDOM_BYTES_MIN && digits >= 2 && upper + lower >= 4 && distinct >= 10;
    let mixed = run.len() >= 24 && upper >= 6 && lower >= 6 && distinct >= 14;
    // Whatever it is, nobody can read it.
    let long = run.len() >= 64;
    with_digits || mixed || long
}
