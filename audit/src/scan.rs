//! A cursor over JSON text that reads the plain case fast and leaves the rest to serde.
//!
//! Contract: every method returns `None` for what it does not understand, and then the caller starts
//! over with serde_json, which decides what is valid and words the error. What is accepted here is
//! accepted by serde_json too, with the same meaning (tests compare the two): so nesting is bounded
//! below serde's own bound, and a string with a `\u` escape is skipped but never decoded.

use std::borrow::Cow;

/// Below serde_json's 128.
const DEPTH_MAX: u32 = 100;

/// A cursor; cheap to copy, to come back to a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

/// A string as it stands in the text, without its quotes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quoted<'a> {
    raw: &'a str,
    escapes: Escapes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Escapes {
    None,
    /// Of one character, such as `\"`.
    Simple,
    /// `\u` and a whole character: Go writes `&`, `<` and `>` so.
    Coded,
    /// `\u` and half of a pair.
    Unicode,
}

impl<'a> Quoted<'a> {
    /// The string, if it has no escapes.
    pub(crate) fn plain(self) -> Option<&'a str> {
        (self.escapes == Escapes::None).then_some(self.raw)
    }

    /// The string as it stands there, if decoding it is easy, and whether it has to be decoded.
    /// `None` where it holds a letter, digit or sign in another form than its own.
    pub(crate) fn raw(self) -> Option<(&'a str, bool)> {
        match self.escapes {
            Escapes::None => Some((self.raw, false)),
            Escapes::Simple => Some((self.raw, true)),
            Escapes::Coded | Escapes::Unicode => None,
        }
    }

    /// The string, if decoding it is easy.
    pub(crate) fn text(self) -> Option<Cow<'a, str>> {
        match self.escapes {
            Escapes::None => Some(Cow::Borrowed(self.raw)),
            Escapes::Simple | Escapes::Coded => Some(Cow::Owned(unescaped(self.raw))),
            Escapes::Unicode => None,
        }
    }
}

/// The character of four hexadecimal digits; the inner `None` is half of a pair.
fn coded(digits: &str) -> Option<Option<char>> {
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u32::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
    Some(char::from_u32(number))
}

/// Decodes a string without halves of pairs.
pub(crate) fn unescaped(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut parts = raw.split('\\');
    out.extend(parts.next());
    while let Some(part) = parts.next() {
        let mut chars = part.chars();
        let escaped = match chars.next() {
            // `\\`: what follows is the text after the second backslash.
            None => {
                out.push('\\');
                out.extend(parts.next());
                continue;
            }
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let (digits, rest) = chars.as_str().split_at_checked(4).unwrap_or_default();
                // The scanner looked at it before.
                out.extend(coded(digits).flatten());
                chars = rest.chars();
                out.push_str(chars.as_str());
                continue;
            }
            Some(itself) => itself,
        };
        out.push(escaped);
        out.push_str(chars.as_str());
    }
    out
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Where the cursor is, in bytes.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn slice(&self, from: usize) -> Option<&'a str> {
        self.text.get(from..self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is no whitespace; the cursor is before it.
    pub(crate) fn next(&mut self) -> Option<u8> {
        loop {
            let byte = self.peek()?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// Whether nothing but whitespace is left.
    pub(crate) fn is_at_end(&mut self) -> bool {
        self.next().is_none()
    }

    pub(crate) fn take(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then(|| self.at += 1)
    }

    /// Goes through an object's members. `member` gets the name, with the cursor before the value, and
    /// must move it behind the value.
    pub(crate) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &'a str) -> Option<()>,
    ) -> Option<()> {
        self.take(b'{')?;
        if self.next()? == b'}' {
            return self.take(b'}');
        }
        loop {
            let name = self.string()?.plain()?;
            self.take(b':')?;
            member(self, name)?;
            match self.next()? {
                b',' => self.at += 1,
                _ => return self.take(b'}'),
            }
        }
    }

    /// Goes through an array's elements, as [`Scanner::object`].
    pub(crate) fn array(&mut self, mut element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(b'[')?;
        if self.next()? == b']' {
            return self.take(b']');
        }
        loop {
            element(self)?;
            match self.next()? {
                b',' => self.at += 1,
                _ => return self.take(b']'),
            }
        }
    }

    pub(crate) fn string(&mut self) -> Option<Quoted<'a>> {
        self.take(b'"')?;
        let start = self.at;
        let mut escapes = Escapes::None;
        loop {
            self.skip_unremarkable();
            match self.peek()? {
                b'"' => break,
                b'\\' => {
                    self.at += 1;
                    escapes = self.escape(escapes)?;
                }
                byte if byte < 0x20 => return None,
                // A byte that was looked at one by one, at the text's very end.
                _ => self.at += 1,
            }
        }
        let raw = self.text.get(start..self.at)?;
        self.at += 1;
        Some(Quoted { raw, escapes })
    }

    fn escape(&mut self, before: Escapes) -> Option<Escapes> {
        let kind = self.peek()?;
        self.at += 1;
        match kind {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {
                Some(before.max(Escapes::Simple))
            }
            b'u' => {
                let digits = self.text.get(self.at..self.at + 4)?;
                self.at += 4;
                let kind = match coded(digits)? {
                    Some(_) => Escapes::Coded,
                    None => Escapes::Unicode,
                };
                Some(before.max(kind))
            }
            _ => None,
        }
    }

    /// Moves on over bytes that mean nothing in a string, eight at a time: up to a quote, a backslash or
    /// a control character, or close to the end.
    fn skip_unremarkable(&mut self) {
        const ONES: u64 = u64::from_ne_bytes([1; 8]);
        const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
        // The lowest flagged byte is exact; borrows can only flag bytes above a flagged one.
        let zeroes = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
        let bytes = self.text.as_bytes();
        while let Some(chunk) = bytes.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
            let word = u64::from_le_bytes(*chunk);
            let quotes = zeroes(word ^ (ONES * u64::from(b'"')));
            let backslashes = zeroes(word ^ (ONES * u64::from(b'\\')));
            let controls = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
            let remarkable = quotes | backslashes | controls;
            if remarkable != 0 {
                self.at += (remarkable.trailing_zeros() / 8) as usize;
                return;
            }
            self.at += 8;
        }
    }

    /// Moves behind any value.
    pub(crate) fn skip(&mut self) -> Option<()> {
        self.skip_nested(DEPTH_MAX)
    }

    fn skip_nested(&mut self, depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match self.next()? {
            b'"' => self.string().map(drop),
            b'{' => self.skip_object(depth),
            b'[' => self.array(|inner| inner.skip_nested(depth)),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => self.number().map(drop),
        }
    }

    /// Unlike [`Scanner::object`] it takes any name.
    fn skip_object(&mut self, depth: u32) -> Option<()> {
        self.take(b'{')?;
        if self.next()? == b'}' {
            return self.take(b'}');
        }
        loop {
            self.string()?;
            self.take(b':')?;
            self.skip_nested(depth)?;
            match self.next()? {
                b',' => self.at += 1,
                _ => return self.take(b'}'),
            }
        }
    }

    fn literal(&mut self, word: &str) -> Option<()> {
        let rest = self.text.as_bytes().get(self.at..)?;
        rest.starts_with(word.as_bytes())
            .then(|| self.at += word.len())
    }

    /// The number as it stands in the text.
    pub(crate) fn number(&mut self) -> Option<&'a str> {
        self.next()?;
        let start = self.at;
        self.at += usize::from(self.peek()? == b'-');
        match self.peek()? {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek()?, b'+' | b'-'));
            self.digits()?;
        }
        self.slice(start)
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
