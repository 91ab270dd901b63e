//! Runs the example `websocket`.
#![allow(clippy::unwrap_used, reason = "it is a test")]

mod running;

use bytes::Bytes;
use h2::ext::Protocol;
use http::{Method, Request, StatusCode};
use running::{PATIENCE, Running};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// A request of the example in RFC 6455 section 1.3.
const HANDSHAKE: &str = "GET /echo HTTP/1.1\r\nHost: chat.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A client's frame: first byte and payload, masked.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        short @ ..126 => frame.push(0x80 | short as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(p, m)| p ^ m));
    frame
}

/// A server's frame: the same in the clear.
fn clear(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ ..126 => frame.push(short as u8),
        length => {
            frame.push(126);
            frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// The client's messages, and the answers it receives.
fn conversation() -> Vec<(Vec<u8>, Vec<u8>)> {
    let long: Vec<u8> = (0..40_000_u32).map(|n| n as u8).collect();
    vec![
        (masked(0x81, b"hello"), clear(0x81, b"hello")),
        (
            masked(0x89, b"are you there?"),
            clear(0x8a, b"are you there?"),
        ),
        (masked(0x82, &long), clear(0x82, &long)),
        // A message in two frames, and a pong in between that needs no answer.
        (
            [
                masked(0x01, b"in "),
                masked(0x8a, b""),
                masked(0x80, b"pieces"),
            ]
            .concat(),
            [clear(0x01, b"in "), clear(0x80, b"pieces")].concat(),
        ),
        (
            masked(0x88, &1000_u16.to_be_bytes()),
            clear(0x88, &1000_u16.to_be_bytes()),
        ),
    ]
}

/// The number of bytes of a conversation in each direction.
fn sizes() -> (usize, usize) {
    let welcome = clear(0x81, b"welcome").len();
    let sum = |total: (usize, usize), (up, down): &(Vec<u8>, Vec<u8>)| {
        (total.0 + up.len(), total.1 + down.len())
    };
    conversation().iter().fold((0, welcome), sum)
}

/// Sends a handshake with additional fields, and reads the head of the answer.
fn open(proxy: &Running, fields: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(format!("{HANDSHAKE}{fields}\r\n").as_bytes())
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend_from_slice(&byte);
    }
    (
        stream,
        String::from_utf8(head).unwrap().to_ascii_lowercase(),
    )
}

fn hear(stream: &mut TcpStream, expected: &[u8]) {
    let mut heard = vec![0; expected.len()];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard, expected);
}

#[test]
fn frames_pass_both_ways_after_an_upgrade() {
    let proxy = Running::start("websocket", &[]);
    let (mut stream, head) = open(&proxy, "Origin: http://chat.test\r\n");
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    let accept = "sec-websocket-accept: s3ppLMBiTxaQ9kYGzzhZRbK+xOo=\r\n".to_ascii_lowercase();
    assert!(head.contains(&accept), "{head}");
    hear(&mut stream, &clear(0x81, b"welcome"));
    for (said, heard) in conversation() {
        stream.write_all(&said).unwrap();
        hear(&mut stream, &heard);
    }
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    drop(stream);
    let (up, down) = sizes();
    proxy.wait_for_line(&format!(
        "WebSocket /echo: 101, {up} bytes to the origin, {down} from it"
    ));
    assert!(proxy.stop());
}

#[test]
fn frames_pass_both_ways_over_http2() {
    let proxy = Running::start("websocket", &[]);
    // Its thread continues with the connection: the last frame may still have to be sent.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let talk = async { timeout(PATIENCE, talk_over_http2(&proxy)).await };
    runtime.block_on(talk).unwrap();
    let (up, down) = sizes();
    let line = proxy.wait_for_line("WebSocket /echo: 200, ");
    assert!(
        line.ends_with(&format!(" {up} bytes to the origin, {down} from it")),
        "{line}"
    );
    assert!(proxy.stop());
}

async fn talk_over_http2(proxy: &Running) {
    let stream = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
    let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    // The server's settings announce that it supports extended CONNECT.
    while !requests.is_extended_connect_protocol_enabled() {
        sleep(Duration::from_millis(5)).await;
    }
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri("http://chat.test/echo")
        .header("sec-websocket-version", "13")
        .extension(Protocol::from_static("websocket"));
    let (answer, mut sender) = requests
        .send_request(request.body(()).unwrap(), false)
        .unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let mut receiver = answer.into_body();
    let mut heard = Vec::new();
    let mut expected = clear(0x81, b"welcome");
    for (said, answered) in conversation() {
        // At most 40,000 bytes at a time: fits into the window, whose updates the connection handles.
        sender.send_data(Bytes::from(said), false).unwrap();
        expected.extend_from_slice(&answered);
        while heard.len() < expected.len() {
            let piece = receiver.data().await.unwrap().unwrap();
            receiver
                .flow_control()
                .release_capacity(piece.len())
                .unwrap();
            heard.extend_from_slice(&piece);
        }
        assert_eq!(heard, expected);
    }
    sender.send_data(Bytes::new(), true).unwrap();
    while let Some(piece) = receiver.data().await {
        assert_eq!(piece.unwrap(), Bytes::new());
    }
}

#[test]
fn an_open_websocket_is_told_that_the_server_stops() {
    let proxy = Running::start("websocket", &[]);
    let (mut stream, _) = open(&proxy, "");
    hear(&mut stream, &clear(0x81, b"welcome"));
    proxy.terminate();
    hear(&mut stream, &clear(0x88, &1001_u16.to_be_bytes()));
    drop(stream);
    assert!(proxy.ended());
}

#[test]
fn others_pages_and_broken_frames_are_refused() {
    let proxy = Running::start("websocket", &[]);
    for origin in ["https://evil.test", "null", "http://chat.test.evil.test"] {
        let (_, head) = open(&proxy, &format!("Origin: {origin}\r\n"));
        assert!(head.starts_with("http/1.1 403 "), "{origin}: {head}");
    }
    let too_long = [[0x82, 0xff].as_slice(), &(1_u64 << 32).to_be_bytes()].concat();
    for (said, code) in [
        (clear(0x81, b"not masked"), 1002_u16),
        (masked(0xc1, b"of an extension"), 1002),
        (masked(0x09, b"half a ping"), 1002),
        (masked(0x89, &[0; 126]), 1002),
        (too_long, 1009),
    ] {
        let (mut stream, _) = open(&proxy, "");
        hear(&mut stream, &clear(0x81, b"welcome"));
        stream.write_all(&said).unwrap();
        hear(&mut stream, &clear(0x88, &code.to_be_bytes()));
    }
    let page = proxy.get("/");
    assert_eq!(page.status(), 200);
    assert!(page.body().contains("new WebSocket"), "{page:?}");
    assert!(proxy.stop());
}
