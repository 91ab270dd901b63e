//! Responses of all kinds.

use super::*;

#[tokio::test]
async fn each_shape_of_a_response_ends_where_it_should() {
    let rows: &[(&str, &str, &str, bool)] = &[
        ("GET", "200 OK\r\nContent-Length: 0\r\n\r\n", "H200.", true),
        (
            "GET",
            "200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "H200 B:hello.",
            true,
        ),
        ("HEAD", "200 OK\r\nContent-Length: 5\r\n\r\n", "H200.", true),
        (
            "HEAD",
            "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "H200.",
            true,
        ),
        ("HEAD", "200 OK\r\n\r\n", "H200.", true),
        ("GET", "204 No Content\r\n\r\n", "H204.", true),
        (
            "GET",
            "304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            "H304.",
            true,
        ),
        (
            "GET",
            "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "H200.",
            true,
        ),
        (
            "GET",
            "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "H200 B:hello.",
            true,
        ),
        (
            "GET",
            "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
            "H200 B:hello T1.",
            true,
        ),
        (
            "GET",
            "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n",
            "H200 T1.",
            true,
        ),
        (
            "GET",
            "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 7\r\n\r\n",
            "H200.",
            true,
        ),
        (
            "GET",
            "103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 x\r\n\r\n",
            "H103 H100 H204.",
            true,
        ),
        (
            "GET",
            "200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
            "H200 B:x.",
            false,
        ),
        // Both lengths: chunked takes precedence, and the connection is not trusted any further.
        (
            "GET",
            "200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            "H200 B:x.",
            false,
        ),
        // Surplus bytes.
        (
            "GET",
            "200 OK\r\nContent-Length: 1\r\n\r\nxy",
            "H200 B:x.",
            false,
        ),
        (
            "GET",
            "200 OK\r\nContent-Length: 0\r\n\r\n\r\n",
            "H200.",
            false,
        ),
        (
            "GET",
            "204 No Content\r\nContent-Length: 5\r\n\r\nhello",
            "H204.",
            false,
        ),
        (
            "HEAD",
            "200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "H200.",
            false,
        ),
        (
            "GET",
            "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n",
            "H200.",
            false,
        ),
    ];
    for (method, answer, expected, reusable) in rows {
        let answer = format!("HTTP/1.1 {answer}");
        let (_server, mut session) = answered(method, answer.as_bytes()).await;
        let told = pieces(&mut session).await;
        assert_eq!(&told, expected, "{method}: {answer:?}");
        assert!(session.is_body_done());
        assert_eq!(session.is_reusable(), *reusable, "{method}: {answer:?}");
        assert_eq!(
            session.reuse().await.is_some(),
            *reusable,
            "{method}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn the_shape_is_the_same_however_the_bytes_arrive() {
    let answer = b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        5;x\r\nhello\r\n1\r\n!\r\n0\r\nX: y\r\n\r\n";
    for at in 1..answer.len() {
        let (mut server, mut session) = answered("GET", &answer[..at]).await;
        let sending = async {
            for _ in 0..5 {
                tokio::task::yield_now().await;
            }
            server.write_all(&answer[at..]).await.unwrap();
        };
        let (told, ()) = tokio::join!(pieces(&mut session), sending);
        let whole: String = told
            .split(' ')
            .filter_map(|p| p.strip_prefix("B:"))
            .collect();
        assert_eq!(whole, "hello!", "split at {at}: {told}");
        assert!(
            told.starts_with("H103 H200 ") && told.ends_with(" T1."),
            "split at {at}: {told}"
        );
        assert!(session.is_reusable(), "split at {at}");
    }
    let (server, mut session) = pair(1);
    let (mut reader, mut writer) = tokio::io::split(server);
    let sending = async {
        let mut head = [0; 27];
        reader.read_exact(&mut head).await.unwrap();
        writer.write_all(answer).await.unwrap();
    };
    session.queue_request_header(&request("GET", &[])).unwrap();
    let reading = async {
        poll_fn(|cx| session.poll_flush(cx)).await.unwrap();
        pieces(&mut session).await
    };
    let (told, ()) = tokio::join!(reading, sending);
    assert_eq!(told, "H103 H200 B:h B:e B:l B:l B:o B:! T1.");
}

#[tokio::test]
async fn only_the_close_ends_a_body_without_a_length() {
    let (mut server, mut session) = answered("GET", b"HTTP/1.0 200 OK\r\n\r\nhello").await;
    let sending = async {
        tokio::task::yield_now().await;
        server.write_all(b" world").await.unwrap();
        server.shutdown().await.unwrap();
    };
    let (told, ()) = tokio::join!(pieces(&mut session), sending);
    assert_eq!(told, "H200 B:hello B: world B:-.");
    assert!(!session.is_reusable() && !session.will_keepalive());
}

#[tokio::test]
async fn a_response_cut_short_is_an_error_and_never_an_end() {
    let rows = [
        (
            "200 OK\r\nContent-Length: 5\r\n\r\n",
            "H200 !ConnectionClosed",
        ),
        (
            "200 OK\r\nContent-Length: 5\r\n\r\nhell",
            "H200 B:hell !ConnectionClosed",
        ),
        (
            "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "H200 !ConnectionClosed",
        ),
        (
            "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "H200 B:hello !ConnectionClosed",
        ),
        (
            "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
            "H200 B:hello !ConnectionClosed",
        ),
        (
            "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n",
            "H200 B:hello !ConnectionClosed",
        ),
        (
            "200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
            "H200 !H1Error",
        ),
        ("200 OK\r\nContent-L", "!ConnectionClosed"),
        ("103 Early\r\n\r\n", "H103 !ConnectionClosed"),
    ];
    for (answer, expected) in rows {
        let answer = format!("HTTP/1.1 {answer}");
        let (mut server, mut session) = answered("GET", answer.as_bytes()).await;
        server.shutdown().await.unwrap();
        assert_eq!(pieces(&mut session).await, expected, "{answer:?}");
        let again = poll_fn(|cx| session.poll_response_task(cx)).await;
        assert!(
            again.is_err(),
            "an error does not turn into an end: {answer:?}: {again:?}"
        );
        assert!(!session.is_reusable() && session.reuse().await.is_none());
    }
}

#[tokio::test]
async fn what_is_no_response_is_refused() {
    let rows = [
        "HTTP/1.1 99 Too Small\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 200 OK\nX: y\n\n",
        "\x15\x03\x01\x00\x02\x02\x28",
    ];
    for row in rows {
        let (_server, mut session) = answered("GET", row.as_bytes()).await;
        let error = session.read_response().await.unwrap_err();
        assert_eq!(error.etype(), &ErrorType::InvalidHTTPHeader, "{row:?}");
        assert_eq!(error.esource(), &ErrorSource::Upstream, "{row:?}");
        assert!(
            !error.retry() && !matches!(error.retry, RetryType::ReusedOnly),
            "{row:?}"
        );
        assert!(!session.is_reusable());
    }
}

#[tokio::test]
async fn only_silence_lets_a_kept_connection_be_tried_again() {
    let rows = [
        ("", true),
        ("H", false),
        ("HTTP/1.1 100 Continue\r\n\r\n", false),
        ("HTTP/1.1 103 E\r\n\r\n", false),
    ];
    for (answer, expected) in rows {
        let (mut server, mut session) = answered("GET", answer.as_bytes()).await;
        server.shutdown().await.unwrap();
        let error = loop {
            match poll_fn(|cx| session.poll_response_task(cx)).await {
                Ok(HttpTask::Header(header, false)) if header.status.is_informational() => {}
                Ok(other) => panic!("{other:?}"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.etype(), &ErrorType::ConnectionClosed);
        assert_eq!(
            matches!(error.retry, RetryType::ReusedOnly),
            expected,
            "after {answer:?}"
        );
    }
}

#[tokio::test]
async fn a_reset_is_judged_like_a_close() {
    for (answer, expected) in [(&b""[..], true), (b"HTTP/1.1 2", false)] {
        let mut io = tokio_test_io(answer);
        io.fail_read = true;
        let mut session = HttpSession::new(Box::new(io));
        session.queue_request_header(&request("GET", &[])).unwrap();
        let error = session.read_response().await.unwrap_err();
        assert_eq!(error.etype(), &ErrorType::ConnectionClosed);
        assert_eq!(
            matches!(error.retry, RetryType::ReusedOnly),
            expected,
            "after {answer:?}"
        );
    }
}

use super::exchange::scripted as tokio_test_io;

#[tokio::test]
async fn the_plain_calls_tell_the_same() {
    let answer = b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n0\r\nX: y\r\n\r\n";
    let (_server, mut session) = answered("GET", answer).await;
    assert!(session.resp_header().is_none() && session.get_headers_raw_bytes().is_empty());
    assert_eq!(session.read_response().await.unwrap(), 22);
    assert_eq!(session.get_status().unwrap(), 103);
    session.read_response().await.unwrap();
    assert_eq!(
        (
            session.get_status().unwrap().as_u16(),
            session.get_header_bytes("x-a")
        ),
        (200, &b"b"[..])
    );
    assert_eq!(read_body(&mut session).await.unwrap(), b"hello");
    assert_eq!(session.body_bytes_received(), 5);
    assert_eq!(session.take_trailers().unwrap()["x"], "y");
    assert!(session.is_reusable());
}

#[tokio::test]
async fn reading_loses_nothing_when_it_is_given_up() {
    let answer =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n";
    let (mut server, client) = duplex(1);
    let mut session = HttpSession::new(Box::new(client));
    let (mut reader, mut writer) = tokio::io::split(&mut server);
    session.queue_request_header(&request("GET", &[])).unwrap();
    let serving = async {
        reader.read_exact(&mut [0; 27]).await.unwrap();
        writer.write_all(answer).await.unwrap();
    };
    let reading = async {
        poll_fn(|cx| session.poll_flush(cx)).await.unwrap();
        dropped_at_every_wait(async || session.read_response().await)
            .await
            .unwrap();
        let mut body = Vec::new();
        while let Some(piece) = dropped_at_every_wait(async || session.read_body_bytes().await)
            .await
            .unwrap()
        {
            body.extend_from_slice(&piece);
        }
        assert_eq!(body, b"hello");
    };
    tokio::join!(serving, reading);
    assert!(session.take_trailers().is_some() && session.is_reusable());
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_has_its_time() {
    let (mut server, mut session) =
        answered("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel").await;
    session.read_timeout = Some(Duration::from_secs(5));
    session.read_response().await.unwrap();
    session.read_body_bytes().await.unwrap();
    let start = tokio::time::Instant::now();
    let waiting = async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        server.write_all(b"lo").await.unwrap();
    };
    let (read, ()) = tokio::join!(session.read_body_bytes(), waiting);
    assert_eq!(read.unwrap().as_deref(), Some(&b"lo"[..]));
    let error = session.read_body_bytes().await.unwrap_err();
    assert_eq!(
        (error.etype(), error.esource()),
        (&ErrorType::ReadTimedout, &ErrorSource::Upstream)
    );
    assert_eq!(start.elapsed().as_secs(), 9);
    assert!(!session.is_reusable());
}

#[tokio::test]
async fn large_bodies_arrive_unharmed() {
    let body: Vec<u8> = (0..900_000_u32).map(|n| (n % 249) as u8).collect();
    for window in [999, 70_000, WIDE] {
        let (server, mut session) = pair(window);
        let (_reader, mut writer) = tokio::io::split(server);
        session.queue_request_header(&request("GET", &[])).unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let sending = async {
            writer.write_all(head.as_bytes()).await.unwrap();
            writer.write_all(&body).await.unwrap();
        };
        let reading = async {
            poll_fn(|cx| session.poll_flush(cx)).await.unwrap();
            session.read_response().await.unwrap();
            read_body(&mut session).await.unwrap()
        };
        let (read, ()) = tokio::join!(reading, sending);
        assert!(read == body, "window of {window}");
        assert!(session.is_reusable());
    }
}
