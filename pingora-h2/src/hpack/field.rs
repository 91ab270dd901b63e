//! A decoded field, and what can be wrong with it.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};

use crate::StreamId;
use crate::error::{Error, Reason};

/// The pseudo-header fields (RFC 9113 section 8.3, RFC 8441 section 4) whose values are text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pseudo {
    /// `:authority`
    Authority,
    /// `:path`
    Path,
    /// `:protocol`, of extended CONNECT.
    Protocol,
    /// `:scheme`
    Scheme,
}

/// A decoded field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// `:method`
    Method(Method),
    /// `:status`
    Status(StatusCode),
    /// Another pseudo-header field. The value is what any field's may be; whether it is a path or
    /// an authority is not checked.
    Pseudo(Pseudo, Bytes),
    /// Any other field. Its name is a lower-case token, its value is free of control characters and
    /// of white space at its ends.
    Regular(HeaderName, HeaderValue),
    /// A field that makes its message malformed.
    Malformed(Malformed),
}

/// What makes a message malformed (RFC 9113 section 8.1.1): an error of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// A name that is empty or not a token, or that holds a capital.
    Name,
    /// A pseudo-header field that is not defined.
    UnknownPseudo,
    /// A value with a control character.
    Value,
    /// A value that begins or ends with white space.
    ValuePadded,
    /// A `:method` that is not a token.
    Method,
    /// A `:status` that is not three digits.
    Status,
    /// A pseudo-header field behind a regular one.
    PseudoAfterRegular,
    /// A pseudo-header field that comes twice.
    PseudoTwice,
}

impl Malformed {
    /// Where the rule stands (RFC 9113).
    pub const fn section(self) -> &'static str {
        match self {
            Self::Name | Self::Value | Self::ValuePadded => "8.2.1",
            Self::UnknownPseudo | Self::PseudoAfterRegular | Self::PseudoTwice => "8.3",
            Self::Method => "8.3.1",
            Self::Status => "8.3.2",
        }
    }

    /// What is wrong, for logs.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Name => "the name of a field is not a token in lower case",
            Self::UnknownPseudo => "an undefined pseudo-header field",
            Self::Value => "the value of a field holds a control character",
            Self::ValuePadded => "the value of a field begins or ends with white space",
            Self::Method => "the method is not a token",
            Self::Status => "the status is not three digits",
            Self::PseudoAfterRegular => "a pseudo-header field behind a regular field",
            Self::PseudoTwice => "a pseudo-header field comes twice",
        }
    }

    /// The error of the stream.
    pub const fn error(self, stream: StreamId) -> Error {
        Error::stream(
            stream,
            Reason::PROTOCOL_ERROR,
            self.section(),
            self.detail(),
        )
    }
}
