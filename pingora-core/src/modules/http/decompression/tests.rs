//! Which requests are decompressed, and how the others are handled.

#![cfg(feature = "compression")]

use super::*;
use crate::modules::http::{HttpModuleCtx, HttpModules};
use crate::protocols::http::compression::Algorithm;

fn modules(limits: DecompressionLimits) -> HttpModuleCtx {
    let mut modules = HttpModules::new();
    modules.add_module(RequestDecompressionBuilder::enable(limits));
    modules.build_ctx()
}

fn request(fields: &[(&'static str, &str)]) -> RequestHeader {
    let mut req = RequestHeader::build("POST", b"/", None).unwrap();
    for (name, value) in fields {
        req.append_header(*name, *value).unwrap();
    }
    req
}

fn gzipped(plain: &[u8]) -> Bytes {
    let mut gzip = Algorithm::Gzip.compressor(6).unwrap();
    gzip.encode(plain, true).unwrap()
}

/// The output for a body that comes in pieces of this size.
async fn passed(ctx: &mut HttpModuleCtx, coded: &[u8], piece: usize) -> Result<Vec<u8>> {
    ctx.request_body_begins();
    let mut plain = Vec::new();
    for part in coded.chunks(piece) {
        let mut body = Some(Bytes::copy_from_slice(part));
        ctx.request_body_filter(&mut body, false).await?;
        plain.extend(body.unwrap_or_default());
    }
    let mut body = None;
    ctx.request_body_filter(&mut body, true).await?;
    plain.extend(body.unwrap_or_default());
    Ok(plain)
}

fn status(error: &BError) -> u16 {
    assert_eq!(error.esource(), &ErrorSource::Downstream);
    match error.etype() {
        ErrorType::HTTPStatus(status) => *status,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_coded_request_gets_plain_and_so_do_its_fields() {
    let mut ctx = modules(DecompressionLimits::default());
    let mut req = request(&[
        ("content-encoding", "gzip"),
        ("content-length", "100"),
        ("content-digest", "sha-256=:AA==:"),
        ("content-type", "text/plain"),
    ]);
    ctx.request_header_filter(&mut req).await.unwrap();
    assert_eq!(req.headers.len(), 1, "{:?}", req.headers);
    let module = ctx.get::<RequestDecompression>().unwrap();
    assert!(module.is_decompressing());
    let plain = b"hello, hello, hello".repeat(100);
    // As often as an upstream is tried, whatever the outcome of the previous try.
    for piece in [1, 7, 1000] {
        let got = passed(&mut ctx, &gzipped(&plain), piece).await.unwrap();
        assert_eq!(got, plain);
        assert!(passed(&mut ctx, b"nonsense!!!", piece).await.is_err());
    }
}

#[tokio::test]
async fn a_plain_request_passes_as_it_is() {
    let mut ctx = modules(DecompressionLimits::default());
    let mut req = request(&[("content-encoding", "identity"), ("content-length", "3")]);
    ctx.request_header_filter(&mut req).await.unwrap();
    assert_eq!(req.headers.len(), 2);
    assert_eq!(passed(&mut ctx, b"abc", 3).await.unwrap(), b"abc");
}

#[tokio::test]
async fn an_unknown_coding_is_415() {
    for coding in ["made-up", "gzip, gzip", "br, gzip", "dcb", "*"] {
        let mut ctx = modules(DecompressionLimits::default());
        let mut req = request(&[("content-encoding", coding)]);
        let error = ctx.request_header_filter(&mut req).await.unwrap_err();
        assert_eq!(status(&error), 415, "{coding}");
    }
}

/// CVE-2026-48044, in a request.
#[tokio::test]
async fn a_bomb_is_413_and_a_broken_body_400() {
    let bomb = gzipped(&vec![0; 10_000_000]);
    assert!(bomb.len() < 20_000);
    let text = gzipped(&vec![0; 60_000]);
    for (limits, body, expected) in [
        (DecompressionLimits::default(), &bomb[..], Err(413)),
        (DecompressionLimits::new(u64::MAX, 100), &bomb, Err(413)),
        (
            DecompressionLimits::new(9_999_999, u64::MAX),
            &bomb,
            Err(413),
        ),
        (
            DecompressionLimits::new(10_000_000, u64::MAX),
            &bomb,
            Ok(10_000_000),
        ),
        (DecompressionLimits::new(1 << 30, 10), &text, Ok(60_000)),
        (DecompressionLimits::new(59_999, 10), &text, Err(413)),
        (
            DecompressionLimits::default(),
            b"this is not gzip",
            Err(400),
        ),
        (
            DecompressionLimits::default(),
            &text[..text.len() - 1],
            Err(400),
        ),
        (
            DecompressionLimits::default(),
            &[&text[..], b"more"].concat(),
            Err(400),
        ),
        (DecompressionLimits::default(), b"", Ok(0)),
    ] {
        for piece in [100, 1 << 20] {
            let mut ctx = modules(limits);
            let mut req = request(&[("content-encoding", "gzip")]);
            ctx.request_header_filter(&mut req).await.unwrap();
            let got = passed(&mut ctx, body, piece).await;
            let got = got.map(|plain| plain.len()).map_err(|e| status(&e));
            assert_eq!(got, expected, "{limits:?} {piece}");
        }
    }
}
