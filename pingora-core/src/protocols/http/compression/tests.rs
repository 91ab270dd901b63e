//! Which bodies are compressed, which are left alone, and which fields say so afterwards.

#![cfg(feature = "compression")]

mod codings;
mod dictionaries;

use super::*;
use crate::protocols::http::HttpTask;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::header::*;
use pingora_http::{RequestHeader, ResponseHeader};
use std::io::Read;

fn request(accept: &str) -> RequestHeader {
    request_of("GET", accept)
}

fn request_of(method: &str, accept: &str) -> RequestHeader {
    let mut req = RequestHeader::build(method, b"/", None).unwrap();
    req.insert_header(ACCEPT_ENCODING, accept).unwrap();
    req
}

fn response(status: u16, fields: &[(&'static str, &str)]) -> ResponseHeader {
    let mut resp = ResponseHeader::build(status, None).unwrap();
    for (name, value) in fields {
        resp.append_header(*name, *value).unwrap();
    }
    resp
}

fn text(fields: &[(&'static str, &str)]) -> ResponseHeader {
    let mut resp = response(200, &[("content-type", "text/html; charset=utf-8")]);
    for (name, value) in fields {
        resp.append_header(*name, *value).unwrap();
    }
    resp
}

fn field(resp: &ResponseHeader, name: &str) -> Option<String> {
    let value = resp.headers.get(name)?;
    Some(value.to_str().unwrap().to_string())
}

fn gzipped(plain: &[u8]) -> Vec<u8> {
    let mut gzip = Algorithm::Gzip.compressor(6).unwrap();
    gzip.encode(plain, true).unwrap().to_vec()
}

fn gunzipped(coded: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    MultiGzDecoder::new(coded).read_to_end(&mut plain).unwrap();
    plain
}

/// Whether a response to a client that accepts gzip is compressed.
fn compresses(mut resp: ResponseHeader) -> bool {
    let mut ctx = ResponseCompressionCtx::new(6, false, false);
    ctx.request_filter(&request("gzip"));
    ctx.response_header_filter(&mut resp, false);
    let coded = ctx.get_info().is_some();
    assert_eq!(coded, ctx.is_enabled());
    coded
}

#[test]
fn nothing_is_kept_for_those_who_did_not_ask() {
    assert_eq!(size_of::<ResponseCompressionCtx>(), size_of::<usize>());
    let mut ctx = ResponseCompressionCtx::new(0, false, false);
    ctx.adjust_level(0);
    ctx.adjust_decompression(false);
    ctx.request_filter(&request("gzip"));
    assert!(!ctx.is_enabled() && ctx.is_header_phase());
    let mut resp = text(&[("content-length", "100")]);
    ctx.response_header_filter(&mut resp, false);
    assert_eq!(field(&resp, "content-length").unwrap(), "100");
    assert_eq!(field(&resp, "vary"), None);
    assert_eq!(
        ctx.response_body_filter(Some(&Bytes::from("x")), true),
        None
    );
}

#[test]
fn a_response_is_compressed_and_its_fields_fit() {
    let mut ctx = ResponseCompressionCtx::new(6, false, false);
    ctx.request_filter(&request("gzip, br;q=0.5"));
    let mut resp = text(&[
        ("content-length", "4000"),
        ("accept-ranges", "bytes"),
        ("etag", "\"a\""),
        ("vary", "Origin"),
    ]);
    ctx.response_header_filter(&mut resp, false);
    assert!(!ctx.is_header_phase());
    assert_eq!(field(&resp, "content-encoding").unwrap(), "gzip");
    assert_eq!(field(&resp, "etag").unwrap(), "W/\"a\"");
    for gone in ["content-length", "accept-ranges"] {
        assert_eq!(field(&resp, gone), None, "{gone}");
    }
    let vary: Vec<_> = resp.headers.get_all(VARY).iter().collect();
    assert_eq!(vary, ["Origin", "Accept-Encoding"]);

    let part = Bytes::from(vec![b'x'; 2000]);
    let mut coded = ctx
        .response_body_filter(Some(&part), false)
        .unwrap()
        .to_vec();
    coded.extend(ctx.response_body_filter(Some(&part), false).unwrap());
    coded.extend(ctx.response_body_filter(None, true).unwrap());
    assert_eq!(gunzipped(&coded), vec![b'x'; 4000]);
    let (name, taken, given, _) = ctx.get_info().unwrap();
    assert_eq!((name, taken, given), ("gzip", 4000, coded.len()));
    assert!(given < 200);
    // The end was told; whatever comes yet adds nothing.
    assert_eq!(ctx.response_body_filter(None, true).unwrap().len(), 0);
    assert_eq!(
        ctx.response_body_filter(Some(&part), true).unwrap().len(),
        0
    );
}

#[test]
fn what_is_worth_it() {
    let typed = |content_type: &str| response(200, &[("content-type", content_type)]);
    for yes in [
        "text/plain",
        "TEXT/HTML",
        "application/json",
        "application/json; charset=utf-8",
        "application/problem+json",
        "image/svg+xml",
        "application/wasm",
        "font/ttf",
        "application/grpcish+json",
        "text/event-stream",
    ] {
        assert!(compresses(typed(yes)), "{yes}");
    }
    for no in [
        "image/png",
        "video/mp4",
        "application/octet-stream",
        "application/zip",
        "font/woff2",
        "",
        "text",
        "image/svg+zip",
        "application/grpc",
        "application/grpc+json",
        "Application/gRPC+JSON; charset=utf-8",
        "application/grpc+xml",
        "application/grpc-web+json",
        "application/grpc-web-text+xml",
        "application/connect+json",
    ] {
        assert!(!compresses(typed(no)), "{no}");
    }
    assert!(!compresses(response(200, &[])));
    assert!(compresses(text(&[("content-length", "20")])));
    assert!(!compresses(text(&[("content-length", "19")])));
}

#[test]
fn what_must_not_be_changed() {
    assert!(!compresses(text(&[(
        "cache-control",
        "public, No-Transform"
    )])));
    assert!(!compresses(text(&[("content-encoding", "br")])));
    assert!(!compresses(text(&[("content-encoding", "made-up")])));
    assert!(!compresses(text(&[("content-range", "bytes 0-9/100")])));
    assert!(compresses(text(&[("content-encoding", "identity")])));
    for status in [204, 206, 304] {
        let resp = response(status, &[("content-type", "text/plain")]);
        assert!(!compresses(resp), "{status}");
    }
    assert!(compresses(response(404, &[("content-type", "text/plain")])));
}

#[test]
fn an_informational_response_decides_nothing() {
    let mut ctx = ResponseCompressionCtx::new(6, false, false);
    ctx.request_filter(&request("gzip"));
    ctx.response_header_filter(&mut response(103, &[]), false);
    assert!(ctx.is_header_phase());
    ctx.response_header_filter(&mut text(&[]), false);
    assert!(ctx.get_info().is_some());
}

#[test]
fn a_client_that_accepts_nothing_of_ours_still_makes_it_vary() {
    let mut ctx = ResponseCompressionCtx::new(6, false, false);
    ctx.request_filter(&request("dcb, made-up"));
    let mut resp = text(&[("content-length", "100"), ("etag", "\"a\"")]);
    ctx.response_header_filter(&mut resp, false);
    assert_eq!(field(&resp, "vary").unwrap(), "Accept-Encoding");
    assert_eq!(field(&resp, "content-length").unwrap(), "100");
    assert_eq!(field(&resp, "etag").unwrap(), "\"a\"");
    assert_eq!(
        ctx.response_body_filter(Some(&Bytes::from("x")), false),
        None
    );
    let mut resp = text(&[("vary", "accept-encoding")]);
    let mut ctx = ResponseCompressionCtx::new(6, false, false);
    ctx.response_header_filter(&mut resp, false);
    assert_eq!(resp.headers.get_all(VARY).iter().count(), 1);
}

#[test]
fn entity_tags() {
    for (tag, preserve, expected) in [
        ("\"a\"", false, Some("W/\"a\"")),
        ("\"a\"", true, Some("\"a\"")),
        ("W/\"a\"", false, Some("W/\"a\"")),
        ("a", false, None),
        ("\"", false, None),
    ] {
        let mut ctx = ResponseCompressionCtx::new(1, false, preserve);
        ctx.request_filter(&request("gzip"));
        let mut resp = text(&[("etag", tag)]);
        ctx.response_header_filter(&mut resp, false);
        assert_eq!(
            field(&resp, "etag").as_deref(),
            expected,
            "{tag} {preserve}"
        );
    }
}

#[test]
fn a_response_to_head_has_the_fields_of_one_to_get() {
    let mut ctx = ResponseCompressionCtx::new(6, false, false);
    ctx.request_filter(&request_of("HEAD", "gzip"));
    let mut resp = text(&[("content-length", "100")]);
    ctx.response_header_filter(&mut resp, true);
    assert_eq!(field(&resp, "content-encoding").unwrap(), "gzip");
    assert_eq!(field(&resp, "content-length"), None);
    assert_eq!(ctx.response_body_filter(None, true), None);
    let mut ctx = ResponseCompressionCtx::new(6, false, false);
    ctx.request_filter(&request("gzip"));
    let mut resp = text(&[("content-length", "0")]);
    ctx.response_header_filter(&mut resp, true);
    assert_eq!(field(&resp, "content-encoding"), None);
}

#[test]
fn a_body_of_unknown_length_is_not_held_back() {
    let mut ctx = ResponseCompressionCtx::new(6, false, false);
    ctx.request_filter(&request("gzip"));
    let mut resp = response(200, &[("content-type", "text/event-stream")]);
    ctx.response_header_filter(&mut resp, false);
    let event = Bytes::from("data: 1\n\n");
    let coded = ctx.response_body_filter(Some(&event), false).unwrap();
    let mut plain = vec![0; event.len()];
    MultiGzDecoder::new(&coded[..])
        .read_exact(&mut plain)
        .unwrap();
    assert_eq!(plain, event);
}

#[test]
fn levels_by_algorithm() {
    let mut ctx = ResponseCompressionCtx::new(6, false, false);
    ctx.adjust_algorithm_level(Algorithm::Gzip, 0);
    ctx.request_filter(&request("gzip"));
    ctx.response_header_filter(&mut text(&[]), false);
    assert!(ctx.get_info().is_none());
    let mut ctx = ResponseCompressionCtx::new(0, false, false);
    ctx.adjust_algorithm_level(Algorithm::Gzip, 99);
    ctx.request_filter(&request("gzip"));
    ctx.response_header_filter(&mut text(&[]), false);
    assert!(ctx.get_info().is_some());
    ctx.adjust_level(0);
    assert!(ctx.is_enabled(), "too late to turn off");
}

#[test]
fn compression_can_be_turned_on_after_the_request_passed() {
    let mut ctx = ResponseCompressionCtx::attentive(0);
    assert!(!ctx.is_enabled());
    ctx.request_filter(&request("gzip"));
    ctx.adjust_level(6);
    assert!(ctx.is_enabled());
    ctx.response_header_filter(&mut text(&[]), false);
    assert!(ctx.get_info().is_some());
}

#[test]
fn a_client_without_gzip_gets_it_plain() {
    let plain = b"hello, hello, hello".repeat(100);
    let coded = Bytes::from(gzipped(&plain));
    let resp = || text(&[("content-encoding", "gzip"), ("etag", "\"a\"")]);
    let mut ctx = ResponseCompressionCtx::new(0, true, false);
    ctx.request_filter(&request("br"));
    assert!(ctx.will_decompress(&resp()));
    let mut head = resp();
    ctx.response_header_filter(&mut head, false);
    assert_eq!(field(&head, "content-encoding"), None);
    assert_eq!(field(&head, "vary").unwrap(), "Accept-Encoding");
    assert_eq!(field(&head, "etag").unwrap(), "W/\"a\"");
    let mut got = Vec::new();
    for byte in &coded[..] {
        let part = Bytes::copy_from_slice(&[*byte]);
        got.extend(
            ctx.try_response_body_filter(Some(&part), false)
                .unwrap()
                .unwrap(),
        );
    }
    got.extend(ctx.try_response_body_filter(None, true).unwrap().unwrap());
    assert_eq!(got, plain);

    let mut ctx = ResponseCompressionCtx::new(0, true, false);
    ctx.request_filter(&request("gzip"));
    assert!(!ctx.will_decompress(&resp()));
    let mut head = resp();
    ctx.response_header_filter(&mut head, false);
    assert_eq!(field(&head, "content-encoding").unwrap(), "gzip");
    assert!(ctx.get_info().is_none());
    let double = text(&[("content-encoding", "br, gzip")]);
    assert!(!ResponseCompressionCtx::new(0, true, false).will_decompress(&double));
}

#[test]
fn a_broken_body_is_an_error_once_and_then_silence() {
    for broken in [
        &b"this is not gzip at all"[..],
        &gzipped(b"cut short")[..15],
    ] {
        let mut ctx = ResponseCompressionCtx::new(0, true, false);
        ctx.request_filter(&request(""));
        let mut head = text(&[("content-encoding", "gzip")]);
        ctx.response_header_filter(&mut head, false);
        let part = Bytes::copy_from_slice(broken);
        let err = ctx.try_response_body_filter(Some(&part), true).unwrap_err();
        assert_eq!(err.etype(), &COMPRESSION_ERROR);
        assert_eq!(ctx.response_body_filter(None, true).unwrap().len(), 0);
    }
}

#[test]
fn several_members_are_one_body_and_none_is_an_empty_one() {
    let mut gunzip = Algorithm::Gzip.decompressor(true).unwrap();
    let members = [gzipped(b"one "), gzipped(b"two")].concat();
    assert_eq!(gunzip.encode(&members, true).unwrap(), "one two");
    let mut gunzip = Algorithm::Gzip.decompressor(true).unwrap();
    assert_eq!(gunzip.encode(b"", true).unwrap(), "");
}

#[test]
fn what_is_not_built_says_so() {
    for name in ["br", "zstd", "dcb", "dcz", "*", "deflate"] {
        let algorithm = Algorithm::from(name);
        if algorithm
            .coding()
            .is_some_and(|coding| coding.can_decompress())
            && name != "deflate"
        {
            continue;
        }
        assert!(algorithm.compressor(5).is_none(), "{name}");
        assert!(algorithm.decompressor(true).is_none(), "{name}");
        assert!(!algorithm.can_decompress());
    }
    assert!(Algorithm::Gzip.compressor(0).is_none());
    assert!(Algorithm::Gzip.decompressor(false).is_none());
    assert_eq!(Algorithm::from("X-GZip"), Algorithm::Gzip);
    assert_eq!(Algorithm::Gzip.as_str(), "gzip");
    assert!(Algorithm::Other.index() < Algorithm::COUNT);
}

#[test]
fn pieces_of_a_response_are_changed_in_place() {
    let mut ctx = ResponseCompressionCtx::new(6, false, false);
    ctx.request_filter(&request("gzip"));
    let mut piece = HttpTask::Header(Box::new(text(&[("content-length", "9")])), false);
    ctx.response_filter(&mut piece);
    assert!(!ctx.is_enabled(), "too small");

    for end in [
        HttpTask::Body(None, true),
        HttpTask::Done,
        HttpTask::Trailer(None),
    ] {
        let mut ctx = ResponseCompressionCtx::new(6, false, false);
        ctx.request_filter(&request("gzip"));
        let head = text(&[("content-length", "4000")]);
        ctx.response_filter(&mut HttpTask::Header(Box::new(head), false));
        let mut coded = Vec::new();
        let body = HttpTask::Body(Some(vec![b'x'; 4000].into()), false);
        for mut piece in [body, end] {
            ctx.response_filter(&mut piece);
            match piece {
                HttpTask::Body(data, _) => coded.extend(data.unwrap_or_default()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(gunzipped(&coded), vec![b'x'; 4000]);
        let mut done = HttpTask::Done;
        ctx.response_filter(&mut done);
        assert!(matches!(done, HttpTask::Done), "the end comes once");
    }

    let mut ctx = ResponseCompressionCtx::new(0, true, false);
    let head = text(&[("content-encoding", "gzip")]);
    ctx.response_filter(&mut HttpTask::Header(Box::new(head), false));
    let mut piece = HttpTask::Body(Some("not gzip, not at all".into()), false);
    ctx.response_filter(&mut piece);
    assert!(matches!(piece, HttpTask::Failed(_)), "{piece:?}");
}
