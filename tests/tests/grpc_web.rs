//! gRPC-Web from clients of either version to a service that speaks gRPC.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use pingora::modules::http::HttpModules;
use pingora::modules::http::grpc_web::{GrpcWeb, GrpcWebBridge};
use pingora::prelude::*;
use pingora_tests::{Ask, Message, TestServer, Version, VersionedUpstream, h2c_proxy, pattern};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};

/// The requests that a service received: their heads, and their bodies.
type Seen = Arc<Mutex<Vec<(HeaderMap, Vec<u8>)>>>;

/// Echoes every body, and reports success at the end.
async fn echo(stream: TcpStream, seen: Seen) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let seen = seen.clone();
        tokio::spawn(async move {
            let (head, mut body) = request.into_parts();
            let mut got = Vec::new();
            while let Some(Ok(piece)) = body.data().await {
                got.extend_from_slice(&piece);
                body.flow_control().release_capacity(piece.len()).unwrap();
            }
            seen.lock().unwrap().push((head.headers, got.clone()));
            let mut response = Response::new(());
            let grpc = HeaderValue::from_static("application/grpc+proto");
            response.headers_mut().insert("content-type", grpc);
            let mut stream = respond.send_response(response, false).unwrap();
            stream.send_data(Bytes::from(got), false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            stream.send_trailers(trailers).unwrap();
        });
    }
}

async fn service() -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let noted = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream, noted.clone()));
        }
    });
    (address, seen)
}

struct Proxy(VersionedUpstream);

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();
    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(GrpcWeb));
    }

    async fn early_request_filter(&self, session: &mut Session, _: &mut ()) -> Result<()> {
        let bridge = session.downstream_modules_ctx.get_mut::<GrpcWebBridge>();
        bridge.unwrap().init();
        Ok(())
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.0.peer()))
    }
}

async fn setup() -> (TestServer, Seen) {
    let (address, seen) = service().await;
    let version = Version::H2;
    let proxy = h2c_proxy(Proxy(VersionedUpstream { address, version })).await;
    (proxy, seen)
}

const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn to_base64(data: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for group in data.chunks(3) {
        let byte = |at: usize| u32::from(*group.get(at).unwrap_or(&0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (at, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            text.push(if at <= group.len() {
                ALPHABET[(bits >> shift) as usize & 63]
            } else {
                b'='
            });
        }
    }
    text
}

fn from_base64(text: &[u8]) -> Vec<u8> {
    assert_eq!(text.len() % 4, 0, "whole groups");
    let value = |c: &u8| ALPHABET.iter().position(|a| a == c).unwrap_or(0) as u32;
    let groups = text.chunks(4).flat_map(|group| {
        let bits = group.iter().fold(0, |bits, c| bits << 6 | value(c));
        let padding = group.iter().filter(|c| **c == b'=').count();
        bits.to_be_bytes()[1..4 - padding].to_vec()
    });
    groups.collect()
}

fn frame(data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap().to_be_bytes();
    [&[0][..], &length, data].concat()
}

fn ask(kind: &str) -> Ask {
    Ask::by("POST", "/test.Echo/Echo")
        .with("content-type", &format!("application/{kind}"))
        .with("grpc-timeout", "9S")
}

fn kind(answer: &Message) -> &str {
    let kind = answer.header("content-type");
    kind.unwrap_or_else(|| {
        panic!(
            "no content-type: {}, {:?}",
            answer.start_line, answer.fields
        )
    })
}

const TRAILERS: &[u8] = b"\x80\0\0\0\x0fgrpc-status:0\r\n";

#[tokio::test]
async fn both_forms_pass_from_both_versions() {
    for down in [Version::H1, Version::H2] {
        let (proxy, seen) = setup().await;
        for length in [0, 1, 2, 70_001, 500_000] {
            let message = frame(&pattern(length));
            let wanted = [&message[..], TRAILERS].concat();

            let binary = ask("grpc-web+proto").body(message.clone());
            let answer = binary.answered_over(down, proxy.address()).await;
            assert_eq!(answer.status(), 200, "{down:?} {length}");
            assert_eq!(kind(&answer), "application/grpc-web+proto");
            assert!(answer.body == wanted, "{down:?} {length}");
            assert!(answer.trailers.is_empty(), "{:?}", answer.trailers);
            let (head, body) = seen.lock().unwrap().pop().unwrap();
            assert_eq!(head["content-type"], "application/grpc+proto");
            assert_eq!(head["te"], "trailers");
            assert_eq!(head["grpc-timeout"], "9S");
            assert!(body == message, "{down:?} {length}");

            let mut text = ask("grpc-web-text+proto").body(to_base64(&message));
            // One byte at a time, as far as the service accepts that many short frames at once.
            text.piece = length / 50 + 1;
            text.length = None;
            let answer = text.answered_over(down, proxy.address()).await;
            assert_eq!(kind(&answer), "application/grpc-web-text+proto");
            assert!(from_base64(&answer.body) == wanted, "{down:?} {length}");
            let (head, body) = seen.lock().unwrap().pop().unwrap();
            assert_eq!(head["content-type"], "application/grpc+proto");
            assert!(body == message, "{down:?} {length}");
        }
    }
}

#[tokio::test]
async fn the_length_of_text_is_not_the_length_of_what_it_stands_for() {
    for down in [Version::H1, Version::H2] {
        let (proxy, seen) = setup().await;
        let message = frame(b"hello");
        let text = ask("grpc-web-text").body(to_base64(&message));
        assert!(text.length.is_some());
        let answer = text.answered_over(down, proxy.address()).await;
        assert_eq!(from_base64(&answer.body), [&message[..], TRAILERS].concat());
        let (head, body) = seen.lock().unwrap().pop().unwrap();
        assert!(head.get("content-length").is_none(), "{down:?}: {head:?}");
        assert_eq!(body, message);
    }
}

#[tokio::test]
async fn what_is_no_base64_is_refused() {
    for down in [Version::H1, Version::H2] {
        let (proxy, _seen) = setup().await;
        let text = ask("grpc-web-text").body("AAAA????");
        let answer = text.answered_over(down, proxy.address()).await;
        assert_eq!(answer.status(), 400, "{down:?}");
    }
}

#[tokio::test]
async fn grpc_itself_passes_as_it_is() {
    let (proxy, seen) = setup().await;
    let message = frame(b"hello");
    let grpc = ask("grpc").with("te", "trailers").body(message.clone());
    let answer = grpc.answered_over(Version::H2, proxy.address()).await;
    assert_eq!(kind(&answer), "application/grpc+proto");
    assert_eq!(answer.body, message);
    let status = ("grpc-status".to_string(), "0".to_string());
    assert_eq!(answer.trailers, [status]);
    assert_eq!(seen.lock().unwrap().len(), 1);
}

/// A service treats many short frames at once as an attack, and ends the connection.
#[tokio::test]
async fn short_pieces_that_arrive_together_leave_together() {
    let (address, _seen) = service().await;
    let version = Version::H2;
    let proxy = h2c_proxy(VersionedUpstream { address, version }).await;
    let body = pattern(2000);
    let ask = ask("grpc").pieces(body.clone(), 1);
    let mut client = proxy.connect().await;
    // Everything in one segment.
    client
        .send([ask.http1_head().as_bytes(), &ask.http1_body()].concat())
        .await;
    let answer = client.response().await;
    assert_eq!(answer.status(), 200, "{:?}", answer.fields);
    assert_eq!(answer.body, body);
}
