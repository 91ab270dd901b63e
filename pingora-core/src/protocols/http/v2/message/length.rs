//! Compares the length that a message declares with its actual payload (RFC 9113 section 8.1.1).

use crate::protocols::http::h1::Fault;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue};
use pingora_http::grammar::ContentLength;

/// The payload that is still to come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum PayloadLength {
    /// None, whatever the fields say: data that is sent nevertheless is dropped.
    Nothing,
    /// This many bytes.
    Exact(u64),
    /// Until the stream's end.
    #[default]
    Any,
}

const TOO_MUCH: Fault = Fault::bad("the body is longer than Content-Length says");
const TOO_LITTLE: Fault = Fault::bad("the body is shorter than Content-Length says");

impl PayloadLength {
    /// For a message that declares this length, or none.
    pub(crate) fn declared(length: Option<u64>) -> Self {
        length.map_or(PayloadLength::Any, PayloadLength::Exact)
    }

    /// Counts a piece; `false`: it is not wanted.
    ///
    /// # Errors
    /// If it exceeds the declared length.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<bool, Fault> {
        match self {
            PayloadLength::Nothing => Ok(false),
            PayloadLength::Any => Ok(true),
            PayloadLength::Exact(left) => match left.checked_sub(bytes as u64) {
                Some(rest) => {
                    *left = rest;
                    Ok(true)
                }
                None => Err(TOO_MUCH),
            },
        }
    }

    /// Ends the message.
    ///
    /// # Errors
    /// If more was declared.
    pub(crate) fn end(&self) -> Result<(), Fault> {
        match self {
            PayloadLength::Exact(1..) => Err(TOO_LITTLE),
            _ => Ok(()),
        }
    }

    /// Whether no payload can follow.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, PayloadLength::Nothing | PayloadLength::Exact(0))
    }
}

/// The length that a peer's fields declare. If it is not written as a single plain number, it is
/// normalised, so that the forwarded value is the one that was understood.
///
/// # Errors
/// The same as for [`ContentLength::read`].
pub(crate) fn settle_length(headers: &mut HeaderMap) -> Result<Option<u64>, Fault> {
    let mut fields = 0;
    let mut declared = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        fields += 1;
        declared = Some(ContentLength::read(declared, value.as_bytes()).map_err(Fault::of_length)?);
    }
    let Some(length) = declared else {
        return Ok(None);
    };
    let bytes = length.bytes();
    let as_it_is = fields == 1
        && headers
            .get(CONTENT_LENGTH)
            .is_some_and(|value| length.is_written_as(value.as_bytes()));
    if !as_it_is {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    }
    Ok(Some(bytes))
}

/// The length that our own fields declare, which are sent unchanged.
///
/// # Errors
/// The same as for [`ContentLength::read`], and for a list or leading zeros.
pub(crate) fn declared_length(headers: &HeaderMap) -> Result<Option<u64>, Fault> {
    let mut declared = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        declared = Some(declare(declared, value.as_bytes())?);
    }
    Ok(declared.map(|length| length.bytes()))
}

/// [`declared_length`] of one field, after `declared` of those before it.
pub(super) fn declare<'v>(
    declared: Option<ContentLength<'v>>,
    value: &'v [u8],
) -> Result<ContentLength<'v>, Fault> {
    let length = ContentLength::read(declared, value).map_err(Fault::of_length)?;
    if length.is_written_as(value) {
        Ok(length)
    } else {
        Err(Fault::bad(
            "Content-Length is not written as a plain number",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9110 section 8.6. Values that are accepted from a peer, and values that may be sent.
    #[test]
    fn a_length_is_settled_when_it_arrives_and_plain_when_it_leaves() {
        type Row<'a> = (
            &'a [&'a str],
            Result<Option<u64>, ()>,
            Result<Option<u64>, ()>,
        );
        const MOST: u64 = i64::MAX as u64;
        let rows: &[Row<'_>] = &[
            (&[], Ok(None), Ok(None)),
            (&["0"], Ok(Some(0)), Ok(Some(0))),
            (&["17"], Ok(Some(17)), Ok(Some(17))),
            (&["17", "17"], Ok(Some(17)), Ok(Some(17))),
            (&["9223372036854775807"], Ok(Some(MOST)), Ok(Some(MOST))),
            (&["17, 17"], Ok(Some(17)), Err(())),
            (&["010"], Ok(Some(10)), Err(())),
            (&["9223372036854775808"], Err(()), Err(())),
            (&["17", "18"], Err(()), Err(())),
            (&["10", "010"], Err(()), Err(())),
            (&[""], Err(()), Err(())),
            (&["+1"], Err(()), Err(())),
            (&["0x1"], Err(()), Err(())),
        ];
        for (values, incoming, outgoing) in rows {
            let mut headers = HeaderMap::new();
            for value in *values {
                headers.append(CONTENT_LENGTH, HeaderValue::from_str(value).unwrap());
            }
            let found = declared_length(&headers).map_err(|_| ());
            assert_eq!(found, *outgoing, "{values:?}");
            let found = settle_length(&mut headers).map_err(|_| ());
            assert_eq!(found, *incoming, "{values:?}");
            if let Ok(Some(length)) = incoming {
                let all: Vec<_> = headers.get_all(CONTENT_LENGTH).iter().collect();
                assert_eq!(all, [&length.to_string()], "{values:?}");
            }
        }
    }

    /// RFC 9113 section 8.1.1.
    #[test]
    fn payload_keeps_to_the_declared_length() {
        let rows: &[(PayloadLength, &[usize], Result<(), Fault>)] = &[
            (PayloadLength::Any, &[], Ok(())),
            (PayloadLength::Any, &[1, 70_000], Ok(())),
            (PayloadLength::Nothing, &[5], Ok(())),
            (PayloadLength::Exact(0), &[], Ok(())),
            (PayloadLength::Exact(0), &[1], Err(TOO_MUCH)),
            (PayloadLength::Exact(5), &[2, 3], Ok(())),
            (PayloadLength::Exact(5), &[2, 0, 3, 0], Ok(())),
            (PayloadLength::Exact(5), &[2, 2], Err(TOO_LITTLE)),
            (PayloadLength::Exact(5), &[], Err(TOO_LITTLE)),
            (PayloadLength::Exact(5), &[6], Err(TOO_MUCH)),
        ];
        for (length, pieces, expected) in rows {
            let mut left = *length;
            let taken = pieces.iter().try_for_each(|n| left.take(*n).map(|_| ()));
            let ended = taken.and_then(|()| left.end());
            assert_eq!(ended, *expected, "{length:?} {pieces:?}");
        }
    }

    #[test]
    fn what_has_no_body_drops_what_is_sent_nevertheless() {
        assert_eq!(PayloadLength::Nothing.take(5), Ok(false));
        assert!(PayloadLength::Nothing.is_empty() && PayloadLength::Exact(0).is_empty());
        assert!(!PayloadLength::Any.is_empty() && !PayloadLength::Exact(1).is_empty());
        assert_eq!(PayloadLength::declared(None), PayloadLength::Any);
        assert_eq!(PayloadLength::declared(Some(3)), PayloadLength::Exact(3));
    }
}
