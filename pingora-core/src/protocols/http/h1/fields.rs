//! The fields that determine how a message is read, collected while its head is parsed.

use http::{Method, Version};

use super::Fault;
use super::persistence::ConnectionOptions;
use pingora_http::grammar::{ContentLength, is_token, list_elements};

/// The framing and connection information that the fields of one message declare.
#[derive(Debug, Default)]
pub(super) struct Framing<'a> {
    pub(super) length: Option<ContentLength<'a>>,
    pub(super) coding: TransferCoding,
    pub(super) connection: ConnectionOptions,
    /// Whether there is an `Upgrade` field that lists protocols and nothing else.
    pub(super) upgrade: Option<bool>,
}

/// The combined meaning of all `Transfer-Encoding` fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum TransferCoding {
    #[default]
    Absent,
    Chunked,
    /// An unknown coding, and so far no `chunked`.
    Unknown,
    /// An unknown coding, then `chunked`.
    UnknownThenChunked,
}

impl<'a> Framing<'a> {
    /// Processes one `Content-Length` field (RFC 9112 section 6.3, rule 5). Returns the plain
    /// digits to keep: `None` if an equal value came before.
    ///
    /// # Errors
    /// Anything but digits, more than 63 bits, or values that differ from each other.
    #[inline]
    pub(super) fn content_length(&mut self, value: &'a [u8]) -> Result<Option<&'a [u8]>, Fault> {
        let known = self.length.is_some();
        let length = ContentLength::read(self.length, value).map_err(Fault::of_length)?;
        self.length = Some(length);
        Ok((!known).then(|| length.digits()))
    }

    /// Processes one `Content-Length` field of a message of our own, which is sent unchanged.
    ///
    /// # Errors
    /// The same as [`content_length`](Self::content_length), and for a list or leading zeros, which
    /// readers may interpret as different numbers.
    pub(super) fn own_content_length(&mut self, value: &'a [u8]) -> Result<(), Fault> {
        let length = ContentLength::read(self.length, value).map_err(Fault::of_length)?;
        self.length = Some(length);
        if length.is_written_as(value) {
            Ok(())
        } else {
            Err(Fault::bad(
                "Content-Length is not written as a plain number",
            ))
        }
    }

    /// Processes one `Transfer-Encoding` field; all of them form one list (RFC 9112 section 6.1).
    ///
    /// # Errors
    /// An element that is not a coding, or anything after `chunked`.
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

    /// Processes one `Upgrade` field: a list of `protocol [ "/" version ]` (RFC 9110 section 7.8).
    pub(super) fn upgrade(&mut self, value: &[u8]) {
        let well_formed = list_elements(value).all(|protocol| {
            let mut parts = protocol.splitn(2, |&b| b == b'/');
            parts.all(is_token)
        });
        self.upgrade = Some(well_formed && self.upgrade.unwrap_or(true));
    }

    /// Whether a request with these fields validly asks for another protocol (RFC 9110 section 7.8):
    /// `Connection: upgrade` and an `Upgrade` that lists protocols, on HTTP/1.1. Its method may be any
    /// but CONNECT, which has its own mechanism, and it may have a body, which precedes the switch.
    pub(super) fn asks_for_upgrade(&self, method: &Method, version: Version) -> bool {
        self.upgrade == Some(true)
            && self.connection.upgrade
            && version == Version::HTTP_11
            && *method != Method::CONNECT
    }

    /// Whether the body is chunked.
    ///
    /// # Errors
    /// 501 for an unknown transfer coding, 400 for one in HTTP/1.0, which has none (RFC 9112
    /// section 6.1).
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
