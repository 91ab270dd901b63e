//! Secrets that must not appear in a log. Pure.

use crate::escape::all;
use http::HeaderName;
use std::borrow::Cow;
use std::collections::HashSet;

/// The text that replaces a secret.
pub(crate) const REDACTED: &[u8] = b"***";

/// Keys of a query whose values are secrets, in lower case.
const KEYS: [&str; 24] = [
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "auth",
    "authorization",
    "client_secret",
    "id_token",
    "jwt",
    "passwd",
    "password",
    "pwd",
    "refresh_token",
    "secret",
    "session",
    "sessionid",
    "session_id",
    "sig",
    "signature",
    "token",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
    "x-goog-signature",
];

/// Fields whose values are secrets.
const FIELDS: [&str; 10] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "set-cookie",
    "x-amz-security-token",
    "x-api-key",
    "x-auth-token",
    "x-csrf-token",
    "x-forwarded-access-token",
    "x-xsrf-token",
];

/// Determines which values are secrets; `***` replaces them in the log.
///
/// The default knows the usual names: in queries and fragments `token`, `access_token`, `api_key`, `password`,
/// `secret`, `signature` and the like, in any case and encoding; among header fields `Authorization`, cookies, and
/// keys. Passwords in URLs (`https://user:password@host/`) are treated like queries. Parameter names inside other
/// values are not recognised, and paths are never redacted.
#[derive(Debug, Clone)]
pub struct Redaction {
    keys: HashSet<Box<[u8]>>,
    /// So few that looking through them costs less than a hash.
    fields: Vec<HeaderName>,
    longest_key: usize,
    /// The lengths that keys have, one bit each; all of 63 and more share one.
    lengths: u64,
}

impl Redaction {
    /// Nothing is secret.
    pub fn none() -> Self {
        Redaction {
            keys: HashSet::new(),
            fields: Vec::new(),
            longest_key: 0,
            lengths: 0,
        }
    }

    /// Treats the value of this parameter as a secret in queries too. Case-insensitive. In a key with
    /// brackets, such as `user[password]`, the last name counts, at any position.
    #[must_use]
    pub fn query_key(mut self, key: &str) -> Self {
        let key = key.trim_end_matches([']', '[']).rsplit(['[', ']']).next();
        let key = key.unwrap_or_default();
        self.longest_key = self.longest_key.max(key.len());
        self.lengths |= length_bit(key.len());
        self.keys
            .insert(key.to_ascii_lowercase().into_bytes().into());
        self
    }

    /// Treats the values of this header field as secrets too, in requests and in responses.
    #[must_use]
    pub fn field(mut self, name: HeaderName) -> Self {
        self.fields.push(name);
        self
    }

    pub(crate) fn hides(&self, name: &HeaderName) -> bool {
        self.fields.contains(name)
    }

    /// A URL, or a request target, without secrets.
    pub(crate) fn url<'a>(&self, url: &'a [u8]) -> Cow<'a, [u8]> {
        let is_inert = |b: u8| (b != b'?') & (b != b'#') & (b != b'@') & (b != b';');
        if self.keys.is_empty() || all(url, is_inert) {
            return Cow::Borrowed(url);
        }
        let mut out = Vec::with_capacity(url.len());
        let rest = hide_user(url, &mut out);
        let is_start = |b: &u8| matches!(b, b'?' | b'#' | b';');
        let parameters = rest.iter().position(is_start).unwrap_or(rest.len());
        let (path, mut rest) = rest.split_at(parameters);
        out.extend_from_slice(path);
        while let [separator, after @ ..] = rest {
            out.push(*separator);
            let end = after
                .iter()
                .position(|b| matches!(b, b'?' | b'#' | b';' | b'&'));
            let (parameter, next) = after.split_at(end.unwrap_or(after.len()));
            rest = next;
            let equals = parameter.iter().position(|b| *b == b'=');
            match equals.map(|equals| parameter.split_at(equals)) {
                Some((key, _)) if self.is_secret(key) => {
                    out.extend_from_slice(key);
                    out.push(b'=');
                    out.extend_from_slice(REDACTED);
                    // A reader may see an earlier end of the value than we do.
                    let end = rest.iter().position(|b| *b == b'&');
                    rest = rest.get(end.unwrap_or(rest.len())..).unwrap_or_default();
                }
                _ => out.extend_from_slice(parameter),
            }
        }
        Cow::Owned(out)
    }

    fn lengths_include(&self, length: usize) -> bool {
        self.lengths & length_bit(length) != 0
    }

    /// Whether a key, or a name in its brackets, as in `user[password]`, belongs to a secret.
    fn is_secret(&self, key: &[u8]) -> bool {
        // Most names are spelled plainly, and of a length that no key has.
        let is_spelled =
            |b: u8| (b != b'%') & (b != b'[') & (b != b']') & (b != b' ') & (b != b'+');
        if !self.lengths_include(key.len()) && all(key, is_spelled) {
            return false;
        }
        let mut name = Vec::with_capacity(self.longest_key + 1);
        let mut bytes = key.iter().copied();
        while let Some(byte) = bytes.next() {
            match decoded(byte, &mut bytes) {
                b'[' | b']' => {
                    if self.keys.contains(&*name) {
                        return true;
                    }
                    name.clear();
                }
                b' ' | b'+' => {}
                // It is longer than every key, so it is none of them.
                _ if name.len() > self.longest_key => {}
                byte => name.push(byte.to_ascii_lowercase()),
            }
        }
        self.keys.contains(&*name)
    }
}

fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}

/// A byte of a query; `%` and two digits are one.
fn decoded(byte: u8, rest: &mut (impl Iterator<Item = u8> + Clone)) -> u8 {
    let mut ahead = rest.clone();
    let mut next = || ahead.next().and_then(digit);
    if byte == b'%'
        && let (Some(high), Some(low)) = (next(), next())
    {
        *rest = ahead;
        return high * 16 + low;
    }
    byte
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// Writes a URL up to its host, without user and password; returns the rest.
fn hide_user<'a>(url: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let authority = match url {
        // Relative to a scheme.
        [b'/', b'/', ..] => 2,
        _ => match url.windows(3).position(|three| three == b"://") {
            Some(scheme) => scheme + 3,
            None => return url,
        },
    };
    let (scheme, rest) = url.split_at(authority);
    let name = scheme.strip_suffix(b"//").unwrap_or_default();
    let name = name.strip_suffix(b":").unwrap_or(name);
    // A later `://` is in a path, a query, or after the method of a line: none of these is copied unchanged.
    if !name
        .iter()
        .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b))
    {
        return url;
    }
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#'));
    let (authority, _) = rest.split_at(end.unwrap_or(rest.len()));
    let Some(at) = authority.iter().rposition(|b| *b == b'@') else {
        return url;
    };
    out.extend_from_slice(scheme);
    out.extend_from_slice(REDACTED);
    rest.split_at(at).1
}

impl Default for Redaction {
    fn default() -> Self {
        let mut all = Redaction::none();
        for key in KEYS {
            all = all.query_key(key);
        }
        all.fields = FIELDS
            .iter()
            .map(|name| HeaderName::from_static(name))
            .collect();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_urls_are_hidden_however_they_are_spelled() {
        let rows = [
            ("/a?b=c", "/a?b=c"),
            ("/a?token=x", "/a?token=***"),
            ("/a?b=c&Token=x&d=e", "/a?b=c&Token=***&d=e"),
            ("/a?%74oken=x", "/a?%74oken=***"),
            ("/a?token[]=x&token[0]=y", "/a?token[]=***&token[0]=***"),
            ("/a?token=x;y#z", "/a?token=***"),
            ("/a?b=c;token=x?y", "/a?b=c;token=***"),
            ("/a;token=x?b", "/a;token=***"),
            ("/a?token", "/a?token"),
            ("/a?token=", "/a?token=***"),
            ("/a?tokens=x&%zz=1&=2", "/a?tokens=x&%zz=1&=2"),
            ("/a?x=%", "/a?x=%"),
            ("https://me:pw@host/a?b", "https://***@host/a?b"),
            ("//me:pw@host/a?b", "//***@host/a?b"),
            ("?token=x&next=https://a@b", "?token=***&next=https://a@b"),
            (
                "GET /?token=x&u=http://a@b HTTP/1.1",
                "GET /?token=***&u=http://a@b HTTP/1.1",
            ),
            ("/a?user[password]=x", "/a?user[password]=***"),
            ("/a?user%5Bpassword%5D=x", "/a?user%5Bpassword%5D=***"),
            ("https://host/a@b?c=d@e", "https://host/a@b?c=d@e"),
            (
                "https://h/#access_token=x&b=c",
                "https://h/#access_token=***&b=c",
            ),
            ("/?", "/?"),
            ("", ""),
        ];
        let redaction = Redaction::default();
        for (url, shown) in rows {
            let redacted = redaction.url(url.as_bytes());
            assert_eq!(String::from_utf8_lossy(&redacted), shown, "{url}");
        }
        assert_eq!(&*Redaction::none().url(b"/?token=x"), b"/?token=x");
        let own = Redaction::none().query_key("card[Number]");
        assert_eq!(
            &*own.url(b"/?card[number]=1&number[]=2&card=3"),
            b"/?card[number]=***&number[]=***&card=3"
        );
        let more = Redaction::default().query_key("Code");
        assert_eq!(&*more.url(b"/?code=x"), b"/?code=***");
        let named = Redaction::none().field(http::header::ORIGIN);
        assert!(named.hides(&http::header::ORIGIN) && !named.hides(&http::header::COOKIE));
        assert!(redaction.hides(&http::header::COOKIE));
    }
}
