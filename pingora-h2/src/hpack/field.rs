//! A decoded field, and the ways in which it can be malformed.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use pingora_http::grammar::{Malformed, Section, SectionCheck, status_code};
use pingora_http::header_name_from_slice;

use super::FIELD_OVERHEAD;
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

impl Pseudo {
    /// The name, colon included.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authority => ":authority",
            Self::Path => ":path",
            Self::Protocol => ":protocol",
            Self::Scheme => ":scheme",
        }
    }
}

/// A decoded field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// `:method`
    Method(Method),
    /// `:status`
    Status(StatusCode),
    /// Another pseudo-header field. Its value has not been validated:
    /// [`FieldList`](super::FieldList) does that.
    Pseudo(Pseudo, Bytes),
    /// Any other field. Its name and value follow the rules of HTTP/2 ([`SectionCheck`]), and it is
    /// not connection-specific.
    Regular(HeaderName, HeaderValue),
    /// A field that makes its message malformed.
    Malformed(Malformed),
}

/// The error of a stream whose message is malformed (RFC 9113 section 8.1.1).
pub const fn malformed(stream: StreamId, why: Malformed) -> Error {
    Error::stream(stream, Reason::PROTOCOL_ERROR, "8.1.1", why.reason())
}

/// The name of a table entry or of a literal field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    Method,
    Status,
    Pseudo(Pseudo),
    Regular(HeaderName),
    /// An invalid field name. Its length counts nevertheless.
    Malformed {
        why: Malformed,
        length: u32,
    },
}

impl Name {
    pub(super) fn parse(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Method,
            b":status" => Self::Status,
            b":authority" => Self::Pseudo(Pseudo::Authority),
            b":path" => Self::Pseudo(Pseudo::Path),
            b":protocol" => Self::Pseudo(Pseudo::Protocol),
            b":scheme" => Self::Pseudo(Pseudo::Scheme),
            [b':', ..] => Self::malformed(name, Malformed::UnknownPseudo),
            // Upper-case letters must be rejected, so they are looked for before the name is built
            // and lower-cased.
            _ if !pingora_http::grammar::is_lower_case_field_name(name) => {
                Self::malformed(name, Malformed::Name)
            }
            _ => header_name_from_slice(name)
                .map_or_else(|| Self::malformed(name, Malformed::Name), Self::Regular),
        }
    }

    #[cold]
    fn malformed(name: &[u8], why: Malformed) -> Self {
        let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
        Self::Malformed { why, length }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Method | Self::Status => ":method".len(),
            Self::Pseudo(pseudo) => pseudo.name().len(),
            Self::Regular(name) => name.as_str().len(),
            Self::Malformed { length, .. } => *length as usize,
        }
    }
}

/// A field as a table keeps it: either ready to be handed out, or remembered as malformed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Good(Field),
    Bad {
        /// May be valid on its own, as other fields can refer to it.
        name: Name,
        value_length: u32,
        why: Malformed,
    },
}

impl Entry {
    pub(super) fn new(name: Name, value: Bytes) -> Self {
        let length = value.len();
        match field(&name, value) {
            Ok(field) => Self::Good(field),
            Err(why) => Self::Bad {
                name,
                value_length: u32::try_from(length).unwrap_or(u32::MAX),
                why,
            },
        }
    }

    pub(super) fn name(&self) -> Name {
        match self {
            Self::Good(Field::Method(_)) => Name::Method,
            Self::Good(Field::Status(_)) => Name::Status,
            Self::Good(Field::Pseudo(pseudo, _)) => Name::Pseudo(*pseudo),
            Self::Good(Field::Regular(name, _)) => Name::Regular(name.clone()),
            Self::Good(Field::Malformed(why)) => Name::malformed(&[], *why),
            Self::Bad { name, .. } => name.clone(),
        }
    }

    /// Name, value and 32 (RFC 7541 section 4.1).
    pub(super) fn size(&self) -> usize {
        let length = match self {
            Self::Good(Field::Method(method)) => ":method".len() + method.as_str().len(),
            Self::Good(Field::Status(_)) => ":status".len() + "200".len(),
            Self::Good(Field::Pseudo(pseudo, value)) => pseudo.name().len() + value.len(),
            Self::Good(Field::Regular(name, value)) => name.as_str().len() + value.len(),
            Self::Good(Field::Malformed(_)) => 0,
            Self::Bad {
                name, value_length, ..
            } => name.len() + *value_length as usize,
        };
        length + FIELD_OVERHEAD
    }

    pub(super) fn into_field(self) -> Field {
        match self {
            Self::Good(field) => field,
            Self::Bad { why, .. } => Field::Malformed(why),
        }
    }
}

fn field(name: &Name, value: Bytes) -> Result<Field, Malformed> {
    match name {
        Name::Method => Method::from_bytes(&value)
            .map(Field::Method)
            .map_err(|_| Malformed::Method),
        Name::Status => status_code(&value)
            .and_then(|code| StatusCode::from_u16(code).ok())
            .map(Field::Status)
            .ok_or(Malformed::Status),
        Name::Pseudo(pseudo) => Ok(Field::Pseudo(*pseudo, value)),
        Name::Regular(name) => {
            // The rules for regular fields don't depend on the kind of the section.
            SectionCheck::new(Section::Trailers).line(name.as_str().as_bytes(), &value)?;
            HeaderValue::from_maybe_shared(value)
                .map(|value| Field::Regular(name.clone(), value))
                .map_err(|_| Malformed::Value)
        }
        Name::Malformed { why, .. } => Err(*why),
    }
}
