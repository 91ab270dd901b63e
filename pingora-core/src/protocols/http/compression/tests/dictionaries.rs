//! Codings that take a dictionary: who gets them, and that their bodies can be read.

#[cfg(any(feature = "brotli", feature = "zstd"))]
use super::super::coding::ContentCoding;
use super::super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, VARY};
use pingora_http::{RequestHeader, ResponseHeader};

const HASH: [u8; 32] = [7; 32];

/// Content that repeats nothing of itself.
fn noise(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(length as u64);
    std::iter::repeat_with(|| random.u8(..))
        .take(length)
        .collect()
}

fn dictionary(content: &[u8]) -> DictionaryData {
    DictionaryData {
        bytes: Bytes::copy_from_slice(content),
        hash: HASH,
    }
}

/// What a request is answered with whose client has a dictionary: the coding, `Vary`, and the body.
fn answered(accepted: &str, available: &str, content: &[u8]) -> (String, Vec<String>, Bytes) {
    let mut ctx = ResponseCompressionCtx::new(0, false, false);
    for algorithm in [Algorithm::Dcb, Algorithm::Dcz, Algorithm::Gzip] {
        ctx.adjust_algorithm_level(algorithm, 5);
    }
    ctx.set_dictionary(Bytes::copy_from_slice(content), HASH);
    assert!(ctx.has_dictionary());
    let mut req = RequestHeader::build("GET", b"/", None).unwrap();
    req.insert_header(ACCEPT_ENCODING, accepted).unwrap();
    req.insert_header("available-dictionary", available)
        .unwrap();
    ctx.request_filter(&req);
    let mut resp = ResponseHeader::build(200, None).unwrap();
    resp.insert_header("content-type", "text/plain").unwrap();
    ctx.response_header_filter(&mut resp, false);
    let text = |value: &http::HeaderValue| value.to_str().unwrap().to_string();
    let coding = resp.headers.get(CONTENT_ENCODING).map_or("".into(), text);
    let vary = resp.headers.get_all(VARY).iter().map(text).collect();
    let content = Bytes::copy_from_slice(content);
    let body = ctx.response_body_filter(Some(&content), true);
    (coding, vary, body.unwrap_or(content))
}

#[test]
fn a_dictionary_is_used_where_the_client_has_it() {
    let available = format!(":{}:", STANDARD.encode(HASH));
    let content = noise(5000);
    let (dcb, dcz) = (cfg!(feature = "brotli"), cfg!(feature = "zstd"));
    for (accepted, available, expected) in [
        ("gzip, dcb, dcz", &*available, ["gzip", "dcb", "dcz", "dcz"]),
        ("gzip, dcb", &available, ["gzip", "dcb", "gzip", "dcb"]),
        ("gzip, dcz", &available, ["gzip", "gzip", "dcz", "dcz"]),
        (
            "gzip, dcb, dcz;q=0.5",
            &available,
            ["gzip", "dcb", "gzip", "dcb"],
        ),
        ("dcb;q=0, gzip, *", &available, ["gzip"; 4]),
        ("gzip, dcb, dcz", ":AA==:", ["gzip"; 4]),
    ] {
        let expected = expected[usize::from(dcb) + 2 * usize::from(dcz)];
        let (coding, vary, body) = answered(accepted, available, &content);
        if cfg!(feature = "compression") {
            assert_eq!(coding, expected, "{accepted} {available}");
            assert_eq!(vary, ["Accept-Encoding", "available-dictionary"]);
        }
        // The beginnings as RFC 9842 has them in sections 4 and 5.
        let head: &[u8] = match expected {
            "dcb" => b"\xffDCB",
            "dcz" => b"\x5e\x2a\x4d\x18\x20\0\0\0",
            _ => continue,
        };
        assert!(body.starts_with(head), "{accepted}");
        assert_eq!(body[head.len()..head.len() + 32], HASH);
        assert!(body.len() < 100, "{accepted}: {}", body.len());
    }
}

#[test]
fn a_dictionary_goes_with_codings_that_take_one() {
    let data = dictionary(&noise(1000));
    for algorithm in [Algorithm::Gzip, Algorithm::Zstd, Algorithm::Other] {
        let encoder = algorithm.maybe_compressor_with_dictionary(3, &data);
        assert!(encoder.is_none(), "{algorithm:?}");
    }
    for (algorithm, built) in [
        (Algorithm::Dcb, cfg!(feature = "brotli")),
        (Algorithm::Dcz, cfg!(feature = "zstd")),
    ] {
        let encoder = algorithm.maybe_compressor_with_dictionary(3, &data);
        assert_eq!(encoder.is_some(), built, "{algorithm:?}");
        assert!(algorithm.compressor(3).is_none(), "{algorithm:?}");
        let empty = algorithm.maybe_compressor_with_dictionary(3, &dictionary(b""));
        assert!(empty.is_none(), "{algorithm:?}");
    }
}

#[cfg(any(feature = "brotli", feature = "zstd"))]
fn coded(coding: ContentCoding, level: u32, data: &DictionaryData, pieces: &[&[u8]]) -> Vec<u8> {
    let flush = pieces.len() > 2;
    let mut encoder = coding.encoder(level, flush, Some(data)).unwrap();
    let mut coded = Vec::new();
    for piece in pieces {
        coded.extend(encoder.encode(piece, false).unwrap());
    }
    coded.extend(encoder.encode(b"", true).unwrap());
    assert_eq!(encoder.encode(b"late", true).unwrap(), "");
    let (_, taken, given, _) = encoder.stat();
    let sent: usize = pieces.iter().map(|piece| piece.len()).sum();
    assert_eq!((taken, given), (sent, coded.len()));
    coded
}

#[cfg(feature = "zstd")]
#[test]
fn zstandard_with_a_dictionary_is_read() {
    let content = noise(5000);
    let body = [&content[..3000], b" and something else"].concat();
    let pieces = [&body[..1000], &body[1000..]];
    let coded = coded(ContentCoding::Dcz, 3, &dictionary(&content), &pieces);
    assert!(coded.len() < 150, "{}", coded.len());
    let mut decoder = ::zstd::bulk::Decompressor::with_dictionary(&content).unwrap();
    let plain = decoder.decompress(&coded[DCZ_HEADER_SIZE..], 10_000);
    assert!(plain.unwrap() == body);
}

#[cfg(feature = "brotli")]
mod shared_brotli {
    use super::*;
    use ::brotli::enc::{Allocator, SliceWrapperMut, StandardAlloc};
    use std::io::Read;

    /// The library's decoder keeps dictionary and window apart, as RFC 9841 describes it; the compressor doesn't.
    fn decoder<'a>(content: &[u8], coded: &'a [u8]) -> ::brotli::Decompressor<&'a [u8]> {
        let head = [&b"\xffDCB"[..], &HASH].concat();
        let stream = coded.strip_prefix(&head[..]).unwrap();
        let mut memory = StandardAlloc::default();
        let mut lent = Allocator::<u8>::alloc_cell(&mut memory, content.len());
        lent.slice_mut().copy_from_slice(content);
        let mut decoder = ::brotli::Decompressor::new(stream, 4096);
        assert!(decoder.attach_dictionary(lent));
        decoder
    }

    fn is_read(level: u32, content: &[u8], pieces: &[&[u8]], at_most: usize) {
        let coded = coded(ContentCoding::Dcb, level, &dictionary(content), pieces);
        let what = format!("level {level}, {} bytes", content.len());
        let mut plain = Vec::new();
        let read = decoder(content, &coded).read_to_end(&mut plain);
        assert!(read.is_ok(), "{what}: {read:?}");
        assert!(plain == pieces.concat(), "{what}");
        assert!(coded.len() <= at_most, "{what}: {}", coded.len());
    }

    #[test]
    fn a_body_that_is_the_dictionary_takes_next_to_nothing() {
        for level in 1..=11 {
            for length in [2, 100, 5000] {
                let content = noise(length);
                is_read(level, &content, &[&content], 200);
            }
        }
        let content = noise(300_000);
        is_read(5, &content, &[&content], 1000);
    }

    /// A copy from the end of the dictionary, at the end of the library's blocks, could go on at the beginning of
    /// the body.
    #[test]
    fn no_copy_crosses_the_end_of_the_dictionary() {
        for (level, block) in [
            (2, 14),
            (3, 14),
            (4, 16),
            (5, 16),
            (8, 16),
            (9, 18),
            (10, 18),
        ] {
            let content = noise(1 << block);
            let (most, end) = content.split_at(content.len() - 50);
            let twice = content.repeat(2);
            for pieces in [
                &[&content[..], &content, b"x", end][..],
                &[most, end, &content, most],
                &[&twice[most.len()..]],
            ] {
                is_read(level, &content, pieces, content.len());
            }
        }
    }

    #[test]
    fn of_a_dictionary_beyond_the_window_the_end_counts() {
        let content = noise((4 << 20) + 100_000);
        let (begin, end) = (&content[..50_000], &content[content.len() - 50_000..]);
        is_read(2, &content, &[end, end], 1000);
        is_read(2, &content, &[begin, end], 51_000);
    }

    #[test]
    fn a_piece_is_readable_at_once() {
        let content = noise(5000);
        let data = dictionary(&content);
        let mut encoder = ContentCoding::Dcb.encoder(5, true, Some(&data)).unwrap();
        let mut coded = Vec::new();
        let mut body = Vec::new();
        for piece in content.chunks(700) {
            body.extend(piece);
            coded.extend(encoder.encode(piece, false).unwrap());
            let mut read = vec![0; body.len()];
            decoder(&content, &coded).read_exact(&mut read).unwrap();
            assert!(read == body);
        }
    }
}
