//! Requests as they are sent.

use super::*;

/// All bytes that the server gets.
async fn sent(send: impl AsyncFnOnce(&mut HttpSession)) -> String {
    let (mut server, mut session) = pair(WIDE);
    send(&mut session).await;
    drop(session);
    let mut bytes = Vec::new();
    server.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn each_framing_is_written_as_promised() {
    let rows: &[(&[(&'static str, &str)], &str)] = &[
        (
            &[("Content-Length", "10")],
            "Content-Length: 10\r\n\r\nhelloworld",
        ),
        (
            &[("Transfer-Encoding", "chunked")],
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n",
        ),
        (&[], "Content-Length: 0\r\n\r\n"),
    ];
    for (fields, expected) in rows {
        let bytes = sent(async |session| {
            let length = session
                .write_request_header(request("POST", fields))
                .await
                .unwrap();
            assert!(length > 20);
            session.write_body(b"hello").await.unwrap();
            session.write_body(b"").await.unwrap();
            session.write_body(b"world").await.unwrap();
            session.finish_body().await.unwrap();
        })
        .await;
        assert_eq!(bytes, format!("POST / HTTP/1.1\r\nHost: a\r\n{expected}"));
    }
}

#[tokio::test]
async fn trailers_follow_a_chunked_body_only() {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-check", "1".parse().unwrap());
    for (fields, expected) in [
        (
            &[("Transfer-Encoding", "chunked")],
            "1\r\nx\r\n0\r\nx-check: 1\r\n\r\n",
        ),
        (&[("Content-Length", "1")], "\r\n\r\nx"),
    ] {
        let bytes = sent(async |session| {
            session
                .queue_request_header(&request("POST", fields))
                .unwrap();
            session.queue_body(Bytes::from_static(b"x")).unwrap();
            session.queue_end(Some(&trailers)).unwrap();
            assert!(session.wants_flush() && session.queued() > 0);
            poll_fn(|cx| session.poll_flush(cx)).await.unwrap();
            assert!(!session.wants_flush());
        })
        .await;
        assert!(bytes.ends_with(expected), "{bytes}");
    }
}

#[tokio::test]
async fn a_request_that_breaks_its_promise_is_an_error_of_ours() {
    let (_server, mut session) = pair(WIDE);
    session
        .write_request_header(request("POST", &[("Content-Length", "5")]))
        .await
        .unwrap();
    session.write_body(b"hell").await.unwrap();
    let error = session.finish_body().await.unwrap_err();
    assert_eq!(
        (error.etype(), error.esource()),
        (&ErrorType::InternalError, &ErrorSource::Internal)
    );
    assert!(!session.will_keepalive());
    let (mut server, mut session) = pair(WIDE);
    session
        .write_request_header(request("POST", &[("Content-Length", "5")]))
        .await
        .unwrap();
    assert!(session.write_body(b"hello!").await.is_err());
    drop(session);
    let mut bytes = Vec::new();
    server.read_to_end(&mut bytes).await.unwrap();
    assert!(bytes.ends_with(b"\r\n\r\n"), "nothing of it left");
}

#[tokio::test]
async fn one_request_at_a_time() {
    let (_server, mut session) = pair(WIDE);
    session
        .write_request_header(request("GET", &[]))
        .await
        .unwrap();
    assert!(
        session
            .write_request_header(request("GET", &[]))
            .await
            .is_err()
    );
    let both = [("Content-Length", "5"), ("Transfer-Encoding", "chunked")];
    let (_server, mut session) = pair(WIDE);
    assert!(
        session
            .write_request_header(request("POST", &both))
            .await
            .is_err()
    );
    assert_eq!(session.queued(), 0);
    assert!(http_req_header_to_wire(&request("POST", &both)).is_none());
    let wire = http_req_header_to_wire(&request("GET", &[])).unwrap();
    assert_eq!(&wire[..], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_read_has_its_time() {
    let (_server, client) = duplex(64);
    let mut session = HttpSession::new(Box::new(client));
    session.write_timeout = Some(Duration::from_secs(5));
    session
        .write_request_header(request("PUT", &[("Content-Length", "1000")]))
        .await
        .unwrap();
    let start = tokio::time::Instant::now();
    let error = session.write_body(&[b'x'; 1000]).await.unwrap_err();
    assert_eq!(
        (error.etype(), error.esource()),
        (&ErrorType::WriteTimedout, &ErrorSource::Upstream)
    );
    assert_eq!(start.elapsed().as_secs(), 5);
    assert!(!session.will_keepalive());
}

#[tokio::test(start_paused = true)]
async fn endless_limits_are_no_limits() {
    let (server, mut session) = pair(8);
    session.write_timeout = Some(Duration::MAX);
    session.read_timeout = Some(Duration::MAX);
    let (mut reader, mut writer) = tokio::io::split(server);
    let (length, ()) = tokio::join!(session.write_request_header(request("GET", &[])), async {
        reader.read_exact(&mut [0; 27]).await.unwrap();
    });
    assert_eq!(length.unwrap(), 27);
    let (read, ()) = tokio::join!(session.read_response(), async {
        writer.write_all(b"HTTP/1.1 204 x\r\n\r\n").await.unwrap();
    });
    assert!(read.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_was_given_up_leaves_no_deadline_behind() {
    let (server, mut session) = pair(64);
    let (mut reader, _writer) = tokio::io::split(server);
    session.read_timeout = Some(Duration::from_secs(10));
    session
        .write_request_header(request("PUT", &[("Content-Length", "1000")]))
        .await
        .unwrap();
    assert!(
        tokio::time::timeout(Duration::from_secs(5), session.read_response())
            .await
            .is_err()
    );
    tokio::time::sleep(Duration::from_secs(20)).await;
    session.write_timeout = Some(Duration::from_secs(10));
    let (written, ()) = tokio::join!(session.write_body(&[b'x'; 1000]), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        reader.read_exact(&mut [0; 1047]).await.unwrap();
    });
    assert_eq!(written.unwrap(), Some(1000));
}
