//! Measures the cost of frames and fields in nanoseconds: the best of many rounds.
//!
//! ```sh
//! cargo run --release -p pingora-h2 --example codec_cost
//! ```
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use bytes::BytesMut;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use pingora_h2::StreamId;
use pingora_h2::frame::{DEFAULT_MAX_FRAME_SIZE, Frame, Reader, ReaderLimits, Role, encode};
use pingora_h2::hpack::{Decoder, Encoder, FieldList, ListLimits, Pseudo, Section};
use std::hint::black_box;
use std::time::Instant;

/// The fields of a browser's request, in addition to four pseudo-header fields.
const REQUEST: [(&str, &str); 10] = [
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    ),
    (
        "accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ),
    ("accept-language", "en-US,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "https://www.example.com/articles/"),
    ("sec-fetch-dest", "document"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-site", "same-origin"),
    ("priority", "u=0, i"),
    ("te", "trailers"),
];

const RESPONSE: [(HeaderName, &str); 6] = [
    (header::SERVER, "nginx"),
    (header::DATE, "Mon, 21 Oct 2013 20:13:21 GMT"),
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (header::CONTENT_LENGTH, "12345"),
    (header::ETAG, "\"5f3c-1a2b3c4d\""),
    (header::CACHE_CONTROL, "max-age=3600"),
];

/// The best round, in nanoseconds per call.
fn cost(what: &str, mut run: impl FnMut()) {
    let best = (0..200)
        .map(|_| {
            let start = Instant::now();
            (0..2_000).for_each(|_| run());
            start.elapsed().as_nanos() / 2_000
        })
        .min();
    println!("{:>6} ns  {what}", best.unwrap());
}

fn plain(out: &mut Vec<u8>, index: usize, name: &str, value: &str, insert: bool) {
    let flags = if insert { 0x40 } else { 0x00 };
    out.push(flags | u8::try_from(index).unwrap());
    if index == 0 {
        out.push(u8::try_from(name.len()).unwrap());
        out.extend(name.bytes());
    }
    out.push(u8::try_from(value.len()).unwrap());
    out.extend(value.bytes());
}

fn list(decoder: &mut Decoder, block: &[u8]) -> FieldList {
    let mut list = FieldList::new(Section::Request, ListLimits::default());
    decoder.decode(block, true, &mut list).unwrap();
    list.end();
    assert!(list.malformed().is_none() && list.refused().is_none());
    list
}

fn decoding() {
    let mut first = vec![0x82, 0x87, 0x84];
    plain(&mut first, 1, "", "www.example.com", true);
    for (name, value) in REQUEST {
        plain(&mut first, 0, name, value, true);
    }
    let mut decoder = Decoder::new(4096);
    list(&mut decoder, &first);
    let mut indexed = vec![0x82, 0x87, 0x84];
    indexed.extend((0..11).map(|place| 0x80 | (62 + 10 - place)));
    cost("decode a browser's request, 14 fields, all indexed", || {
        black_box(list(&mut decoder, &indexed));
    });
    let fields = &indexed[..10];
    cost("the same with 10 fields in all", || {
        black_box(list(&mut decoder, fields));
    });
    cost(
        "decode a browser's first request, plain literals, inserted",
        || {
            black_box(list(&mut Decoder::new(4096), &first));
        },
    );
    let mut encoder = Encoder::new();
    let mut coded = vec![];
    encoder.method(&mut coded, &Method::GET);
    encoder.pseudo(&mut coded, Pseudo::Scheme, b"https");
    encoder.pseudo(&mut coded, Pseudo::Path, b"/articles/2013/10/a-title.html");
    encoder.pseudo(&mut coded, Pseudo::Authority, b"www.example.com");
    for (name, value) in REQUEST {
        let (name, value) = (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
        encoder.field(&mut coded, &name, &value);
    }
    cost(
        "decode a request of Huffman literals, nothing inserted",
        || {
            black_box(list(&mut decoder, &coded));
        },
    );
    println!("           ({} bytes)", coded.len());
}

fn encoding() {
    let fields: Vec<_> = RESPONSE
        .iter()
        .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
        .collect();
    let mut out = vec![];
    let mut respond = |encoder: &mut Encoder| {
        out.clear();
        let stream = StreamId::new(1);
        encode::block(&mut out, stream, false, DEFAULT_MAX_FRAME_SIZE, |out| {
            encoder.begin(out);
            encoder.status(out, StatusCode::OK);
            for (name, value) in &fields {
                encoder.field(out, name, value);
            }
        });
        black_box(&out).len()
    };
    println!(
        "           ({} bytes at first)",
        respond(&mut Encoder::new())
    );
    cost("encode a response, 7 fields, on a new connection", || {
        black_box(respond(&mut Encoder::new()));
    });
    let mut encoder = Encoder::new();
    cost("encode a response, 7 fields, again", || {
        black_box(respond(&mut encoder));
    });
    println!("           ({} bytes)", respond(&mut encoder));
}

fn frames() {
    let mut wire = vec![];
    for _ in 0..10 {
        encode::window_update(&mut wire, StreamId::new(1), 1000);
        encode::block(&mut wire, StreamId::new(1), true, 16_384, |out| {
            out.extend([0x82, 0x87, 0x84]);
        });
    }
    let mut buffer = BytesMut::with_capacity(1024);
    cost("read 20 frames", || {
        let mut reader = Reader::new(Role::Server, ReaderLimits::default());
        buffer.extend_from_slice(&wire);
        while let Some(frame) = reader.next(&mut buffer).unwrap() {
            assert!(!matches!(black_box(frame), Frame::Data(_)));
        }
    });
}

fn main() {
    decoding();
    encoding();
    frames();
}
