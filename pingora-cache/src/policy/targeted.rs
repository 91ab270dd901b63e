//! Fields for caches of one kind (RFC 9213): dictionaries of RFC 8941, which count as a whole or not at all.

use crate::cache_control::{CacheControl, DirectiveKey};
use http::{HeaderMap, HeaderName};
use pingora_http::grammar::is_token;

/// The directives of the field with this name; `None` if it is absent, empty or no dictionary (RFC 9213
/// section 2.1), so that the next field decides.
pub(super) fn directives(headers: &HeaderMap, name: &HeaderName) -> Option<CacheControl> {
    let mut lines = headers.get_all(name).iter().peekable();
    lines.peek()?;
    let is_valid = lines.all(|line| Parser(line.as_bytes()).dictionary());
    let mut said = CacheControl::from_headers_named(name.as_str(), headers)?;
    if !is_valid || said.directives.is_empty() {
        return None;
    }
    // `no-store=?0` says that it is not there; a time that is no integer says nothing.
    said.directives.retain(|key, value| {
        let value = value.as_ref().map(|value| without_parameters(&value.0));
        match key {
            DirectiveKey::MaxAge
            | DirectiveKey::SMaxAge
            | DirectiveKey::StaleIfError
            | DirectiveKey::StaleWhileRevalidate => {
                value.is_some_and(|value| value.iter().all(u8::is_ascii_digit))
            }
            _ => value != Some(b"?0"),
        }
    });
    for (key, value) in &mut said.directives {
        let plain = value
            .as_ref()
            .map(|value| without_parameters(&value.0).to_vec());
        *value = match plain {
            // A field list is a string; another value makes the directive one about the whole.
            Some(plain) if is_field_list(key) && !plain.starts_with(b"\"") => None,
            Some(plain) if plain == b"?1" => None,
            Some(plain) => Some(crate::cache_control::DirectiveValue(plain)),
            None => None,
        };
    }
    Some(said)
}

fn is_field_list(key: &DirectiveKey) -> bool {
    matches!(key, DirectiveKey::Private | DirectiveKey::NoCache)
}

fn without_parameters(value: &[u8]) -> &[u8] {
    let mut parser = Parser(value);
    if parser.item() {
        let length = value.len().saturating_sub(parser.0.len());
        return value.get(..length).unwrap_or(value).trim_ascii_end();
    }
    value
}

/// The unread rest.
struct Parser<'a>(&'a [u8]);

impl Parser<'_> {
    /// RFC 8941 section 4.2.2.
    fn dictionary(&mut self) -> bool {
        self.0 = self.0.trim_ascii();
        while !self.0.is_empty() {
            if !self.key() || (self.skip(b"=") && !self.member()) || !self.parameters() {
                return false;
            }
            self.skip_while(|byte| matches!(byte, b' ' | b'\t'));
            if self.0.is_empty() {
                return true;
            }
            if !self.skip(b",") {
                return false;
            }
            self.skip_while(|byte| matches!(byte, b' ' | b'\t'));
            if self.0.is_empty() {
                return false;
            }
        }
        true
    }

    fn member(&mut self) -> bool {
        if !self.skip(b"(") {
            return self.item();
        }
        loop {
            self.skip_while(|byte| byte == b' ');
            if self.skip(b")") {
                return true;
            }
            if !self.item() || !self.parameters() || !matches!(self.0, [b' ' | b')', ..]) {
                return false;
            }
        }
    }

    fn parameters(&mut self) -> bool {
        while self.skip(b";") {
            self.skip_while(|byte| byte == b' ');
            if !self.key() || (self.skip(b"=") && !self.item()) {
                return false;
            }
        }
        true
    }

    fn key(&mut self) -> bool {
        matches!(self.0, [b'a'..=b'z' | b'*', ..])
            && self.skip_while(
                |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*'),
            ) > 0
    }

    /// A bare item (section 4.2.3.1).
    fn item(&mut self) -> bool {
        match self.0 {
            [b'"', ..] => self.string(),
            [b'?', b'0' | b'1', rest @ ..] => {
                self.0 = rest;
                true
            }
            [b':', rest @ ..] => {
                let end = rest.iter().position(|&byte| byte == b':');
                self.0 = end.and_then(|end| rest.get(end + 1..)).unwrap_or_default();
                end.is_some()
            }
            [b'-' | b'0'..=b'9', ..] => self.number(),
            [b'a'..=b'z' | b'A'..=b'Z' | b'*', ..] => {
                self.skip_while(|byte| is_token(&[byte]) || matches!(byte, b':' | b'/'));
                true
            }
            _ => false,
        }
    }

    fn number(&mut self) -> bool {
        self.skip(b"-");
        let whole = self.skip_while(|byte| byte.is_ascii_digit());
        if whole == 0 || whole > 15 {
            return false;
        }
        if !self.skip(b".") {
            return true;
        }
        let fraction = self.skip_while(|byte| byte.is_ascii_digit());
        whole <= 12 && (1..=3).contains(&fraction)
    }

    fn string(&mut self) -> bool {
        self.skip(b"\"");
        loop {
            match self.0 {
                [b'"', rest @ ..] => {
                    self.0 = rest;
                    return true;
                }
                [b'\\', b'"' | b'\\', rest @ ..] => self.0 = rest,
                [b' '..=b'[' | b']'..=b'~', rest @ ..] => self.0 = rest,
                _ => return false,
            }
        }
    }

    fn skip(&mut self, prefix: &[u8]) -> bool {
        match self.0.strip_prefix(prefix) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn skip_while(&mut self, belongs: impl Fn(u8) -> bool) -> usize {
        let length = self.0.iter().take_while(|&&byte| belongs(byte)).count();
        self.0 = self.0.get(length..).unwrap_or_default();
        length
    }
}
