//! The fields that decide how a message is read, gathered while its head is parsed.

use http::{Method, Version};

use super::Fault;
use super::persistence::ConnectionOptions;
use super::tokens::{is_token, is_token_byte, list_elements};

/// What the fields of one message say about its framing and its connection.
#[derive(Debug, Default)]
pub(super) struct Framing<'a> {
    pub(super) length: Option<ContentLength<'a>>,
    pub(super) coding: TransferCoding,
    pub(super) connection: ConnectionOptions,
    /// Whether there is an `Upgrade` field that names protocols and nothing else.
    pub(super) upgrade: Option<bool>,
}

/// The one value of all `Content-Length` fields.
#[derive(Debug, Clone, Copy)]
pub(super) struct ContentLength<'a> {
    digits: &'a [u8],
    pub(super) bytes: u64,
}

/// What all `Transfer-Encoding` fields add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum TransferCoding {
    #[default]
    Absent,
    Chunked,
    /// A coding that we don't know, and so far no `chunked`.
    Unknown,
    /// A coding that we don't know, then `chunked`.
    UnknownThenChunked,
}

impl<'a> Framing<'a> {
    /// Takes in one `Content-Length` field (RFC 9112 section 6.3, rule 5). Returns the plain digits
    /// that are to be kept: `None`, if an equal value was there before.
    ///
    /// # Errors
    /// Anything but digits, more than 63 bits, or values that are not equal to each other.
    pub(super) fn content_length(&mut self, value: &'a [u8]) -> Result<Option<&'a [u8]>, Fault> {
        if self.length.is_none()
            && let Ok(bytes) = decimal(value)
        {
            // Nearly always: one field, one number.
            self.length = Some(ContentLength {
                digits: value,
                bytes,
            });
            return Ok(Some(value));
        }
        let mut first = None;
        for digits in list_elements(value) {
            match self.length {
                Some(known) if known.digits == digits => {}
                Some(_) => return Err(Fault::bad("two different values of Content-Length")),
                None => {
                    let bytes = decimal(digits)?;
                    self.length = Some(ContentLength { digits, bytes });
                    first = Some(digits);
                }
            }
        }
        Ok(first)
    }

    /// Takes in one `Transfer-Encoding` field; all of them are one list (RFC 9112 section 6.1).
    ///
    /// # Errors
    /// An element that is no coding, or anything after `chunked`.
    pub(super) fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Fault> {
        for coding in list_elements(value) {
            let chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.coding = match self.coding {
                TransferCoding::Absent if chunked => TransferCoding::Chunked,
                TransferCoding::Unknown if chunked => TransferCoding::UnknownThenChunked,
                TransferCoding::Chunked | TransferCoding::UnknownThenChunked => {
                    return Err(Fault::bad("chunked is not the last transfer coding"));
                }
                TransferCoding::Absent | TransferCoding::Unknown if is_token(coding) => {
                    TransferCoding::Unknown
                }
                _ => return Err(Fault::bad("Transfer-Encoding is malformed")),
            };
        }
        Ok(())
    }

    /// Takes in one `Upgrade` field: a list of `protocol [ "/" version ]` (RFC 9110 section 7.8).
    pub(super) fn upgrade(&mut self, value: &[u8]) {
        let well_formed = list_elements(value).all(|protocol| {
            let mut parts = protocol.splitn(2, |&b| b == b'/');
            parts.all(|part| !part.is_empty() && part.iter().all(|&b| is_token_byte(b)))
        });
        self.upgrade = Some(well_formed && self.upgrade.unwrap_or(true));
    }

    /// Whether a request with these fields asks for another protocol in a sound way (RFC 9110 section
    /// 7.8): `Connection: upgrade` and an `Upgrade` that lists protocols, on HTTP/1.1. Its method may be
    /// any but CONNECT, which has a way of its own, and it may have a body, which precedes the switch.
    pub(super) fn asks_for_upgrade(&self, method: &Method, version: Version) -> bool {
        self.upgrade == Some(true)
            && self.connection.upgrade
            && version == Version::HTTP_11
            && *method != Method::CONNECT
    }

    /// Whether the body is chunked.
    ///
    /// # Errors
    /// 501 for a transfer coding that we don't know, 400 for one in HTTP/1.0, which has none (RFC
    /// 9112 section 6.1).
    pub(super) fn chunked(&self, version: Version) -> Result<bool, Fault> {
        match self.coding {
            TransferCoding::Absent => Ok(false),
            _ if version == Version::HTTP_10 => {
                Err(Fault::bad("Transfer-Encoding in a message of HTTP/1.0"))
            }
            TransferCoding::Chunked => Ok(true),
            TransferCoding::Unknown | TransferCoding::UnknownThenChunked => {
                Err(Fault::new(501, "the transfer coding is not implemented"))
            }
        }
    }
}

/// `1*DIGIT`, at most 2^63 - 1: other readers count bytes in signed numbers.
pub(crate) fn decimal(digits: &[u8]) -> Result<u64, Fault> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Fault::bad("Content-Length is not a plain number"));
    }
    /// So many digits always fit.
    const SURELY_FIT: usize = 18;
    let (first, rest) = digits.split_at(digits.len().min(SURELY_FIT));
    let number = first.iter().fold(0, |number: u64, digit| {
        number * 10 + u64::from(digit - b'0')
    });
    let number = rest.iter().try_fold(number, |number, digit| {
        let number = number
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
        (number <= i64::MAX.unsigned_abs()).then_some(number)
    });
    number.ok_or(Fault::bad("Content-Length is too large"))
}
