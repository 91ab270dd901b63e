//! Requests that are refused: the client gets exactly one valid answer, and the log the part that
//! was read.

use super::*;
use pingora_error::{ErrorSource, ErrorType};

const ROWS: &[(&str, u16)] = &[
    ("GET / HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX : x\r\n\r\n", 400),
    ("GET / HTTP/1.1\nHost: a\n\n", 400),
    ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    ("GET / HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n", 400),
    ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        501,
    ),
    ("\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03", 400),
    ("\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
];

#[tokio::test]
async fn each_fault_has_its_status_and_shows_what_was_read() {
    for window in [1, WIDE] {
        for (sent, status) in ROWS {
            let (answer, raw) = talk(window, sent.as_bytes(), async |session| {
                let mut session = ServerSession::H1(session);
                let error = session.read_request().await.unwrap_err();
                assert_eq!(error.etype(), &ErrorType::InvalidHTTPHeader, "{sent:?}");
                assert_eq!(error.esource(), &ErrorSource::Downstream, "{sent:?}");
                let fault = session.fault().unwrap();
                assert_eq!(fault.status(), *status, "{sent:?}: {fault}");
                assert!(
                    session.read_request().await.is_err(),
                    "a refused request is not skipped"
                );
                let raw = session.to_h1_raw();
                session.respond_error(fault.status()).await.unwrap();
                assert!(session.finish().await.unwrap().is_none(), "{sent:?}");
                raw
            })
            .await;
            let row = format!("{sent:?} through {window}: {answer:?} {raw:?}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{row}");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{row}");
            assert!(answer.contains("Connection: close\r\n"), "{row}");
            let sent = sent.trim_start_matches("\r\n").as_bytes();
            assert!(!raw.is_empty() && sent.starts_with(&raw), "{row}");
        }
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_complete() {
    let long = "x".repeat(20_000);
    let rows: &[(String, u16)] = &[
        (format!("GET /{long}"), 414),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", long.repeat(4)),
            431,
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}", "X: y\r\n".repeat(200)),
            431,
        ),
    ];
    for (sent, status) in rows {
        let (mut client, mut session) = pair(WIDE);
        client.write_all(sent.as_bytes()).await.unwrap();
        session.read_request().await.unwrap_err();
        assert_eq!(session.fault().unwrap().status(), *status);
        let raw = session.get_headers_raw_bytes();
        assert!(
            raw.starts_with(b"GET /"),
            "the raw bytes are there for the log"
        );
        assert!(sent.as_bytes().starts_with(&raw));
    }
}

#[tokio::test]
async fn a_head_that_can_not_be_read_is_summed_up_by_its_first_line() {
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(20_000));
    let rows: &[(&[u8], &str)] = &[
        (
            b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            r#"refused head: "GET /a b HTTP/1.1""#,
        ),
        (
            b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
            r#"refused head: "\x16\x03\x01\x02\x00\x01""#,
        ),
        (
            b"POST /a\"\x1b[31m HTTP/1.1\r\n\r\n",
            r#"refused head: "POST /a\"\x1b[31m HTTP/1.1""#,
        ),
        (
            long.as_bytes(),
            &format!("refused head: \"GET /{}\"...", "x".repeat(195)),
        ),
        (b"GET /cut HT", r#"incomplete head: "GET /cut HT""#),
    ];
    for (sent, expected) in rows {
        let (mut client, mut session) = pair(WIDE);
        client.write_all(sent).await.unwrap();
        client.shutdown().await.unwrap();
        session.read_request().await.unwrap_err();
        assert_eq!(session.request_summary(), *expected);
    }
    let (mut client, mut session) = pair(WIDE);
    client
        .write_all(b"GET /a HTTP/1.1\r\nHost: b\r\n\r\n")
        .await
        .unwrap();
    session.read_request().await.unwrap().unwrap();
    assert_eq!(session.request_summary(), "GET /a, Host: b");
}

#[tokio::test]
async fn rules_can_be_changed() {
    let (mut client, mut session) = pair(WIDE);
    session.set_request_rules(RequestRules {
        allow_connect: true,
        ..RequestRules::default()
    });
    client
        .write_all(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n")
        .await
        .unwrap();
    session.read_request().await.unwrap().unwrap();
    assert_eq!(session.req_header().method, "CONNECT");
}

#[tokio::test]
async fn a_head_that_stops_is_nobodys_request() {
    let (mut client, mut session) = pair(WIDE);
    client.write_all(b"GET / HTT").await.unwrap();
    client.shutdown().await.unwrap();
    let error = session.read_request().await.unwrap_err();
    assert_eq!(error.etype(), &ErrorType::ConnectionClosed);
    assert!(session.fault().is_none() && !session.will_keepalive());
    let (client, mut session) = pair(WIDE);
    drop(client);
    assert_eq!(session.read_request().await.unwrap(), None);
}

#[tokio::test]
async fn one_request_is_read_once() {
    let (_client, mut session) = asked(&[GET, GET].concat()).await;
    let error = session.read_request().await.unwrap_err();
    assert_eq!(error.etype(), &ErrorType::InternalError);
    answer_empty(&mut session).await;
    assert!(
        next(session).await.is_some(),
        "the mistake was the caller's, not the client's"
    );
}

#[tokio::test]
async fn a_request_shows_itself() {
    let (_client, session) =
        asked(b"GET /a?b HTTP/1.1\r\nhOST: x.y\r\nX-Two: 1\r\nX-Two: 2\r\n\r\n").await;
    assert_eq!(session.request_summary(), "GET /a?b, Host: x.y");
    assert_eq!(session.get_header_bytes("x-two"), b"1");
    assert_eq!(session.get_header_bytes("x-none"), b"");
    let raw = session.get_headers_raw_bytes();
    assert_eq!(
        raw,
        &b"GET /a?b HTTP/1.1\r\nhOST: x.y\r\nX-Two: 1\r\nX-Two: 2\r\n\r\n"[..]
    );
    assert!(session.validate_request().is_ok());
}
