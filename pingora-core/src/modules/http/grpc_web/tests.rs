//! The bridge as a module of a request.

use super::*;
use crate::modules::http::{HttpModuleCtx, HttpModules};
use http::HeaderValue;

const MESSAGE: &[u8] = b"\0\0\0\0\x05hello";

fn modules(on: bool) -> HttpModuleCtx {
    let mut modules = HttpModules::new();
    modules.add_module(Box::new(GrpcWeb));
    let mut ctx = modules.build_ctx();
    let bridge = ctx.get_mut::<GrpcWebBridge>().unwrap();
    assert_eq!(**bridge, GrpcWebCtx::Disabled);
    if on {
        bridge.init();
    }
    ctx
}

fn request(content_type: &str, accept: &str) -> RequestHeader {
    let mut req = RequestHeader::build("POST", b"/s/m", None).unwrap();
    req.insert_header("Content-Type", content_type).unwrap();
    req.insert_header("Content-Length", "16").unwrap();
    if !accept.is_empty() {
        req.insert_header("Accept", accept).unwrap();
    }
    req
}

fn response() -> ResponseHeader {
    let mut resp = ResponseHeader::build(200, None).unwrap();
    let grpc = "application/grpc+proto";
    resp.insert_header("Content-Type", grpc).unwrap();
    resp
}

async fn up(ctx: &mut HttpModuleCtx, pieces: &[&[u8]]) -> Result<Vec<u8>> {
    let mut arrived = Vec::new();
    for piece in pieces {
        let mut body = Some(Bytes::copy_from_slice(piece));
        ctx.request_body_filter(&mut body, false).await?;
        arrived.extend(body.unwrap_or_default());
    }
    let mut end = None;
    ctx.request_body_filter(&mut end, true).await?;
    assert!(end.is_none());
    Ok(arrived)
}

fn down(ctx: &mut HttpModuleCtx, pieces: &[&[u8]]) -> Vec<u8> {
    let mut arrived = Vec::new();
    for piece in pieces {
        let mut body = Some(Bytes::copy_from_slice(piece));
        ctx.response_body_filter(&mut body, false).unwrap();
        arrived.extend(body.unwrap_or_default());
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let mut trailers = Some(Box::new(trailers));
    arrived.extend(
        ctx.response_trailer_filter(&mut trailers)
            .unwrap()
            .unwrap_or_default(),
    );
    arrived
}

fn frame() -> Vec<u8> {
    let lines = b"grpc-status:0\r\n";
    [&[0x80, 0, 0, 0, lines.len() as u8], &lines[..]].concat()
}

#[tokio::test]
async fn the_text_form_is_split_at_every_byte() {
    let text = [base64::encode(MESSAGE), base64::encode(MESSAGE)].concat();
    for at in 0..=text.len() {
        let mut ctx = modules(true);
        let mut req = request("application/grpc-web-text+proto", "");
        ctx.request_header_filter(&mut req).await.unwrap();
        assert_eq!(req.headers["content-type"], "application/grpc+proto");
        assert_eq!(req.headers["te"], "trailers");
        assert!(
            !req.headers.contains_key("content-length"),
            "it becomes shorter"
        );
        let (begin, rest) = text.split_at(at);
        let arrived = up(&mut ctx, &[begin, rest]).await.unwrap();
        assert_eq!(arrived, [MESSAGE, MESSAGE].concat(), "at {at}");
    }
}

#[tokio::test]
async fn responses_take_the_form_that_is_wanted() {
    let rows = [
        (
            "application/grpc-web",
            "",
            "application/grpc-web+proto",
            false,
        ),
        (
            "application/grpc-web-text",
            "",
            "application/grpc-web-text+proto",
            true,
        ),
        (
            "application/grpc-web",
            "application/grpc-web-text",
            "application/grpc-web-text+proto",
            true,
        ),
        (
            "application/grpc-web-text",
            "application/grpc-web",
            "application/grpc-web+proto",
            false,
        ),
    ];
    for (asked, accept, expected, text) in rows {
        let mut ctx = modules(true);
        ctx.request_header_filter(&mut request(asked, accept))
            .await
            .unwrap();
        let mut resp = response();
        ctx.response_header_filter(&mut resp, false).await.unwrap();
        assert_eq!(resp.headers["content-type"], expected);
        for at in 0..=MESSAGE.len() {
            let (begin, rest) = MESSAGE.split_at(at);
            let mut ctx = modules(true);
            ctx.request_header_filter(&mut request(asked, accept))
                .await
                .unwrap();
            ctx.response_header_filter(&mut response(), false)
                .await
                .unwrap();
            let arrived = down(&mut ctx, &[begin, rest]);
            let mut decoded = arrived.clone();
            if text {
                decoded.clear();
                Decoder::default().decode(&arrived, &mut decoded).unwrap();
            }
            assert_eq!(
                decoded,
                [MESSAGE, &frame()].concat(),
                "{asked} {accept} at {at}"
            );
        }
    }
}

#[tokio::test]
async fn trailers_are_taken_out_where_they_became_a_frame() {
    let mut ctx = modules(true);
    ctx.request_header_filter(&mut request("application/grpc-web", ""))
        .await
        .unwrap();
    ctx.response_header_filter(&mut response(), false)
        .await
        .unwrap();
    let mut none = None;
    assert_eq!(ctx.response_trailer_filter(&mut none).unwrap(), None);
    let mut trailers = Some(Box::new(HeaderMap::new()));
    let empty = ctx.response_trailer_filter(&mut trailers).unwrap().unwrap();
    assert_eq!(empty, [0x80, 0, 0, 0, 0][..]);
    assert!(trailers.is_none());
}

#[tokio::test]
async fn a_response_of_trailers_only_keeps_them_in_its_head() {
    let mut ctx = modules(true);
    ctx.request_header_filter(&mut request("application/grpc-web", ""))
        .await
        .unwrap();
    let mut resp = response();
    resp.insert_header("grpc-status", "12").unwrap();
    ctx.response_header_filter(&mut resp, true).await.unwrap();
    assert_eq!(resp.headers["content-type"], "application/grpc-web+proto");
    assert_eq!(resp.headers["grpc-status"], "12");
}

#[tokio::test]
async fn what_is_not_for_it_passes() {
    for (on, asked) in [
        (false, "application/grpc-web-text"),
        (true, "application/json"),
    ] {
        let mut ctx = modules(on);
        let mut req = request(asked, "");
        ctx.request_header_filter(&mut req).await.unwrap();
        assert_eq!(req.headers, request(asked, "").headers);
        assert_eq!(up(&mut ctx, &[b"not base64"]).await.unwrap(), b"not base64");
        let mut resp = response();
        ctx.response_header_filter(&mut resp, false).await.unwrap();
        assert_eq!(resp.headers, response().headers);
        assert_eq!(down(&mut ctx, &[b"as it is"]), b"as it is");
    }
}

#[tokio::test]
async fn an_error_page_passes_in_the_text_form_too() {
    let mut ctx = modules(true);
    ctx.request_header_filter(&mut request("application/grpc-web-text", ""))
        .await
        .unwrap();
    let mut page = ResponseHeader::build(502, None).unwrap();
    page.insert_header("Content-Type", "text/html").unwrap();
    ctx.response_header_filter(&mut page, false).await.unwrap();
    assert_eq!(page.headers["content-type"], "text/html");
    assert_eq!(down(&mut ctx, &[b"sorry"]), b"sorry");
}

#[tokio::test]
async fn text_that_is_none_is_the_clients_fault() {
    for pieces in [&[&b"AAAA*"[..]][..], &[b"AAA"], &[b"AA", b"A=A"]] {
        let mut ctx = modules(true);
        ctx.request_header_filter(&mut request("application/grpc-web-text", ""))
            .await
            .unwrap();
        let error = up(&mut ctx, pieces).await.unwrap_err();
        assert_eq!(error.etype(), &ErrorType::HTTPStatus(400));
        assert_eq!(error.esource(), &ErrorSource::Downstream);
    }
}

#[tokio::test]
async fn a_body_that_is_sent_again_begins_anew() {
    let mut ctx = modules(true);
    ctx.request_header_filter(&mut request("application/grpc-web-text", ""))
        .await
        .unwrap();
    let text = base64::encode(MESSAGE);
    let mut cut = Some(Bytes::copy_from_slice(&text[..6]));
    ctx.request_body_filter(&mut cut, false).await.unwrap();
    ctx.request_body_begins();
    assert_eq!(up(&mut ctx, &[&text]).await.unwrap(), MESSAGE);
}

#[tokio::test]
async fn each_try_has_a_head_of_its_own() {
    let mut ctx = modules(true);
    for _ in 0..2 {
        let mut req = request("application/grpc-web-text", "");
        ctx.request_header_filter(&mut req).await.unwrap();
        assert_eq!(req.headers["content-type"], "application/grpc");
        ctx.request_body_begins();
        assert_eq!(up(&mut ctx, &[b"AAAAAAVoZWxsbw=="]).await.unwrap(), MESSAGE);
        ctx.response_header_filter(&mut response(), false)
            .await
            .unwrap();
        ctx.response_discarded();
    }
}
