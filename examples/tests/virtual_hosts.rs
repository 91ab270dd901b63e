//! Runs the example `virtual_hosts`.
#![allow(clippy::unwrap_used, reason = "it is a test")]

mod running;

use running::{PATIENCE, Running};
use std::io::{Read, Write};
use std::net::TcpStream;

/// The answer to a request with these lines.
fn ask(proxy: &Running, lines: &str) -> String {
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("{lines}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// CVE-2026-27588: hosts are looked up in their case, once there are many.
#[test]
fn each_host_has_its_site_and_others_are_refused() {
    let proxy = Running::start("virtual_hosts", &[]);
    for (host, site) in [
        ("shop.test", "the shop!"),
        ("SHOP.test.:8080", "the shop!"),
        ("north.shop.test", "the shops of partners!"),
        ("blog.test", "the blog!"),
    ] {
        let answer = ask(&proxy, &format!("GET / HTTP/1.1\r\nHost: {host}"));
        assert!(
            answer.contains(&format!("Hello from {site}")),
            "{host}: {answer}"
        );
        // The site sees the name as the client wrote it.
        assert!(answer.contains(&format!("host: {host}\n")), "{answer}");
    }
    // The host in an absolute target decides, and the site sees no other one.
    let absolute = "GET http://blog.test/ HTTP/1.1\r\nHost: shop.test";
    let answer = ask(&proxy, absolute);
    assert!(answer.contains("the blog!"), "{answer}");
    assert!(!answer.contains("shop.test"), "{answer}");

    for head in [
        "GET / HTTP/1.1\r\nHost: 127.0.0.1",
        "GET / HTTP/1.1\r\nHost: a.b.shop.test",
        "GET / HTTP/1.1\r\nHost: .shop.test",
        "GET / HTTP/1.1\r\nHost: *.shop.test.example",
        "GET / HTTP/1.0",
        "GET http://other.test/ HTTP/1.1\r\nHost: other.test",
    ] {
        let answer = ask(&proxy, head);
        assert!(answer.starts_with("HTTP/1.1 421 "), "{head}: {answer}");
    }
    proxy.wait_for_line("other.test");
    // A request with an empty name is refused earlier.
    let empty = "GET / HTTP/1.1\r\nHost:";
    assert!(ask(&proxy, empty).starts_with("HTTP/1.1 400 "));
    assert!(proxy.stop());
}
