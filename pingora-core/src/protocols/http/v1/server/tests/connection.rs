//! From request to request.

use super::*;

#[tokio::test]
async fn version_and_connection_field_decide_whether_the_connection_lives() {
    let rows: &[(&str, &str, bool)] = &[
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: Keep-Alive, Close\r\n", false),
        ("1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ];
    for (version, fields, kept) in rows {
        let one = format!("GET /x HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        let (answer, requests) = talk(WIDE, one.repeat(2).as_bytes(), echo).await;
        let row = format!("HTTP/{version} {fields:?}: {answer}");
        assert_eq!(requests, if *kept { 2 } else { 1 }, "{row}");
        assert_eq!(answer.matches("[GET /x ]").count(), requests, "{row}");
        assert_eq!(answer.contains("Connection: close"), !kept, "{row}");
        let told = *kept && *version == "1.0";
        assert_eq!(answer.contains("Connection: keep-alive"), told, "{row}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_through_any_window() {
    let sent = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\
        POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
        POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nfoo\r\n3;x=y\r\nbar\r\n0\r\nX-Check: 1\r\n\r\n\
        \r\n\r\nGET /4 HTTP/1.1\r\nHost: a\r\n\r\n";
    for window in [1, 2, 3, 7, 64, WIDE] {
        let (answer, requests) = talk(window, sent, echo).await;
        assert_eq!(requests, 4, "window of {window}: {answer}");
        let bodies: Vec<&str> = answer
            .split("\r\n")
            .filter_map(|line| line.split_once('[')?.1.split_once(']').map(|b| b.0))
            .collect();
        assert_eq!(
            bodies,
            ["GET /1 ", "POST /2 hello", "POST /3 foobar", "GET /4 "]
        );
    }
}

#[tokio::test]
async fn empty_lines_ahead_of_a_request_are_forgiven_within_reason() {
    for window in [1, 2, WIDE] {
        for (lines, forgiven) in [(1, true), (4, true), (5, false), (1000, false)] {
            let sent = [&b"\r\n".repeat(lines)[..], GET].concat();
            let (_, requests) = talk(window, &sent, echo).await;
            assert_eq!(requests == 1, forgiven, "{lines} lines, window of {window}");
        }
    }
}

#[tokio::test]
async fn what_was_read_ahead_goes_with_the_connection() {
    let both = [GET, b"GET /next HTTP/1.1\r\nHo"].concat();
    let (_client, mut session) = asked(&both).await;
    answer_empty(&mut session).await;
    let reusable = session.reuse().await.unwrap().unwrap();
    let (_stream, ahead) = reusable.into_parts();
    assert_eq!(ahead.as_deref(), Some(&b"GET /next HTTP/1.1\r\nHo"[..]));
}

#[tokio::test]
async fn a_prefix_is_read_ahead_of_the_connection() {
    let (mut client, mut session) = pair(WIDE);
    session.set_pipelined_prefix(BytesMut::from(&b"GET /split HTT"[..]));
    client.write_all(b"P/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    session.read_request().await.unwrap().unwrap();
    assert_eq!(session.req_header().uri.path(), "/split");
}

#[tokio::test]
async fn without_pipelining_bytes_ahead_of_their_turn_end_the_connection() {
    let (answer, kept) = talk(WIDE, &[GET, GET].concat(), async |mut session| {
        session.set_pipelining_enabled(false);
        session.read_request().await.unwrap();
        answer_empty(&mut session).await;
        next(session).await.is_some()
    })
    .await;
    assert!(
        !kept && answer.starts_with("HTTP/1.1 200 OK\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn the_number_of_requests_can_be_limited() {
    let (answer, requests) = talk(WIDE, &GET.repeat(5), async |mut session| {
        session.set_keepalive_reuses_remaining(Some(2));
        echo(session).await
    })
    .await;
    assert_eq!(requests, 3);
    assert_eq!(answer.matches("Connection: close").count(), 1);
    assert!(
        answer.rfind("Connection: close") > answer.rfind("HTTP/1.1"),
        "the last one says so"
    );
}

/// Whether the connection persists is decided and announced when the head of the response is
/// written.
#[tokio::test]
async fn what_the_head_says_of_the_connection_holds() {
    type Change = fn(&mut HttpSession, &tokio::sync::watch::Sender<bool>);
    let none: Change = |_, _| {};
    let shut: Change = |_, down| {
        down.send_replace(true);
    };
    let revive: Change = |session, _| session.set_server_keepalive(Some(9));
    let shut_and_revive: Change = |session, down| {
        down.send_replace(true);
        session.set_server_keepalive(Some(9));
    };
    let close: Change = |session, _| session.set_server_keepalive(None);
    let last: Change = |session, _| session.set_keepalive_reuses_remaining(Some(0));
    let one_by_one: Change = |session, _| session.set_pipelining_enabled(false);
    // The events before the head is written, and those between head and end.
    let rows: &[(&str, Change, Change, bool)] = &[
        ("nothing", none, none, true),
        ("a shutdown ahead of the head", shut, none, false),
        (
            "a phase that doesn't know of it",
            shut_and_revive,
            none,
            false,
        ),
        ("a change of mind behind the head", close, revive, false),
        ("the same, after a shutdown", shut, revive, false),
        ("the last request", last, revive, false),
        ("a request ahead of its turn", one_by_one, revive, false),
        ("a shutdown behind the head", none, shut, true),
    ];
    for version in ["1.0", "1.1"] {
        for (what, before, behind, kept) in rows {
            let head = format!("GET / HTTP/{version}\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
            let (down, watch) = tokio::sync::watch::channel(false);
            let (answer, lives) = talk(WIDE, head.repeat(2).as_bytes(), async |mut session| {
                session.heed_shutdown(&watch);
                session.read_request().await.unwrap().unwrap();
                before(&mut session, &down);
                answer_empty(&mut session).await;
                behind(&mut session, &down);
                next(session).await.is_some()
            })
            .await;
            assert_eq!(lives, *kept, "HTTP/{version}, {what}: {answer}");
            let told = answer.contains("Connection: close\r\n");
            assert_eq!(told, !kept, "HTTP/{version}, {what}: {answer}");
        }
    }
}

#[tokio::test]
async fn what_one_request_leaves_the_next_one_finds() {
    let (mut client, mut session) = asked(GET).await;
    assert!(session.take_connection_user_context().is_none());
    session.set_connection_user_context(Some(Box::new(17_u32)));
    session.set_read_timeout(Some(Duration::from_millis(1)));
    session.set_max_body_size(Some(1));
    session.enable_retry_buffering();
    session
        .req_header_mut()
        .insert_header("X-Mine", "1")
        .unwrap();
    answer_empty(&mut session).await;
    let mut session = next(session).await.unwrap();
    client
        .write_all(b"PUT /b HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\nxy")
        .await
        .unwrap();
    session.read_request().await.unwrap().unwrap();
    let left = session.take_connection_user_context().unwrap();
    assert_eq!(left.downcast_ref::<u32>(), Some(&17));
    assert!(session.take_connection_user_context().is_none());
    // Only this is kept: state that belonged to the request is gone.
    assert_eq!(session.get_read_timeout(), Some(BODY_READ_TIMEOUT));
    assert_eq!(session.get_header("x-mine"), None);
    assert_eq!(session.response_written().map(|r| r.status), None);
    assert_eq!(
        (session.body_bytes_sent(), session.body_bytes_read()),
        (0, 0)
    );
    assert_eq!(read_body(&mut session).await.unwrap(), b"xy");
    assert_eq!(session.get_retry_buffer(), None);
}

#[tokio::test]
async fn only_a_complete_exchange_lets_the_connection_live() {
    async fn kept(request: &[u8], serve: impl AsyncFnOnce(&mut HttpSession)) -> bool {
        let (client, mut session) = asked(request).await;
        serve(&mut session).await;
        let reading = received(client);
        let (kept, _) = tokio::join!(
            async { session.reuse().await.ok().flatten().is_some() },
            tokio::time::timeout(Duration::from_millis(50), reading)
        );
        kept
    }
    assert!(kept(GET, async |s| answer_empty(s).await).await);
    assert!(!kept(GET, async |_| {}).await, "no response");
    let informational = async |s: &mut HttpSession| {
        s.write_response_header(header(103, &[])).await.unwrap();
    };
    assert!(!kept(GET, informational).await, "no final response");
    let short = async |s: &mut HttpSession| {
        s.write_response_header(header(200, &[("Content-Length", "5")]))
            .await
            .unwrap();
        s.write_body(b"hell").await.unwrap();
    };
    assert!(!kept(GET, short).await, "a short response");
    let open = async |s: &mut HttpSession| {
        s.write_response_header(header(200, &[])).await.unwrap();
        s.write_body(b"hello").await.unwrap();
    };
    assert!(
        kept(GET, open).await,
        "a body without an end of its own ends with the exchange"
    );
    let says_close = async |s: &mut HttpSession| {
        let fields = [("Content-Length", "0"), ("Connection", "close")];
        s.write_response_header(header(200, &fields)).await.unwrap();
    };
    assert!(!kept(GET, says_close).await, "the response says close");
    let no_keepalive = async |s: &mut HttpSession| {
        s.set_server_keepalive(None);
        answer_empty(s).await;
    };
    assert!(
        !kept(GET, no_keepalive).await,
        "the server does not want to"
    );
}

#[tokio::test]
async fn a_client_that_closed_gets_its_answers_before_the_connection_ends() {
    let (answer, requests) = talk(WIDE, &GET.repeat(2), echo).await;
    assert_eq!(requests, 2);
    assert_eq!(answer.matches("[GET / ]").count(), 2);
}

#[tokio::test]
async fn a_waiting_session_tells_when_a_request_begins_or_the_client_leaves() {
    use std::future::poll_fn;
    let (mut client, mut session) = pair(WIDE);
    let silent = poll_fn(|cx| Poll::Ready(session.poll_request_begins(cx))).await;
    assert!(silent.is_pending());
    client.write_all(b"G").await.unwrap();
    assert!(poll_fn(|cx| session.poll_request_begins(cx)).await);
    client.write_all(&GET[1..]).await.unwrap();
    session.read_request().await.unwrap().unwrap();
    answer_empty(&mut session).await;
    let mut session = next(session).await.unwrap();
    drop(client);
    assert!(!poll_fn(|cx| session.poll_request_begins(cx)).await);
}
