//! Responses as they are sent, and their frames.

use super::*;

#[tokio::test]
async fn a_response_without_body_ends_with_its_head() {
    type Row<'a> = (Method, u16, &'a [(&'static str, &'a str)], bool);
    let rows: &[Row<'_>] = &[
        (Method::GET, 200, &[], true),
        (Method::GET, 204, &[], false),
        (Method::GET, 304, &[("Content-Length", "5")], false),
        (Method::HEAD, 200, &[("Content-Length", "5")], false),
    ];
    for (method, status, fields, end) in rows {
        let mut pair = Pair::new().await;
        let mut exchange = pair.begin(request(method.clone(), &[]), true).await;
        let task = HttpTask::Header(header(*status, fields), *end);
        let done = exchange.session.response_duplex_vec(vec![task]).await;
        assert_eq!(done.unwrap(), *end);
        assert!(exchange.session.is_response_complete(), "{method} {status}");
        let response = exchange.response.await.unwrap();
        assert_eq!(response.status().as_u16(), *status);
        assert!(response.body().is_end_stream(), "{method} {status}");
    }
}

#[tokio::test]
async fn a_head_and_an_end_that_are_queued_together_leave_together() {
    let mut pair = Pair::new().await;
    let mut exchange = pair.get().await;
    let tasks = vec![HttpTask::Header(header(200, &[]), false), HttpTask::Done];
    assert!(exchange.session.response_duplex_vec(tasks).await.unwrap());
    assert!(exchange.response.await.unwrap().body().is_end_stream());
}

#[tokio::test]
async fn the_last_piece_of_a_body_carries_its_end() {
    let mut pair = Pair::new().await;
    let mut exchange = pair.get().await;
    let tasks = vec![
        HttpTask::Header(header(200, &[]), false),
        body("one"),
        body("two"),
        HttpTask::Body(None, true),
    ];
    exchange.session.response_duplex_vec(tasks).await.unwrap();
    assert_eq!(exchange.session.body_bytes_sent(), 6);
    let mut stream = exchange.response.await.unwrap().into_body();
    assert_eq!(
        stream.data().await.unwrap().unwrap(),
        "onetwo",
        "short pieces leave together"
    );
    assert!(stream.is_end_stream(), "no empty DATA is needed");
}

#[tokio::test]
async fn trailers_follow_the_body() {
    let mut pair = Pair::new().await;
    for text in ["", "data"] {
        let mut exchange = pair.get().await;
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        trailers.insert("content-length", HeaderValue::from_static("7"));
        let session = &mut exchange.session;
        session
            .queue_task(HttpTask::Header(header(200, &[]), false))
            .unwrap();
        session
            .queue_task(HttpTask::Body(Some(text.into()), false))
            .unwrap();
        session
            .queue_task(HttpTask::Trailer(Some(Box::new(trailers))))
            .unwrap();
        assert!(session.write_proxy_tasks().await.unwrap());
        let (_, received) = answered(exchange.response).await;
        assert_eq!(received.pieces.concat(), text);
        let trailers = received.trailers.unwrap();
        assert_eq!(trailers.len(), 1, "what frames a message is no trailer");
        assert_eq!(trailers["grpc-status"], "0");
    }
}

#[tokio::test]
async fn trailers_that_hold_nothing_are_an_end() {
    let mut pair = Pair::new().await;
    let mut exchange = pair.get().await;
    let tasks = vec![
        HttpTask::Header(header(200, &[]), false),
        body("x"),
        HttpTask::Trailer(None),
    ];
    exchange.session.response_duplex_vec(tasks).await.unwrap();
    let (_, received) = answered(exchange.response).await;
    assert_eq!(
        (received.pieces, received.trailers),
        (vec!["x".to_string()], None)
    );
}

#[tokio::test]
async fn the_methods_of_the_session_write_the_same() {
    let mut pair = Pair::new().await;
    let mut exchange = pair.get().await;
    let session = &mut exchange.session;
    session
        .write_response_header(header(200, &[]), false)
        .unwrap();
    session.write_body("ab".into(), false).await.unwrap();
    session.write_body("cd".into(), false).await.unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    session.write_trailers(trailers).unwrap();
    assert_eq!(session.response_written().unwrap().status, 200);
    let (status, received) = answered(exchange.response).await;
    assert_eq!(
        (status, received.pieces.concat()),
        (StatusCode::OK, "abcd".into())
    );
    assert!(received.trailers.unwrap().contains_key("x-sum"));

    let mut exchange = pair.get().await;
    let kept = header(200, &[]);
    exchange
        .session
        .write_response_header_ref(&kept, false)
        .unwrap();
    exchange
        .session
        .write_body("ef".into(), false)
        .await
        .unwrap();
    exchange.session.finish().unwrap();
    let (_, received) = answered(exchange.response).await;
    assert_eq!(
        (received.pieces.concat(), received.reset),
        ("ef".into(), None)
    );
}

#[tokio::test]
async fn informational_responses_precede_the_final_one() {
    let mut pair = Pair::new().await;
    for ignored in [false, true] {
        let mut exchange = pair.get().await;
        exchange.session.set_ignore_info_resp(ignored);
        let hint = header(103, &[("Link", "</style.css>")]);
        exchange.session.write_response_header(hint, false).unwrap();
        exchange
            .session
            .write_response_header(header(100, &[]), false)
            .unwrap();
        assert!(exchange.session.response_written().is_none());
        exchange
            .session
            .write_response_header(header(200, &[]), true)
            .unwrap();
        let mut seen = vec![];
        while let Some(head) = poll_fn(|cx| exchange.response.poll_informational(cx)).await {
            seen.push(head.unwrap().status().as_u16());
        }
        let expected: &[u16] = if ignored { &[] } else { &[103] };
        assert_eq!(seen, expected, "no 100 for who does not wait for one");
        assert_eq!(exchange.response.await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn who_waits_for_a_permission_gets_one() {
    let mut pair = Pair::new().await;
    let waits = request(Method::POST, &[("expect", "100-continue")]);
    let mut exchange = pair.begin(waits, false).await;
    assert!(exchange.session.is_continue_owed());
    let reading = once(exchange.session.read_body_bytes()).await;
    assert!(reading.is_none(), "the body has not come yet");
    assert!(!exchange.session.is_continue_owed());
    let permission = poll_fn(|cx| exchange.response.poll_informational(cx)).await;
    assert_eq!(permission.unwrap().unwrap().status(), 100);
    exchange.upload.send_data("hi".into(), true).unwrap();
    assert_eq!(read_body(&mut exchange.session).await.unwrap(), b"hi");
}

#[tokio::test]
async fn a_second_head_is_ignored_and_a_switch_refused() {
    let mut pair = Pair::new().await;
    let mut exchange = pair.get().await;
    let refused = exchange
        .session
        .write_response_header(header(101, &[]), false);
    assert_eq!(
        *refused.unwrap_err().root_etype(),
        ErrorType::InvalidHTTPHeader
    );
    exchange
        .session
        .write_response_header(header(200, &[]), false)
        .unwrap();
    exchange
        .session
        .write_response_header(header(500, &[]), true)
        .unwrap();
    exchange.session.finish().unwrap();
    assert_eq!(answered(exchange.response).await.0, StatusCode::OK);
}

/// RFC 9113 section 8.1.1.
#[tokio::test]
async fn a_body_that_breaks_its_declared_length_is_an_error_and_a_reset() {
    for (pieces, declared) in [(&["abc"][..], "5"), (&["abc", "def"][..], "5"), (&[], "1")] {
        let mut pair = Pair::new().await;
        let mut exchange = pair.get().await;
        let session = &mut exchange.session;
        let head = header(200, &[("Content-Length", declared)]);
        session.queue_response_header(head, false).unwrap();
        let queued = pieces
            .iter()
            .try_for_each(|piece| session.queue_body(Bytes::from_static(piece.as_bytes())))
            .and_then(|()| session.queue_end(None));
        assert_eq!(*queued.unwrap_err().root_etype(), ErrorType::InternalError);
        let _ = session.flush().await;
        drop(exchange.session);
        let reason = match exchange.response.await {
            Err(error) => error.reason(),
            Ok(response) => receive(response.into_body()).await.reset,
        };
        assert_eq!(reason, Some(Reason::INTERNAL_ERROR), "{pieces:?}");
    }
}

#[tokio::test]
async fn a_promise_that_can_not_be_kept_is_refused_before_anything_left() {
    let mut pair = Pair::new().await;
    let mut exchange = pair.get().await;
    let head = header(200, &[("Content-Length", "5")]);
    assert!(exchange.session.queue_response_header(head, true).is_err());
    exchange
        .session
        .write_response_header(header(500, &[]), true)
        .unwrap();
    assert_eq!(answered(exchange.response).await.0.as_u16(), 500);
}

/// RFC 9113 section 8.5.
#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways_and_each_way_ends_by_itself() {
    let mut pair = Pair::new().await;
    let mut exchange = pair.begin(request(Method::CONNECT, &[]), false).await;
    let session = &mut exchange.session;
    assert!(!session.was_upgraded() && session.is_body_empty());
    session
        .write_response_header(header(200, &[("Content-Length", "3")]), false)
        .unwrap();
    assert!(session.was_upgraded());
    let (head, mut down) = exchange.response.await.unwrap().into_parts();
    assert!(!head.headers.contains_key("content-length"));
    exchange.upload.send_data("up".into(), false).unwrap();
    assert_eq!(session.read_body_bytes().await.unwrap().unwrap(), "up");
    let tunnelled = HttpTask::UpgradedBody(Some("down".into()), true);
    session.queue_task(tunnelled).unwrap();
    session.write_proxy_tasks().await.unwrap();
    assert_eq!(down.data().await.unwrap().unwrap(), "down");
    assert!(down.is_end_stream());
    exchange.upload.send_data("more".into(), true).unwrap();
    assert_eq!(session.read_body_bytes().await.unwrap().unwrap(), "more");
    assert_eq!(session.read_body_bytes().await.unwrap(), None);
}

#[tokio::test]
async fn the_session_within_the_enum_writes_whole_responses() {
    let mut pair = Pair::new().await;
    let exchange = pair.get().await;
    let mut session = ServerSession::new_http2(exchange.session);
    assert!(session.is_http2() && session.stream().is_none() && session.as_http1().is_none());
    assert!(session.as_http2().is_some() && !session.will_keepalive());
    assert!(session.to_h1_raw().starts_with(b"GET /x?y HTTP"));
    session
        .write_response(header(200, &[]), "ok".into())
        .await
        .unwrap();
    assert!(session.finish().await.unwrap().is_none());
    let (head, stream) = exchange.response.await.unwrap().into_parts();
    assert_eq!(head.headers["content-length"], "2");
    assert_eq!(receive(stream).await.pieces, ["ok"]);

    let exchange = pair.get().await;
    let mut session = ServerSession::new_http2(exchange.session);
    session.respond_error(404).await.unwrap();
    session.respond_error(500).await.unwrap();
    session.shutdown().await;
    assert_eq!(answered(exchange.response).await.0.as_u16(), 404);
}
