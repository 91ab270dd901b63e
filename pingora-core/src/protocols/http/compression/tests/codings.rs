//! Every coding that is built: back and forth, in pieces, cut short, and broken.

use super::super::coding::ContentCoding;
use super::super::*;
use bytes::Bytes;

const ALL: [ContentCoding; 4] = [
    ContentCoding::Gzip,
    ContentCoding::Deflate,
    ContentCoding::Brotli,
    ContentCoding::Zstd,
];

fn built() -> impl Iterator<Item = ContentCoding> {
    ALL.into_iter().filter(|coding| coding.can_compress())
}

fn text() -> Vec<u8> {
    let mut text = b"hello, hello, hello".repeat(20);
    // And something that doesn't compress.
    text.extend((0..300u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8));
    text
}

fn coded(coding: ContentCoding, plain: &[u8]) -> Vec<u8> {
    let mut encoder = coding.encoder(6, false, None).unwrap();
    let mut coded = encoder.encode(plain, false).unwrap().to_vec();
    coded.extend(encoder.encode(b"", true).unwrap());
    assert_eq!(encoder.encode(b"late", true).unwrap(), "");
    let (_, taken, given, _) = encoder.stat();
    assert_eq!((taken, given), (plain.len(), coded.len()));
    coded
}

fn limits() -> DecompressionLimits {
    DecompressionLimits::new(u64::MAX, u64::MAX)
}

fn decoded(coding: ContentCoding, parts: &[&[u8]]) -> Result<Vec<u8>, DecodeError> {
    let mut decoder = coding.decoder(limits()).unwrap();
    let mut plain = Vec::new();
    for part in parts {
        plain.extend(decoder.decode(part, false)?);
    }
    plain.extend(decoder.decode(b"", true)?);
    assert_eq!(decoder.decode(b"late", true)?, Bytes::new());
    Ok(plain)
}

#[test]
fn a_body_survives_at_every_level() {
    for coding in built() {
        for level in [1, 2, 5, 9, 99] {
            let mut encoder = coding.encoder(level, false, None).unwrap();
            let coded = encoder.encode(&text(), true).unwrap();
            assert!(coded.len() < text().len(), "{coding:?} {level}");
            assert_eq!(decoded(coding, &[&coded]).unwrap(), text(), "{coding:?}");
        }
        assert!(coding.encoder(0, false, None).is_none());
        assert_eq!(decoded(coding, &[&coded(coding, b"")]).unwrap(), b"");
    }
}

#[test]
fn a_body_may_be_split_anywhere() {
    for coding in built() {
        let coded = coded(coding, &text());
        for at in 0..=coded.len() {
            let (first, second) = coded.split_at(at);
            assert_eq!(
                decoded(coding, &[first, second]).unwrap(),
                text(),
                "{coding:?} {at}"
            );
        }
        let bytes: Vec<&[u8]> = coded.chunks(1).collect();
        assert_eq!(decoded(coding, &bytes).unwrap(), text(), "{coding:?}");
    }
}

#[test]
fn a_body_that_is_cut_short_anywhere_is_an_error() {
    for coding in built() {
        let coded = coded(coding, &text());
        // Nothing at all stands for an empty body.
        for at in 1..coded.len() {
            let result = decoded(coding, &[&coded[..at]]);
            assert!(
                matches!(result, Err(DecodeError::Corrupt(_))),
                "{coding:?} {at}"
            );
        }
        let longer = [&coded[..], b"more"].concat();
        assert!(decoded(coding, &[&longer]).is_err(), "{coding:?}");
        assert!(decoded(coding, &[&coded, b"more"]).is_err(), "{coding:?}");
    }
}

#[test]
fn a_broken_body_is_never_taken_for_another_without_a_sign() {
    for coding in built() {
        let coded = coded(coding, &text());
        for at in 0..coded.len() {
            let mut broken = coded.clone();
            broken[at] ^= 0x10;
            let result = decoded(coding, &[&broken]);
            // Brotli and Zstandard have no checksum here; all must end, and without a panic.
            let checked = matches!(coding, ContentCoding::Deflate);
            assert!(!checked || result.is_err(), "{coding:?} {at}");
        }
        assert!(
            decoded(coding, &[b"this is not coded at all"]).is_err(),
            "{coding:?}"
        );
    }
}

#[test]
fn what_is_flushed_can_be_read_at_once() {
    for coding in built() {
        let mut encoder = coding.encoder(5, true, None).unwrap();
        let mut decoder = coding.decoder(limits()).unwrap();
        for event in ["data: 1\n\n", "data: two\n\n", "\n"] {
            let coded = encoder.encode(event.as_bytes(), false).unwrap();
            assert_eq!(decoder.decode(&coded, false).unwrap(), event, "{coding:?}");
            assert_eq!(encoder.encode(b"", false).unwrap(), "", "{coding:?}");
        }
        let end = encoder.encode(b"", true).unwrap();
        assert_eq!(decoder.decode(&end, true).unwrap(), "", "{coding:?}");
    }
}

/// CVE-2026-48044, CVE-2024-32976: decompression bombs, and bytes behind the end.
#[test]
fn a_bomb_takes_no_more_memory_than_its_limits() {
    for coding in built() {
        let bomb = coded(coding, &vec![0; 20 << 20]);
        assert!(bomb.len() < 64 * 1024, "{coding:?} {}", bomb.len());
        let mut decoder = coding
            .decoder(DecompressionLimits::new(1 << 20, u64::MAX))
            .unwrap();
        let result = decoder.decode(&bomb, true);
        assert!(matches!(result, Err(DecodeError::TooLarge)), "{coding:?}");
        // One piece of a response, whatever its limits.
        let mut decoder = coding.decoder(DecompressionLimits::of_responses()).unwrap();
        let result = decoder.decode(&bomb, true);
        assert!(matches!(result, Err(DecodeError::TooLarge)), "{coding:?}");
        assert_eq!(decoder.decode(b"more", true).unwrap(), "", "{coding:?}");
    }
}

#[test]
fn several_members_or_frames_are_one_body() {
    for coding in built().filter(|c| matches!(c, ContentCoding::Gzip | ContentCoding::Zstd)) {
        let both = [coded(coding, b"one "), coded(coding, b"two")].concat();
        assert_eq!(decoded(coding, &[&both]).unwrap(), b"one two");
        for at in 0..both.len() {
            let (first, second) = both.split_at(at);
            assert_eq!(
                decoded(coding, &[first, second]).unwrap(),
                b"one two",
                "{at}"
            );
        }
    }
}

#[test]
fn deflate_without_the_head_of_zlib_is_read_as_well() {
    use flate2::{Compression, write::DeflateEncoder};
    use std::io::Write;
    let mut raw = DeflateEncoder::new(Vec::new(), Compression::new(6));
    raw.write_all(&text()).unwrap();
    let raw = raw.finish().unwrap();
    for at in 0..raw.len() {
        let (first, second) = raw.split_at(at);
        assert_eq!(
            decoded(ContentCoding::Deflate, &[first, second]).unwrap(),
            text()
        );
    }
    assert!(decoded(ContentCoding::Deflate, &[&raw[..raw.len() - 1]]).is_err());
}

#[test]
fn a_body_changes_from_one_coding_to_another() {
    use pingora_http::{RequestHeader, ResponseHeader};
    let mut ctx = ResponseCompressionCtx::new(6, true, false);
    let mut req = RequestHeader::build("GET", b"/", None).unwrap();
    req.insert_header("accept-encoding", "deflate").unwrap();
    ctx.request_filter(&req);
    let mut resp = ResponseHeader::build(200, None).unwrap();
    resp.insert_header("content-type", "text/plain").unwrap();
    resp.insert_header("content-encoding", "gzip").unwrap();
    assert!(ctx.will_decompress(&resp));
    ctx.response_header_filter(&mut resp, false);
    assert_eq!(resp.headers["content-encoding"], "deflate");
    let gzip = coded(ContentCoding::Gzip, &text());
    let mut deflate = Vec::new();
    for part in gzip.chunks(10) {
        let part = Bytes::copy_from_slice(part);
        deflate.extend(ctx.response_body_filter(Some(&part), false).unwrap());
    }
    deflate.extend(ctx.response_body_filter(None, true).unwrap());
    assert_eq!(
        decoded(ContentCoding::Deflate, &[&deflate]).unwrap(),
        text()
    );
    let (name, taken, given, _) = ctx.get_info().unwrap();
    assert_eq!((name, taken, given), ("deflate", gzip.len(), deflate.len()));
}
