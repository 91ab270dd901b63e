//! The two ends of a sub-request together.

use super::*;

#[tokio::test]
async fn the_two_halves_fit_together() {
    let (mut session, handle) = begun(CHUNKED).await;
    let mut caller = CallerHalf::from(handle);
    assert!(
        poll_fn(|cx| caller.poll_wanted(cx))
            .now_or_never()
            .is_none()
    );
    assert!(session.read_body_bytes().now_or_never().is_none());
    assert!(poll_fn(|cx| caller.poll_wanted(cx)).await);
    caller.queue_body(bytes("up")).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-t", HeaderValue::from_static("1"));
    caller.queue_end(Some(&trailers)).unwrap();
    assert!(caller.wants_flush() && caller.queued() > 0);
    poll_fn(|cx| caller.poll_flush(cx)).await.unwrap();
    assert_eq!(session.read_body_bytes().await.unwrap(), Some(bytes("up")));
    assert_eq!(session.read_body_bytes().await.unwrap(), None);
    assert_eq!(session.take_trailers().as_deref(), Some(&trailers));

    assert!(!caller.has_input());
    session
        .queue_task(HttpTask::Header(header(200, None), false))
        .unwrap();
    session.queue_task(piece("down", true)).unwrap();
    poll_fn(|cx| session.poll_flush(cx)).await.unwrap();
    assert!(caller.has_input());
    let mut told = String::new();
    for _ in 0..3 {
        told.push_str(&tell(&poll_fn(|cx| caller.poll_task(cx)).await.unwrap()));
    }
    assert_eq!(told, "200;b\"down\" end;Done end;");
}

#[tokio::test]
async fn a_sub_request_that_fails_tells_why() {
    let (mut session, handle) = begun(GET).await;
    let mut caller = CallerHalf::from(handle);
    session.on_proxy_failure(Error::new_up(ErrorType::ConnectTimedout));
    drop(session);
    assert!(!poll_fn(|cx| caller.poll_wanted(cx)).await);
    assert!(!poll_fn(|cx| caller.poll_wanted(cx)).await, "and stays so");
    let error = poll_fn(|cx| caller.poll_task(cx)).await.unwrap_err();
    assert_eq!(error.etype(), &ErrorType::ConnectTimedout);

    let (session, handle) = begun(GET).await;
    let mut caller = CallerHalf::from(handle);
    drop(session);
    let error = poll_fn(|cx| caller.poll_task(cx)).await.unwrap_err();
    assert_eq!(error.etype(), &ErrorType::ConnectionClosed);
    assert_eq!(error.esource(), &ErrorSource::Upstream);
    caller.queue_body(bytes("x")).unwrap();
    let error = poll_fn(|cx| caller.poll_flush(cx)).await.unwrap_err();
    assert_eq!(error.etype(), &ErrorType::WriteError);
    assert!(!caller.wants_flush());
}

#[tokio::test]
async fn the_rest_of_a_response_may_be_read_by_hand() {
    let (mut session, handle) = begun(GET).await;
    let mut rest = CallerHalf::from(handle).into_response();
    session
        .write_response_header(header(200, None))
        .await
        .unwrap();
    assert!(matches!(rest.recv().await, Some(HttpTask::Header(..))));
    drop(rest);
    let gone = poll_fn(|cx| session.poll_gone(cx)).await;
    assert_eq!(gone.etype(), &ErrorType::ConnectionClosed);
}

#[tokio::test(start_paused = true)]
async fn the_engines_alarm_rings() {
    let (session, _handle) = HttpSession::new_from_session(&parent(GET).await);
    let mut session = ServerSession::new_subrequest(session);
    let mut deadlines = Deadlines::default();
    deadlines.set(
        Deadline::new(0),
        Some(Instant::now() + Duration::from_secs(5)),
    );
    let rang = poll_fn(|cx| session.poll_alarm(cx, &deadlines, Instant::now())).await;
    assert_eq!(rang, Deadline::new(0));
}
