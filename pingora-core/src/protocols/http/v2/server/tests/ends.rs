//! Streams that end early, by either side.

use super::*;

/// The reason why the client's stream was reset, if it was.
async fn reset_of(response: ResponseFuture) -> Option<Reason> {
    match response.await {
        Err(error) => error.reason(),
        Ok(response) => receive(response.into_body()).await.reset,
    }
}

#[tokio::test]
async fn a_session_that_is_dropped_resets_its_stream() {
    let mut pair = Pair::new().await;
    let exchange = pair.get().await;
    drop(exchange.session);
    assert_eq!(
        reset_of(exchange.response).await,
        Some(Reason::INTERNAL_ERROR)
    );

    let mut exchange = pair.get().await;
    let begun = vec![HttpTask::Header(header(200, &[]), false), body("half")];
    exchange.session.response_duplex_vec(begun).await.unwrap();
    exchange.session.abandon_response();
    drop(exchange.session);
    assert_eq!(
        reset_of(exchange.response).await,
        Some(Reason::INTERNAL_ERROR)
    );

    // The connection is still usable.
    let mut exchange = pair.get().await;
    exchange
        .session
        .write_response_header(header(200, &[]), true)
        .unwrap();
    drop(exchange.session);
    assert_eq!(reset_of(exchange.response).await, None);
}

/// RFC 9113 section 8.1.
#[tokio::test(start_paused = true)]
async fn an_early_answer_arrives_and_refuses_the_rest() {
    let mut pair = Pair::new().await;
    let mut exchange = pair.post().await;
    exchange
        .session
        .write_response_header(header(413, &[]), true)
        .unwrap();
    let mut session = ServerSession::new_http2(exchange.session);
    session.shutdown().await;
    drop(session);
    assert_eq!(exchange.response.await.unwrap().status().as_u16(), 413);
    let refused = poll_fn(|cx| exchange.upload.poll_reset(cx)).await;
    assert_eq!(refused.unwrap(), Reason::NO_ERROR);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_still_sending_gets_to_see_its_answer() {
    let mut pair = Pair::new().await;
    let mut exchange = pair.post().await;
    exchange
        .session
        .write_response_header(header(404, &[]), true)
        .unwrap();
    let finishing = tokio::spawn(ServerSession::new_http2(exchange.session).finish());
    assert_eq!(exchange.response.await.unwrap().status().as_u16(), 404);
    // More than any number of bytes that might seem enough.
    for _ in 0..24 {
        let piece = vec![0; 1 << 20];
        exchange.upload.send_data(piece.into(), false).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let refused = once(poll_fn(|cx| exchange.upload.poll_reset(cx))).await;
        assert!(refused.is_none() && !finishing.is_finished());
    }
    exchange.upload.send_data("the end".into(), true).unwrap();
    assert!(finishing.await.unwrap().unwrap().is_none());
    let refused = once(poll_fn(|cx| exchange.upload.poll_reset(cx))).await;
    assert!(refused.is_none(), "what was read to its end is not refused");
}

/// A body over the limit breaks a rule; the rest of it is dropped all the same.
#[tokio::test(start_paused = true)]
async fn a_client_whose_body_is_too_large_gets_to_see_that() {
    let mut pair = Pair::new().await;
    let mut exchange = pair.post().await;
    exchange.session.set_max_body_size(Some(10));
    let send = |upload: &mut SendStream<Bytes>, end| {
        let piece = vec![0; 300 * 1024];
        upload.send_data(piece.into(), end).unwrap();
    };
    send(&mut exchange.upload, false);
    exchange.session.read_body_bytes().await.unwrap_err();
    let mut session = ServerSession::new_http2(exchange.session);
    session.respond_error(413).await.unwrap();
    let ending = tokio::spawn(async move { session.shutdown().await });
    assert_eq!(exchange.response.await.unwrap().status().as_u16(), 413);
    send(&mut exchange.upload, false);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let refused = once(poll_fn(|cx| exchange.upload.poll_reset(cx))).await;
    assert!(refused.is_none() && !ending.is_finished());
    send(&mut exchange.upload, true);
    ending.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_ends_is_refused_in_time() {
    // Sends a piece each second, or falls silent.
    for (sends, least, most) in [(true, 30, 31), (false, 5, 6)] {
        let mut pair = Pair::new().await;
        let mut exchange = pair.post().await;
        exchange
            .session
            .write_response_header(header(404, &[]), true)
            .unwrap();
        let start = tokio::time::Instant::now();
        tokio::spawn(ServerSession::new_http2(exchange.session).finish());
        let mut upload = exchange.upload;
        let refused = loop {
            let reset = poll_fn(|cx| upload.poll_reset(cx));
            match tokio::time::timeout(Duration::from_secs(1), reset).await {
                Ok(reset) => break reset.unwrap(),
                Err(_) if sends => upload.send_data("more".into(), false).unwrap(),
                Err(_) => {}
            }
        };
        assert_eq!(refused, Reason::NO_ERROR);
        let took = start.elapsed().as_secs();
        assert!((least..=most).contains(&took), "{took} s");
    }
}

#[tokio::test]
async fn giving_up_has_a_reason() {
    let mut pair = Pair::new().await;
    let mut exchange = pair.get().await;
    exchange
        .session
        .shutdown_with_reason(pingora_h2::Reason::REFUSED_STREAM);
    drop(exchange.session);
    assert_eq!(
        reset_of(exchange.response).await,
        Some(Reason::REFUSED_STREAM)
    );

    let mut exchange = pair.get().await;
    exchange.session.shutdown();
    assert_eq!(
        reset_of(exchange.response).await,
        Some(Reason::INTERNAL_ERROR)
    );
}

#[tokio::test]
async fn a_reset_by_the_client_is_seen_wherever_one_waits_for_it() {
    let mut pair = Pair::new().await;
    // Before anything was answered.
    let mut exchange = pair.post().await;
    exchange.upload.send_reset(Reason::CANCEL);
    let error = exchange.session.read_body_bytes().await.unwrap_err();
    assert_eq!(*error.root_etype(), ErrorType::H2Error);
    assert!(error.to_string().contains("CANCEL"), "{error}");
    assert_eq!(error.source_str(), "Downstream");

    let mut exchange = pair.get().await;
    exchange.upload.send_reset(Reason::CANCEL);
    assert_eq!(
        exchange.session.idle().await.unwrap(),
        pingora_h2::Reason::CANCEL
    );
    let error = exchange.session.read_body_or_idle(true).await.unwrap_err();
    assert!(error.to_string().contains("CANCEL"), "{error}");

    // While the response is being sent.
    let mut exchange = pair.get().await;
    exchange
        .session
        .write_response_header(header(200, &[]), false)
        .unwrap();
    let mut stream = exchange.response.await.unwrap().into_body();
    exchange.upload.send_reset(Reason::CANCEL);
    assert!(stream.data().await.is_none_or(|data| data.is_err()));
    let gone = poll_fn(|cx| exchange.session.poll_gone(cx)).await;
    assert!(gone.to_string().contains("CANCEL"), "{gone}");
    let written = exchange.session.write_body("x".into(), true).await;
    assert_eq!(*written.unwrap_err().root_etype(), ErrorType::H2Error);
}

#[tokio::test]
async fn a_reset_is_seen_while_the_response_waits_for_room() {
    let mut pair = Pair::with_window(0).await;
    let mut exchange = pair.get().await;
    exchange
        .session
        .write_response_header(header(200, &[]), false)
        .unwrap();
    exchange.session.queue_body("x".into()).unwrap();
    settle().await;
    assert!(once(exchange.session.flush()).await.is_none());
    exchange.upload.send_reset(Reason::CANCEL);
    let error = exchange.session.flush().await.unwrap_err();
    assert!(error.to_string().contains("CANCEL"), "{error}");
    assert!(!exchange.session.wants_flush());
}

#[tokio::test]
async fn who_does_not_care_for_resets_is_not_told() {
    let mut pair = Pair::new().await;
    let mut exchange = pair.get().await;
    exchange.session.set_abort_on_close(false);
    exchange.upload.send_reset(Reason::CANCEL);
    settle().await;
    assert!(
        once(poll_fn(|cx| exchange.session.poll_gone(cx)))
            .await
            .is_none()
    );
}

#[tokio::test]
async fn a_connection_that_is_gone_ends_its_streams() {
    let mut pair = Pair::new().await;
    let mut reading = pair.post().await;
    let mut idle = pair.get().await;
    pair.client.abort();
    let error = reading.session.read_body_bytes().await.unwrap_err();
    assert_eq!(*error.root_etype(), ErrorType::ConnectionClosed, "{error}");
    let gone = poll_fn(|cx| idle.session.poll_gone(cx)).await;
    assert_eq!(*gone.root_etype(), ErrorType::ConnectionClosed, "{gone}");
    pair.server.await.unwrap();
}

#[tokio::test]
async fn what_is_discarded_is_not_completed() {
    let mut pair = Pair::with_window(0).await;
    let mut exchange = pair.get().await;
    exchange
        .session
        .queue_response_header(header(200, &[]), false)
        .unwrap();
    exchange.session.queue_body("x".into()).unwrap();
    exchange.session.queue_end(None).unwrap();
    assert!(exchange.session.is_response_complete());
    exchange.session.discard_queued();
    assert!(!exchange.session.is_response_complete() && exchange.session.queued() == 0);
    exchange.session.flush().await.unwrap();
    drop(exchange.session);
    assert_eq!(
        reset_of(exchange.response).await,
        Some(Reason::INTERNAL_ERROR)
    );
}

#[tokio::test(start_paused = true)]
async fn draining_is_bounded() {
    let mut pair = Pair::new().await;
    let mut exchange = pair.post().await;
    exchange
        .session
        .set_total_drain_timeout(Some(Duration::from_secs(1)));
    let late = exchange.session.drain_request_body().await.unwrap_err();
    assert_eq!(*late.root_etype(), ErrorType::ReadTimedout);
    // Time bounds it, not a number of bytes.
    exchange
        .upload
        .send_data(vec![0; 1 << 20].into(), true)
        .unwrap();
    exchange.session.drain_request_body().await.unwrap();

    let mut exchange = pair.post().await;
    exchange.upload.send_data("short".into(), true).unwrap();
    exchange.session.drain_request_body().await.unwrap();
    assert!(exchange.session.is_body_done());
}
