//! Request bodies, and responses to slow clients.

use super::*;

#[tokio::test]
async fn a_body_arrives_whole_and_is_counted() {
    let mut pair = Pair::new().await;
    let mut exchange = pair.post().await;
    let session = &mut exchange.session;
    session.enable_retry_buffering();
    assert!(!session.is_body_done() && !session.is_body_empty());
    exchange.upload.send_data("one".into(), false).unwrap();
    exchange.upload.send_data(Bytes::new(), false).unwrap();
    exchange.upload.send_data("two".into(), true).unwrap();
    assert_eq!(read_body(session).await.unwrap(), b"onetwo");
    assert!(session.is_body_done());
    assert_eq!(session.body_bytes_read(), 6);
    assert_eq!(session.get_retry_buffer().unwrap(), "onetwo");
    assert!(session.take_trailers().is_none());
}

#[tokio::test]
async fn a_request_without_body_says_so() {
    let mut pair = Pair::new().await;
    let exchange = pair.get().await;
    assert!(exchange.session.is_body_done() && exchange.session.is_body_empty());
    let empty = request(Method::POST, &[("content-length", "0")]);
    let exchange = pair.begin(empty, false).await;
    assert!(exchange.session.is_body_empty());
}

#[tokio::test]
async fn trailers_of_a_request_are_kept_and_cleaned() {
    let mut pair = Pair::new().await;
    let mut exchange = pair.post().await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    trailers.insert("authorization", HeaderValue::from_static("me"));
    exchange.upload.send_data("x".into(), false).unwrap();
    exchange.upload.send_trailers(trailers).unwrap();
    assert_eq!(read_body(&mut exchange.session).await.unwrap(), b"x");
    let trailers = exchange.session.take_trailers().unwrap();
    assert_eq!(trailers.len(), 1);
    assert_eq!(trailers["x-sum"], "1");
}

/// A body that lacks only its end is ended for its readers.
#[tokio::test(start_paused = true)]
async fn a_body_that_lacks_nothing_but_its_end_ends_after_a_moment() {
    // Declared length, pieces that are sent, whether the end comes in time, and the time it takes.
    let rows: &[(&str, &[&'static str], bool, u128)] = &[
        ("0", &[], false, 1000),
        ("0", &[], true, 500),
        ("3", &["abc"], false, 1000),
        ("3", &["a", "bc"], true, 500),
    ];
    for (length, pieces, ends, millis) in rows {
        let mut pair = Pair::new().await;
        let post = request(Method::POST, &[("content-length", length)]);
        let mut exchange = pair.begin(post, false).await;
        for piece in *pieces {
            exchange.upload.send_data((*piece).into(), false).unwrap();
        }
        let begun = tokio::time::Instant::now();
        let mut upload = exchange.upload;
        let ending = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if *ends {
                let mut trailers = HeaderMap::new();
                trailers.insert("x-sum", HeaderValue::from_static("1"));
                upload.send_trailers(trailers).unwrap();
            }
        };
        let (body, ()) = tokio::join!(read_body(&mut exchange.session), ending);
        assert_eq!(body.unwrap(), pieces.concat().as_bytes());
        assert_eq!(begun.elapsed().as_millis(), *millis, "{length} {pieces:?}");
        let mut session = exchange.session;
        assert!(session.is_body_done() && !session.lingers());
        assert_eq!(session.take_trailers().is_some(), *ends);
    }
    // A body that lacks a byte is waited for.
    let mut pair = Pair::new().await;
    let post = request(Method::POST, &[("content-length", "4")]);
    let mut exchange = pair.begin(post, false).await;
    exchange.upload.send_data("abc".into(), false).unwrap();
    let error = read_body(&mut exchange.session).await.unwrap_err();
    assert_eq!(*error.root_etype(), ErrorType::ReadTimedout);
}

/// The answer is complete and the request lacks only its end, which is not waited for long.
#[tokio::test(start_paused = true)]
async fn an_exchange_that_lacks_only_the_end_of_its_request_is_over_soon() {
    let mut pair = Pair::new().await;
    let post = request(Method::POST, &[("content-length", "3")]);
    let mut exchange = pair.begin(post, false).await;
    exchange.upload.send_data("abc".into(), false).unwrap();
    let piece = exchange.session.read_body_bytes().await.unwrap();
    assert_eq!(piece.unwrap(), "abc");
    exchange
        .session
        .write_response_header(header(200, &[]), true)
        .unwrap();
    let begun = tokio::time::Instant::now();
    let finished = ServerSession::new_http2(exchange.session).finish().await;
    assert!(finished.unwrap().is_none());
    assert_eq!(begun.elapsed().as_secs(), 1);
    assert_eq!(exchange.response.await.unwrap().status().as_u16(), 200);
}

/// A client whose body is not requested has to wait.
#[tokio::test]
async fn nobody_sends_more_than_the_window_ahead() {
    const WINDOW: usize = 128 * 1024;
    let mut pair = Pair::new().await;
    let mut exchange = pair.post().await;
    let whole: Bytes = vec![7; 300 * 1024].into();
    exchange.upload.send_data(whole.clone(), true).unwrap();
    settle().await;
    let session = &mut exchange.session;
    let mut read = 0;
    while let Some(Ok(Some(piece))) = once(session.read_body_bytes()).await {
        // The last piece that was handed out counts until the next one is requested.
        read += piece.len();
    }
    assert!((WINDOW - 16 * 1024..=WINDOW).contains(&read), "{read}");
    while let Some(piece) = session.read_body_bytes().await.unwrap() {
        read += piece.len();
    }
    assert_eq!(read, whole.len());
}

#[tokio::test]
async fn a_body_that_is_longer_than_allowed_is_a_fault() {
    let mut pair = Pair::new().await;
    let mut exchange = pair.post().await;
    exchange.session.set_max_body_size(Some(4));
    exchange.upload.send_data("12345".into(), true).unwrap();
    let error = exchange.session.read_body_bytes().await.unwrap_err();
    assert_eq!(*error.root_etype(), ErrorType::H2Error);
    assert_eq!(exchange.session.fault().unwrap().status(), 413);

    let long = request(Method::POST, &[("content-length", "5")]);
    let mut ready = pair.requests.clone().ready().await.unwrap();
    let (_response, _upload) = ready.send_request(long, false).unwrap();
    let mut session = pair.sessions.recv().await.unwrap();
    session.set_max_body_size(Some(4));
    assert!(session.read_request().is_err());
    assert_eq!(session.fault().unwrap().status(), 413);
}

/// RFC 9113 section 8.1.1: the framing resets the stream.
#[tokio::test]
async fn a_body_that_breaks_its_declared_length_never_ends_well() {
    for text in ["abc", "abcdef"] {
        let mut pair = Pair::new().await;
        let five = request(Method::POST, &[("content-length", "5")]);
        let mut exchange = pair.begin(five, false).await;
        exchange
            .upload
            .send_data(Bytes::from_static(text.as_bytes()), true)
            .unwrap();
        let error = read_body(&mut exchange.session).await.unwrap_err();
        assert_eq!(*error.root_etype(), ErrorType::H2Error, "{error}");
        let error = exchange.response.await.unwrap_err();
        assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_late() {
    let mut pair = Pair::new().await;
    let mut exchange = pair.post().await;
    exchange
        .session
        .set_read_timeout(Some(Duration::from_secs(3)));
    let error = exchange.session.read_body_bytes().await.unwrap_err();
    assert_eq!(*error.root_etype(), ErrorType::ReadTimedout);
    assert_eq!(exchange.session.fault().unwrap().status(), 408);
    exchange
        .session
        .write_response_header(header(408, &[]), true)
        .unwrap();
    assert_eq!(answered(exchange.response).await.0.as_u16(), 408);
}

#[tokio::test]
async fn a_response_waits_for_the_window_of_the_client() {
    let mut pair = Pair::with_window(10).await;
    let mut exchange = pair.get().await;
    let session = &mut exchange.session;
    session
        .queue_task(HttpTask::Header(header(200, &[]), false))
        .unwrap();
    session.queue_task(body("0123456789abcdefghij")).unwrap();
    session.queue_task(HttpTask::Done).unwrap();
    assert_eq!(session.queued(), 20);
    settle().await;
    assert!(!session.is_stalled());
    assert!(once(session.flush()).await.is_none());
    assert_eq!(session.queued(), 10);
    assert!(session.is_stalled());
    assert!(session.wants_flush() && session.is_response_complete());
    let (flushed, received) = tokio::join!(session.flush(), answered(exchange.response));
    flushed.unwrap();
    assert_eq!(received.1.pieces.concat(), "0123456789abcdefghij");
    assert!(!session.wants_flush() && !session.is_stalled());
}

#[tokio::test]
async fn giving_up_a_flush_loses_nothing() {
    let mut pair = Pair::with_window(7).await;
    let mut exchange = pair.get().await;
    let session = &mut exchange.session;
    let whole = "0123456789".repeat(50);
    session
        .queue_task(HttpTask::Header(header(200, &[]), false))
        .unwrap();
    session
        .queue_task(HttpTask::Body(Some(whole.clone().into()), true))
        .unwrap();
    let receiving = tokio::spawn(answered(exchange.response));
    while once(session.flush()).await.is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(receiving.await.unwrap().1.pieces.concat(), whole);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_given_up() {
    let mut pair = Pair::with_window(0).await;
    let mut exchange = pair.get().await;
    let session = &mut exchange.session;
    session.set_write_timeout(Some(Duration::from_secs(5)));
    session
        .write_response_header(header(200, &[]), false)
        .unwrap();
    let error = session.write_body("x".into(), true).await.unwrap_err();
    assert_eq!(*error.root_etype(), ErrorType::WriteTimedout);
    assert!(!session.wants_flush());
    drop(exchange.session);
    let received = answered(exchange.response).await.1;
    assert_eq!(received.reset, Some(Reason::INTERNAL_ERROR));
}

#[tokio::test]
async fn a_minimum_rate_takes_the_place_of_the_time_out() {
    let mut pair = Pair::new().await;
    let mut session = pair.get().await.session;
    assert_eq!(session.get_write_timeout(), Some(WRITE_TIMEOUT));
    session.set_min_send_rate(Some(100));
    session
        .queue_response_header(header(200, &[]), false)
        .unwrap();
    session.queue_body(vec![0; 1000].into()).unwrap();
    assert_eq!(session.get_write_timeout(), Some(Duration::from_secs(10)));
    session.set_min_send_rate(None);
    session.set_write_timeout(None);
    assert_eq!(session.get_write_timeout(), None);
}
