//! Sub-requests: bodies in both directions, tunnels, callers that go away.

mod caller;

use super::*;
use crate::protocols::http::ServerSession;
use crate::protocols::http::exchange::{DownstreamHalf, UpstreamHalf};
use crate::protocols::http::subrequest::CallerHalf;
use crate::timeout::{Deadline, Deadlines};
use futures::FutureExt;
use pingora_error::{ErrorSource, ErrorType};
use std::future::poll_fn;
use tokio::io::{AsyncWriteExt, duplex};
use tokio::time::Instant;

/// A session that has read this request.
async fn parent(head: &str) -> ServerSession {
    let (mut client, server) = duplex(4096);
    client.write_all(head.as_bytes()).await.unwrap();
    let mut session = ServerSession::new_http1(Box::new(server));
    assert!(session.read_request().await.unwrap());
    session
}

const GET: &str = "GET /a?b HTTP/1.1\r\nHost: h\r\nX-Case: 1\r\n\r\n";
const POST_5: &str =
    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n";
const UPGRADE: &str =
    "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

async fn begun(head: &str) -> (HttpSession, SubrequestHandle) {
    let (mut session, handle) = HttpSession::new_from_session(&parent(head).await);
    session.read_request().await.unwrap();
    (session, handle)
}

fn bytes(data: &'static str) -> Bytes {
    Bytes::from_static(data.as_bytes())
}

fn piece(data: &'static str, end: bool) -> HttpTask {
    HttpTask::Body(Some(bytes(data)), end)
}

fn header(status: u16, length: Option<usize>) -> Box<ResponseHeader> {
    let mut header = ResponseHeader::build(status, None).unwrap();
    if let Some(length) = length {
        header.set_content_length(length).unwrap();
    }
    Box::new(header)
}

/// Everything up to the end of the channel, as one line.
async fn response(handle: &mut SubrequestHandle) -> String {
    let mut told = String::new();
    while let Some(task) = handle.rx.recv().await {
        told.push_str(&tell(&task));
    }
    told
}

fn tell(task: &HttpTask) -> String {
    let text = match task {
        HttpTask::Header(header, _) => format!("{}", header.status.as_u16()),
        HttpTask::Body(data, _) => format!("{:?}", data.clone().unwrap_or_default()),
        HttpTask::UpgradedBody(data, _) => format!("raw {:?}", data.clone().unwrap_or_default()),
        HttpTask::Trailer(Some(trailers)) => format!("trailers {}", trailers.len()),
        other => other.type_str().to_string(),
    };
    let end = if task.is_end() { " end;" } else { ";" };
    text + end
}

#[tokio::test]
async fn the_head_is_the_parents_and_may_be_changed() {
    let parent = parent(GET).await;
    let (mut session, _handle) = HttpSession::new_from_session(&parent);
    session
        .req_header_mut()
        .insert_header("X-Mine", "2")
        .unwrap();
    session.read_request().await.unwrap();
    assert_eq!(session.req_header().raw_path(), b"/a?b");
    assert_eq!(session.get_header_bytes("x-case"), b"1");
    assert_eq!(session.get_header_bytes("x-mine"), b"2");
    assert!(parent.get_header("x-mine").is_none());
    assert!(session.request_summary().contains("sub-request"));
    assert!(
        session
            .get_headers_raw_bytes()
            .starts_with(b"GET /a?b HTTP/1.1\r\n")
    );
    assert!(session.read_request().await.is_err(), "once");
    session.validate_request().unwrap();
}

/// The declarations of the head and of the caller about a body, and the outcome.
#[tokio::test]
async fn whether_a_body_is_to_come() {
    #[derive(Clone, Copy)]
    enum Said {
        Nothing,
        None,
        Expected,
    }
    use Said::*;
    let rows = [
        (GET, Nothing, false),
        (GET, None, false),
        (GET, Expected, true),
        (POST_5, Nothing, true),
        (POST_5, None, false),
        (POST_5, Expected, true),
        (CHUNKED, Nothing, true),
        (CHUNKED, None, false),
        (CHUNKED, Expected, true),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
            Expected,
            false,
        ),
    ];
    for (head, said, to_come) in rows {
        let (mut session, _handle) = HttpSession::new_from_session(&parent(head).await);
        match said {
            Nothing => {}
            None => session.clear_request_body_headers(),
            Expected => session.expect_request_body(),
        }
        for _ in 0..2 {
            assert_eq!(session.is_body_empty(), !to_come, "{head}");
            assert_eq!(session.is_body_done(), !to_come, "{head}");
            // Before the head is read, and after.
            let _ = session.read_request().await;
        }
        if matches!(said, None) {
            for name in ["content-length", "transfer-encoding", "expect"] {
                assert!(session.get_header(name).is_none(), "{head}: {name}");
            }
        }
    }
}

/// A caller that has sent everything declared, but forgets to end the body, holds nothing up.
#[tokio::test(start_paused = true)]
async fn a_body_that_lacks_nothing_but_its_end_ends_after_a_moment() {
    let (mut session, handle) = begun(POST_5).await;
    handle.tx.send(piece("hello", false)).await.unwrap();
    let begun_at = Instant::now();
    assert_eq!(session.read_body_bytes().await.unwrap().unwrap(), "hello");
    assert_eq!(session.read_body_bytes().await.unwrap(), None);
    assert_eq!(begun_at.elapsed().as_secs(), 1);
    let (mut session, handle) = begun(POST_5).await;
    handle.tx.send(piece("hell", false)).await.unwrap();
    assert_eq!(session.read_body_bytes().await.unwrap().unwrap(), "hell");
    let late = session.read_body_bytes().await.unwrap_err();
    assert_eq!(late.etype(), &ErrorType::ReadTimedout);
}

/// Bodies as a caller may send them, and what is read; `Err` names the kind of error.
#[tokio::test]
async fn bodies_of_every_shape() {
    type Row = (&'static str, Vec<HttpTask>, Result<&'static str, ErrorType>);
    let trailers = || {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-t", HeaderValue::from_static("1"));
        HttpTask::Trailer(Some(Box::new(trailers)))
    };
    let cut = || Err(ErrorType::ConnectionClosed);
    let wrong = || Err(ErrorType::InternalError);
    let rows: Vec<Row> = vec![
        (POST_5, vec![piece("hello", true)], Ok("hello")),
        (
            POST_5,
            vec![piece("he", false), piece("llo", false), HttpTask::Done],
            Ok("hello"),
        ),
        (
            POST_5,
            vec![
                piece("", false),
                piece("hello", false),
                HttpTask::Body(None, true),
            ],
            Ok("hello"),
        ),
        (POST_5, vec![piece("hell", true)], wrong()),
        (POST_5, vec![piece("hello!", true)], wrong()),
        (POST_5, vec![piece("hell", false)], cut()),
        // Nothing is missing except the end.
        (POST_5, vec![piece("hello", false)], Ok("hello")),
        (POST_5, vec![], cut()),
        (CHUNKED, vec![HttpTask::Done], Ok("")),
        (CHUNKED, vec![piece("a", false), trailers()], Ok("a")),
        (CHUNKED, vec![piece("a", false)], cut()),
        (
            CHUNKED,
            vec![HttpTask::UpgradedBody(Some(bytes("a")), true)],
            Ok("a"),
        ),
        (
            CHUNKED,
            vec![HttpTask::Header(header(200, None), false)],
            wrong(),
        ),
        (
            CHUNKED,
            vec![HttpTask::Failed(Error::new(ErrorType::ReadError))],
            Err(ErrorType::ReadError),
        ),
    ];
    for (number, (head, tasks, expected)) in rows.into_iter().enumerate() {
        let has_trailers = tasks.iter().any(|t| matches!(t, HttpTask::Trailer(_)));
        let (mut session, handle) = begun(head).await;
        session.enable_retry_buffering();
        // The rest of the handle is kept: its caller waits for an answer.
        let SubrequestHandle { tx, .. } = &handle;
        for task in tasks {
            tx.try_send(task).unwrap();
        }
        let SubrequestHandle { tx, rx: _rx, .. } = handle;
        drop(tx);
        let mut read = Vec::new();
        let end = loop {
            match session.read_body_bytes().await {
                Ok(Some(data)) => read.extend_from_slice(&data),
                Ok(None) => break Ok(String::from_utf8(read).unwrap()),
                Err(error) => break Err(error),
            }
        };
        match (end, expected) {
            (Ok(read), Ok(expected)) => {
                assert_eq!(read, expected, "row {number}");
                assert_eq!(session.body_bytes_read(), expected.len());
                let kept = session.get_retry_buffer().unwrap_or_default();
                assert_eq!(kept, expected.as_bytes());
                assert!(session.is_body_done());
                assert_eq!(
                    session.take_trailers().is_some(),
                    has_trailers,
                    "row {number}"
                );
            }
            (Err(error), Err(expected)) => assert_eq!(error.etype(), &expected, "row {number}"),
            (end, expected) => panic!("row {number}: {end:?}, expected {expected:?}"),
        }
    }
}

#[tokio::test]
async fn the_caller_is_told_once_a_body_is_wanted() {
    let (mut session, mut handle) = begun(CHUNKED).await;
    assert!((&mut handle.subreq_wants_body).now_or_never().is_none());
    assert!(session.read_body_bytes().now_or_never().is_none());
    handle.subreq_wants_body.await.unwrap();
    handle.tx.send(HttpTask::Done).await.unwrap();
    assert!(session.read_body_bytes().await.unwrap().is_none());

    let (mut session, handle) = begun(GET).await;
    assert!(session.read_body_bytes().await.unwrap().is_none());
    drop(session);
    assert!(handle.subreq_wants_body.await.is_err(), "never wanted");
}

#[tokio::test]
async fn a_client_that_waits_for_permission_gets_it_once() {
    // A phase reads it.
    let (mut session, mut handle) = begun(POST_5).await;
    assert!(session.is_continue_owed());
    assert!(session.read_body_bytes().now_or_never().is_none());
    assert!(!session.is_continue_owed());
    assert_eq!(tell(&handle.rx.recv().await.unwrap()), "100;");
    handle.tx.send(piece("hello", true)).await.unwrap();
    assert_eq!(
        session.read_body_bytes().await.unwrap(),
        Some(bytes("hello"))
    );
    // The upstream reads it, and it is not sent again.
    let (mut session, mut handle) = begun(POST_5).await;
    for _ in 0..2 {
        session
            .write_response_header(header(100, None))
            .await
            .unwrap();
    }
    session
        .write_response_header(header(200, Some(0)))
        .await
        .unwrap();
    session.finish().await.unwrap();
    drop(session);
    assert_eq!(response(&mut handle).await, "100;200;Done end;");
    // Not for a caller that sends at once.
    let (mut session, handle) = begun(POST_5).await;
    handle.tx.send(piece("hello", true)).await.unwrap();
    let read = poll_fn(|cx| session.poll_read_body(cx)).await;
    assert!(read.unwrap().is_some() && !session.is_continue_owed());
    let (mut session, _handle) = begun(CHUNKED).await;
    assert!(!session.is_continue_owed());
    session.req_header_mut().remove_header("Transfer-Encoding");
    assert!(!session.is_body_empty(), "what was read stays");
}

/// Responses as an engine or a phase may write them, and what the caller sees of them.
#[tokio::test]
async fn responses_of_every_shape() {
    let trailers = || HttpTask::Trailer(Some(Box::default()));
    let rows: Vec<(&str, Vec<HttpTask>, &str)> = vec![
        (
            GET,
            vec![HttpTask::Header(header(200, Some(0)), true)],
            "200 end;",
        ),
        (
            GET,
            vec![HttpTask::Header(header(200, None), true)],
            "200 end;",
        ),
        (
            GET,
            vec![
                HttpTask::Header(header(200, Some(2)), false),
                piece("ok", true),
            ],
            "200;b\"ok\" end;",
        ),
        (
            GET,
            vec![
                HttpTask::Header(header(200, Some(2)), false),
                piece("ok", false),
            ],
            "200;b\"ok\";Done end;",
        ),
        (
            GET,
            vec![
                HttpTask::Header(header(200, None), false),
                piece("a", false),
                trailers(),
            ],
            "200;b\"a\";trailers 0 end;",
        ),
        (
            GET,
            vec![
                HttpTask::Header(header(103, None), false),
                HttpTask::Header(header(200, None), false),
                HttpTask::Trailer(None),
            ],
            "103;200;Done end;",
        ),
        (
            HEAD,
            vec![
                HttpTask::Header(header(200, Some(9)), false),
                piece("dropped", true),
            ],
            "200 end;",
        ),
        (
            GET,
            vec![HttpTask::Header(header(204, None), false), HttpTask::Done],
            "204 end;",
        ),
        (
            GET,
            vec![HttpTask::Header(header(304, Some(7)), false)],
            "304 end;",
        ),
        (
            GET,
            vec![
                HttpTask::Header(header(200, Some(1)), false),
                HttpTask::Header(header(500, None), true),
                piece("a", true),
                HttpTask::Done,
            ],
            "200;b\"a\" end;",
        ),
        (
            GET,
            vec![piece("before the head", true), HttpTask::Done],
            "",
        ),
    ];
    for (number, (head, tasks, expected)) in rows.into_iter().enumerate() {
        let (mut session, mut handle) = begun(head).await;
        for task in tasks {
            session.queue_task(task).unwrap();
        }
        let complete = session.response_written().is_some();
        let (finished, told) = tokio::join!(
            async move {
                session.finish().await.unwrap();
                session.is_response_complete()
            },
            response(&mut handle)
        );
        assert_eq!(told, expected, "row {number}");
        assert_eq!(finished, complete, "row {number}");
    }
}

#[tokio::test]
async fn a_response_that_is_not_what_its_head_said_has_no_end() {
    let promised = || HttpTask::Header(header(200, Some(3)), false);
    let rows: Vec<(Vec<HttpTask>, &str)> = vec![
        (vec![promised(), piece("ab", true)], "200;"),
        (
            vec![promised(), piece("ab", false), HttpTask::Done],
            "200;b\"ab\";",
        ),
        (vec![promised(), piece("abcd", true)], "200;"),
        (vec![HttpTask::Header(header(200, Some(3)), true)], ""),
        (vec![HttpTask::Header(header(101, None), false)], ""),
        (
            vec![
                promised(),
                HttpTask::Failed(Error::new(ErrorType::ReadError)),
            ],
            "200;",
        ),
    ];
    for (number, (tasks, expected)) in rows.into_iter().enumerate() {
        let (mut session, mut handle) = begun(GET).await;
        let mut refused = None;
        for task in tasks {
            refused = refused.or(session.queue_task(task).err());
        }
        let error = refused.unwrap_or_else(|| panic!("row {number} is accepted"));
        session.on_proxy_failure(error);
        session.shutdown();
        drop(session);
        let told = response(&mut handle).await;
        assert_eq!(told, expected, "row {number}");
        assert!(handle.subreq_proxy_error.await.is_ok());
    }
}

#[tokio::test]
async fn a_tunnel_is_open_both_ways() {
    let (mut session, mut handle) = begun(UPGRADE).await;
    assert!(session.is_upgrade_req() && session.is_body_done());
    assert_eq!(session.is_upgrade(&header(101, None)), Some(true));
    session
        .write_response_header(header(101, None))
        .await
        .unwrap();
    assert!(session.was_upgraded() && !session.is_body_done());
    session
        .response_duplex_vec(vec![HttpTask::UpgradedBody(Some(bytes("down")), false)])
        .await
        .unwrap();
    // The end of the request, from a caller that does not know about the tunnel yet.
    handle.tx.send(HttpTask::Done).await.unwrap();
    handle
        .tx
        .send(HttpTask::UpgradedBody(Some(bytes("up")), false))
        .await
        .unwrap();
    assert_eq!(
        session.read_body_bytes().await.unwrap().as_deref(),
        Some(&b"up"[..])
    );
    let SubrequestHandle { tx, .. } = &mut handle;
    let (closed, _) = mpsc::channel(1);
    drop(std::mem::replace(tx, closed));
    assert!(
        session.read_body_bytes().await.unwrap().is_none(),
        "one direction ends"
    );
    session
        .queue_task(HttpTask::UpgradedBody(None, true))
        .unwrap();
    session.finish().await.unwrap();
    drop(session);
    assert_eq!(
        response(&mut handle).await,
        "101;raw b\"down\";raw b\"\" end;"
    );
}

#[tokio::test]
async fn a_caller_that_drops_its_handle_is_noticed_wherever_somebody_waits() {
    // While waiting for a body.
    let (mut session, handle) = begun(CHUNKED).await;
    let SubrequestHandle { tx, rx, .. } = handle;
    assert!(session.read_body_bytes().now_or_never().is_none());
    drop(rx);
    let error = session.read_body_bytes().await.unwrap_err();
    assert_eq!(error.etype(), &ErrorType::ConnectionClosed);
    assert_eq!(error.esource(), &ErrorSource::Downstream);
    drop(tx);

    // While waiting for an upstream.
    let (mut session, handle) = begun(GET).await;
    assert!(poll_fn(|cx| session.poll_gone(cx)).now_or_never().is_none());
    drop(handle);
    let gone = poll_fn(|cx| session.poll_gone(cx)).await;
    assert_eq!(gone.etype(), &ErrorType::ConnectionClosed);

    // While writing a response.
    let (mut session, handle) = begun(GET).await;
    drop(handle);
    let error = session
        .write_response_header(header(200, None))
        .await
        .unwrap_err();
    assert_eq!(error.etype(), &ErrorType::WriteError);
    assert_eq!(error.esource(), &ErrorSource::Downstream);

    // Not if the caller does not ask for it.
    let (mut session, handle) = begun(GET).await;
    session.set_abort_on_close(false);
    drop(handle);
    assert!(poll_fn(|cx| session.poll_gone(cx)).now_or_never().is_none());
}

#[tokio::test]
async fn a_slow_reader_fills_the_queue_and_nothing_else() {
    let (mut session, mut handle) = begun(GET).await;
    session
        .queue_task(HttpTask::Header(header(200, None), false))
        .unwrap();
    let mut accepted = 0;
    // Like an engine, it adds data while the queue is under its mark.
    while session.queued() < 64 * 1024 {
        session.queue_task(piece("0123456789", false)).unwrap();
        accepted += 10;
        let _ = poll_fn(|cx| session.poll_flush(cx)).now_or_never();
    }
    assert!(
        accepted < 64 * 1024,
        "small pieces count for what they take"
    );
    assert_eq!(
        handle.rx.len(),
        crate::protocols::http::subrequest::CHANNEL_PIECES
    );
    let (_, told) = tokio::join!(
        async move { session.finish().await.unwrap() },
        response(&mut handle)
    );
    assert_eq!(told.matches("0123456789").count() * 10, accepted);
}

#[tokio::test(start_paused = true)]
async fn limits_of_time_hold_on_both_sides() {
    let (mut session, _handle) = begun(CHUNKED).await;
    session.set_read_timeout(Some(Duration::from_secs(3)));
    let start = Instant::now();
    let error = session.read_body_bytes().await.unwrap_err();
    assert_eq!(error.etype(), &ErrorType::ReadTimedout);
    assert_eq!(start.elapsed().as_secs(), 3);

    let (mut session, _handle) = begun(GET).await;
    session.set_write_timeout(Some(Duration::from_secs(4)));
    session
        .write_response_header(header(200, None))
        .await
        .unwrap();
    let tasks = (0..9).map(|_| piece("x", false)).collect();
    let error = session.response_duplex_vec(tasks).await.unwrap_err();
    assert_eq!(error.etype(), &ErrorType::WriteTimedout);
    assert_eq!(start.elapsed().as_secs(), 7);

    let (mut session, _handle) = begun(CHUNKED).await;
    session.set_total_drain_timeout(Some(Duration::from_secs(1)));
    assert!(session.drain_request_body().await.is_err());
}

#[tokio::test]
async fn a_session_of_any_kind_answers_for_a_sub_request() {
    let (session, mut handle) = HttpSession::new_from_session(&parent(POST_5).await);
    let mut session = ServerSession::new_subrequest(session);
    assert!(session.is_subrequest() && session.stream().is_none());
    assert!(session.as_subrequest().is_some() && session.as_subrequest_mut().is_some());
    assert!(session.read_request().await.unwrap());
    session.set_keepalive(Some(60));
    assert!(session.get_keepalive().is_none() && !session.will_keepalive());
    assert!(session.fault().is_none() && session.awaits_continue());
    handle.tx.send(piece("hello", true)).await.unwrap();
    let read = session.read_request_body().await.unwrap();
    assert_eq!(read.as_deref(), Some(&b"hello"[..]));
    assert!(
        matches!(handle.rx.recv().await, Some(HttpTask::Header(..))),
        "100"
    );
    session
        .respond_error_with_body(404, bytes("no"))
        .await
        .unwrap();
    session.on_proxy_failure(Error::new(ErrorType::ConnectRefused));
    session.on_proxy_failure(Error::new(ErrorType::InternalError));
    assert!(session.finish().await.unwrap().is_none(), "nothing is kept");
    assert_eq!(response(&mut handle).await, "404;b\"no\" end;");
    let error = handle.subreq_proxy_error.await.unwrap();
    assert_eq!(
        error.etype(),
        &ErrorType::ConnectRefused,
        "the first reason stands"
    );
}

#[tokio::test]
async fn nesting_has_an_end() {
    let mut session = parent(GET).await;
    let mut handles = vec![];
    for depth in 1..=MOST_NESTED {
        let (mut nested, handle) = HttpSession::new_from_session(&session);
        assert_eq!(nested.nested(), depth);
        assert_eq!(nested.is_nested_deepest(), depth == MOST_NESTED);
        nested.read_request().await.unwrap();
        handles.push(handle);
        session = ServerSession::new_subrequest(nested);
    }
    let (mut nested, _handle) = HttpSession::new_from_session(&session);
    let error = nested.read_request().await.unwrap_err();
    assert_eq!(error.etype(), &ErrorType::InternalError);
}

#[tokio::test]
async fn a_response_that_nobody_needs_is_drained() {
    let (mut session, handle) = begun(GET).await;
    let drained = handle.drain_tasks();
    session
        .write_response_header(header(200, None))
        .await
        .unwrap();
    for _ in 0..100 {
        session.write_body(bytes("x")).await.unwrap();
    }
    assert_eq!(session.finish().await.unwrap(), Some(100));
    drop(session);
    drained.await.unwrap();
}
