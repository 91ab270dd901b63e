//! Request bodies: framing, limits, 100 Continue, copies.

use super::*;
use crate::protocols::http::body_buffer::RETRY_BUFFER_SIZE;
use pingora_error::ErrorType;

const CHUNKED: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
    4\r\nWiki\r\nA;ext=\"v\"\r\npedia in\r\n\r\n000c\r\n \r\nchunks.\r\n\r\n\
    0\r\nX-Check: one\r\nX-Check: two\r\nContent-Length: 3\r\n\r\n";
const CHUNKED_BODY: &[u8] = b"Wikipedia in\r\n \r\nchunks.\r\n";

async fn read_chunked(session: &mut HttpSession) {
    session.read_request().await.unwrap().unwrap();
    assert_eq!(read_body(session).await.unwrap(), CHUNKED_BODY);
    assert!(session.is_body_done());
    let trailers = session.take_trailers().unwrap();
    let values: Vec<_> = trailers.get_all("x-check").iter().collect();
    assert_eq!(values, ["one", "two"]);
    assert!(
        !trailers.contains_key("content-length"),
        "framing is no trailer"
    );
    assert_eq!(
        session.read_body_bytes().await.unwrap(),
        None,
        "the end stays the end"
    );
}

#[tokio::test]
async fn a_chunked_body_may_be_split_anywhere() {
    for at in 1..CHUNKED.len() {
        let (mut client, mut session) = pair(WIDE);
        let sending = async {
            client.write_all(&CHUNKED[..at]).await.unwrap();
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            client.write_all(&CHUNKED[at..]).await.unwrap();
            client.write_all(GET).await.unwrap();
        };
        tokio::join!(read_chunked(&mut session), sending);
        answer_empty(&mut session).await;
        let mut session = next(session)
            .await
            .unwrap_or_else(|| panic!("split at {at}"));
        session.read_request().await.unwrap().unwrap();
        assert_eq!(session.req_header().method, "GET", "split at {at}");
    }
}

#[tokio::test]
async fn a_chunked_body_may_come_byte_by_byte() {
    let (mut client, mut session) = pair(1);
    tokio::join!(read_chunked(&mut session), async {
        client.write_all(CHUNKED).await.unwrap()
    });
}

#[tokio::test]
async fn a_body_ends_where_its_length_says() {
    let (mut client, mut session) = pair(WIDE);
    let body: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
    let head = format!(
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let sent = [head.as_bytes(), &body, GET].concat();
    let serving = async {
        session.read_request().await.unwrap().unwrap();
        assert!(!session.is_body_empty() && !session.is_body_done());
        assert!(read_body(&mut session).await.unwrap() == body);
        assert_eq!(session.body_bytes_read(), body.len());
        answer_empty(&mut session).await;
        let mut session = next(session).await.unwrap();
        session.read_request().await.unwrap().unwrap();
        assert_eq!(session.req_header().method, "GET");
    };
    tokio::join!(serving, async { client.write_all(&sent).await.unwrap() });
}

#[tokio::test]
async fn what_comes_after_a_large_chunk_is_kept() {
    let chunk = vec![b'x'; 100_000];
    let head = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n";
    let sent = [&head[..], &chunk, b"\r\n0\r\n\r\n", GET].concat();
    for window in [1000, 70_000, WIDE] {
        let (answer, requests) = talk(window, &sent, echo).await;
        assert_eq!(requests, 2, "window of {window}");
        assert_eq!(answer.matches('x').count(), chunk.len());
    }
}

#[tokio::test]
async fn a_body_that_stops_is_never_a_body_that_ends() {
    let rows: &[&str] = &[
        "Content-Length: 5\r\n\r\n",
        "Content-Length: 5\r\n\r\nhell",
        "Transfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhell",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n",
    ];
    for row in rows {
        let sent = format!("PUT / HTTP/1.1\r\nHost: a\r\n{row}");
        let (_, ()) = talk(WIDE, sent.as_bytes(), async |mut session| {
            session.read_request().await.unwrap().unwrap();
            let error = read_body(&mut session).await.unwrap_err();
            assert_eq!(error.etype(), &ErrorType::ConnectionClosed, "{row}");
            assert_eq!(error.esource(), &pingora_error::ErrorSource::Downstream);
            assert!(session.fault().unwrap().is_cut_short(), "{row}");
            assert!(
                !session.will_keepalive() && !session.is_body_done(),
                "{row}"
            );
            assert!(
                read_body(&mut session).await.is_err(),
                "and it stays so: {row}"
            );
        })
        .await;
    }
}

#[tokio::test]
async fn broken_framing_ends_the_connection_with_a_reason() {
    let rows = [
        "g\r\n",
        "5\nhello",
        "-1\r\n",
        "5\r\nhelloX",
        " 5\r\nhello\r\n",
        "10000000000000000\r\n",
    ];
    for row in rows {
        let sent = format!("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{row}");
        let (mut client, mut session) = asked(sent.as_bytes()).await;
        let error = read_body(&mut session).await.unwrap_err();
        assert_eq!(error.etype(), &ErrorType::H1Error, "{row:?}");
        assert_eq!(session.fault().unwrap().status(), 400, "{row:?}");
        client.shutdown().await.unwrap();
        answer_empty(&mut session).await;
        assert!(next(session).await.is_none(), "{row:?}");
        assert!(
            received(client).await.contains("Connection: close\r\n"),
            "{row:?}"
        );
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_as_soon_as_that_shows() {
    let (mut client, mut session) = pair(WIDE);
    session.set_max_body_size(Some(8));
    client
        .write_all(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
        .await
        .unwrap();
    let error = session.read_request().await.unwrap_err();
    assert_eq!(error.etype(), &ErrorType::InvalidHTTPHeader);
    assert_eq!(session.fault().unwrap().status(), 413);
    assert_eq!(
        session.req_header().method,
        "PUT",
        "the log wants to know what it was"
    );
    assert!(!session.will_keepalive());

    for (body, fits) in [
        ("8\r\n12345678\r\n", true),
        ("5\r\n12345\r\n4\r\n6789\r\n", false),
    ] {
        let (mut client, mut session) = pair(WIDE);
        session.set_max_body_size(Some(8));
        let head = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        client
            .write_all(format!("{head}{body}0\r\n\r\n").as_bytes())
            .await
            .unwrap();
        session.read_request().await.unwrap().unwrap();
        let read = read_body(&mut session).await;
        assert_eq!(read.is_ok(), fits);
        assert_eq!(session.fault().map(|f| f.status()), (!fits).then_some(413));
        assert_eq!(session.will_keepalive(), fits);
    }
    let (mut client, mut session) = pair(WIDE);
    session.set_max_body_size(Some(0));
    client.write_all(GET).await.unwrap();
    assert!(
        session.read_request().await.is_ok(),
        "no body is no body over the limit"
    );
}

const EXPECTING: &[u8] =
    b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

#[tokio::test]
async fn reading_the_body_asks_for_it_once() {
    let (mut client, mut session) = asked(EXPECTING).await;
    assert!(session.is_continue_owed());
    assert_eq!(
        arrived(&mut client).await,
        "",
        "the head alone asks for nothing"
    );
    let reading = async {
        assert_eq!(read_body(&mut session).await.unwrap(), b"hi");
        session.write_continue_response().await.unwrap();
        session
            .write_response_header(header(100, &[]))
            .await
            .unwrap();
        assert!(!session.is_continue_owed());
    };
    let sending = async {
        while arrived(&mut client).await != CONTINUE {
            tokio::task::yield_now().await;
        }
        client.write_all(b"hi").await.unwrap();
    };
    tokio::join!(reading, sending);
    assert_eq!(arrived(&mut client).await, "", "told once");
    answer_empty(&mut session).await;
    assert!(
        next(session).await.is_some(),
        "body read: nothing is unsure"
    );
}

#[tokio::test]
async fn polling_the_body_never_asks_for_it() {
    let (mut client, mut session) = asked(EXPECTING).await;
    let polled = std::future::poll_fn(|cx| Poll::Ready(session.poll_read_body(cx))).await;
    assert!(polled.is_pending());
    assert_eq!(arrived(&mut client).await, "");
    assert!(session.is_continue_owed());
}

#[tokio::test]
async fn a_body_that_came_without_permission_needs_none() {
    let (mut client, mut session) = asked(EXPECTING).await;
    client.write_all(b"h").await.unwrap();
    let polled = std::future::poll_fn(|cx| session.poll_read_body(cx)).await;
    assert_eq!(polled.unwrap().as_deref(), Some(&b"h"[..]));
    assert!(!session.is_continue_owed());
    session
        .write_response_header(header(100, &[]))
        .await
        .unwrap();
    assert_eq!(arrived(&mut client).await, "", "a 100 would come too late");
}

#[tokio::test]
async fn a_final_answer_takes_the_place_of_permission() {
    let (mut client, mut session) = asked(EXPECTING).await;
    client.shutdown().await.unwrap();
    answer_empty(&mut session).await;
    session.write_continue_response().await.unwrap();
    assert!(
        next(session).await.is_none(),
        "whether the body follows can't be told"
    );
    let answer = received(client).await;
    assert!(
        !answer.contains("100 Continue") && answer.contains("Connection: close"),
        "{answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn draining_a_body_that_waits_for_permission_does_not_wait_for_it() {
    let start = tokio::time::Instant::now();
    let (mut client, mut session) = asked(EXPECTING).await;
    session.drain_request_body().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
    client.shutdown().await.unwrap();
    answer_empty(&mut session).await;
    assert!(next(session).await.is_none());
}

#[tokio::test]
async fn only_who_can_understand_it_is_asked_to_continue() {
    let rows: &[&[u8]] = &[
        b"PUT / HTTP/1.0\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 200-ok\r\n\r\n",
    ];
    for row in rows {
        let (mut client, mut session) = asked(row).await;
        assert!(!session.is_continue_owed());
        session.write_continue_response().await.unwrap();
        session
            .write_response_header(header(100, &[]))
            .await
            .unwrap();
        assert_eq!(arrived(&mut client).await, "");
    }
}

#[tokio::test]
async fn the_copy_of_a_body_is_whole_or_nothing() {
    let (mut client, mut session) =
        asked(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n").await;
    session.enable_retry_buffering();
    client.write_all(b"ab").await.unwrap();
    session.read_body_bytes().await.unwrap();
    session.enable_retry_buffering();
    assert_eq!(
        session.get_retry_buffer().as_deref(),
        Some(&b"ab"[..]),
        "enabling twice forgets nothing"
    );
    client.write_all(b"cd").await.unwrap();
    read_body(&mut session).await.unwrap();
    assert_eq!(session.get_retry_buffer().as_deref(), Some(&b"abcd"[..]));

    for (length, truncated) in [(RETRY_BUFFER_SIZE, false), (RETRY_BUFFER_SIZE + 1, true)] {
        let head = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        let (mut client, mut session) = asked(head.as_bytes()).await;
        session.enable_retry_buffering();
        client.write_all(&vec![b'x'; length]).await.unwrap();
        read_body(&mut session).await.unwrap();
        assert_eq!(session.retry_buffer_truncated(), truncated);
        assert_eq!(
            session.get_retry_buffer().map(|b| b.len()),
            (!truncated).then_some(length)
        );
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_is_noticed() {
    for ahead in [&b""[..], GET, b"\r\n"] {
        let (mut client, mut session) = asked(GET).await;
        let still_there = std::future::poll_fn(|cx| Poll::Ready(session.poll_gone(cx))).await;
        assert!(still_there.is_pending());
        client.write_all(ahead).await.unwrap();
        let still_there = std::future::poll_fn(|cx| Poll::Ready(session.poll_gone(cx))).await;
        assert!(still_there.is_pending());
        drop(client);
        let left = tokio::time::timeout(
            Duration::from_secs(5),
            std::future::poll_fn(|cx| session.poll_gone(cx)),
        );
        let error = left
            .await
            .unwrap_or_else(|_| panic!("not noticed behind {ahead:?}"));
        assert_eq!(error.etype(), &ErrorType::ConnectionClosed);
    }
}

#[tokio::test]
async fn what_arrives_while_it_is_watched_is_kept_in_order_and_bounded() {
    let (mut client, mut session) = asked(GET).await;
    let watch = async |session: &mut HttpSession| {
        std::future::poll_fn(|cx| Poll::Ready(session.poll_gone(cx)))
            .await
            .is_pending()
    };
    for piece in [
        "GET /2 HTTP/1.1\r\n",
        "Host: a\r\n\r\n",
        "GET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        client.write_all(piece.as_bytes()).await.unwrap();
        assert!(watch(&mut session).await);
    }
    answer_empty(&mut session).await;
    let mut session = next(session).await.unwrap();
    session.read_request().await.unwrap().unwrap();
    assert_eq!(session.req_header().uri.path(), "/2");
    let (mut flood, server) = duplex(1 << 24);
    let mut session = HttpSession::new(Box::new(server));
    flood.write_all(GET).await.unwrap();
    session.read_request().await.unwrap().unwrap();
    flood.write_all(&vec![b'x'; 1 << 22]).await.unwrap();
    for _ in 0..100 {
        assert!(watch(&mut session).await);
    }
    assert!(
        session.inner.input.len() < 4 * READ_AHEAD_LIMIT,
        "{}",
        session.inner.input.len()
    );
}

#[tokio::test]
async fn a_half_closed_client_may_be_answered_if_asked_for() {
    let (mut client, mut session) = asked(GET).await;
    session.set_abort_on_close(false);
    client.shutdown().await.unwrap();
    let gone = std::future::poll_fn(|cx| Poll::Ready(session.poll_gone(cx))).await;
    assert!(gone.is_pending() && session.is_half_closed());
    answer_empty(&mut session).await;
    assert!(next(session).await.is_none());
    assert!(received(client).await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn waiting_for_nothing_ends_when_the_client_leaves() {
    let (client, mut session) = asked(GET).await;
    drop(client);
    assert_eq!(session.idle().await.unwrap(), 0);
    let (client, mut session) = asked(GET).await;
    drop(client);
    let error = session.read_body_or_idle(false).await.unwrap_err();
    assert_eq!(error.etype(), &ErrorType::ConnectionClosed);
}
