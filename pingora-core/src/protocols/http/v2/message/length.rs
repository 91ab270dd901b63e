//! The length that a message declares, against what it carries (RFC 9113 section 8.1.1).

use crate::protocols::http::h1::{Fault, decimal};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;

/// How much payload is still to come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum PayloadLength {
    /// None, whatever the fields say: what is sent nevertheless is dropped.
    Nothing,
    /// So many bytes.
    Exact(u64),
    /// Until the stream's end.
    #[default]
    Any,
}

const TOO_MUCH: Fault = Fault::bad("the body is longer than Content-Length says");
const TOO_LITTLE: Fault = Fault::bad("the body is shorter than Content-Length says");

impl PayloadLength {
    /// Of a message that declares this length, or none.
    pub(crate) fn declared(length: Option<u64>) -> Self {
        length.map_or(PayloadLength::Any, PayloadLength::Exact)
    }

    /// Takes in a piece; `false`: it is not wanted.
    ///
    /// # Errors
    /// Where it goes beyond what was declared.
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

    /// The message ends here.
    ///
    /// # Errors
    /// Where more was declared.
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

/// The length that these fields declare. One field is left of several that agree.
///
/// # Errors
/// Anything but digits, more than 63 bits, or two lengths (RFC 9110 section 8.6).
pub(crate) fn declared_length(headers: &HeaderMap) -> Result<Option<u64>, Fault> {
    let mut declared = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let length = decimal(value.as_bytes())?;
        if declared.is_some_and(|known| known != length) {
            return Err(Fault::bad("two different values of Content-Length"));
        }
        declared = Some(length);
    }
    Ok(declared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    /// RFC 9110 section 8.6.
    #[test]
    fn a_length_is_plain_digits() {
        type Row<'a> = (&'a [&'a str], Result<Option<u64>, ()>);
        let rows: &[Row<'_>] = &[
            (&[], Ok(None)),
            (&["0"], Ok(Some(0))),
            (&["17"], Ok(Some(17))),
            (&["17", "17"], Ok(Some(17))),
            (&["9223372036854775807"], Ok(Some(i64::MAX as u64))),
            (&["9223372036854775808"], Err(())),
            (&["17", "18"], Err(())),
            (&["17, 17"], Err(())),
            (&[""], Err(())),
            (&["+1"], Err(())),
            (&["-1"], Err(())),
            (&["0x1"], Err(())),
            (&["1 "], Err(())),
        ];
        for (values, expected) in rows {
            let mut headers = HeaderMap::new();
            for value in *values {
                headers.append(CONTENT_LENGTH, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(
                declared_length(&headers).map_err(|_| ()),
                *expected,
                "{values:?}"
            );
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
