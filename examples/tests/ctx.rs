//! Runs the example `ctx`.
#![allow(clippy::unwrap_used, reason = "it is a test")]

mod running;

use running::{PATIENCE, Running};
use std::io::{Read, Write};
use std::net::TcpStream;

#[test]
fn a_request_knows_what_the_one_before_it_left_with_their_connection() {
    let proxy = Running::start("ctx", &[]);
    let mut connection = TcpStream::connect(proxy.address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection
        .write_all(b"GET /first HTTP/1.1\r\nHost: test\r\n\r\nGET /second HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answers = String::new();
    connection.read_to_string(&mut answers).unwrap();
    let (first, second) = answers.split_at(answers.rfind("HTTP/1.1 200").unwrap());
    let first = first.to_ascii_lowercase();
    let second = second.to_ascii_lowercase();
    assert!(first.contains("x-request: 1\r\n"), "{answers}");
    assert!(
        first.contains("x-request-of-connection: 1\r\n"),
        "{answers}"
    );
    assert!(!first.contains("x-previous-path"), "{answers}");
    assert!(second.contains("x-request: 2\r\n"), "{answers}");
    assert!(
        second.contains("x-request-of-connection: 2\r\n"),
        "{answers}"
    );
    assert!(second.contains("x-previous-path: /first\r\n"), "{answers}");
    proxy.wait_for_line("request 1, number 1 of its connection: /first over a new connection");
    proxy.wait_for_line("request 2, number 2 of its connection: /second over a kept connection");

    let third = proxy.get("/third");
    assert_eq!(third.field("X-Request"), Some("3"));
    assert_eq!(third.field("X-Request-Of-Connection"), Some("1"));
    assert_eq!(third.field("X-Previous-Path"), None);
    assert!(proxy.stop());
}
