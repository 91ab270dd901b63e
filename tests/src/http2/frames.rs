//! Frames of HTTP/2 and header blocks of HPACK, as bytes.

/// Names of frame types (RFC 9113 section 6).
pub mod kind {
    /// Payload of a body.
    pub const DATA: u8 = 0;
    /// The beginning of a header block.
    pub const HEADERS: u8 = 1;
    /// The obsolete priorities.
    pub const PRIORITY: u8 = 2;
    /// The end of a stream by force.
    pub const RST_STREAM: u8 = 3;
    /// What the sender wishes for.
    pub const SETTINGS: u8 = 4;
    /// A request that the server makes up.
    pub const PUSH_PROMISE: u8 = 5;
    /// A question whether the other side is alive.
    pub const PING: u8 = 6;
    /// The end of a connection.
    pub const GOAWAY: u8 = 7;
    /// More room for DATA.
    pub const WINDOW_UPDATE: u8 = 8;
    /// More of a header block.
    pub const CONTINUATION: u8 = 9;
}

/// The flag of DATA and HEADERS that ends a direction of a stream.
pub const END_STREAM: u8 = 1;
/// The flag of SETTINGS and PING that makes an answer of them.
pub const ACK: u8 = 1;
/// The flag of HEADERS and CONTINUATION that ends a header block.
pub const END_HEADERS: u8 = 4;

/// A client's first bytes (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// One of [`kind`], or something else.
    pub kind: u8,
    /// Their meaning depends on the kind.
    pub flags: u8,
    /// 0: the connection.
    pub stream: u32,
    /// The bytes behind the nine of the frame's header.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Any frame, legal or not.
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        let payload = payload.into();
        Self {
            kind,
            flags,
            stream,
            payload,
        }
    }

    /// SETTINGS with these identifiers and values.
    pub fn settings(values: &[(u16, u32)]) -> Self {
        let mut payload = Vec::new();
        for (identifier, value) in values {
            payload.extend_from_slice(&identifier.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        Self::new(kind::SETTINGS, 0, 0, payload)
    }

    /// The answer to SETTINGS.
    pub fn settings_ack() -> Self {
        Self::new(kind::SETTINGS, ACK, 0, [])
    }

    /// HEADERS with a whole header block.
    pub fn headers(stream: u32, block: impl Into<Vec<u8>>, end_stream: bool) -> Self {
        let end = if end_stream { END_STREAM } else { 0 };
        Self::new(kind::HEADERS, END_HEADERS | end, stream, block)
    }

    /// DATA.
    pub fn data(stream: u32, payload: impl Into<Vec<u8>>, end_stream: bool) -> Self {
        Self::new(kind::DATA, end_stream.into(), stream, payload)
    }

    /// RST_STREAM.
    pub fn reset(stream: u32, code: u32) -> Self {
        Self::new(kind::RST_STREAM, 0, stream, code.to_be_bytes())
    }

    /// GOAWAY.
    pub fn go_away(last_stream: u32, code: u32) -> Self {
        let payload = [last_stream.to_be_bytes(), code.to_be_bytes()].concat();
        Self::new(kind::GOAWAY, 0, 0, payload)
    }

    /// PING.
    pub fn ping(opaque: u64) -> Self {
        Self::new(kind::PING, 0, 0, opaque.to_be_bytes())
    }

    /// WINDOW_UPDATE.
    pub fn window_update(stream: u32, increment: u32) -> Self {
        Self::new(kind::WINDOW_UPDATE, 0, stream, increment.to_be_bytes())
    }

    /// PRIORITY, depending on the connection.
    pub fn priority(stream: u32, depends_on: u32) -> Self {
        let payload = [&depends_on.to_be_bytes()[..], &[15]].concat();
        Self::new(kind::PRIORITY, 0, stream, payload)
    }

    /// CONTINUATION.
    pub fn continuation(stream: u32, block: impl Into<Vec<u8>>, end_headers: bool) -> Self {
        let flags = if end_headers { END_HEADERS } else { 0 };
        Self::new(kind::CONTINUATION, flags, stream, block)
    }

    /// The bytes of it.
    pub fn encode(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("24 bits are enough");
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend_from_slice(&[self.kind, self.flags]);
        bytes.extend_from_slice(&self.stream.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// Takes a frame from the beginning of `buffer`, if there is a whole one.
    pub(crate) fn decode(buffer: &mut Vec<u8>) -> Option<Self> {
        let head = buffer.first_chunk::<9>()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        let (kind, flags) = (head[3], head[4]);
        let payload = buffer.get(9..9 + length)?.to_vec();
        buffer.drain(..9 + length);
        Some(Self::new(kind, flags, stream, payload))
    }

    /// Whether DATA or HEADERS end their direction of the stream.
    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & END_STREAM != 0
    }

    /// The error code of RST_STREAM or GOAWAY.
    pub fn code(&self) -> Option<u32> {
        let bytes = match self.kind {
            kind::RST_STREAM => self.payload.first_chunk()?,
            kind::GOAWAY => self.payload.get(4..)?.first_chunk()?,
            _ => return None,
        };
        Some(u32::from_be_bytes(*bytes))
    }

    /// The identifiers and values of SETTINGS.
    pub fn settings_of(&self) -> Vec<(u16, u32)> {
        let entry = |bytes: &[u8]| {
            let identifier = u16::from_be_bytes(*bytes.first_chunk()?);
            let value = u32::from_be_bytes(*bytes.last_chunk()?);
            Some((identifier, value))
        };
        self.payload.chunks_exact(6).filter_map(entry).collect()
    }

    /// The last stream that GOAWAY speaks of.
    pub fn last_stream(&self) -> Option<u32> {
        let bytes = self.payload.first_chunk()?;
        (self.kind == kind::GOAWAY).then(|| u32::from_be_bytes(*bytes))
    }

    /// The status in HEADERS; `None` in other frames and in trailers. It has to be the first field of
    /// the block, and its name in the static table, as everybody writes it.
    pub fn status(&self) -> Option<u16> {
        if self.kind != kind::HEADERS {
            return None;
        }
        const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        let mut block = &self.payload[..];
        // An update of the table's size may come first.
        while block.first().is_some_and(|byte| byte & 0xe0 == 0x20) {
            let long = block.first() == Some(&0x3f);
            let bytes = 1 + if long { varint_length(&block[1..]) } else { 0 };
            block = &block[bytes..];
        }
        match block {
            [byte @ 0x88..=0x8e, ..] => Some(INDEXED[usize::from(byte - 0x88)]),
            [0x48 | 0x08 | 0x18, 3, digits @ ..] => {
                let digits = std::str::from_utf8(digits.get(..3)?).ok()?;
                digits.parse().ok()
            }
            [0x48 | 0x08 | 0x18, length @ (0x82 | 0x83), coded @ ..] => {
                huffman_digits(coded.get(..usize::from(length - 0x80))?)
            }
            _ => None,
        }
    }
}

fn varint_length(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1
}

/// Three digits in the code of RFC 7541 appendix B: 0, 1 and 2 have five bits, the others six.
fn huffman_digits(coded: &[u8]) -> Option<u16> {
    let bits = coded
        .iter()
        .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
    let mut left = coded.len() * 8;
    let mut take = |count: usize| {
        left = left.checked_sub(count)?;
        Some((bits >> left) & ((1 << count) - 1))
    };
    let mut number = 0;
    for _ in 0..3 {
        let five = take(5)?;
        let digit = match five {
            0..=2 => five,
            _ => ((five << 1 | take(1)?).checked_sub(0x19)?) + 3,
        };
        number = number * 10 + u16::try_from(digit).ok().filter(|digit| *digit < 10)?;
    }
    Some(number)
}

/// A field as a literal that enters no table, without Huffman coding.
pub fn literal(name: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    literal_with(0x00, name, value.as_ref())
}

/// A field as a literal that enters the table, as its entry 62; see [`indexed`].
pub fn literal_to_index(name: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    literal_with(0x40, name, value.as_ref())
}

/// The field with this number in the static (1 to 61) or dynamic table (from 62, newest first).
pub fn indexed(number: usize) -> Vec<u8> {
    integer(0x80, 7, number)
}

fn literal_with(first: u8, name: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend(integer(0, 7, name.len()));
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend(integer(0, 7, value.len()));
    bytes.extend_from_slice(value);
    bytes
}

/// An integer behind `prefix` bits (RFC 7541 section 5.1).
fn integer(first: u8, prefix: u32, number: usize) -> Vec<u8> {
    let most = (1 << prefix) - 1;
    let byte = |number: usize| u8::try_from(number).expect("it was bounded");
    if number < most {
        return vec![first | byte(number)];
    }
    let mut bytes = vec![first | byte(most)];
    let mut rest = number - most;
    while rest >= 0x80 {
        bytes.push(byte(rest & 0x7f) | 0x80);
        rest >>= 7;
    }
    bytes.push(byte(rest));
    bytes
}

/// A header block of these fields, each a literal.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let fields = fields.iter();
    fields
        .flat_map(|(name, value)| literal(name, value))
        .collect()
}

/// The header block of a request over http to `test.example`.
pub fn request(method: &str, path: &str) -> Vec<u8> {
    block(&[
        (":method", method),
        (":scheme", "http"),
        (":authority", "test.example"),
        (":path", path),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded() {
        let frame = Frame::headers(3, request("GET", "/"), true);
        let mut bytes = [frame.encode(), vec![0; 8]].concat();
        assert_eq!(Frame::decode(&mut bytes), Some(frame));
        assert_eq!((Frame::decode(&mut bytes), bytes.len()), (None, 8));
    }

    #[test]
    fn a_status_is_found_in_each_way_to_write_it() {
        for (block, status) in [
            (&[0x88][..], Some(200)),
            (&[0x3f, 0xe1, 0x1f, 0x8d], Some(404)),
            (&[0x20, 0x8e], Some(500)),
            (b"\x48\x03103", Some(103)),
            (b"\x08\x03418", Some(418)),
            // From RFC 7541 appendix C.6.1: 302.
            (&[0x48, 0x82, 0x64, 0x02], Some(302)),
            // 413 takes 17 bits.
            (&[0x48, 0x83, 0x68, 0x2c, 0xff], Some(413)),
            (b"\x00\x01a\x01b", None),
        ] {
            let frame = Frame::headers(1, block, false);
            assert_eq!(frame.status(), status, "{block:x?}");
        }
    }

    #[test]
    fn integers_are_those_of_the_rfc() {
        assert_eq!(integer(0, 5, 10), [10]);
        assert_eq!(integer(0, 5, 1337), [31, 154, 10]);
        assert_eq!(indexed(62), [0xbe]);
    }
}
