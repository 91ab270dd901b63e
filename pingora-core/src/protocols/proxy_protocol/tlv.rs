//! The values in a version 2 header, in addition to the addresses.

use super::checksum::crc32c;
use super::{FIXED, InvalidProxyHeader, LONGEST_V2, ProxyHeader, UNIX};

/// The kinds of values that the protocol defines. 0xE0 to 0xEF are reserved for custom use.
pub mod kind {
    /// The application protocol of the client's TLS session, as ALPN names it.
    pub const ALPN: u8 = 0x01;
    /// The host name that the client asked for, for example in its TLS handshake; UTF-8.
    pub const AUTHORITY: u8 = 0x02;
    /// A checksum over the header: checked if it is present; not returned among the values.
    pub const CRC32C: u8 = 0x03;
    /// Padding; not returned among the values.
    pub const NOOP: u8 = 0x04;
    /// An identifier of the connection, of at most 128 bytes.
    pub const UNIQUE_ID: u8 = 0x05;
    /// Information about the client's TLS session.
    pub const SSL: u8 = 0x20;
    /// The name of the client's network namespace.
    pub const NETNS: u8 = 0x30;
}

/// Parts of [`kind::SSL`].
mod part {
    pub(super) const VERSION: u8 = 0x21;
    pub(super) const COMMON_NAME: u8 = 0x22;
    pub(super) const CIPHER: u8 = 0x23;
    pub(super) const SIGNATURE_ALGORITHM: u8 = 0x24;
    pub(super) const KEY_ALGORITHM: u8 = 0x25;
    pub(super) const CERTIFICATE: u8 = 0x28;
}

/// The longest [`kind::UNIQUE_ID`].
const LONGEST_ID: usize = 128;
/// The maximum size of the values: what fits after the longest addresses, with a checksum.
const MOST: usize = LONGEST_V2 - FIXED - 2 * UNIX - CHECKSUM;
/// The size of a checksum, its kind and length included.
pub(super) const CHECKSUM: usize = 7;

const CUT_SHORT: InvalidProxyHeader = InvalidProxyHeader("a value is cut short");

/// The values of a header, in their order.
#[derive(Clone, Debug)]
pub struct ProxyTlvs<'a>(&'a [u8]);

impl<'a> ProxyTlvs<'a> {
    /// The next value; `None` at the end, and if the rest is not a value.
    fn split(bytes: &'a [u8]) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (&[kind, high, low], rest) = bytes.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, rest) = rest.split_at_checked(length)?;
        Some((kind, value, rest))
    }

    fn value_of(mut self, wanted: u8) -> Option<&'a [u8]> {
        self.find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| value)
    }
}

impl<'a> Iterator for ProxyTlvs<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (kind, value, rest) = Self::split(self.0)?;
        self.0 = rest;
        Some((kind, value))
    }
}

/// A proxy's description of its TLS session with the client. Only the proxy vouches for it.
#[derive(Clone, Copy, Debug)]
pub struct ProxyTls<'a> {
    client: u8,
    verify: u32,
    parts: &'a [u8],
}

impl<'a> ProxyTls<'a> {
    /// Whether the client spoke TLS.
    pub fn is_tls(&self) -> bool {
        self.client & 0x01 != 0
    }

    /// Whether the client presented a certificate, in this session or the one that it resumes.
    pub fn has_certificate(&self) -> bool {
        self.client & 0x06 != 0
    }

    /// Whether the client presented a certificate and the proxy verified it.
    pub fn is_verified(&self) -> bool {
        self.has_certificate() && self.verify == 0
    }

    /// The version, such as `TLSv1.3`.
    pub fn version(&self) -> Option<&'a str> {
        self.text(part::VERSION)
    }

    /// The cipher, by its name.
    pub fn cipher(&self) -> Option<&'a str> {
        self.text(part::CIPHER)
    }

    /// The common name in the client's certificate. Check [`is_verified`](Self::is_verified) before
    /// relying on it.
    pub fn common_name(&self) -> Option<&'a str> {
        self.text(part::COMMON_NAME)
    }

    /// The algorithm used to sign the proxy's certificate.
    pub fn signature_algorithm(&self) -> Option<&'a str> {
        self.text(part::SIGNATURE_ALGORITHM)
    }

    /// The algorithm of the key in the proxy's certificate.
    pub fn key_algorithm(&self) -> Option<&'a str> {
        self.text(part::KEY_ALGORITHM)
    }

    /// The client's certificate, in DER.
    pub fn certificate(&self) -> Option<&'a [u8]> {
        ProxyTlvs(self.parts).value_of(part::CERTIFICATE)
    }

    fn text(&self, kind: u8) -> Option<&'a str> {
        text(ProxyTlvs(self.parts).value_of(kind)?)
    }

    fn read(value: &'a [u8]) -> Option<Self> {
        let (&[client, a, b, c, d], parts) = value.split_first_chunk()?;
        Some(ProxyTls {
            client,
            verify: u32::from_be_bytes([a, b, c, d]),
            parts,
        })
    }
}

/// Text that is safe to log.
fn text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

impl ProxyHeader {
    /// The values in addition to the addresses, except padding and the checksum. Only version 2 has
    /// any.
    pub fn tlvs(&self) -> ProxyTlvs<'_> {
        ProxyTlvs(&self.tlvs)
    }

    /// The application protocol of the client's TLS session.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.tlvs().value_of(kind::ALPN)
    }

    /// The host that the client asked for.
    pub fn authority(&self) -> Option<&str> {
        text(self.tlvs().value_of(kind::AUTHORITY)?)
    }

    /// The identifier of the connection.
    pub fn unique_id(&self) -> Option<&[u8]> {
        self.tlvs().value_of(kind::UNIQUE_ID)
    }

    /// Information about the client's TLS session.
    pub fn tls(&self) -> Option<ProxyTls<'_>> {
        ProxyTls::read(self.tlvs().value_of(kind::SSL)?)
    }

    /// The client's network namespace.
    pub fn network_namespace(&self) -> Option<&str> {
        text(self.tlvs().value_of(kind::NETNS)?)
    }

    /// Whether the header has, or will be written with, a valid checksum.
    pub fn is_checksummed(&self) -> bool {
        self.is_checksummed
    }

    /// Adds a checksum, if the header is written in version 2.
    pub fn with_checksum(mut self) -> Self {
        self.is_checksummed = true;
        self
    }

    /// Adds one more value, if the header is written in version 2; for the kinds see [`kind`].
    ///
    /// # Errors
    /// If the value is invalid for its kind, is already present although only one is allowed, or is too long
    /// to be written with the others.
    pub fn with_tlv(mut self, kind: u8, value: &[u8]) -> Result<Self, InvalidProxyHeader> {
        const TOO_LONG: InvalidProxyHeader = InvalidProxyHeader("too long to be written");
        if matches!(kind, kind::CRC32C | kind::NOOP) {
            return Err(InvalidProxyHeader("not a value: see `with_checksum`"));
        }
        let length = u16::try_from(value.len()).map_err(|_| TOO_LONG)?;
        if self.tlvs.len() + 3 + value.len() > MOST {
            return Err(TOO_LONG);
        }
        self.tlvs.push(kind);
        self.tlvs.extend_from_slice(&length.to_be_bytes());
        self.tlvs.extend_from_slice(value);
        check_values(&self.tlvs)?;
        Ok(self)
    }
}

/// Checks the values of `header`, which are at its end; returns whether there is a checksum.
pub(super) fn check(header: &[u8], tlvs: &[u8]) -> Result<bool, InvalidProxyHeader> {
    check_values(tlvs)?;
    let Some(checksum) = ProxyTlvs(tlvs).value_of(kind::CRC32C) else {
        return Ok(false);
    };
    // The checksum's offset, computed from the value's position in the same memory.
    let at = checksum.as_ptr().addr() - header.as_ptr().addr();
    let (before, rest) = header.split_at_checked(at).ok_or(CUT_SHORT)?;
    let (_, after) = rest.split_at_checked(checksum.len()).ok_or(CUT_SHORT)?;
    if crc32c([before, &[0; 4], after]).to_be_bytes() == checksum {
        Ok(true)
    } else {
        Err(InvalidProxyHeader("the checksum is wrong"))
    }
}

/// Each value is complete and valid for its kind, and values that identify the client do not come
/// twice.
fn check_values(tlvs: &[u8]) -> Result<(), InvalidProxyHeader> {
    let mut seen = [false; 256];
    let mut rest = tlvs;
    while !rest.is_empty() {
        let (kind, value, after) = ProxyTlvs::split(rest).ok_or(CUT_SHORT)?;
        rest = after;
        let is_single = !matches!(kind, kind::NOOP | 0xe0..=0xef);
        if let Some(seen) = seen.get_mut(usize::from(kind))
            && std::mem::replace(seen, is_single)
        {
            return Err(InvalidProxyHeader("a value comes twice"));
        }
        let is_valid = match kind {
            kind::ALPN => !value.is_empty(),
            kind::AUTHORITY | kind::NETNS => text(value).is_some(),
            kind::CRC32C => value.len() == 4,
            kind::UNIQUE_ID => value.len() <= LONGEST_ID,
            kind::SSL => is_ssl(value),
            _ => true,
        };
        if !is_valid {
            return Err(InvalidProxyHeader("a value is not one of its kind"));
        }
    }
    Ok(())
}

fn is_ssl(value: &[u8]) -> bool {
    let Some(tls) = ProxyTls::read(value) else {
        return false;
    };
    let mut rest = tls.parts;
    let mut seen = [false; 256];
    while !rest.is_empty() {
        let Some((kind, value, after)) = ProxyTlvs::split(rest) else {
            return false;
        };
        rest = after;
        let again = seen
            .get_mut(usize::from(kind))
            .is_some_and(|seen| std::mem::replace(seen, true));
        if again || (kind != part::CERTIFICATE && text(value).is_none()) {
            return false;
        }
    }
    true
}

/// The values that are accessible to callers.
pub(super) fn kept(tlvs: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut rest = tlvs;
    while let Some((kind, _, after)) = ProxyTlvs::split(rest) {
        if !matches!(kind, kind::CRC32C | kind::NOOP) {
            let length = rest.len() - after.len();
            kept.extend_from_slice(rest.get(..length).unwrap_or_default());
        }
        rest = after;
    }
    kept
}
