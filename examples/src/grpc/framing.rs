use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::RecvStream;
use http::HeaderMap;
use pingora::prelude::*;
use std::time::Duration;

/// A compression flag and a length.
const FRAME_HEAD: usize = 5;
/// The longest accepted message, in bytes.
const LONGEST: usize = 1 << 20;

/// The wire form of a message: uncompressed, its length in four bytes, its text.
pub fn frame(text: &str) -> Bytes {
    let mut frame = BytesMut::with_capacity(FRAME_HEAD + text.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
    frame.extend_from_slice(text.as_bytes());
    frame.freeze()
}

/// The messages of a body. They may be split over its pieces in any way.
pub struct Messages {
    body: RecvStream,
    ahead: BytesMut,
}

impl Messages {
    /// The messages of this body.
    pub fn of(body: RecvStream) -> Self {
        Messages {
            body,
            ahead: BytesMut::new(),
        }
    }

    /// The next message; `None` at the end of the body.
    pub async fn next(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            let Some(piece) = self.body.data().await else {
                return if self.ahead.is_empty() {
                    Ok(None)
                } else {
                    Error::e_explain(ReadError, "the body ends within a message")
                };
            };
            let piece = piece.or_err(ReadError, "a message")?;
            self.ahead.extend_from_slice(&piece);
            // Lets the sender send as much again.
            let flow = self.body.flow_control();
            flow.release_capacity(piece.len())
                .or_err(ReadError, "a message")?;
        }
    }

    /// A message that has already arrived completely.
    fn take(&mut self) -> Result<Option<String>> {
        let Some(mut length) = self.ahead.get(1..FRAME_HEAD) else {
            return Ok(None);
        };
        let length = length.get_u32() as usize;
        if length > LONGEST || self.ahead.first() != Some(&0) {
            return Error::e_explain(ReadError, "a message that is too long, or compressed");
        }
        if self.ahead.len() < FRAME_HEAD + length {
            return Ok(None);
        }
        self.ahead.advance(FRAME_HEAD);
        let text = self.ahead.split_to(length);
        let text = String::from_utf8(text.to_vec());
        text.or_err(ReadError, "a message is no text").map(Some)
    }

    /// The trailers, once the body has ended.
    pub async fn trailers(&mut self) -> Result<HeaderMap> {
        let trailers = self.body.trailers().await;
        Ok(trailers
            .or_err(ReadError, "the trailers")?
            .unwrap_or_default())
    }
}

/// The time limit of a call, from its `grpc-timeout`: a number and a unit, such as `250m`.
pub fn timeout_of(fields: &HeaderMap) -> Option<Duration> {
    let text = fields.get("grpc-timeout")?.to_str().ok()?;
    let unit = text.chars().last()?;
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(number.checked_mul(3600)?),
        'M' => Duration::from_secs(number.checked_mul(60)?),
        'S' => Duration::from_secs(number),
        'm' => Duration::from_millis(number),
        'u' => Duration::from_micros(number),
        'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_message_has_a_length() {
        assert_eq!(frame("hi"), [&[0, 0, 0, 0, 2], &b"hi"[..]].concat());
        assert_eq!(frame(""), [0; 5][..]);
    }

    #[test]
    fn deadlines_have_a_unit() {
        let rows = [
            ("2H", Some(Duration::from_secs(7200))),
            ("1M", Some(Duration::from_secs(60))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("9n", Some(Duration::from_nanos(9))),
            ("5", None),
            ("S", None),
            ("1s", None),
            ("", None),
        ];
        for (text, expected) in rows {
            let mut fields = HeaderMap::new();
            fields.insert("grpc-timeout", HeaderValue::from_static(text));
            assert_eq!(timeout_of(&fields), expected, "{text:?}");
        }
        assert_eq!(timeout_of(&HeaderMap::new()), None);
    }
}
