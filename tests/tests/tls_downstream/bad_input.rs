//! Clients that are no good cost their own connection, and are counted.

use crate::reporter::Reporter;
use crate::{ask, settings};
use pingora::listeners::tls::{HandshakeFailure, TlsSettings, WhenBusy};
use pingora_tests::{Authority, Connection, Program};
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_is_closed_and_counted_by_its_fault() {
    let authority = Authority::new();
    let mut settings = settings(&authority);
    settings.set_handshake_timeout(Duration::from_millis(200));
    let server = Reporter::start(settings).await;
    let send = async |bytes: &[u8]| {
        let mut client = Connection::to(server.address()).await;
        client.send(bytes).await;
        client.rest().await;
    };

    send(b"GET / HTTP/1.1\r\nHost: one.example\r\n\r\n").await;
    send(b"POST / HTTP/1.1\r\nHost: one.example\r\n\r\n").await;
    server.failed(HandshakeFailure::PlainHttp, 2).await;

    send(b"DELETE / HTTP/1.1\r\nHost: one.example\r\n\r\n").await;
    send(&[0; 100]).await;
    send(&[0xff; 100]).await;
    // A record of TLS with nonsense inside; one that is longer than any may be.
    send(&[&[22, 3, 1, 0, 100, 1, 0, 0, 96][..], &[0xaa; 96]].concat()).await;
    send(&[&[22, 3, 1, 0xff, 0xff][..], &[1; 200]].concat()).await;
    // OpenSSL knows some methods of HTTP only.
    let count = if crate::RUSTLS { 4 } else { 5 };
    server.failed(HandshakeFailure::NotTls, count).await;

    let nothing = ["-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"];
    assert!(!ask(&server, &authority, "one.example", &nothing).good);
    let group = ["-tls1_3", "-groups", "P-521"];
    assert!(!ask(&server, &authority, "one.example", &group).good);
    server.failed(HandshakeFailure::NothingInCommon, 2).await;

    drop(Connection::to(server.address()).await);
    server.failed(HandshakeFailure::Closed, 1).await;
    // It has to say something first: a connection that has not is not accepted yet.
    let mut resetting = Connection::to(server.address()).await;
    resetting.send([22, 3, 1]).await;
    pingora_tests::eventually("it is under way", || server.counters().under_way() == 1).await;
    resetting.reset();
    server.failed(HandshakeFailure::Closed, 2).await;

    // One that says nothing, and one that stops in the middle.
    let mut silent = Connection::to(server.address()).await;
    let mut halting = Connection::to(server.address()).await;
    halting.send([22, 3, 1, 0, 100, 1]).await;
    silent.closed().await;
    halting.closed().await;
    server.failed(HandshakeFailure::TimedOut, 2).await;

    let stranger = Authority::new();
    assert!(!ask(&server, &stranger, "one.example", &["-tls1_3"]).good);
    server.failed(HandshakeFailure::RefusedByClient, 1).await;

    assert!(ask(&server, &authority, "one.example", &[]).good);
    assert_eq!(server.counters().failed(HandshakeFailure::Other), 0);
    assert_eq!(server.counters().under_way(), 0);
}

/// No byte puts the end of a handshake off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_drips_ends_however_steadily_it_does() {
    let authority = Authority::new();
    let mut settings = settings(&authority);
    settings.set_handshake_timeout(Duration::from_millis(300));
    let server = Reporter::start(settings).await;
    let mut client = Connection::to(server.address()).await;
    // A record of a ClientHello that takes its time.
    client
        .send([22, 3, 1, 0x20, 0, 1, 0, 0x1f, 0xfc, 3, 3])
        .await;
    let mut sent = 0;
    while !client.has_input() && sent < 1000 {
        sent += 1;
        if client.try_send([0xaa]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(sent < 1000, "it goes on");
    server.failed(HandshakeFailure::TimedOut, 1).await;
    assert!(ask(&server, &authority, "one.example", &[]).good);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_at_once_wait_or_are_turned_away() {
    let authority = Authority::new();
    let mut strict = settings(&authority);
    strict.set_max_handshakes(1, WhenBusy::Close);
    let server = Reporter::start(strict).await;
    let holding = Connection::to(server.address()).await;
    pingora_tests::eventually("one is under way", || server.counters().under_way() == 1).await;
    Connection::to(server.address()).await.closed().await;
    server.failed(HandshakeFailure::TurnedAway, 1).await;
    drop(holding);
    server.failed(HandshakeFailure::Closed, 1).await;
    assert!(ask(&server, &authority, "one.example", &[]).good);

    let mut patient = settings(&authority);
    patient.set_max_handshakes(1, WhenBusy::Wait);
    let server = Reporter::start(patient).await;
    let holding = Connection::to(server.address()).await;
    pingora_tests::eventually("one is under way", || server.counters().under_way() == 1).await;
    let server = std::sync::Arc::new(server);
    let asked = server.clone();
    let waiting =
        tokio::task::spawn_blocking(move || ask(&asked, &authority, "one.example", &[]).good);
    pingora_tests::eventually("one waits", || server.counters().waited() == 1).await;
    assert_eq!(server.counters().full(), 0);
    drop(holding);
    assert!(waiting.await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_does_not_start_unless_it_may() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue_as(
        "expired",
        &["one.example"],
        &crate::ec_key(),
        crate::expired,
    );
    let text = |path: &std::path::Path| path.to_str().unwrap().to_string();
    let settings = || TlsSettings::intermediate(&text(&certificate), &text(&key)).unwrap();
    let refused = settings();
    let text = tokio::task::spawn_blocking(move || Reporter::refused(refused));
    let text = text.await.unwrap();
    assert!(
        text.contains("expired.pem") && text.contains("has expired"),
        "{text}"
    );

    let mut allowed = settings();
    allowed.allow_expired_certificate(true);
    let server = Reporter::start(allowed).await;
    let said = crate::s_client(&server, &["-servername", "one.example"]);
    assert!(said.contains("version=TLSv1.3"), "{said:?}");
}

#[tokio::test]
async fn what_was_wrong_is_logged_at_debug_and_not_above() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue(&["one.example"]);
    let mut proxy = Program::start(
        Command::new(env!("CARGO_BIN_EXE_fixed_proxy"))
            .env("RUST_LOG", "debug")
            .args(["--listen-tls", "127.0.0.1:0", "--certificate"])
            .arg(certificate)
            .arg("--key")
            .arg(key),
    );
    // The log says so, too, in other words.
    let mut addresses = String::new();
    pingora_tests::eventually("it listens", || {
        let lines = proxy.lines();
        let line = lines
            .iter()
            .find_map(|line| line.strip_prefix("listening on "));
        addresses = line.unwrap_or_default().to_string();
        !addresses.is_empty()
    })
    .await;
    let address = addresses.split(' ').nth(1).unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    let from = client.local_addr().unwrap();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let line = proxy.wait_for_line(&format!("client {from}"));
    assert!(line.contains("DEBUG"), "{line}");
    assert!(
        line.contains("the client speaks HTTP without TLS"),
        "{line}"
    );
    let louder = |line: &String| line.contains("WARN") || line.contains("ERROR");
    assert!(!proxy.lines().iter().any(louder), "{:?}", proxy.lines());
}
