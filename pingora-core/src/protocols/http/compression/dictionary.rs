//! Dictionaries that clients keep from earlier responses (RFC 9842).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;

/// A dictionary, and what clients call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DictionaryData {
    /// Its content: the body of an earlier response.
    pub bytes: Bytes,
    /// The SHA-256 of its content.
    pub hash: [u8; 32],
}

/// The beginning of a `dcb` body (RFC 9842 section 4); the SHA-256 of the dictionary follows.
#[cfg(feature = "brotli")]
pub(super) const DCB_MAGIC: [u8; 4] = [0xff, 0x44, 0x43, 0x42];

/// The beginning of a `dcz` body (RFC 9842 section 5): a skippable frame, 32 bytes long, whose content
/// is the SHA-256 of the dictionary.
pub const DCZ_MAGIC: [u8; 8] = [0x5e, 0x2a, 0x4d, 0x18, 0x20, 0x00, 0x00, 0x00];

/// How long that beginning is with the hash: bytes.
pub const DCZ_HEADER_SIZE: usize = DCZ_MAGIC.len() + 32;

/// The request field in which a client names the dictionary that it has.
pub(super) const AVAILABLE: &str = "available-dictionary";

/// The hash in `Available-Dictionary`: a byte sequence (RFC 9651 section 3.3.5) of 32 bytes.
pub(super) fn available(headers: &HeaderMap) -> Option<[u8; 32]> {
    let mut fields = headers.get_all(AVAILABLE).iter();
    let (field, None) = (fields.next()?, fields.next()) else {
        return None;
    };
    let text = field.as_bytes().trim_ascii();
    let encoded = text.strip_prefix(b":")?.strip_suffix(b":")?;
    STANDARD.decode(encoded).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_dictionary() {
        let good = format!(":{}:", STANDARD.encode([7; 32]));
        let short = format!(":{}:", STANDARD.encode([7; 31]));
        let rows: [(&[&str], Option<[u8; 32]>); 7] = [
            (&[&good], Some([7; 32])),
            (&[], None),
            (&[&good, &good], None),
            (&[&short], None),
            (&[":not base64!:"], None),
            (&[good.trim_matches(':')], None),
            (&[":"], None),
        ];
        for (fields, expected) in rows {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(AVAILABLE, field.parse().unwrap());
            }
            assert_eq!(available(&headers), expected, "{fields:?}");
        }
    }
}
