//! Runs the example `proxy_protocol`.
#![allow(clippy::unwrap_used, reason = "it is a test")]

mod running;

use running::{PATIENCE, Running};
use std::io::{Read, Write};
use std::net::TcpStream;

/// The proxy's answer to a request after these bytes.
fn answer(proxy: &Running, header: &str) -> String {
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    stream
        .write_all(format!("{header}{request}").as_bytes())
        .unwrap();
    let mut text = String::new();
    // A connection that is closed with unread data is reset.
    let _ = stream.read_to_string(&mut text);
    text
}

const LINE: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 40000 80\r\n";

#[test]
fn the_application_learns_who_the_client_of_the_balancer_is() {
    let proxy = Running::start("proxy_protocol", &[]);
    let told = answer(&proxy, LINE);
    assert!(
        told.contains("You are 192.0.2.7:40000, through 127.0.0.1:"),
        "{told}"
    );
    assert_eq!(answer(&proxy, ""), "", "without a header, it is closed");
    assert!(proxy.stop());
}

#[test]
fn who_is_not_trusted_is_who_it_is() {
    let arguments = ["--trust", "192.0.2.0/24", "--admit-others"];
    let proxy = Running::start("proxy_protocol", &arguments);
    let told = answer(&proxy, "");
    assert!(told.contains("You are 127.0.0.1:"), "{told}");
    assert!(answer(&proxy, LINE).starts_with("HTTP/1.1 400 "));
    assert!(proxy.stop());
}
