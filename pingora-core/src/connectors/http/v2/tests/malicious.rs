//! Servers that break the rules, or use them against us.

use super::exchange::pieces;
use super::raw::*;
use super::*;
use pingora_error::RetryType;

/// A server and a session that has sent a request to it.
async fn asked(method: &str, end: bool) -> (Raw, ConnectionRef, Http2Session) {
    let (mut server, conn) = raw_pair(&[]).await;
    let mut session = session(&conn).await;
    session
        .write_request_header(request(method, &[]), end)
        .unwrap();
    let (_, stream, _) = server.expect(HEADERS).await;
    assert_eq!(stream, 1);
    (server, conn, session)
}

#[tokio::test]
async fn a_reset_says_why_and_whether_to_try_again() {
    // The reason, how much of an answer precedes it, and the result.
    let rows: &[(u32, &str, ErrorType, bool)] = &[
        (7, "", ErrorType::H2Error, true),
        (7, "103", ErrorType::H2Error, false),
        (7, "200", ErrorType::H2Error, false),
        (8, "", ErrorType::H2Error, false),
        (2, "", ErrorType::H2Error, false),
        (0, "", ErrorType::H2Error, false),
        (0, "200", ErrorType::H2Error, false),
        (13, "", ErrorType::H2Downgrade, true),
        (999, "", ErrorType::H2Error, false),
    ];
    for (reason, answer, etype, retry) in rows {
        let (mut server, conn, mut session) = asked("GET", true).await;
        if let Ok(code) = answer.parse() {
            server.head(1, code, 0).await;
            session.read_response_header().await.unwrap();
        }
        server.reset(1, *reason).await;
        let error = loop {
            if let Err(error) = session.read_response_task().await {
                break error;
            }
        };
        assert_eq!(
            (error.etype(), error.retry()),
            (etype, *retry),
            "{reason} {answer}"
        );
        assert!(!conn.is_shutting_down(), "other streams go on");
    }
}

#[tokio::test]
async fn no_error_after_a_complete_response_stops_the_upload_only() {
    let (mut server, _conn, mut session) = asked("POST", false).await;
    session.queue_body(vec![b'x'; 300_000].into()).unwrap();
    let flushed = std::future::poll_fn(|cx| std::task::Poll::Ready(session.poll_flush(cx))).await;
    assert!(flushed.is_pending());
    server.head(1, 413, 0).await;
    server.send(DATA, END_STREAM, 1, b"no").await;
    server.reset(1, 0).await;
    std::future::poll_fn(|cx| session.poll_flush(cx))
        .await
        .unwrap();
    assert_eq!((session.queued(), session.wants_flush()), (0, false));
    session.queue_body("ignored".into()).unwrap();
    assert_eq!(session.queued(), 0);
    assert_eq!(pieces(&mut session).await, "H413 B:no.");
}

#[tokio::test]
async fn another_reason_fails_the_upload_and_what_was_answered_is_read() {
    let (mut server, _conn, mut session) = asked("POST", false).await;
    session.queue_body(vec![b'x'; 300_000].into()).unwrap();
    server.head(1, 503, END_STREAM).await;
    server.reset(1, 8).await;
    let error = std::future::poll_fn(|cx| session.poll_flush(cx))
        .await
        .unwrap_err();
    assert_eq!((error.etype(), error.retry()), (&ErrorType::H2Error, false));
    assert_eq!(pieces(&mut session).await, "H503.");
}

#[tokio::test]
async fn a_server_that_goes_away_has_not_seen_what_it_does_not_name() {
    // The last stream that it names, before and after an answer.
    for (last, answered, goes_on) in [(0, false, false), (1, false, true), (1, true, true)] {
        let (mut server, conn, mut session) = asked("GET", true).await;
        if answered {
            server.head(1, 200, 0).await;
            session.read_response_header().await.unwrap();
        }
        server.go_away(last, 0).await;
        while !conn.is_shutting_down() {
            tokio::task::yield_now().await;
        }
        assert!(conn.spawn_stream().await.is_err_and(|error| error.retry()));
        if !goes_on {
            let error = session.read_response_header().await.unwrap_err();
            assert_eq!((error.etype(), error.retry()), (&ErrorType::H2Error, true));
            continue;
        }
        if !answered {
            server.head(1, 200, 0).await;
            session.read_response_header().await.unwrap();
        }
        server.send(DATA, END_STREAM, 1, b"x").await;
        assert_eq!(pieces(&mut session).await, "B:x.");
    }
}

#[tokio::test]
async fn a_request_on_a_connection_that_just_went_away_is_tried_again() {
    let (mut server, conn) = raw_pair(&[]).await;
    let mut late = session(&conn).await;
    server.go_away(0, 0).await;
    while !conn.is_shutting_down() {
        tokio::task::yield_now().await;
    }
    late.queue_request_header(&request("POST", &[])).unwrap();
    std::future::poll_fn(|cx| late.poll_flush(cx))
        .await
        .unwrap();
    let error = late.read_response_task().await.unwrap_err();
    assert!(error.retry(), "nobody has heard of it: {error}");
}

#[tokio::test]
async fn a_closed_connection_fails_its_exchanges() {
    for answered in [false, true] {
        let (mut server, conn, mut session) = asked("GET", true).await;
        if answered {
            server.head(1, 200, 0).await;
            session.read_response_header().await.unwrap();
        }
        drop(server);
        let error = session.read_response_task().await.unwrap_err();
        assert_eq!(error.etype(), &ErrorType::ConnectionClosed);
        let expected = if answered {
            RetryType::Decided(false)
        } else {
            RetryType::ReusedOnly
        };
        assert_eq!(error.retry, expected);
        assert!(conn.is_shutting_down());
    }
}

#[tokio::test]
async fn informational_responses_without_end_are_refused() {
    let (mut server, conn, mut session) = asked("GET", true).await;
    for _ in 0..200 {
        server.head(1, 103, 0).await;
    }
    let told = pieces(&mut session).await;
    assert!(told.ends_with("!InvalidH2"), "{told}");
    assert!(told.len() < 1000);
    assert_eq!(server.expect_reset().await, 1);
    assert!(!conn.is_shutting_down());
}

#[tokio::test]
async fn informational_responses_that_nobody_takes_are_bounded() {
    let (mut server, conn, mut session) = asked("GET", true).await;
    let mut sent = 0;
    while !conn.is_closed() && sent < 10_000 {
        server.head(1, 103, 0).await;
        sent += 1;
        tokio::task::yield_now().await;
    }
    // Few of them are kept.
    let told = pieces(&mut session).await;
    assert!(told.ends_with("!InvalidH2"), "{told}");
    assert!(told.matches("H103").count() <= 16, "{told}");
    assert_eq!(server.expect_reset().await, 1);
    assert_eq!(sent, 10_000, "the connection is not the worse for it");
}

#[tokio::test]
async fn exchanges_given_up_leave_no_heads_behind() {
    let (mut server, conn) = raw_pair(&[]).await;
    for n in 0..1000 {
        let mut session = session(&conn).await;
        session
            .write_request_header(request("GET", &[]), true)
            .unwrap();
        let (_, stream, _) = server.expect(HEADERS).await;
        server.head(stream, 103, 0).await;
        server.head(stream, 200, 0).await;
        if n % 2 == 0 {
            session.read_response_header().await.unwrap();
        }
        drop(session);
    }
    assert!(!conn.is_shutting_down());
}

#[tokio::test]
async fn responses_that_break_a_rule_are_refused() {
    let rows: &[(&str, Vec<u8>, u8)] = &[
        ("101", status(101), 0),
        ("no status", field("x", "y"), 0),
        (
            "two lengths",
            [
                status(200),
                field("content-length", "1"),
                field("content-length", "2"),
            ]
            .concat(),
            0,
        ),
        (
            "a length that is none",
            [status(200), field("content-length", "+1")].concat(),
            0,
        ),
        (
            "a body that is missing",
            [status(200), field("content-length", "5")].concat(),
            END_STREAM,
        ),
        (
            "connection",
            [status(200), field("connection", "close")].concat(),
            0,
        ),
        (
            "transfer-encoding",
            [status(200), field("transfer-encoding", "chunked")].concat(),
            0,
        ),
        ("upper-case", [status(200), field("X-A", "b")].concat(), 0),
        (
            "a line end",
            [status(200), field("x", "a\r\nb")].concat(),
            0,
        ),
        (
            "a late status",
            [status(200), field("x", "y"), status(200)].concat(),
            0,
        ),
    ];
    for (what, block, flags) in rows {
        let (mut server, _conn, mut session) = asked("GET", true).await;
        server.send(HEADERS, flags | END_HEADERS, 1, block).await;
        let error = session.read_response_header().await.expect_err(what);
        let known = matches!(
            error.etype(),
            ErrorType::InvalidH2 | ErrorType::InvalidHTTPHeader
        );
        assert!(known && !error.retry(), "{what}: {error}");
        assert_eq!(error.esource().as_str(), "Upstream", "{what}");
    }
}

#[tokio::test]
async fn a_body_of_another_length_is_no_clean_end() {
    for (sent, flags) in [("abcd", 0), ("abcd", END_STREAM), ("ab", END_STREAM)] {
        let (mut server, _conn, mut session) = asked("GET", true).await;
        let block = [status(200), field("content-length", "3")].concat();
        server.send(HEADERS, END_HEADERS, 1, &block).await;
        server.send(DATA, flags, 1, sent.as_bytes()).await;
        let told = pieces(&mut session).await;
        assert!(told.ends_with("!InvalidH2"), "{sent}: {told}");
    }
}

#[tokio::test]
async fn data_after_the_end_is_refused_and_harms_nobody_else() {
    let (mut server, conn, mut session) = asked("GET", true).await;
    let mut other = super::session(&conn).await;
    other
        .write_request_header(request("GET", &[]), true)
        .unwrap();
    server.head(1, 200, END_STREAM).await;
    server.send(DATA, 0, 1, b"more").await;
    assert_eq!(
        pieces(&mut session).await,
        "H200.",
        "what was complete is delivered"
    );
    const STREAM_CLOSED: u32 = 5;
    assert_eq!(server.expect_reset().await, STREAM_CLOSED);
    server.head(3, 200, END_STREAM).await;
    assert_eq!(pieces(&mut other).await, "H200.");
}

#[tokio::test]
async fn heads_are_bounded() {
    // Decoded, this is over 64 KiB; the second is sent in pieces without end.
    let long = "x".repeat(120);
    let mut bomb = status(200);
    for n in 0..600 {
        bomb.extend(field(&format!("x-{n}"), &long));
    }
    let (mut server, _conn, mut session) = asked("GET", true).await;
    let (first, rest) = bomb.split_at(16_000);
    server.send(HEADERS, 0, 1, first).await;
    for (n, piece) in rest.chunks(16_000).enumerate() {
        let last = (n + 1) * 16_000 >= rest.len();
        let flags = if last { END_HEADERS } else { 0 };
        server.send(CONTINUATION, flags, 1, piece).await;
    }
    let error = session.read_response_header().await.unwrap_err();
    assert!(!error.retry(), "the same would come again: {error}");

    let (mut server, conn, mut session) = asked("GET", true).await;
    server.send(HEADERS, 0, 1, &status(200)).await;
    let block = [field("x", &long), field("y", &long)].concat();
    let mut sent = 0;
    while !conn.is_shutting_down() && sent < 100_000 {
        server.send(CONTINUATION, 0, 1, &block).await;
        sent += 1;
        tokio::task::yield_now().await;
    }
    assert!(sent < 100_000, "a head without end is cut off");
    assert!(session.read_response_header().await.is_err());
}

#[tokio::test]
async fn a_server_that_takes_no_streams_is_asked_nothing() {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    let (_server, conn) = raw_pair(&[(MAX_CONCURRENT_STREAMS, 0)]).await;
    assert!(!conn.more_streams_allowed());
    assert!(conn.spawn_stream().await.unwrap().is_none());
    let (_server, conn) = raw_pair(&[(MAX_CONCURRENT_STREAMS, 2)]).await;
    assert_eq!(conn.free_stream_slots(), 2, "fewer than we would open");
}

#[tokio::test(start_paused = true)]
async fn a_window_that_stays_shut_is_a_limit_of_time() {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let (mut server, conn) = raw_pair(&[(INITIAL_WINDOW_SIZE, 0)]).await;
    let mut session = session(&conn).await;
    session.write_timeout = Some(Duration::from_secs(1));
    session
        .write_request_header(request("POST", &[]), false)
        .unwrap();
    let stuck = session
        .write_request_body("x".into(), true)
        .await
        .unwrap_err();
    assert_eq!(stuck.etype(), &ErrorType::WriteTimedout);
    assert_eq!(server.expect_reset().await, 8);
    // One that opens late is none.
    let mut session = super::session(&conn).await;
    session.queue_request_header(&request("POST", &[])).unwrap();
    session.queue_body("x".into()).unwrap();
    session.queue_end(None).unwrap();
    let flushed = std::future::poll_fn(|cx| session.poll_flush(cx));
    let opened = async {
        let (_, stream, _) = server.expect(HEADERS).await;
        server
            .send(WINDOW_UPDATE, 0, stream, &1u32.to_be_bytes())
            .await;
    };
    let (flushed, ()) = tokio::join!(flushed, opened);
    flushed.unwrap();
    let (flags, _, payload) = server.expect(DATA).await;
    assert_eq!((flags & END_STREAM, &payload[..]), (END_STREAM, &b"x"[..]));
}

#[tokio::test]
async fn a_server_of_http1_is_noticed() {
    use tokio::io::AsyncWriteExt;
    let (mut server, conn, mut session) = asked("GET", true).await;
    let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    server.stream.write_all(answer).await.unwrap();
    let error = session.read_response_header().await.unwrap_err();
    assert_eq!(error.etype(), &ErrorType::InvalidH2);
    while !conn.is_closed() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_exchange_given_up_resets_its_stream() {
    let (mut server, conn, session) = asked("POST", false).await;
    assert!(!conn.is_idle());
    drop(session);
    assert_eq!(server.expect_reset().await, 8, "CANCEL");
    assert!(conn.is_idle());
    // Not one that is complete.
    let (mut server, conn, mut session) = asked("GET", true).await;
    server.head(1, 200, END_STREAM).await;
    assert_eq!(pieces(&mut session).await, "H200.");
    drop((session, conn));
    while let Some((kind, ..)) = server.receive().await {
        assert_ne!(kind, RST_STREAM);
    }
}

#[tokio::test]
async fn small_frames_of_a_server_behind_a_slow_client_harm_nobody() {
    let (mut server, conn, mut session) = asked("GET", true).await;
    let mut other = super::session(&conn).await;
    other
        .write_request_header(request("GET", &[]), true)
        .unwrap();
    server.head(1, 200, 0).await;
    let frames = 2_000;
    for _ in 0..frames {
        server.send(DATA, 0, 1, &[b'x'; 25]).await;
    }
    server.head(3, 200, END_STREAM).await;
    assert_eq!(pieces(&mut other).await, "H200.");
    server.send(DATA, END_STREAM, 1, b"").await;
    session.read_response_header().await.unwrap();
    while session.read_response_body().await.unwrap().is_some() {}
    assert_eq!(session.body_bytes_received(), frames * 25);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_no_ping_is_given_up() {
    let settings = H2HandshakeSettings {
        ping_interval: Some(Duration::from_secs(7)),
        ..Default::default()
    };
    let (_server, conn) = raw_pair_with(&[], settings).await;
    let mut session = session(&conn).await;
    let began = tokio::time::Instant::now();
    session
        .write_request_header(request("GET", &[]), true)
        .unwrap();
    let error = session.read_response_header().await.unwrap_err();
    assert_eq!(
        error.etype(),
        &crate::protocols::http::v2::client::PING_TIMEDOUT
    );
    assert_eq!(
        began.elapsed().as_secs(),
        12,
        "an interval, and 5 s for the answer"
    );
    assert!(conn.ping_timedout() && conn.is_shutting_down());
    while !conn.is_closed() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_pings_is_kept() {
    let settings = H2HandshakeSettings {
        ping_interval: Some(Duration::from_secs(7)),
        ..Default::default()
    };
    let (server, client) = duplex(WIDE);
    let (server, conn) = tokio::join!(
        server::Builder::new().handshake::<_, Bytes>(server),
        handshake(Box::new(client), settings)
    );
    serve(server.unwrap(), |_, _| async {});
    let conn = conn.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(!conn.is_shutting_down() && !conn.ping_timedout());
}
