//! The names and values of directives.

use super::DELTA_SECONDS_OVERFLOW_VALUE;
use pingora_error::{Error, ErrorType, OrErr, Result};
use std::fmt;
use std::str;

macro_rules! directives {
    ($($variant:ident $name:literal)*) => {
        /// The name of a directive.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum DirectiveKey {
            $(
                #[doc = concat!("`", $name, "`.")]
                $variant,
            )*
            /// Another one, in lower case.
            Unknown(String),
        }

        impl DirectiveKey {
            /// The name, in lower case.
            pub fn as_str(&self) -> &str {
                match self {
                    $(DirectiveKey::$variant => $name,)*
                    DirectiveKey::Unknown(name) => name,
                }
            }

            fn known(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(DirectiveKey::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

directives! {
    MaxAge "max-age"
    SMaxAge "s-maxage"
    NoCache "no-cache"
    NoStore "no-store"
    Private "private"
    Public "public"
    MustRevalidate "must-revalidate"
    ProxyRevalidate "proxy-revalidate"
    MustUnderstand "must-understand"
    NoTransform "no-transform"
    Immutable "immutable"
    StaleWhileRevalidate "stale-while-revalidate"
    StaleIfError "stale-if-error"
    OnlyIfCached "only-if-cached"
}

impl DirectiveKey {
    /// The directive with this name, which must be in lower case: with capitals, it is an unknown one.
    pub fn from_lowercase(s: &str) -> Self {
        DirectiveKey::known(s).unwrap_or_else(|| DirectiveKey::Unknown(s.to_owned()))
    }

    /// The same, without a copy.
    pub fn from_lowercase_owned(s: String) -> Self {
        DirectiveKey::known(&s).unwrap_or(DirectiveKey::Unknown(s))
    }
}

impl fmt::Display for DirectiveKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq<str> for DirectiveKey {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for DirectiveKey {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

/// The value of a directive as it was written, with its quotes if it has any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectiveValue(pub Vec<u8>);

impl DirectiveValue {
    /// The value without its quotes. Escapes within quotes stay as they are.
    pub fn parse_as_bytes(&self) -> &[u8] {
        match self.0.as_slice() {
            [b'"', inner @ .., b'"'] => inner,
            value => value,
        }
    }

    /// The value without its quotes, as text.
    ///
    /// # Errors
    /// `InvalidHTTPHeader`, if it is not UTF-8.
    pub fn parse_as_str(&self) -> Result<&str> {
        str::from_utf8(self.parse_as_bytes()).or_err(
            ErrorType::InvalidHTTPHeader,
            "the value of a directive is not UTF-8",
        )
    }

    /// The value as a number of seconds (RFC 9111 section 1.2.2): one that is too large counts as
    /// [`DELTA_SECONDS_OVERFLOW_VALUE`].
    ///
    /// # Errors
    /// `InvalidHTTPHeader`, if it is anything but one or more digits.
    pub fn parse_as_delta_seconds(&self) -> Result<u32> {
        digits(self.parse_as_bytes())
    }

    /// The same, which also accepts a fraction and ignores it: `1.5` is 1.
    ///
    /// # Errors
    /// `InvalidHTTPHeader`, if it is anything but digits, or digits with one point between them.
    pub fn parse_as_delta_seconds_floor(&self) -> Result<u32> {
        let value = self.parse_as_bytes();
        let mut parts = value.splitn(2, |&byte| byte == b'.');
        let whole = parts.next().unwrap_or_default();
        if let Some(fraction) = parts.next() {
            digits(fraction)?;
        }
        digits(whole)
    }
}

impl AsRef<[u8]> for DirectiveValue {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn digits(text: &[u8]) -> Result<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Error::e_explain(
            ErrorType::InvalidHTTPHeader,
            "a number of seconds has to be one or more digits",
        );
    }
    let number = text.iter().try_fold(0u32, |number, digit| {
        number
            .checked_mul(10)?
            .checked_add(u32::from(digit.wrapping_sub(b'0')))
    });
    Ok(number.unwrap_or(DELTA_SECONDS_OVERFLOW_VALUE))
}

/// The elements of a value that is a list, trimmed, without empty ones.
#[derive(Debug, Clone)]
pub struct ListValueIter<'a>(&'a [u8]);

impl<'a> ListValueIter<'a> {
    /// The elements of this value.
    #[allow(clippy::should_implement_trait, reason = "the name is kept")]
    pub fn from(value: &'a DirectiveValue) -> Self {
        ListValueIter(value.parse_as_bytes())
    }
}

impl<'a> Iterator for ListValueIter<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.0.is_empty() {
            let end = self.0.iter().position(|&byte| byte == b',');
            let (element, rest) = match end.and_then(|end| self.0.split_at_checked(end)) {
                Some((element, [_, rest @ ..])) => (element, rest),
                _ => (self.0, &[][..]),
            };
            self.0 = rest;
            let element = element.trim_ascii();
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    }
}
