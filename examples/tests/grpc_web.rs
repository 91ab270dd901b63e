//! Runs the example `grpc_web`.
#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on ends by panicking"
)]

mod running;

use running::{PATIENCE, Running};
use std::io::{Read, Write};
use std::net::TcpStream;

const HELLO: &[u8] = b"\0\0\0\0\x05world";
const REPLY: &[u8] = b"\0\0\0\0\x0chello, world";
const HELLO_TEXT: &str = "AAAAAAV3b3JsZA==";

/// The head of the response and its body, with the chunks joined.
fn post(proxy: &Running, method: &str, kind: &str, body: &[u8]) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST /greeter.Greeter/{method} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\
         Content-Type: application/{kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let rest = answer.split_off(end);
    let head = String::from_utf8(answer).unwrap();
    if head.to_lowercase().contains("transfer-encoding: chunked") {
        (head, without_chunks(&rest))
    } else {
        (head, rest)
    }
}

fn without_chunks(mut text: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = text.windows(2).position(|w| w == b"\r\n").unwrap();
        let size = std::str::from_utf8(&text[..line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&text[line + 2..line + 2 + size]);
        text = &text[line + 2 + size + 2..];
    }
}

fn trailers() -> Vec<u8> {
    let lines = b"grpc-status:0\r\nx-served-by:greeter\r\n";
    [&[0x80, 0, 0, 0, lines.len() as u8], &lines[..]].concat()
}

/// A few characters of base64 at a time, each group padded or not.
fn from_base64(text: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let value = |c: &u8| ALPHABET.iter().position(|a| a == c).unwrap_or(0) as u32;
    let groups = text.chunks(4).flat_map(|group| {
        let bits = group.iter().fold(0, |bits, c| bits << 6 | value(c));
        let padding = group.iter().filter(|c| **c == b'=').count();
        bits.to_be_bytes()[1..4 - padding].to_vec()
    });
    groups.collect()
}

#[test]
fn a_browser_calls_a_service_in_both_forms() {
    let proxy = Running::start("grpc_web", &[]);
    proxy.wait_for_line(&format!("Open http://{}/", proxy.address));

    let (head, body) = post(&proxy, "Hello", "grpc-web", HELLO);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let kind = |kind: &str| format!("content-type: application/{kind}\r\n");
    assert!(head.to_lowercase().contains(&kind("grpc-web")), "{head}");
    assert!(
        head.to_lowercase()
            .contains("access-control-allow-origin: *")
    );
    assert_eq!(body, [REPLY, &trailers()].concat());

    let (head, body) = post(&proxy, "Hello", "grpc-web-text", HELLO_TEXT.as_bytes());
    assert!(
        head.to_lowercase().contains(&kind("grpc-web-text")),
        "{head}"
    );
    assert_eq!(from_base64(&body), [REPLY, &trailers()].concat());

    let (head, body) = post(&proxy, "Hello", "grpc-web-text", b"no base64!");
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert!(body.is_empty());
    assert!(proxy.stop());
}

#[test]
fn a_call_that_ends_without_a_message_tells_so_in_its_head() {
    let proxy = Running::start("grpc_web", &[]);
    let (head, body) = post(&proxy, "Nothing", "grpc-web", HELLO);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(
        head.to_lowercase().contains("grpc-status: 12\r\n"),
        "{head}"
    );
    assert!(body.is_empty());
    assert!(proxy.stop());
}

#[test]
fn it_has_a_page_to_begin_with() {
    let proxy = Running::start("grpc_web", &[]);
    let page = proxy.get("/");
    assert_eq!(page.status(), 200);
    assert!(page.body().contains("/greeter.Greeter/Hello"));
    assert!(proxy.stop());
}
