//! The shell against the `h2` crate, over in-memory connections, and against itself.

use super::*;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use std::future::poll_fn;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// Answers every request with its own body and trailers.
async fn echo(io: DuplexStream) {
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(50).enable_connect_protocol();
    let mut connection: server::Connection<_, Bytes> = builder.handshake(io).await.unwrap();
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answer(request, respond));
    }
}

async fn answer(mut request: server::Incoming, mut respond: server::SendResponse) {
    if let Some(fault) = request.head.fault {
        let response = Response::builder().status(fault.status).body(()).unwrap();
        let _ = respond.send_response(response, true);
        return;
    }
    let empty = request.body.is_end_stream();
    let mut response = Response::new(());
    *response.headers_mut() = request.head.fields.clone();
    response.headers_mut().remove("content-length");
    let Ok(mut send) = respond.send_response(response, empty) else {
        return;
    };
    if empty {
        return;
    }
    while let Some(Ok(mut data)) = poll_fn(|cx| request.body.poll_data(cx)).await {
        request.body.release(data.len());
        while !data.is_empty() {
            let Some(room) = poll_fn(|cx| send.poll_capacity(cx)).await else {
                return;
            };
            let piece = data.split_to(room.min(data.len()));
            if send.send_data(piece, false).is_err() {
                return;
            }
        }
    }
    match poll_fn(|cx| request.body.poll_trailers(cx)).await {
        Ok(Some(trailers)) => drop(send.send_trailers(trailers)),
        Ok(None) => drop(send.send_data(Bytes::new(), true)),
        Err(_) => {}
    }
}

fn post() -> Request<()> {
    Request::post("https://a.test/x?y")
        .header("x-a", "b")
        .body(())
        .unwrap()
}

fn trailers() -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert("x-sum", HeaderValue::from_static("1"));
    map
}

/// Their client, our server: many concurrent streams, with bodies larger than every window.
#[tokio::test]
async fn a_client_of_another_library_gets_its_bodies_back() {
    let (near, far) = duplex(100_000);
    tokio::spawn(echo(far));
    let (requests, connection) = h2::client::handshake(near).await.unwrap();
    tokio::spawn(connection);
    let mut tasks = vec![];
    for n in 0..40_usize {
        let mut requests = requests.clone().ready().await.unwrap();
        tasks.push(tokio::spawn(async move {
            let (response, mut send) = requests.send_request(post(), false).unwrap();
            let body = Bytes::from(vec![n as u8; n * 7001]);
            let expected = body.clone();
            tokio::spawn(async move {
                send.send_data(body, false).unwrap();
                send.send_trailers(trailers()).unwrap();
            });
            let response = response.await.unwrap();
            assert_eq!(response.headers()["x-a"], "b");
            let mut body = response.into_body();
            let mut got = vec![];
            while let Some(data) = body.data().await {
                let data = data.unwrap();
                body.flow_control().release_capacity(data.len()).unwrap();
                got.extend_from_slice(&data);
            }
            assert_eq!(got, expected);
            assert_eq!(body.trailers().await.unwrap(), Some(trailers()));
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

async fn exchange(mut requests: client::SendRequest, size: usize) -> Vec<u8> {
    let (mut response, mut send) = requests.send_request(post(), false).unwrap();
    let mut body = Bytes::from(vec![7; size]);
    tokio::spawn(async move {
        while !body.is_empty() {
            let Some(room) = poll_fn(|cx| send.poll_capacity(cx)).await else {
                return;
            };
            let piece = body.split_to(room.min(body.len()));
            send.send_data(piece, false).unwrap();
        }
        send.send_trailers(trailers()).unwrap();
    });
    let answer = poll_fn(|cx| response.poll_answer(cx)).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    let mut body = answer.body.unwrap();
    let mut got = vec![];
    while let Some(data) = poll_fn(|cx| body.poll_data(cx)).await {
        let data = data.unwrap();
        body.release(data.len());
        got.extend_from_slice(&data);
    }
    let fields = poll_fn(|cx| body.poll_trailers(cx)).await.unwrap();
    assert_eq!(fields, Some(trailers()));
    got
}

/// Our client against our server, and against theirs.
#[tokio::test]
async fn our_client_gets_its_bodies_back() {
    for theirs in [false, true] {
        let (near, far) = duplex(100_000);
        if theirs {
            tokio::spawn(their_echo(far));
        } else {
            tokio::spawn(echo(far));
        }
        let (requests, connection) = client::handshake(near).await.unwrap();
        let driver = tokio::spawn(connection);
        let mut tasks = vec![];
        for n in 0..60 {
            let requests = requests.clone();
            tasks.push(tokio::spawn(exchange(requests, n * 5003)));
        }
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await.unwrap().len(), n * 5003);
        }
        drop(requests);
        driver.await.unwrap().unwrap();
    }
}

async fn their_echo(io: DuplexStream) {
    let mut connection = h2::server::handshake(io).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        tokio::spawn(async move {
            let mut body = request.into_body();
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            while let Some(Ok(data)) = body.data().await {
                let _ = body.flow_control().release_capacity(data.len());
                send.send_data(data, false).unwrap();
            }
            match body.trailers().await {
                Ok(Some(trailers)) => send.send_trailers(trailers).unwrap(),
                _ => send.send_data(Bytes::new(), true).unwrap(),
            }
        });
    }
}

/// RFC 9113 section 6.8.
#[tokio::test]
async fn a_server_that_drains_serves_what_is_under_way() {
    let (near, far) = duplex(100_000);
    let (mut requests, connection) = h2::client::handshake(near).await.unwrap();
    let client = tokio::spawn(connection);
    let mut server = server::handshake(far).await.unwrap();
    let (response, _) = requests.send_request(post(), true).unwrap();
    let (request, mut respond) = server.accept().await.unwrap().unwrap();
    server.graceful_shutdown();
    let driver = tokio::spawn(async move { server.accept().await.is_none() });
    tokio::time::sleep(Duration::from_millis(20)).await;
    respond.send_response(Response::new(()), true).unwrap();
    drop(request);
    assert_eq!(response.await.unwrap().status(), 200);
    assert!(driver.await.unwrap());
    client.await.unwrap().unwrap();
}

#[tokio::test]
async fn informational_heads_come_before_the_final_one() {
    let (near, far) = duplex(100_000);
    tokio::spawn(async move {
        let mut connection = server::handshake(far).await.unwrap();
        while let Some(Ok((_request, mut respond))) = connection.accept().await {
            let early = Response::builder().status(103).body(()).unwrap();
            respond.send_informational(early).unwrap();
            respond.send_response(Response::new(()), true).unwrap();
        }
    });
    let (mut requests, connection) = client::handshake(near).await.unwrap();
    tokio::spawn(connection);
    let (mut response, _send) = requests.send_request(post(), true).unwrap();
    let early = poll_fn(|cx| response.poll_answer(cx)).await.unwrap();
    assert_eq!((early.status.as_u16(), early.body.is_none()), (103, true));
    let answer = poll_fn(|cx| response.poll_answer(cx)).await.unwrap();
    let body = answer.body.unwrap();
    assert!(answer.status == 200 && body.is_end_stream());
}

#[tokio::test]
async fn a_reset_reaches_both_halves() {
    let (near, far) = duplex(100_000);
    let (mut requests, connection) = client::handshake(near).await.unwrap();
    tokio::spawn(connection);
    let mut server = server::handshake(far).await.unwrap();
    let (_response, mut send) = requests.send_request(post(), false).unwrap();
    let (mut request, mut respond) = server.accept().await.unwrap().unwrap();
    tokio::spawn(async move { while server.accept().await.is_some() {} });
    send.send_reset(crate::Reason::CANCEL);
    let reason = poll_fn(|cx| respond.poll_reset(cx)).await.unwrap();
    assert_eq!(reason, crate::Reason::CANCEL);
    let read = poll_fn(|cx| request.body.poll_data(cx)).await;
    let failure = read.unwrap().unwrap_err();
    assert!(failure.is_reset() && failure.is_remote());
    assert!(respond.send_response(Response::new(()), true).is_err());
}

#[tokio::test]
async fn a_ping_is_answered() {
    let (near, far) = duplex(100_000);
    tokio::spawn(echo(far));
    let (_requests, mut connection) = client::handshake(near).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    tokio::spawn(connection);
    pings.send_ping().unwrap();
    assert!(pings.send_ping().is_err(), "one at a time");
    poll_fn(|cx| pings.poll_pong(cx)).await.unwrap();
    pings.send_ping().unwrap();
}

/// RFC 9113 section 3.4.
#[tokio::test]
async fn who_speaks_something_else_is_no_client() {
    let (mut near, far) = duplex(1000);
    near.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    assert!(server::handshake(far).await.is_err());
    let (near, far) = duplex(1000);
    drop(near);
    let gone = server::handshake(far).await.unwrap_err();
    assert!(gone.is_io());
}

/// Input is split at every position, and output is written byte by byte.
#[tokio::test]
async fn a_connection_of_single_bytes_works() {
    let (near, middle) = duplex(1);
    let (other, far) = duplex(1);
    tokio::spawn(async move {
        let (mut a, mut b) = (middle, other);
        tokio::io::copy_bidirectional(&mut a, &mut b).await
    });
    tokio::spawn(echo(far));
    let (requests, connection) = client::handshake(near).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(exchange(requests, 3000).await.len(), 3000);
}

/// If a connection is gone, all waiters are told.
#[tokio::test]
async fn the_end_of_a_connection_reaches_its_streams() {
    let (near, mut far) = duplex(1000);
    let (mut requests, connection) = client::handshake(near).await.unwrap();
    let driver = tokio::spawn(connection);
    let (response, mut send) = requests.send_request(post(), false).unwrap();
    let waits = tokio::spawn(response);
    let mut first = [0; 24];
    far.read_exact(&mut first).await.unwrap();
    drop(far);
    let failure = waits.await.unwrap().unwrap_err();
    assert!(failure.is_io(), "{failure}");
    assert!(poll_fn(|cx| send.poll_reset(cx)).await.unwrap_err().is_io());
    assert!(requests.clone().ready().await.is_err());
    let _ = driver.await.unwrap();
}

/// RFC 9113 section 6.5.3: both sides report SETTINGS_TIMEOUT to a peer that never acknowledges
/// SETTINGS.
#[tokio::test(start_paused = true)]
async fn settings_that_are_not_acknowledged_end_the_connection() {
    let hello = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let (near, mut far) = duplex(1000);
    let (mut requests, connection) = client::handshake(near).await.unwrap();
    let driver = tokio::spawn(connection);
    let (response, _send) = requests.send_request(post(), true).unwrap();
    far.write_all(&hello).await.unwrap();
    let begun = tokio::time::Instant::now();
    for failure in [
        response.await.unwrap_err(),
        driver.await.unwrap().unwrap_err(),
    ] {
        assert_eq!(failure.reason(), Some(crate::Reason::SETTINGS_TIMEOUT));
        assert!(failure.is_library());
    }
    assert_eq!(begun.elapsed().as_secs(), 30);
    let mut written = vec![];
    far.read_to_end(&mut written).await.unwrap();
    assert!(written.windows(4).any(|code| code == [0, 0, 0, 4]));

    let (mut near, far) = duplex(1000);
    near.write_all(crate::frame::PREFACE).await.unwrap();
    near.write_all(&hello).await.unwrap();
    let mut server = server::handshake(far).await.unwrap();
    let failure = server.accept().await.unwrap().unwrap_err();
    assert_eq!(failure.reason(), Some(crate::Reason::SETTINGS_TIMEOUT));
}
