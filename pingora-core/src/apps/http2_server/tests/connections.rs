//! The beginning, idle time and end of connections.

use super::raw::{DATA, END_STREAM, GOAWAY, HEADERS, PING, Raw, frame};
use super::*;
use crate::protocols::http::v2::server::PREFACE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const IDLE: Duration = Duration::from_secs(60);

async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_client_with_prior_knowledge_is_served() {
    let (server, io) = start(with_h2c(|_| {}));
    let (mut requests, connection) = connect(io).await;
    for path in ["/a", "/b"] {
        let (status, body) = fetch(&mut requests, path).await;
        assert_eq!((status, &body[..]), (StatusCode::OK, path.as_bytes()));
    }
    drop(requests);
    connection.await.unwrap().unwrap();
    server.task.await.unwrap();
    assert_eq!(server.app.served.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn the_preface_may_arrive_in_pieces() {
    let mut all = PREFACE.to_vec();
    all.extend(frame(4, 0, 0, &[]));
    all.extend(super::raw::opening(1, "/a"));
    for cut in 1..=PREFACE.len() + 3 {
        let (_server, mut io) = start(with_h2c(|_| {}));
        io.write_all(&all[..cut]).await.unwrap();
        settle().await;
        io.write_all(&all[cut..]).await.unwrap();
        let (mut frames, mut head) = (vec![], [0; 9]);
        while io.read_exact(&mut head).await.is_ok() {
            let mut payload = vec![0; usize::from(head[2])];
            io.read_exact(&mut payload).await.unwrap();
            frames.push((head[3], head[4] & END_STREAM));
            if frames.contains(&(DATA, END_STREAM)) {
                break;
            }
        }
        assert!(
            frames.iter().any(|(kind, _)| *kind == HEADERS),
            "cut at {cut}: {frames:?}"
        );
    }
}

#[tokio::test]
async fn http1_is_spoken_on_the_same_port() {
    for request in [
        "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "PRIOR /a HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let (_server, mut io) = start(with_h2c(|_| {}));
        for byte in request.as_bytes() {
            io.write_all(&[*byte]).await.unwrap();
            settle().await;
        }
        let mut answer = [0; 12];
        io.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200", "{request}");
    }
}

#[tokio::test]
async fn without_h2c_a_preface_is_a_bad_request() {
    let (server, mut io) = start(App::default());
    io.write_all(&PREFACE).await.unwrap();
    let mut answer = [0; 9];
    io.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 ");
    assert_eq!(server.app.served.load(Ordering::SeqCst), 0);
    assert_eq!(server.app.refused.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn half_a_preface_is_not_waited_for_without_end() {
    let (server, mut io) = start(with_h2c(|_| {}));
    io.write_all(&PREFACE[..20]).await.unwrap();
    let mut rest = vec![];
    io.read_to_end(&mut rest).await.unwrap();
    server.task.await.unwrap();
    let refused = server.app.refused.lock().unwrap();
    assert_eq!(refused.len(), 1, "{refused:?}");
}

#[tokio::test]
async fn a_shutdown_says_goodbye_and_lets_what_is_under_way_finish() {
    let (server, io) = start(with_h2c(|_| {}));
    let (mut requests, connection) = connect(io).await;
    let waits = ask(&mut requests, "/wait");
    server.app.waiting.notified().await;
    server.shutdown.send(true).unwrap();
    settle().await;
    let late = requests.clone().ready().await;
    let late = match late {
        Ok(mut late) => late.send_request(get("/late"), true).map(|_| ()),
        Err(error) => Err(error),
    };
    assert!(late.unwrap_err().is_go_away());
    assert!(!server.task.is_finished());
    server.app.go_on.notify_one();
    assert_eq!(read(waits.await.unwrap()).await.0, StatusCode::OK);
    drop(requests);
    connection.await.unwrap().unwrap();
    server.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_closes_idle_connections_whether_they_answer_or_not() {
    for answers in [true, false] {
        let (server, io) = start(with_h2c(|_| {}));
        let mut raw = Raw::begin(io).await;
        raw.send(&super::raw::opening(1, "/a")).await;
        assert!(raw.next_of(DATA).await.is_some());
        settle().await;
        server.shutdown.send(true).unwrap();
        let goodbye = raw.next_of(GOAWAY).await.unwrap();
        assert_eq!(
            (goodbye.code(), &goodbye.payload[..4]),
            (0, &[0x7f, 0xff, 0xff, 0xff][..])
        );
        if answers {
            let ping = raw.next_of(PING).await.unwrap();
            raw.send(&frame(PING, 1, 0, &ping.payload)).await;
            let last = raw.next_of(GOAWAY).await.unwrap();
            assert_eq!(&last.payload[..4], [0, 0, 0, 1]);
        }
        while raw.next().await.is_some() {}
        server.task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_streams_is_closed_in_time() {
    let begun = tokio::time::Instant::now();
    let (server, io) = start(with_h2c(|_| {}));
    let (mut requests, connection) = connect(io).await;
    assert_eq!(fetch(&mut requests, "/a").await.0, StatusCode::OK);
    connection.await.unwrap().unwrap();
    server.task.await.unwrap();
    let idle = begun.elapsed();
    assert!(
        (IDLE..=IDLE * 2 + Duration::from_secs(2)).contains(&idle),
        "{idle:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_idle_time_can_be_set_and_lifted() {
    let second = Duration::from_secs(1);
    let (server, io) = start(with_h2c(|o| o.h2_idle_timeout = Some(second)));
    let begun = tokio::time::Instant::now();
    let (_requests, connection) = connect(io).await;
    connection.await.unwrap().unwrap();
    server.task.await.unwrap();
    assert!(begun.elapsed() <= second * 4);

    let (server, io) = start(with_h2c(|o| o.h2_idle_timeout = None));
    let (mut requests, _connection) = connect(io).await;
    tokio::time::sleep(second * 100_000).await;
    assert_eq!(fetch(&mut requests, "/a").await.0, StatusCode::OK);
    assert!(!server.task.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_pinged_and_one_that_answers_is_kept() {
    let (server, io) = start(with_h2c(|_| {}));
    let mut raw = Raw::begin(io).await;
    raw.send(&super::raw::opening(1, "/wait")).await;
    for _ in 0..5 {
        let ping = raw.next_of(PING).await.unwrap();
        assert_eq!(ping.flags, 0);
        raw.send(&frame(PING, 1, 0, &ping.payload)).await;
    }
    server.app.go_on.notify_one();
    assert_eq!(raw.next_of(HEADERS).await.unwrap().status(), Some(200));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_no_ping_is_given_up_with_its_streams() {
    let (server, io) = start(with_h2c(|_| {}));
    let mut raw = Raw::begin(io).await;
    raw.send(&super::raw::opening(1, "/wait")).await;
    assert!(raw.next_of(PING).await.is_some());
    assert!(raw.next().await.is_none());
    server.task.await.unwrap();
    assert_eq!(
        server.app.ended.load(Ordering::SeqCst),
        1,
        "its last phases ran"
    );
}

#[tokio::test]
async fn a_connection_carries_as_many_requests_as_it_may() {
    let (server, io) = start(with_h2c(|o| o.keepalive_request_limit = Some(2)));
    let (mut requests, connection) = connect(io).await;
    for path in ["/a", "/b"] {
        assert_eq!(fetch(&mut requests, path).await.0, StatusCode::OK);
    }
    connection.await.unwrap().unwrap();
    server.task.await.unwrap();
    assert_eq!(server.app.served.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_connection_grows_no_older_than_it_may() {
    let age = Duration::from_secs(90);
    for idle_timeout in [None, Some(Duration::from_secs(60))] {
        let (server, io) = start(with_h2c(|o| {
            o.set_max_connection_age(Some(age));
            o.h2_idle_timeout = idle_timeout;
        }));
        let begun = tokio::time::Instant::now();
        let (mut requests, connection) = connect(io).await;
        let waits = ask(&mut requests, "/wait");
        // New streams come all the time, but only up to the end.
        while fetch_or_end(&mut requests, "/a").await {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        let seconds = begun.elapsed().as_secs();
        assert!(
            (90..=95).contains(&seconds),
            "{seconds} s, {idle_timeout:?}"
        );
        server.app.go_on.notify_one();
        assert_eq!(read(waits.await.unwrap()).await.0, StatusCode::OK);
        drop(requests);
        connection.await.unwrap().unwrap();
        server.task.await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_that_fails_leaves_the_others_alone() {
    let (server, io) = start(with_h2c(|_| {}));
    let (mut requests, connection) = connect(io).await;
    let waits = ask(&mut requests, "/wait");
    let failed = ask(&mut requests, "/panic").await.unwrap_err();
    assert_eq!(failed.reason(), Some(Reason::INTERNAL_ERROR));
    let mut wrong = get("/a");
    wrong
        .headers_mut()
        .insert("host", "example.org".parse().unwrap());
    let refused = requests.send_request(wrong, true).unwrap().0.await.unwrap();
    assert_eq!(read(refused).await.0, StatusCode::BAD_REQUEST);
    server.app.go_on.notify_one();
    assert_eq!(read(waits.await.unwrap()).await.0, StatusCode::OK);
    drop(requests);
    connection.await.unwrap().unwrap();
    server.task.await.unwrap();
    let seen = server.app.refused.lock().unwrap();
    assert_eq!(seen.len(), 1, "the application gets to see what is refused");
}

/// RFC 9113 section 8.1.1: a request that the framing refuses costs only its stream.
#[tokio::test]
async fn a_malformed_request_is_reset_and_leaves_the_others_alone() {
    let good = [(":method", "GET"), (":scheme", "http"), (":authority", "a")];
    let rows: &[(&str, Vec<(&str, &str)>)] = &[
        ("no path", good.to_vec()),
        (
            "a field of the connection",
            [&good[..], &[(":path", "/"), ("connection", "close")]].concat(),
        ),
        (
            "a path with a space",
            [&good[..], &[(":path", "/a b")]].concat(),
        ),
        (
            "a status",
            [&good[..], &[(":path", "/"), (":status", "200")]].concat(),
        ),
        (
            "a pseudo-field twice",
            [&good[..], &[(":path", "/"), (":path", "/")]].concat(),
        ),
        (
            "a pseudo-field after a field",
            [&good[..], &[("a", "b"), (":path", "/")]].concat(),
        ),
        (
            "a bad length",
            [&good[..], &[(":path", "/"), ("content-length", "x")]].concat(),
        ),
        (
            "a length and no body",
            [&good[..], &[(":path", "/"), ("content-length", "5")]].concat(),
        ),
    ];
    let (server, io) = start(with_h2c(|_| {}));
    let mut raw = Raw::begin(io).await;
    for (number, (name, fields)) in rows.iter().enumerate() {
        let stream = number as u32 * 4 + 1;
        let block = super::raw::fields(fields);
        raw.send(&frame(HEADERS, 5, stream, &block)).await;
        let reset = raw.next_of(3).await.unwrap();
        assert_eq!((reset.stream, reset.code()), (stream, 1), "{name}");
        raw.send(&super::raw::opening(stream + 2, "/a")).await;
        let answer = raw.next_of(HEADERS).await.unwrap();
        assert_eq!(
            (answer.stream, answer.status()),
            (stream + 2, Some(200)),
            "after {name}"
        );
    }
    assert_eq!(server.app.served.load(Ordering::SeqCst), rows.len());
}

#[tokio::test]
async fn a_connection_ends_after_its_streams() {
    let (server, io) = start(with_h2c(|_| {}));
    let (mut requests, connection) = connect(io).await;
    let _waits = ask(&mut requests, "/wait");
    server.app.waiting.notified().await;
    connection.abort();
    server.task.await.unwrap();
    assert_eq!(server.app.ended.load(Ordering::SeqCst), 1);
}

/// RFC 9112 section 9.6: data that a client sends while it receives the last response must not be
/// answered by a TCP reset, which would cut that response short.
#[tokio::test(start_paused = true)]
async fn a_client_that_takes_its_last_response_is_read_from_until_it_is_done() {
    // How often it sends, once a second, before it leaves or falls silent, and for how long it is read
    // from.
    for (sends, leaves, lives) in [(10, true, 10), (100, false, 30), (0, false, 2)] {
        let (server, io) = start(with_h2c(|o| o.keepalive_request_limit = Some(1)));
        let mut raw = Raw::begin(io).await;
        raw.send(&super::raw::opening(1, "/a")).await;
        // The shutdown has two steps (RFC 9113 section 6.8).
        let ping = raw.next_of(PING).await.unwrap();
        raw.send(&frame(PING, 1, 0, &ping.payload)).await;
        while raw.next().await.is_some() {}
        let begun = tokio::time::Instant::now();
        for _ in 0..sends {
            raw.send(&frame(8, 0, 0, &[0, 0, 0, 1])).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            if server.task.is_finished() {
                break;
            }
        }
        if leaves {
            drop(raw);
        }
        server.task.await.unwrap();
        let took = begun.elapsed().as_secs();
        assert!((lives..=lives + 1).contains(&took), "{sends}: {took} s");
    }
}
