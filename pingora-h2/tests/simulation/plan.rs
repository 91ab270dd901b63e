//! The events on a stream, decided beforehand.

use bytes::Bytes;
use fastrand::Rng;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use pingora_h2::Head;
use pingora_h2::hpack::PseudoFields;
use std::sync::LazyLock;

/// One direction of a message.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) fields: HeaderMap,
    pub(crate) bytes: usize,
    pub(crate) trailers: Option<HeaderMap>,
}

/// The way in which a side treats a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Handles it completely.
    Patient,
    /// Resets it once this many bytes were received.
    ResetAfter(usize),
    /// A server answers without reading, and drops the stream.
    Early,
    /// A server declares that it won't read, and answers.
    Deaf,
    /// Drops the stream once this many bytes were received.
    LeaveAfter(usize),
}

/// One exchange.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) request: Message,
    pub(crate) informational: usize,
    pub(crate) response: Message,
    pub(crate) client: Manner,
    pub(crate) server: Manner,
}

fn fields(random: &mut Rng) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for _ in 0..random.usize(..5) {
        let names = [
            "date",
            "server",
            "cookie",
            "x-a",
            "x-another-name",
            "user-agent",
        ];
        let name = HeaderName::from_static(random.choice(names).unwrap());
        let most = if random.u8(..10) == 0 { 300 } else { 12 };
        let length = random.usize(..most);
        let value: String = (0..length).map(|_| random.char('a'..='e')).collect();
        fields.append(name, HeaderValue::from_str(&value).unwrap());
    }
    fields
}

fn message(random: &mut Rng, most: usize) -> Message {
    let bytes = match random.u8(..6) {
        0 => 0,
        1 | 2 => random.usize(..200.min(most)),
        3 | 4 => random.usize(..5_000.min(most)),
        _ => random.usize(..most),
    };
    let mut fields = fields(random);
    if random.bool() {
        let length = HeaderValue::from(bytes);
        fields.insert("content-length", length);
    }
    let trailers = (random.u8(..4) == 0).then(|| self::fields(random));
    Message {
        fields,
        bytes,
        trailers,
    }
}

impl Plan {
    /// Bodies have at most `most` bytes.
    pub(crate) fn new(random: &mut Rng, most: usize) -> Self {
        let request = message(random, most);
        let response = message(random, most);
        let some = |random: &mut Rng, most| random.usize(..=most);
        let client = match random.u8(..12) {
            0 => Manner::ResetAfter(some(random, response.bytes)),
            1 => Manner::LeaveAfter(some(random, response.bytes)),
            _ => Manner::Patient,
        };
        let server = match random.u8(..12) {
            0 => Manner::ResetAfter(some(random, request.bytes)),
            1 => Manner::LeaveAfter(some(random, request.bytes)),
            2 => Manner::Early,
            3 => Manner::Deaf,
            _ => Manner::Patient,
        };
        Plan {
            request,
            informational: random.usize(..20).saturating_sub(16),
            response,
            client,
            server,
        }
    }

    pub(crate) fn request_head(&self, id: u32) -> Head {
        Head {
            pseudo: PseudoFields {
                method: Some(Method::POST),
                scheme: Some(Bytes::from_static(b"https")),
                authority: Some(Bytes::from_static(b"a.test")),
                path: Some(Bytes::from(format!("/{id}"))),
                ..PseudoFields::default()
            },
            fields: self.request.fields.clone(),
            ..Head::default()
        }
    }

    pub(crate) fn response_head(&self) -> Head {
        Head::response(StatusCode::OK, self.response.fields.clone())
    }
}

/// The longest body, in bytes.
pub(crate) const LONGEST: usize = 60_000;

/// Random bytes; each body begins at a different offset.
static BYTES: LazyLock<Bytes> = LazyLock::new(|| {
    let mut random = Rng::with_seed(0);
    (0..2 * LONGEST).map(|_| random.u8(..)).collect()
});

/// Part of a body, unique to its stream, direction and position.
pub(crate) fn body(id: u32, request: bool, from: usize, length: usize) -> Bytes {
    let begin = (id as usize * 2 + usize::from(request)) * 257 % LONGEST + from;
    BYTES.slice(begin..begin + length)
}
