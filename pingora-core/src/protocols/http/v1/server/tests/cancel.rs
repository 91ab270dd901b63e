//! Futures that are dropped at every await point: nothing is lost or duplicated.

use super::*;

#[tokio::test]
async fn reading_loses_nothing() {
    let sent =
        b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n\
        5\r\nhello\r\n6\r\n world\r\n0\r\nX-T: 1\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
    let (answer, ()) = talk(1, sent, async |mut session| {
        let read = dropped_at_every_wait(async || session.read_request().await).await;
        read.unwrap().unwrap();
        let mut body = Vec::new();
        loop {
            let piece = dropped_at_every_wait(async || session.read_body_bytes().await).await;
            let Some(piece) = piece.unwrap() else { break };
            body.extend_from_slice(&piece);
        }
        assert_eq!(body, b"hello world");
        assert_eq!(session.take_trailers().unwrap()["x-t"], "1");
        answer_empty(&mut session).await;
        let mut session = next(session).await.unwrap();
        let read = dropped_at_every_wait(async || session.read_request().await).await;
        read.unwrap().unwrap();
        assert_eq!(session.req_header().uri.path(), "/2");
    })
    .await;
    assert_eq!(
        answer.matches("100 Continue\r\n\r\n").count(),
        1,
        "{answer}"
    );
}

#[tokio::test]
async fn writing_keeps_what_it_accepted() {
    let (answer, ()) = talk(1, GET, async |mut session| {
        session.read_request().await.unwrap().unwrap();
        let once = async |session: &mut HttpSession, step: u32| match step {
            0 => session.write_response_header(header(200, &[])).await,
            1 => session.write_body(b"hello").await.map(|_| ()),
            2 => session.write_body(b" world").await.map(|_| ()),
            _ => session.finish_body().await.map(|_| ()),
        };
        for step in 0..4 {
            let mut writing = pin!(once(&mut session, step));
            let polled = std::future::poll_fn(|cx| Poll::Ready(writing.as_mut().poll(cx))).await;
            assert!(polled.is_pending(), "a window of one byte");
        }
        assert!(session.has_pending_proxy_tasks());
        let flushed = dropped_at_every_wait(async || session.write_proxy_tasks().await).await;
        assert!(flushed.unwrap(), "complete");
        assert!(next(session).await.is_some());
    })
    .await;
    let expected = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn a_dropped_permission_is_still_given_once() {
    let sent = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    let (client, server) = duplex(1);
    let (reader, mut writer) = tokio::io::split(client);
    let mut session = HttpSession::new(Box::new(server));
    let serving = async {
        session.read_request().await.unwrap().unwrap();
        let piece = dropped_at_every_wait(async || session.read_body_bytes().await).await;
        assert!(piece.unwrap().is_some());
        read_body(&mut session).await.unwrap();
        answer_empty(&mut session).await;
        session.shutdown().await;
        drop(session);
    };
    let mut reader = reader;
    let talking = async {
        writer.write_all(sent).await.unwrap();
        let mut permission = [0; 25];
        reader.read_exact(&mut permission).await.unwrap();
        assert_eq!(&permission, b"HTTP/1.1 100 Continue\r\n\r\n");
        writer.write_all(b"ok").await.unwrap();
        received(reader).await
    };
    let (answer, ()) = tokio::join!(talking, serving);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn draining_may_be_taken_up_again() {
    let sent = [
        &b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n"[..],
        &[b'x'; 500],
        GET,
    ]
    .concat();
    let (_, requests) = talk(1, &sent, async |mut session| {
        session.read_request().await.unwrap().unwrap();
        dropped_at_every_wait(async || session.drain_request_body().await)
            .await
            .unwrap();
        assert!(session.is_body_done());
        answer_empty(&mut session).await;
        echo(next(session).await.unwrap()).await
    })
    .await;
    assert_eq!(requests, 1);
}
