//! Responses as they are sent: framing, order, and a writer that breaks its own declaration.

use super::*;
use pingora_error::ErrorType;

/// Everything that a client receives for this request when the response is written in this way.
async fn answer_to(request: &str, write: impl AsyncFnOnce(&mut HttpSession)) -> String {
    let (answer, ()) = talk(WIDE, request.as_bytes(), async |mut session| {
        session.read_request().await.unwrap().unwrap();
        write(&mut session).await;
        let _ = session.reuse().await;
    })
    .await;
    answer
}

fn ask(method: &str, version: &str) -> String {
    format!("{method} / HTTP/{version}\r\nHost: a\r\n\r\n")
}

async fn write_all(session: &mut HttpSession, header: Box<ResponseHeader>, pieces: &[&[u8]]) {
    session.write_response_header(header).await.unwrap();
    for piece in pieces {
        session.write_body(piece).await.unwrap();
    }
    session.finish_body().await.unwrap();
}

#[tokio::test]
async fn the_body_is_framed_by_what_the_client_understands() {
    type Row<'a> = (
        &'a str,
        &'a str,
        u16,
        &'a [(&'static str, &'a str)],
        &'a str,
    );
    let rows: &[Row<'_>] = &[
        (
            "GET",
            "1.1",
            200,
            &[("Content-Length", "6")],
            "Content-Length: 6\r\n\r\nfoobar",
        ),
        (
            "GET",
            "1.1",
            200,
            &[],
            "Transfer-Encoding: chunked\r\n\r\n3\r\nfoo\r\n3\r\nbar\r\n0\r\n\r\n",
        ),
        (
            "GET",
            "1.1",
            200,
            &[("Transfer-Encoding", "chunked")],
            "Transfer-Encoding: chunked\r\n\r\n3\r\nfoo\r\n3\r\nbar\r\n0\r\n\r\n",
        ),
        (
            "GET",
            "1.0",
            200,
            &[("Content-Length", "6")],
            "Content-Length: 6\r\nConnection: close\r\n\r\nfoobar",
        ),
        ("GET", "1.0", 200, &[], "Connection: close\r\n\r\nfoobar"),
        (
            "GET",
            "1.0",
            200,
            &[("Transfer-Encoding", "chunked")],
            "Connection: close\r\n\r\nfoobar",
        ),
        (
            "HEAD",
            "1.1",
            200,
            &[("Content-Length", "6")],
            "Content-Length: 6\r\n\r\n",
        ),
        ("HEAD", "1.1", 200, &[], "\r\n"),
        ("GET", "1.1", 204, &[], "\r\n"),
        (
            "GET",
            "1.1",
            304,
            &[("Content-Length", "6")],
            "Content-Length: 6\r\n\r\n",
        ),
        ("GET", "1.1", 304, &[], "\r\n"),
    ];
    for (method, version, status, fields, rest) in rows {
        let answer = answer_to(&ask(method, version), async |session| {
            write_all(session, header(*status, fields), &[b"foo", b"bar"]).await;
        })
        .await;
        let row = format!("{method} {version} {status} {fields:?}: {answer:?}");
        let (first, fields_and_body) = answer.split_once("\r\n").unwrap();
        assert!(first.starts_with(&format!("HTTP/1.1 {status} ")), "{row}");
        assert_eq!(&fields_and_body, rest, "{row}");
    }
}

#[tokio::test]
async fn the_status_line_speaks_for_this_hop() {
    let answer = answer_to(&ask("GET", "1.1"), async |session| {
        let mut header = header(200, &[]);
        header.set_version(http::Version::HTTP_10);
        write_all(session, header, &[b"x"]).await;
    })
    .await;
    assert!(
        answer.starts_with("HTTP/1.1 200"),
        "chunks behind HTTP/1.0 are no chunks: {answer}"
    );
}

#[tokio::test]
async fn a_response_that_ends_with_its_head_says_that_it_is_empty() {
    for (method, version, expected) in [
        ("GET", "1.1", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        (
            "GET",
            "1.0",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ),
        ("HEAD", "1.1", "HTTP/1.1 200 OK\r\n\r\n"),
    ] {
        let answer = answer_to(&ask(method, version), async |session| {
            session
                .queue_task(HttpTask::Header(header(200, &[]), true))
                .unwrap();
            session.write_proxy_tasks().await.unwrap();
        })
        .await;
        assert_eq!(answer, expected);
    }
}

use crate::protocols::http::HttpTask;

#[tokio::test]
async fn trailers_go_where_they_can() {
    let trailers = {
        let mut map = http::HeaderMap::new();
        map.insert("x-check", "1".parse().unwrap());
        map.insert("content-length", "5".parse().unwrap());
        map
    };
    for (fields, expected) in [
        (
            &[][..],
            "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx-check: 1\r\n\r\n",
        ),
        (&[("Content-Length", "1")][..], "Content-Length: 1\r\n\r\nx"),
    ] {
        let answer = answer_to(&ask("GET", "1.1"), async |session| {
            session
                .write_response_header(header(200, fields))
                .await
                .unwrap();
            session.write_body(b"x").await.unwrap();
            session.write_trailers(&trailers).await.unwrap();
        })
        .await;
        assert_eq!(answer, format!("HTTP/1.1 200 OK\r\n{expected}"));
    }
}

#[tokio::test]
async fn a_body_shorter_than_promised_is_seen_as_cut_short() {
    let answer = answer_to(&ask("GET", "1.1"), async |session| {
        session
            .write_response_header(header(200, &[("Content-Length", "9")]))
            .await
            .unwrap();
        session.write_body(b"hello").await.unwrap();
        let error = session.finish_body().await.unwrap_err();
        assert_eq!(error.etype(), &ErrorType::InternalError);
        assert!(!session.will_keepalive());
    })
    .await;
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
}

#[tokio::test]
async fn a_body_longer_than_promised_never_leaves() {
    for pieces in [&[&b"hello"[..], b" world"][..], &[b"hello world"]] {
        let answer = answer_to(&ask("GET", "1.1"), async |session| {
            session
                .write_response_header(header(200, &[("Content-Length", "5")]))
                .await
                .unwrap();
            let (last, first) = pieces.split_last().unwrap();
            for piece in first {
                session.write_body(piece).await.unwrap();
            }
            let error = session.write_body(last).await.unwrap_err();
            assert_eq!(error.etype(), &ErrorType::InternalError);
            assert!(!session.will_keepalive());
        })
        .await;
        assert!(!answer.contains("world"), "{answer}");
    }
}

#[tokio::test]
async fn informational_responses_go_ahead_of_the_final_one() {
    let early = async |session: &mut HttpSession| {
        session
            .write_response_header(header(103, &[("Link", "</a>")]))
            .await
            .unwrap();
        assert!(session.response_written().is_none());
        session
            .write_response_header(header(103, &[]))
            .await
            .unwrap();
        answer_empty(session).await;
        assert_eq!(session.response_written().unwrap().status, StatusCode::OK);
    };
    let answer = answer_to(&ask("GET", "1.1"), early).await;
    assert!(
        answer.starts_with("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200"),
        "{answer}"
    );
    let answer = answer_to(&ask("GET", "1.0"), early).await;
    assert!(
        answer.starts_with("HTTP/1.1 200"),
        "HTTP/1.0 knows none: {answer}"
    );
    let answer = answer_to(&ask("GET", "1.1"), async |session| {
        session.set_ignore_info_resp(true);
        early(session).await;
    })
    .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_second_response_is_no_response() {
    let answer = answer_to(&ask("GET", "1.1"), async |session| {
        session
            .write_response_header(header(200, &[]))
            .await
            .unwrap();
        session.write_body(b"one").await.unwrap();
        session
            .queue_task(HttpTask::Header(header(500, &[]), true))
            .unwrap();
        session
            .write_response_header(header(404, &[]))
            .await
            .unwrap();
        session.write_body(b"two").await.unwrap();
        session.finish_body().await.unwrap();
    })
    .await;
    assert_eq!(answer.matches("HTTP/1.1").count(), 1);
    assert!(
        answer.ends_with("3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn what_cannot_be_sent_leaves_no_trace() {
    let answer = answer_to(&ask("GET", "1.1"), async |session| {
        let both = [("Content-Length", "5"), ("Transfer-Encoding", "chunked")];
        for fields in [
            &both[..],
            &[("Content-Length", "x")],
            &[("Content-Length", "1, 2")],
        ] {
            let error = session
                .write_response_header(header(200, fields))
                .await
                .unwrap_err();
            assert_eq!(error.etype(), &ErrorType::InternalError, "{fields:?}");
        }
        let error = session
            .write_response_header(header(101, &[]))
            .await
            .unwrap_err();
        assert_eq!(error.etype(), &ErrorType::InvalidHTTPHeader);
        answer_empty(session).await;
    })
    .await;
    assert_eq!(answer, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

#[tokio::test]
async fn empty_pieces_do_not_end_a_chunked_body() {
    let answer = answer_to(&ask("GET", "1.1"), async |session| {
        write_all(session, header(200, &[]), &[b"", b"x", b"", b"y"]).await;
        assert_eq!(session.body_bytes_sent(), 2);
    })
    .await;
    assert!(
        answer.ends_with("\r\n\r\n1\r\nx\r\n1\r\ny\r\n0\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn bytes_leave_unharmed_through_any_window() {
    let body: Vec<u8> = (0..50_000_u32).map(|n| b'a' + (n % 26) as u8).collect();
    for window in [1, 3, 1000] {
        let (answer, ()) = talk(window, GET, async |mut session| {
            session.read_request().await.unwrap().unwrap();
            let length = body.len().to_string();
            session
                .write_response_header(header(200, &[("Content-Length", &length)]))
                .await
                .unwrap();
            for piece in body.chunks(9_999) {
                session.write_body(piece).await.unwrap();
            }
            session.finish_body().await.unwrap();
        })
        .await;
        assert!(answer.as_bytes().ends_with(&body), "window of {window}");
    }
}

fn upload(length: usize) -> String {
    format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")
}

/// Time bounds it, not a number of bytes: a client that was told that the connection persists may
/// rely on it.
#[tokio::test]
async fn what_is_left_of_a_body_is_drained_however_long_it_is() {
    for length in [1, DRAIN_LIMIT, DRAIN_LIMIT + 1, 5 * 1024 * 1024] {
        let sent = [upload(length).as_bytes(), &vec![b'x'; length], GET].concat();
        let (answer, requests) = talk(WIDE, &sent, async |mut session| {
            session.read_request().await.unwrap().unwrap();
            answer_empty(&mut session).await;
            match next(session).await {
                Some(session) => 1 + echo(session).await,
                None => 1,
            }
        })
        .await;
        assert_eq!(requests, 2, "{length}: {answer}");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}

/// RFC 9112 section 9.6: otherwise, a client that writes everything before it reads would see an
/// error.
#[tokio::test]
async fn a_client_that_writes_until_it_is_done_sees_its_early_answer() {
    for length in [500_000, 12_000_000] {
        for chunked in [false, true] {
            let head = if chunked {
                "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".into()
            } else {
                upload(length)
            };
            let (mut client, mut session) = pair(64 * 1024);
            let writing = async move {
                client.write_all(head.as_bytes()).await.unwrap();
                if chunked {
                    let size = format!("{length:x}\r\n");
                    client.write_all(size.as_bytes()).await.unwrap();
                }
                let piece = vec![b'x'; 100_000];
                for _ in 0..length / piece.len() {
                    client.write_all(&piece).await.unwrap();
                }
                let mut answer = String::new();
                client.read_to_string(&mut answer).await.unwrap();
                answer
            };
            let serving = async {
                session.set_max_body_size(Some(1000));
                let refused = session.read_request().await.is_err() || {
                    let error = session.read_body_bytes().await.unwrap_err();
                    error.etype() == &ErrorType::H1Error
                };
                assert!(refused);
                session.set_server_keepalive(None);
                let fields = [("Content-Length", "0")];
                session
                    .write_response_header(header(413, &fields))
                    .await
                    .unwrap();
                session.shutdown().await;
                drop(session);
            };
            let (answer, ()) = tokio::join!(writing, serving);
            assert!(answer.starts_with("HTTP/1.1 413 "), "{length}: {answer}");
        }
    }
}

#[tokio::test]
async fn an_early_response_may_be_told_to_close() {
    let sent = [upload(1).as_bytes(), b"x", GET].concat();
    let (answer, kept) = talk(WIDE, &sent, async |mut session| {
        session.set_close_on_response_before_downstream_finish(true);
        session.read_request().await.unwrap().unwrap();
        answer_empty(&mut session).await;
        next(session).await.is_some()
    })
    .await;
    assert!(
        !kept && answer.contains("Connection: close\r\n"),
        "{answer}"
    );
}

/// A client that sends all its data before it reads anything, over a real socket: if a server
/// closed with unread bytes, the client's kernel would discard the answer.
async fn over_tcp(sent: Vec<u8>, serve: impl AsyncFnOnce(HttpSession)) -> String {
    use crate::protocols::l4::stream::Stream as L4Stream;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = async {
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        let _ = client.write_all(&sent).await;
        received(client).await
    };
    let serving = async {
        let (stream, _) = listener.accept().await.unwrap();
        serve(HttpSession::new(Box::new(L4Stream::from(stream)))).await;
    };
    tokio::join!(client, serving).0
}

#[tokio::test]
async fn a_client_that_is_busy_sending_still_gets_its_answer() {
    let sent = [upload(900_000).as_bytes(), &vec![b'x'; 900_000]].concat();
    let answer = over_tcp(sent, async |mut session| {
        session.read_request().await.unwrap().unwrap();
        session
            .write_response_header(header(413, &[("Content-Length", "0")]))
            .await
            .unwrap();
        // The client was told that the connection persists, so it may send its next request on it.
        assert!(next(session).await.is_some());
    })
    .await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_client_with_an_endless_head_still_gets_its_answer() {
    let sent = [&b"GET / HTTP/1.1\r\nX: "[..], &vec![b'x'; 900_000]].concat();
    let answer = over_tcp(sent, async |session| {
        let mut session = ServerSession::H1(session);
        session.read_request().await.unwrap_err();
        assert_eq!(session.fault().unwrap().status(), 431);
        session.respond_error(431).await.unwrap();
        session.shutdown().await;
    })
    .await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn giving_up_in_the_middle_of_a_body_does_not_end_it() {
    for fields in [&[][..], &[("Content-Length", "9")]] {
        let (answer, ()) = talk(WIDE, GET, async |mut session| {
            session.read_request().await.unwrap().unwrap();
            session
                .write_response_header(header(200, fields))
                .await
                .unwrap();
            session.write_body(b"hello").await.unwrap();
            session.shutdown().await;
        })
        .await;
        assert!(
            answer.contains("hello") && !answer.contains("\r\n0\r\n"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn an_error_answer_never_ends_a_response_that_was_begun() {
    let (answer, ()) = talk(WIDE, GET, async |session| {
        let mut session = ServerSession::H1(session);
        session.read_request().await.unwrap();
        session
            .write_response_header(header(200, &[]))
            .await
            .unwrap();
        session
            .write_response_body(Bytes::from_static(b"hello"), false)
            .await
            .unwrap();
        session.respond_error(502).await.unwrap();
        assert!(session.finish().await.unwrap().is_none());
    })
    .await;
    assert!(answer.contains("hello"), "{answer}");
    assert!(
        !answer.contains("502") && !answer.ends_with("0\r\n\r\n"),
        "cut short: {answer}"
    );
}

#[tokio::test]
async fn a_whole_response_is_one_write_and_one_exchange() {
    for (method, body) in [("GET", "hello"), ("GET", ""), ("HEAD", "hello")] {
        let (answer, kept) = talk(WIDE, ask(method, "1.1").as_bytes(), async |session| {
            let mut session = ServerSession::H1(session);
            session.read_request().await.unwrap();
            session.set_keepalive(Some(60));
            session
                .write_response(header(200, &[]), Bytes::from_static(body.as_bytes()))
                .await
                .unwrap();
            session.finish().await.unwrap().is_some()
        })
        .await;
        let shown = if method == "HEAD" { "" } else { body };
        let expected = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{shown}",
            body.len()
        );
        assert_eq!((answer, kept), (expected, true));
    }
}

/// RFC 9110 section 6.6.1.
#[tokio::test]
async fn a_final_response_without_a_date_gets_one() {
    const THEN: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    let connect = "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n";
    let old = "GET / HTTP/1.0\r\n\r\n";
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n";
    // Request, status, whether it is dated, the number of dates afterwards.
    let rows = [
        (get, 200, false, 1),
        (get, 200, true, 1),
        (get, 204, false, 1),
        (get, 304, false, 1),
        (get, 404, false, 1),
        (get, 502, false, 1),
        (get, 103, false, 0),
        (old, 200, false, 1),
        (connect, 200, false, 1),
        (connect, 200, true, 1),
        (upgrade, 101, false, 0),
    ];
    for (request, status, dated, dates) in rows {
        let (mut client, mut session) = pair(WIDE);
        session.set_request_rules(RequestRules {
            allow_connect: true,
            ..RequestRules::default()
        });
        client.write_all(request.as_bytes()).await.unwrap();
        session.read_request().await.unwrap().unwrap();
        let fields = if dated { &[THEN][..] } else { &[] };
        session
            .write_response_header(header(status, fields))
            .await
            .unwrap();
        drop(session);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        let lower = answer.to_lowercase();
        assert_eq!(lower.matches("\r\ndate: ").count(), dates, "{answer}");
        assert_eq!(answer.contains(THEN.1), dated, "{answer}");
        assert!(answer.contains(" GMT\r\n") || dates == 0, "{answer}");
    }
}
