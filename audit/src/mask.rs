//! What looks like a secret, in commands, in values and in addresses: masked, and said to be masked.
//!
//! Addresses are masked at the door ([`address`]), commands among them, which the API server logs at every
//! level. Where values are shown this is the second line of defence behind [`crate::redact`]. What is masked
//! stays as it is when it is masked again. These are guesses that would rather hide too much:
//! * what follows a flag or a name that says secret (`--password x`, `-p x`, `-px`, `TOKEN=x`, `"token": "x"`);
//! * what stands before the `@` of an address (`postgres://user:x@host`), and after the `:` of `-u user:x`, `-uuser:x`;
//! * bearer tokens and `Authorization:` headers;
//! * long runs of letters and digits that nobody would say aloud, and tokens with a known beginning.
//!
//! A word such as `hunter2` that nothing points to cannot be known for what it is.

pub mod address;
mod looks;

use self::looks::KEY_START;
pub use self::looks::{is_secret_name, looks_secret, without_tokens};

/// What stands where a secret stood.
pub const MASK: &str = "[masked]";

/// A line within a line within a line; deeper ones are masked whole.
const DEPTH_MAX: usize = 4;

/// Long flags of `find`, `ps` and others that begin like mysql's `-pSECRET`.
const HARMLESS_P: [&str; 10] = [
    "-path", "-pid", "-print", "-print0", "-printf", "-perm", "-prune", "-pthread", "-port",
    "-proto",
];
/// Flags that a secret follows.
const FLAGS_P: [&str; 8] = [
    "-pw",
    "-pwd",
    "-pass",
    "-passwd",
    "-password",
    "-passphrase",
    "-passin",
    "-passout",
];

/// Masks the words of a command, of all its arguments in their order.
#[derive(Debug, Default, Clone)]
pub struct Masker {
    /// Something was masked.
    pub masked: bool,
    /// The next word is a secret.
    expects: bool,
    /// The next word is a user, and a secret after a colon.
    expects_user: bool,
    /// The last word was a name that says secret, without a value.
    named: bool,
    /// The last word was `identified`, as in `identified by`.
    identified: bool,
    /// `redis-cli` has a flag of its own.
    redis: bool,
}

impl Masker {
    /// One argument, which may be a whole command line (`sh -c '…'`).
    pub fn argument(&mut self, argument: &str) -> String {
        self.line(argument, 0)
    }

    fn mask(&mut self) -> String {
        self.masked = true;
        MASK.to_owned()
    }

    fn line(&mut self, line: &str, depth: usize) -> String {
        if self.expects {
            self.expects = false;
            return self.mask();
        }
        // A key may stand in one line or in many; its words and lines by themselves look like nothing.
        if let Some((before, _)) = line.split_once(KEY_START) {
            let mask = self.mask();
            let before = if before.is_empty() {
                String::new()
            } else {
                self.line(before, depth)
            };
            return before + &mask;
        }
        let parts = lex(line);
        if parts.len() <= 1 && !is_quoted(line) {
            return self.word(line).0;
        }
        if depth >= DEPTH_MAX {
            return self.mask();
        }
        let mut out = String::with_capacity(line.len());
        for (is_word, part) in parts {
            if !is_word {
                out.push_str(part);
                continue;
            }
            if is_quoted(part) && !self.expects {
                if self.named {
                    self.named = false;
                    out.push_str(&self.mask());
                    continue;
                }
                let (quote, inner) = (&part[..1], &part[1..part.len() - 1]);
                out.push_str(&format!("{quote}{}{quote}", self.line(inner, depth + 1)));
                continue;
            }
            let (word, hides_rest) = self.word(part);
            out.push_str(&word);
            if hides_rest {
                out.push(' ');
                out.push_str(&self.mask());
                break;
            }
        }
        out
    }

    /// A word, and whether all that follows it in its line belongs to a secret.
    fn word(&mut self, word: &str) -> (String, bool) {
        let (named, identified) = (self.named, self.identified);
        (self.named, self.identified) = (false, word.eq_ignore_ascii_case("identified"));
        if std::mem::take(&mut self.expects) {
            self.notice_flag(word);
            return (self.mask(), false);
        }
        if std::mem::take(&mut self.expects_user)
            && let Some((user, _)) = word.split_once(':')
        {
            let mask = self.mask();
            return (format!("{user}:{mask}"), false);
        }
        if matches!(word, "=" | ":" | "==") && named
            || identified && word.eq_ignore_ascii_case("by")
        {
            self.expects = true;
            return (word.to_owned(), false);
        }
        let is_flag = self.notice_flag(word);
        if is_flag && (word == "-p" || !word.starts_with("-p") || FLAGS_P.contains(&word)) {
            return (word.to_owned(), false);
        }
        // `-pPassword1` is a flag with its value, or a flag like `-passphrase` of which a value follows.
        let is_p = word.len() > 2 && word.starts_with("-p") && !word.contains('=');
        if is_flag || is_p && !HARMLESS_P.contains(&word) {
            let mask = self.mask();
            return (format!("-p{mask}"), false);
        }
        if let Some(flag) = user_flag(word)
            && let Some((user, _)) = word[flag.len()..].split_once(':')
            && !word.contains("://")
        {
            let mask = self.mask();
            return (format!("{flag}{user}:{mask}"), false);
        }
        if self.redis && word.len() > 2 && word.starts_with("-a") {
            let mask = self.mask();
            return (format!("-a{mask}"), false);
        }
        self.redis |= word.ends_with("redis-cli");
        if word.eq_ignore_ascii_case("bearer") {
            self.expects = true;
            return (word.to_owned(), false);
        }
        if let Some(name) = word.strip_suffix(':')
            && is_secret_name(name)
        {
            return (word.to_owned(), true);
        }
        self.named = is_secret_name(word) && !word.contains(['=', ':', '/', '-']);
        let values = self.values(word);
        // `TOKEN=$(…)`, `Authorization:Bearer x`: the secret is what follows.
        let begins = ["$", "bearer", "basic", "token", "digest"];
        let is_begin = |value: &str| begins.iter().any(|begin| value.eq_ignore_ascii_case(begin));
        let goes_on =
            values.ends_with(MASK) && word.rsplit(['=', ':']).next().is_some_and(is_begin);
        (values, goes_on)
    }

    /// Flags that a secret follows.
    fn notice_flag(&mut self, word: &str) -> bool {
        if !word.starts_with('-') || word.contains(['=', ':']) {
            return false;
        }
        let names_place = ["file", "path", "dir", "stdin"]
            .iter()
            .any(|end| word.ends_with(end));
        let is_short = word.len() <= 5 && word[1..].bytes().all(|byte| byte.is_ascii_alphabetic());
        if matches!(word, "--user" | "--proxy-user") || is_short && word.ends_with('u') {
            self.expects_user = true;
        } else if word == "-p"
            || (word == "-a" && self.redis)
            || (is_secret_name(word) && !names_place)
        {
            self.expects = true;
        } else {
            return false;
        }
        true
    }

    /// What is secret within one word: values of names, users of addresses, tokens.
    fn values(&mut self, word: &str) -> String {
        let mut out = word.to_owned();
        if let Some(masked) = without_userinfo(&out) {
            self.masked = true;
            out = masked;
        }
        if let Some(masked) = without_values(&out) {
            self.masked = true;
            out = masked;
        }
        if looks_secret(&out) {
            let mask = self.mask();
            return match out.split_once('=') {
                Some((name, _)) if !looks_secret(name) => format!("{name}={mask}"),
                _ => mask,
            };
        }
        out
    }
}

/// The flag of a user in the same word, as in `--user=admin:x` and `-uadmin:x`.
fn user_flag(word: &str) -> Option<&'static str> {
    ["--user=", "--proxy-user=", "-u"]
        .into_iter()
        .find(|flag| word.starts_with(flag))
}

fn is_quoted(part: &str) -> bool {
    let quote = part.starts_with(['"', '\'', '`']);
    quote && part.len() >= 2 && part.as_bytes().first() == part.as_bytes().last()
}

/// Words and what stands between them. Quotes keep a word together; one that does not end takes all the rest.
fn lex(line: &str) -> Vec<(bool, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut in_word, mut quote, mut escaped) = (0, false, None, false);
    for (at, character) in line.char_indices() {
        let is_gap = quote.is_none()
            && !escaped
            && (character.is_whitespace()
                || ";|()<>".contains(character)
                || character == '&' && !in_word);
        if at > start && is_gap == in_word {
            parts.push((in_word, &line[start..at]));
            start = at;
        }
        in_word = !is_gap;
        match (quote, character) {
            _ if escaped => escaped = false,
            (_, '\\') => escaped = true,
            (Some(open), close) if open == close => quote = None,
            (None, '"' | '\'' | '`') => quote = Some(character),
            _ => {}
        }
    }
    if start < line.len() {
        parts.push((in_word, &line[start..]));
    }
    parts
}

/// `https://user:secret@host` without the user.
fn without_userinfo(word: &str) -> Option<String> {
    let (scheme, rest) = word.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // A secret may hold an unescaped slash: the last `@` counts, wherever it stands.
    let at = rest[..end].rfind('@').or_else(|| rest.rfind('@'))?;
    Some(format!("{scheme}://{MASK}{}", &rest[at..]))
}

/// `name=value`, `"name":"value"` and `?name=value&…` without the values of names that say secret.
fn without_values(word: &str) -> Option<String> {
    let mut out = String::new();
    let (mut kept, mut from) = (0, 0);
    while let Some(found) = word[from..].find(['=', ':']) {
        let at = from + found;
        from = at + 1;
        let before = word[kept..at].trim_end_matches(['"', '\'', '\\', ']']);
        let is_name = |character: char| character.is_alphanumeric() || "_.-[]".contains(character);
        let name = before
            .rfind(|character| !is_name(character))
            .map_or(before, |end| {
                &before[end + before[end..].chars().next().map_or(0, char::len_utf8)..]
            });
        let is_scheme = word[at..].starts_with("://");
        if is_scheme || from == word.len() || !is_secret_name(name) {
            continue;
        }
        // What separates values may as well belong to one, if nothing that has a name follows.
        let end = word[from..]
            .find(['&', ',', '}'])
            .map_or(word.len(), |end| from + end);
        let end = if word[end..].contains(['=', ':']) {
            end
        } else {
            word.len()
        };
        out.push_str(&word[kept..from]);
        out.push_str(MASK);
        (kept, from) = (end, end);
    }
    if out.is_empty() {
        return None;
    }
    out.push_str(&word[kept..]);
    Some(out)
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
