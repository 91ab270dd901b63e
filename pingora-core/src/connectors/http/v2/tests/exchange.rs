//! Requests to and responses from servers that follow the rules.

use super::*;
use crate::protocols::http::HttpTask;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A short form of all pieces of the response, to its end or its failure: `H200` head, `B:x` body,
/// `T` trailers, `D` done, `U:x` tunnel, `!` failure; a `.` after the piece that ends it.
pub(super) async fn pieces(session: &mut Http2Session) -> String {
    let mut told = Vec::new();
    loop {
        let task = match next(session).await {
            Ok(task) => task,
            Err(error) => {
                told.push(format!("!{}", error.etype().as_str()));
                return told.join(" ");
            }
        };
        let text = |data: &Option<Bytes>| {
            data.as_ref()
                .map_or("-".into(), |d| String::from_utf8_lossy(d).into_owned())
        };
        let end = task.is_end();
        let name = match &task {
            HttpTask::Header(header, _) => format!("H{}", header.status.as_u16()),
            HttpTask::Body(data, _) => format!("B:{}", text(data)),
            HttpTask::UpgradedBody(data, _) => format!("U:{}", text(data)),
            HttpTask::Trailer(trailers) => format!("T{}", trailers.as_ref().map_or(0, |t| t.len())),
            HttpTask::Done => "D".into(),
            HttpTask::Failed(error) => panic!("{error}"),
        };
        told.push(if end { format!("{name}.") } else { name });
        if end {
            return told.join(" ");
        }
    }
}

/// The next piece, as an engine reads it: queued data is written meanwhile.
pub(super) async fn next(session: &mut Http2Session) -> Result<HttpTask> {
    poll_fn(|cx| {
        if session.wants_flush() {
            let _ = session.poll_flush(cx);
        }
        session.poll_response_task(cx)
    })
    .await
}

#[tokio::test]
async fn a_request_without_body_ends_its_stream_with_its_head() {
    let (server, conn) = pair(1).await;
    serve(server, |request, mut respond| async move {
        assert_eq!(request.uri(), "http://a/");
        assert!(request.body().is_end_stream());
        respond.send_response(response(204), true).unwrap();
    });
    let mut session = session(&conn).await;
    session.queue_request_header(&request("GET", &[])).unwrap();
    session.queue_end(None).unwrap();
    assert_eq!(pieces(&mut session).await, "H204.");
    assert!(session.response_finished());
}

#[tokio::test]
async fn bodies_and_trailers_pass_both_ways() {
    let (server, conn) = pair(1).await;
    serve(server, |mut request, mut respond| async move {
        let mut send = respond.send_response(response(200), false).unwrap();
        let body = request.body_mut();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            send.send_data(data, false).unwrap();
        }
        let sent = body.trailers().await.unwrap().unwrap();
        assert_eq!(sent["x-sent"], "1");
        send.send_trailers(trailers(&[("grpc-status", "0")]))
            .unwrap();
    });
    let mut session = session(&conn).await;
    session.queue_request_header(&request("POST", &[])).unwrap();
    session.queue_body(Bytes::from_static(b"abc")).unwrap();
    assert_eq!(session.queued(), 3);
    session
        .queue_end(Some(&trailers(&[("x-sent", "1"), ("host", "b")])))
        .unwrap();
    assert_eq!(pieces(&mut session).await, "H200 B:abc T1.");
    assert_eq!(
        (session.body_bytes_sent(), session.body_bytes_received()),
        (3, 3)
    );
}

#[tokio::test]
async fn a_response_ends_with_its_last_piece_where_that_is_known() {
    // The server's frames, and the expected events.
    let rows: &[(&str, &str, &[&str], &str)] = &[
        ("GET", "200", &[], "H200."),
        ("GET", "200", &["a."], "H200 B:a."),
        ("GET", "200", &["a", "b."], "H200 B:ab."),
        ("GET", "200", &["a", "."], "H200 B:a."),
        ("GET", "200", &["."], "H200."),
        ("GET", "200", &["T"], "H200 T1."),
        ("GET", "200", &["a", "T"], "H200 B:a T1."),
        ("HEAD", "200", &[], "H200."),
        ("HEAD", "200", &["."], "H200."),
        ("GET", "304", &["."], "H304."),
        ("GET", "204", &[], "H204."),
        ("GET", "204", &["x."], "H204 !InvalidH2"),
        ("CONNECT", "200", &["a", "."], "H200 U:a."),
        ("CONNECT", "200", &["."], "H200 U:-."),
        ("CONNECT", "403", &["no."], "H403 B:no."),
    ];
    for (method, status, sent, expected) in rows {
        let (server, conn) = pair(1).await;
        let code = status.parse().unwrap();
        let sent: Vec<String> = sent.iter().map(|piece| piece.to_string()).collect();
        serve(server, move |_, mut respond| {
            let sent = sent.clone();
            async move {
                let none = sent.is_empty();
                let mut stream = respond.send_response(response(code), none).unwrap();
                for piece in sent {
                    match piece.strip_suffix('.') {
                        _ if piece == "T" => stream.send_trailers(trailers(&[("x", "y")])),
                        Some(last) => stream.send_data(last.to_string().into(), true),
                        None => stream.send_data(piece.into(), false),
                    }
                    .unwrap();
                }
            }
        });
        let mut session = session(&conn).await;
        let mut request = request(method, &[]);
        if *method == "CONNECT" {
            request.set_raw_path(b"a:443").unwrap();
        }
        session.queue_request_header(&request).unwrap();
        session.queue_end(None).unwrap();
        assert_eq!(pieces(&mut session).await, *expected, "{method} {status}");
    }
}

/// A response that lacks only its end is ended for its readers, whatever happens to its stream; but
/// data that follows in time passes.
#[tokio::test(start_paused = true)]
async fn a_response_that_lacks_nothing_but_its_end_ends_after_a_moment() {
    const LENGTH: Option<&str> = Some("2");
    // Method, status, declared length; what is sent, `~` meaning that time passes; the result, and the
    // seconds that it takes.
    type Row<'a> = (
        &'a str,
        &'a str,
        Option<&'a str>,
        &'a [&'a str],
        &'a str,
        u64,
    );
    let rows: &[Row<'_>] = &[
        ("GET", "200", LENGTH, &["ab", "~9"], "H200 B:ab B:-.", 1),
        (
            "GET",
            "200",
            LENGTH,
            &["a", "~9", "b", "~9"],
            "H200 B:a B:b B:-.",
            10,
        ),
        ("GET", "200", Some("0"), &["~9"], "H200 B:-.", 1),
        ("HEAD", "200", LENGTH, &["~9"], "H200 B:-.", 1),
        ("GET", "304", LENGTH, &["~9"], "H304 B:-.", 1),
        ("GET", "204", None, &["~9"], "H204 B:-.", 1),
        ("GET", "200", LENGTH, &["ab", "."], "H200 B:ab.", 0),
        // Trailers are waited for equally long, and so is the end.
        ("GET", "200", LENGTH, &["ab", "~0", "T"], "H200 B:ab T1.", 0),
        (
            "GET",
            "200",
            LENGTH,
            &["ab", "~0", "."],
            "H200 B:ab B:-.",
            0,
        ),
        // The response is complete: a reset can't take anything from it.
        ("GET", "200", LENGTH, &["ab", "R"], "H200 B:ab B:-.", 0),
        (
            "GET",
            "200",
            LENGTH,
            &["ab", "~0", "R"],
            "H200 B:ab B:-.",
            0,
        ),
        // A body that lacks a byte is incomplete, and one that declares no length may continue.
        ("GET", "200", LENGTH, &["a", "R"], "H200 B:a !H2Error", 0),
        ("GET", "200", None, &["ab", "~9", "c."], "H200 B:ab B:c.", 9),
        ("GET", "200", None, &["ab", "R"], "H200 B:ab !H2Error", 0),
    ];
    for (method, status, length, sent, expected, seconds) in rows {
        let (server, conn) = pair(1).await;
        let mut head = response(status.parse().unwrap());
        if let Some(length) = length {
            head.headers_mut()
                .insert("content-length", length.parse().unwrap());
        }
        let what = format!("{method} {status} {sent:?}");
        let sent: Vec<String> = sent.iter().map(|piece| piece.to_string()).collect();
        serve(server, move |_, mut respond| {
            let (sent, head) = (sent.clone(), head.clone());
            async move {
                let mut stream = respond.send_response(head, false).unwrap();
                for piece in sent {
                    if let Some(time) = piece.strip_prefix('~') {
                        let time = Duration::from_secs(time.parse().unwrap());
                        tokio::time::sleep(time.max(Duration::from_millis(100))).await;
                        continue;
                    }
                    // The stream may have been abandoned.
                    let _ = match piece.strip_suffix('.') {
                        _ if piece == "R" => {
                            // Frames that were sent earlier are received earlier.
                            tokio::time::sleep(Duration::from_millis(1)).await;
                            stream.send_reset(Reason::INTERNAL_ERROR);
                            Ok(())
                        }
                        _ if piece == "T" => stream.send_trailers(trailers(&[("x", "y")])),
                        Some(last) => stream.send_data(last.to_string().into(), true),
                        None => stream.send_data(piece.into(), false),
                    };
                }
            }
        });
        let mut session = session(&conn).await;
        let request = request(method, &[]);
        session.queue_request_header(&request).unwrap();
        session.queue_end(None).unwrap();
        let begun = tokio::time::Instant::now();
        assert_eq!(pieces(&mut session).await, *expected, "{what}");
        assert_eq!(begun.elapsed().as_secs(), *seconds, "{what}");
        drop(session);
        assert!(!conn.is_shutting_down() && conn.is_idle(), "{what}");
    }
}

#[tokio::test]
async fn informational_responses_are_handed_on() {
    let (server, conn) = pair(1).await;
    serve(server, |_, mut respond| async move {
        respond.send_informational(response(103)).unwrap();
        respond.send_informational(response(103)).unwrap();
        respond.send_response(response(200), true).unwrap();
    });
    let mut first = session(&conn).await;
    first
        .write_request_header(request("GET", &[]), true)
        .unwrap();
    assert_eq!(pieces(&mut first).await, "H103 H103 H200.");
    drop(first);
    let mut second = session(&conn).await;
    second
        .write_request_header(request("GET", &[]), true)
        .unwrap();
    for status in [103, 103, 200, 200] {
        second.read_response_header().await.unwrap();
        assert_eq!(second.response_header().unwrap().status, status);
    }
    assert_eq!(second.read_response_body().await.unwrap(), None);
    assert_eq!(second.read_trailers().await.unwrap(), None);
}

#[tokio::test]
async fn the_methods_for_users_carry_an_exchange() {
    let (server, conn) = pair(1).await;
    serve(server, |mut request, mut respond| async move {
        let mut send = respond.send_response(response(200), false).unwrap();
        while let Some(data) = request.body_mut().data().await {
            send.send_data(data.unwrap(), false).unwrap();
        }
        send.send_trailers(trailers(&[("x", "y")])).unwrap();
    });
    let mut session = session(&conn).await;
    session
        .write_request_header(request("POST", &[]), false)
        .unwrap();
    assert_eq!(session.request_header().unwrap().method, "POST");
    session
        .write_request_body("ab".into(), false)
        .await
        .unwrap();
    session.finish_request_body().unwrap();
    session.read_response_header().await.unwrap();
    assert_eq!(session.read_response_body().await.unwrap().unwrap(), "ab");
    assert_eq!(session.read_response_body().await.unwrap(), None);
    assert!(
        session
            .check_response_end_or_error()
            .is_ok_and(|ended| !ended)
    );
    assert_eq!(session.read_trailers().await.unwrap().unwrap()["x"], "y");
    assert!(session.response_finished() && session.check_response_end_or_error().unwrap());
}

#[tokio::test]
async fn a_body_keeps_to_its_declared_length() {
    // The pieces of a body of 3 bytes.
    let rows: &[(&[&str], bool)] = &[
        (&["abc"], true),
        (&["a", "bc"], true),
        (&["ab"], false),
        (&["abc", "d"], false),
        (&[], false),
    ];
    for (pieces, sound) in rows {
        let (server, conn) = pair(1).await;
        let (ended, end) = tokio::sync::oneshot::channel::<Result<Vec<u8>, h2::Error>>();
        let ended = std::sync::Mutex::new(Some(ended));
        serve(server, move |mut request, _respond| {
            let ended = ended.lock().unwrap().take();
            async move {
                let mut whole = Ok(Vec::new());
                while let Some(data) = request.body_mut().data().await {
                    whole = whole.and_then(|mut whole: Vec<u8>| {
                        whole.extend(data?);
                        Ok(whole)
                    });
                    if whole.is_err() {
                        break;
                    }
                }
                let _ = ended.unwrap().send(whole);
                let () = std::future::pending().await;
            }
        });
        let mut session = session(&conn).await;
        let header = request("POST", &[("Content-Length", "3")]);
        session.write_request_header(header, false).unwrap();
        let mut sent = Ok(());
        for piece in *pieces {
            let piece = Bytes::copy_from_slice(piece.as_bytes());
            sent = sent.and_then(|()| session.queue_body(piece));
        }
        sent = sent.and_then(|()| session.queue_end(None));
        assert_eq!(sent.is_ok(), *sound, "{pieces:?}");
        if *sound {
            session
                .write_request_body(Bytes::new(), false)
                .await
                .unwrap();
        }
        let end = if *sound {
            end.await.unwrap()
        } else {
            // The request may have been dropped before the server received it.
            drop((session, conn));
            end.await.unwrap_or(Err(Reason::CANCEL.into()))
        };
        assert_eq!(
            end.is_ok(),
            *sound,
            "the server never sees a clean end: {pieces:?}"
        );
    }
}

#[tokio::test]
async fn a_slow_reader_slows_the_server_and_only_its_own_stream() {
    const WHOLE: usize = 1 << 20;
    let (server, conn) = pair(2).await;
    let sent = Arc::<AtomicUsize>::default();
    let counter = sent.clone();
    serve(server, move |request, mut respond| {
        let counter = (request.method() == "GET").then(|| counter.clone());
        async move {
            let mut send = respond.send_response(response(200), false).unwrap();
            let mut left = WHOLE;
            while left > 0 {
                send.reserve_capacity(left.min(16 * 1024));
                let room = poll_fn(|cx| send.poll_capacity(cx)).await.unwrap().unwrap();
                let piece = Bytes::from(vec![b'x'; room.min(left)]);
                left -= piece.len();
                if let Some(counter) = &counter {
                    counter.fetch_add(piece.len(), Ordering::Relaxed);
                }
                send.send_data(piece, left == 0).unwrap();
            }
        }
    });
    let mut slow = session(&conn).await;
    slow.write_request_header(request("GET", &[]), true)
        .unwrap();
    slow.read_response_header().await.unwrap();
    // While the one is not read, the other passes completely.
    let mut quick = session(&conn).await;
    quick
        .write_request_header(request("POST", &[]), true)
        .unwrap();
    quick.read_response_header().await.unwrap();
    while quick.read_response_body().await.unwrap().is_some() {}
    assert_eq!(quick.body_bytes_received(), WHOLE);
    let held = sent.load(Ordering::Relaxed);
    assert_eq!(held, 65_535, "what nobody reads is as much as the window");
    while slow.read_response_body().await.unwrap().is_some() {}
    assert_eq!(slow.body_bytes_received(), WHOLE);
}

#[tokio::test]
async fn an_upload_waits_for_the_servers_window() {
    let (server, conn) = pair(1).await;
    let (go, wait) = tokio::sync::oneshot::channel();
    let wait = std::sync::Mutex::new(Some(wait));
    serve(server, move |mut request, mut respond| {
        let wait = wait.lock().unwrap().take();
        async move {
            let () = wait.unwrap().await.unwrap();
            let body = request.body_mut();
            let mut received = 0;
            while let Some(data) = body.data().await {
                received += data.as_ref().unwrap().len();
                body.flow_control()
                    .release_capacity(data.unwrap().len())
                    .unwrap();
            }
            assert_eq!(received, 300_000);
            respond.send_response(response(200), true).unwrap();
        }
    });
    let mut session = session(&conn).await;
    session.queue_request_header(&request("POST", &[])).unwrap();
    session.queue_body(vec![b'x'; 300_000].into()).unwrap();
    session.queue_end(None).unwrap();
    let mut flushed = Box::pin(poll_fn(|cx| session.poll_flush(cx)));
    for _ in 0..100 {
        assert!(futures::poll!(&mut flushed).is_pending());
        tokio::task::yield_now().await;
    }
    drop(flushed);
    let window = 65_535;
    assert_eq!(
        session.queued(),
        300_000 - window,
        "h2 got no more than fits the window"
    );
    go.send(()).unwrap();
    poll_fn(|cx| session.poll_flush(cx)).await.unwrap();
    assert_eq!((session.queued(), session.wants_flush()), (0, false));
    assert_eq!(pieces(&mut session).await, "H200.");
}

/// RFC 8441.
#[tokio::test]
async fn an_extended_connect_becomes_a_tunnel() {
    let mut builder = server::Builder::new();
    builder.enable_connect_protocol();
    let (server, conn) = pair_with(&builder, 1).await;
    serve(server, |mut request, mut respond| async move {
        let protocol = request.extensions().get::<h2::ext::Protocol>();
        assert_eq!(protocol.unwrap().as_str(), "websocket");
        assert!(!request.body().is_end_stream(), "its end is held back");
        let mut send = respond.send_response(response(200), false).unwrap();
        while let Some(data) = request.body_mut().data().await {
            send.send_data(data.unwrap(), false).unwrap();
        }
        send.send_data(Bytes::new(), true).unwrap();
    });
    let mut session = session(&conn).await;
    let mut header = request("CONNECT", &[]);
    header.set_uri("http://a/chat".parse().unwrap());
    let protocol = pingora_h2::ext::Protocol::from_static("websocket");
    header.extensions_mut().insert(protocol);
    session.queue_request_header(&header).unwrap();
    // The request ends; the tunnel does not.
    session.queue_end(None).unwrap();
    let task = next(&mut session).await.unwrap();
    assert!(matches!(task, HttpTask::Header(_, false)));
    session.queue_body("frames".into()).unwrap();
    session.queue_end(None).unwrap();
    assert_eq!(pieces(&mut session).await, "U:frames.");
}

#[tokio::test]
async fn a_server_without_extended_connect_is_told_apart() {
    let (server, conn) = pair(1).await;
    serve(server, |_, _| async { panic!("nothing is asked of it") });
    let mut session = session(&conn).await;
    let mut header = request("CONNECT", &[]);
    header.set_uri("http://a/chat".parse().unwrap());
    let protocol = pingora_h2::ext::Protocol::from_static("websocket");
    header.extensions_mut().insert(protocol);
    session.queue_request_header(&header).unwrap();
    let error = next(&mut session).await.unwrap_err();
    assert_eq!((error.etype(), error.retry()), (&ErrorType::H2Error, false));
}

#[tokio::test(start_paused = true)]
async fn limits_of_time_end_the_exchange_and_not_the_connection() {
    let (server, conn) = pair(2).await;
    serve(server, |_request, _respond| async move {
        let _kept = (_request, _respond);
        std::future::pending().await
    });
    let mut reading = session(&conn).await;
    reading.read_timeout = Some(Duration::from_secs(3));
    reading
        .write_request_header(request("GET", &[]), true)
        .unwrap();
    let error = reading.read_response_header().await.unwrap_err();
    assert_eq!(error.etype(), &ErrorType::ReadTimedout);
    let mut writing = session(&conn).await;
    writing.write_timeout = Some(Duration::from_secs(3));
    writing
        .write_request_header(request("POST", &[]), false)
        .unwrap();
    let large = vec![b'x'; 200_000].into();
    let error = writing.write_request_body(large, true).await.unwrap_err();
    assert_eq!(error.etype(), &ErrorType::WriteTimedout);
    drop((reading, writing));
    assert!(conn.is_idle() && !conn.is_shutting_down());
}
