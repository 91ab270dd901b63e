//! Runs the example `ready_modules`.
#![allow(clippy::unwrap_used, reason = "it is a test")]

mod running;

use running::{PATIENCE, Running};
use std::io::{Read, Write};
use std::net::TcpStream;

/// `ada:lovelace`.
const ADA: &str = "Authorization: Basic YWRhOmxvdmVsYWNl\r\n";

#[test]
fn the_origin_is_told_what_is_true_and_nothing_else() {
    let proxy = Running::start("ready_modules", &[]);
    let forged = "X-Forwarded-For: 8.8.8.8\r\nX_Forwarded_For: 8.8.8.8\r\nX-Real-IP: 8.8.8.8\r\n\
                  X-Request-Id: forged\r\nX_Request_Id: forged\r\n\
                  Client-Cert: :forged:\r\n";
    let answer = proxy.get_with(
        "/a",
        &format!("{ADA}{forged}Origin: https://app.example\r\n"),
    );
    assert_eq!(answer.status(), 200);
    let told = answer.body();
    for field in [
        "x-forwarded-for: 127.0.0.1\n",
        "x-forwarded-host: test\n",
        "via: 1.1 example\n",
    ] {
        assert!(told.contains(field), "{told}");
    }
    let id = answer.field("X-Request-Id").unwrap();
    assert!(told.contains(&format!("x-request-id: {id}\n")), "{told}");
    for secret in ["8.8.8.8", "forged", "authorization"] {
        assert!(!told.contains(secret), "{told}");
    }
    let allowed = answer.field("Access-Control-Allow-Origin");
    assert_eq!(allowed, Some("https://app.example"));
    assert_eq!(answer.field("X-Content-Type-Options"), Some("nosniff"));
    proxy.wait_for_line(&format!("127.0.0.1 ada 200 /a {id}"));

    let moved = proxy.get_with("/old/page?x", ADA);
    assert_eq!(moved.status(), 308);
    assert_eq!(moved.field("Location"), Some("/new/page?x"));
    let rewritten = proxy.get_with("/api/v1/users", ADA);
    assert!(
        rewritten.body().contains("/v1/users"),
        "{}",
        rewritten.body()
    );
    assert!(!rewritten.body().contains("/api/"), "{}", rewritten.body());
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let ask = format!(
        "GET / HTTP/1.1\r\nHost: test\r\nSec-Fetch-Mode: navigate\r\nConnection: close\r\n{ADA}\r\n"
    );
    stream.write_all(ask.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 103 "), "{text}");
    assert!(
        text.contains("rel=preload") && text.contains("HTTP/1.1 200 "),
        "{text}"
    );
    assert!(proxy.stop());
}

#[test]
fn who_is_no_user_or_is_not_let_in_gets_an_answer_and_no_more() {
    let proxy = Running::start("ready_modules", &["--trust", "127.0.0.0/8"]);
    let nobody = proxy.get("/b");
    assert_eq!(nobody.status(), 401);
    let challenge = nobody.field("WWW-Authenticate").unwrap();
    assert!(
        challenge.starts_with("Basic realm=\"example\""),
        "{challenge}"
    );
    let id = nobody.field("X-Request-Id").unwrap();
    proxy.wait_for_line(&format!("127.0.0.1 - 401 /b {id}"));

    let denied = format!("{ADA}X-Forwarded-For: 1.1.1.1, 192.0.2.7\r\n");
    assert_eq!(proxy.get_with("/c", &denied).status(), 403);
    proxy.wait_for_line("192.0.2.7 - 403 /c");
    let other = format!("{ADA}X-Forwarded-For: 192.0.2.7, 1.1.1.1\r\n");
    assert_eq!(proxy.get_with("/d", &other).status(), 200);
    proxy.wait_for_line("1.1.1.1 ada 200 /d");

    // A preflight request comes without a password.
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let ask = "OPTIONS / HTTP/1.1\r\nHost: test\r\nOrigin: https://app.example\r\n\
               Access-Control-Request-Method: GET\r\nConnection: close\r\n\r\n";
    stream.write_all(ask.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 204 "), "{text}");
    let lower = text.to_ascii_lowercase();
    assert!(
        lower.contains("access-control-allow-headers: authorization"),
        "{text}"
    );
    assert!(proxy.stop());
}
