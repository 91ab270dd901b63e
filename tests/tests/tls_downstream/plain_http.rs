//! Plain HTTP on a port that speaks TLS, and clients whose list of protocols is unusual.

use crate::reporter::Reporter;
use crate::{ask, settings};
use pingora::listeners::tls::{ALPN, HandshakeFailure};
use pingora::protocols::tls::CustomALPN;
use pingora_tests::{Authority, Connection, eventually};
use std::time::{Duration, Instant};

const NO_TLS: &str = "The plain HTTP request was sent to HTTPS port";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_http_gets_an_answer_that_says_so() {
    let authority = Authority::new();
    for offload in [false, true] {
        let mut settings = settings(&authority);
        if offload {
            settings.set_offload_threadpool(1, 1);
        }
        let server = Reporter::start(settings).await;
        for (request, body) in [
            ("GET / HTTP/1.1\r\nHost: one.example\r\n\r\n", true),
            ("HEAD / HTTP/1.1\r\nHost: one.example\r\n\r\n", false),
            ("DELETE /x HTTP/1.1\r\nHost: one.example\r\n\r\n", true),
            ("OPTIONS * HTTP/1.1\r\nHost: one.example\r\n\r\n", true),
            ("CONNECT one.example:443 HTTP/1.1\r\n\r\n", true),
            ("GET http://one.example/ HTTP/1.0\r\n\r\n", true),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true),
        ] {
            let mut client = Connection::to(server.address()).await;
            client.send(request).await;
            let answer = String::from_utf8(client.rest().await).unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 400 Bad Request\r\nDate: "),
                "{answer}"
            );
            assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
            assert_eq!(answer.contains(NO_TLS), body, "{request}: {answer}");
        }
        // What is no HTTP gets nothing.
        for other in [
            "EHLO one.example\r\n",
            "SSH-2.0-x\r\n",
            "get / HTTP/1.1\r\n\r\n",
        ] {
            let mut client = Connection::to(server.address()).await;
            client.send(other).await;
            assert_eq!(client.rest().await, b"", "{other}");
        }
        eventually("all are counted", || server.counters().all_failed() == 10).await;
        assert_eq!(server.counters().failed(HandshakeFailure::TimedOut), 0);
        assert_eq!(server.counters().under_way(), 0);
        assert!(ask(&server, &authority, "one.example", &[]).good);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_writes_before_it_reads_gets_the_answer_too() {
    let authority = Authority::new();
    let mut settings = settings(&authority);
    // The time for a handshake is over long before the upload is.
    settings.set_handshake_timeout(Duration::from_millis(300));
    settings.set_max_handshakes(1, pingora::listeners::tls::WhenBusy::Close);
    let server = Reporter::start(settings).await;
    let mut client = Connection::to(server.address()).await;
    let head = "POST / HTTP/1.1\r\nHost: one.example\r\nContent-Length: 8000000\r\n\r\n";
    client.send(head).await;
    for piece in 0..8 {
        client.send(vec![b'x'; 1_000_000]).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        if piece == 4 {
            // The handshake is over: its place is free.
            assert_eq!(server.counters().under_way(), 0);
            assert!(ask(&server, &authority, "one.example", &[]).good);
        }
    }
    let answer = String::from_utf8(client.rest().await).unwrap();
    assert!(answer.contains(NO_TLS), "{answer}");
    assert_eq!(server.counters().failed(HandshakeFailure::PlainHttp), 1);
    assert_eq!(server.counters().all_failed(), 1);

    // A client that goes on for ever is not listened to for ever.
    let begun = Instant::now();
    let mut endless = Connection::to(server.address()).await;
    endless.send(head).await;
    while endless.try_send(b"x").await.is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it has an end");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_offers_http_1_0_alone_is_served() {
    let authority = Authority::new();
    let served = async |alpn: Option<ALPN>, offered: &str| {
        let mut settings = settings(&authority);
        match alpn {
            Some(alpn) => settings.set_alpn(alpn),
            None => settings.enable_h2(),
        }
        let server = Reporter::start(settings).await;
        let said = ask(&server, &authority, "one.example", &["-alpn", offered]);
        said.contains("version=TLSv1.3")
    };
    for (offered, is_served) in [
        ("http/1.0", true),
        ("http/1.1", true),
        ("http/0.9,http/1.0", true),
        ("spdy/3.1,http/1.0,http/1.1", true),
        ("unknown,http/1.1", true),
        ("http/0.9", false),
        ("h2c", false),
        ("HTTP/1.1", false),
        ("acme-tls/1", false),
    ] {
        assert_eq!(served(None, offered).await, is_served, "{offered}");
        assert_eq!(
            served(Some(ALPN::H1), offered).await,
            is_served,
            "{offered}"
        );
    }
    assert!(!served(Some(ALPN::H2), "http/1.0").await);
}

#[tokio::test]
async fn a_protocol_of_no_bytes_does_not_start() {
    let authority = Authority::new();
    let mut settings = settings(&authority);
    settings.set_alpn(ALPN::Custom(CustomALPN::new(vec![])));
    let text = tokio::task::spawn_blocking(move || Reporter::refused(settings)).await;
    assert!(text.unwrap().contains("set_alpn"));
}
