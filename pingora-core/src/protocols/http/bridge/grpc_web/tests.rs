//! Requests and responses, translated between gRPC-Web and gRPC.

use super::*;
use http::HeaderValue;

fn request(content_type: &str) -> RequestHeader {
    let mut req = RequestHeader::build("POST", b"/pkg.Service/Method", None).unwrap();
    req.insert_header("Content-Type", content_type).unwrap();
    req.insert_header("Content-Length", "9").unwrap();
    req.insert_header("grpc-timeout", "1S").unwrap();
    req
}

fn response(content_type: &str) -> ResponseHeader {
    let mut resp = ResponseHeader::build(200, None).unwrap();
    resp.insert_header("Content-Type", content_type).unwrap();
    resp.insert_header("Content-Length", "9").unwrap();
    resp
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers.insert("grpc-message", HeaderValue::from_static(""));
    trailers.append("x-bin", HeaderValue::from_static("a"));
    trailers.append("x-bin", HeaderValue::from_static("b"));
    trailers
}

#[test]
fn an_exchange_is_translated_both_ways() {
    let mut ctx = GrpcWebCtx::default();
    ctx.init();
    let mut req = request("application/grpc-web+proto");
    ctx.request_header_filter(&mut req);
    assert_eq!(ctx, GrpcWebCtx::Upgrade);
    assert_eq!(req.headers["content-type"], "application/grpc+proto");
    assert_eq!(req.headers["te"], "trailers");
    assert_eq!(
        req.headers["content-length"], "9",
        "bodies pass as they are"
    );
    assert_eq!(req.headers["grpc-timeout"], "1S", "and deadlines");

    let mut early = ResponseHeader::build(103, None).unwrap();
    ctx.response_header_filter(&mut early);
    assert_eq!(ctx, GrpcWebCtx::Upgrade);
    let mut resp = response("application/grpc+proto");
    ctx.response_header_filter(&mut resp);
    assert_eq!(ctx, GrpcWebCtx::Trailers);
    assert_eq!(resp.headers["content-type"], "application/grpc-web+proto");
    assert!(!resp.headers.contains_key("content-length"));

    let mut trailers = trailers();
    let frame = ctx.response_trailer_filter(&mut trailers).unwrap().unwrap();
    let lines = b"grpc-status:0\r\ngrpc-message:\r\nx-bin:a\r\nx-bin:b\r\n";
    let head = [0x80, 0, 0, 0, lines.len() as u8];
    assert_eq!(frame, [&head[..], lines].concat());
    assert!(trailers.is_empty());
    assert_eq!(ctx, GrpcWebCtx::Done);
    assert_eq!(ctx.response_trailer_filter(&mut trailers).unwrap(), None);
}

#[test]
fn nothing_else_is_touched() {
    let rows = [
        // Not enabled.
        (false, "application/grpc-web", "application/grpc"),
        // Not gRPC-Web, or in a form whose bodies would have to be translated.
        (true, "application/grpc", "application/grpc"),
        (true, "application/json", "application/json"),
        (true, "application/grpc-web-text", "application/grpc"),
    ];
    for (on, asked, answered) in rows {
        let mut ctx = GrpcWebCtx::default();
        if on {
            ctx.init();
        }
        let (mut req, mut resp) = (request(asked), response(answered));
        ctx.request_header_filter(&mut req);
        ctx.response_header_filter(&mut resp);
        assert_eq!(ctx, GrpcWebCtx::Disabled);
        assert_eq!(req.headers, request(asked).headers);
        assert_eq!(resp.headers, response(answered).headers);
        let mut left = trailers();
        assert_eq!(ctx.response_trailer_filter(&mut left).unwrap(), None);
        assert_eq!(left, trailers());
    }
}

#[test]
fn an_error_page_stays_one() {
    let mut ctx = GrpcWebCtx::default();
    ctx.init();
    ctx.request_header_filter(&mut request("application/grpc-web"));
    let mut resp = response("text/html");
    ctx.response_header_filter(&mut resp);
    assert_eq!(resp.headers, response("text/html").headers);
    assert_eq!(ctx, GrpcWebCtx::Disabled);
}
