//! Streaming base64 (RFC 4648 section 4): decoded as it arrives, encoded as it is sent.

use std::fmt;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const PAD: u8 = b'=';

/// The text is not base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotBase64(&'static str);

impl fmt::Display for NotBase64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NotBase64 {}

/// Decodes a stream that is split at any byte, and may be padded at any group of four: a sender
/// that encodes each of its pieces separately pads each of them.
#[derive(Debug, Default, Clone)]
pub(crate) struct Decoder {
    /// The characters of the current group, 6 bits each.
    bits: u32,
    characters: u8,
    padding: u8,
}

impl Decoder {
    /// Decodes these characters, as far as their groups are complete, and appends the result.
    ///
    /// # Errors
    /// A character outside of the alphabet, padding in the wrong place, or unused bits that are not
    /// zero: another reader may decode the text differently.
    pub(crate) fn decode(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), NotBase64> {
        out.reserve(text.len() / 4 * 3 + 3);
        for character in text {
            let value = match value_of(*character) {
                Some(_) if self.padding > 0 => return Err(NotBase64("payload behind padding")),
                Some(value) => value,
                None if *character != PAD => return Err(NotBase64("not of the alphabet")),
                None if self.characters < 2 => return Err(NotBase64("too much padding")),
                None => {
                    self.padding += 1;
                    0
                }
            };
            self.bits = self.bits << 6 | value;
            self.characters += 1;
            if self.characters == 4 {
                self.end_group(out)?;
            }
        }
        Ok(())
    }

    fn end_group(&mut self, out: &mut Vec<u8>) -> Result<(), NotBase64> {
        let Decoder { bits, padding, .. } = std::mem::take(self);
        let [_, a, b, c] = bits.to_be_bytes();
        match padding {
            0 => out.extend_from_slice(&[a, b, c]),
            1 if c == 0 => out.extend_from_slice(&[a, b]),
            2 if b == 0 && c == 0 => out.push(a),
            _ => return Err(NotBase64("bits that stand for nothing are not zero")),
        }
        Ok(())
    }

    /// Must be called at the end of the stream.
    ///
    /// # Errors
    /// The last group is incomplete.
    pub(crate) fn finish(&self) -> Result<(), NotBase64> {
        match self.characters {
            0 => Ok(()),
            _ => Err(NotBase64("the last group has fewer than four characters")),
        }
    }
}

fn value_of(character: u8) -> Option<u32> {
    let value = match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}

/// Encodes one piece, with padding.
pub(crate) fn encode(data: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(data.len().div_ceil(3) * 4);
    for group in data.chunks(3) {
        let byte = |place: usize| u32::from(group.get(place).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let character = if place <= group.len() {
                ALPHABET.get((bits >> (18 - 6 * place)) as usize & 63)
            } else {
                Some(&PAD)
            };
            text.extend(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]]) -> Result<Vec<u8>, NotBase64> {
        let (mut decoder, mut out) = (Decoder::default(), Vec::new());
        for piece in pieces {
            decoder.decode(piece, &mut out)?;
        }
        decoder.finish().map(|()| out)
    }

    /// RFC 4648 section 10, and all bits.
    const ROWS: [(&[u8], &str); 9] = [
        (b"", ""),
        (b"f", "Zg=="),
        (b"fo", "Zm8="),
        (b"foo", "Zm9v"),
        (b"foob", "Zm9vYg=="),
        (b"fooba", "Zm9vYmE="),
        (b"foobar", "Zm9vYmFy"),
        (b"\xff\xff\xff\x00\x00\x00", "////AAAA"),
        (b"\xfb\xef\xbe\x80", "++++gA=="),
    ];

    #[test]
    fn both_ways_and_split_at_every_byte() {
        for (data, text) in ROWS {
            assert_eq!(encode(data), text.as_bytes());
            for at in 0..=text.len() {
                let (begin, rest) = text.as_bytes().split_at(at);
                assert_eq!(
                    decode(&[begin, rest]).as_deref(),
                    Ok(data),
                    "{text} at {at}"
                );
            }
            let each: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(decode(&each).as_deref(), Ok(data));
        }
    }

    #[test]
    fn every_piece_may_be_padded() {
        for (first, first_text) in ROWS {
            for (second, second_text) in ROWS {
                let text = [first_text, second_text].concat();
                for at in 0..=text.len() {
                    let (begin, rest) = text.as_bytes().split_at(at);
                    let both = [first, second].concat();
                    assert_eq!(decode(&[begin, rest]), Ok(both), "{text} at {at}");
                }
            }
        }
    }

    #[test]
    fn every_byte_survives() {
        let all: Vec<u8> = (0..=255).collect();
        for length in 0..=all.len() {
            let data = &all[..length];
            assert_eq!(decode(&[&encode(data)]).as_deref(), Ok(data));
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let rows = [
            "Z",
            "Zg",
            "Zg=",
            "=",
            "Z===",
            "====",
            "Zg==Z",
            "Zm8=Zg=",
            "Zg=g",
            "Zh==",
            "Zm9=",
            "Zm9v Zm9v",
            "Zm9v\r\n",
            "Zm-_",
            "Zm9v\0",
            "Zg=\u{e9}",
        ];
        for text in rows {
            for at in 0..=text.len() {
                let (begin, rest) = text.as_bytes().split_at(at);
                assert!(decode(&[begin, rest]).is_err(), "{text} at {at}");
            }
        }
    }
}
