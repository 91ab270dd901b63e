//! Time limits, on a clock that only advances when all tasks wait.

use super::*;
use pingora_error::{ErrorSource, ErrorType};
use tokio::time::{Instant, sleep};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Sends one byte each `pause`, for as long as the other side reads.
async fn drip(mut client: impl AsyncWriteExt + Unpin, bytes: &[u8], pause: Duration) {
    for byte in bytes {
        if client.write_all(&[*byte]).await.is_err() {
            return;
        }
        sleep(pause).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_dripped_byte_never_buys_time_for_the_head() {
    let (client, mut session) = pair(WIDE);
    session.set_header_timeout(Some(seconds(10)));
    let start = Instant::now();
    let endless = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 100]].concat();
    let error = tokio::select! {
        read = session.read_request() => read.unwrap_err(),
        () = drip(client, &endless, seconds(4)) => panic!("never timed out"),
    };
    assert_eq!(
        (error.etype(), error.esource()),
        (&ErrorType::ReadTimedout, &ErrorSource::Downstream)
    );
    assert_eq!(start.elapsed().as_secs(), 10);
    assert_eq!(session.fault().unwrap().status(), 408);
    assert!(!session.will_keepalive());
    let raw = session.get_headers_raw_bytes();
    assert_eq!(raw, &b"GET"[..], "the log wants to know what was read");
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_not_an_error() {
    let (_client, mut session) = pair(WIDE);
    let start = Instant::now();
    assert_eq!(session.read_request().await.unwrap(), None);
    assert_eq!(start.elapsed(), HEADER_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_head_in_time_is_no_matter_how_slow() {
    let (client, mut session) = pair(WIDE);
    session.set_header_timeout(Some(seconds(60)));
    let (read, ()) = tokio::join!(session.read_request(), drip(client, GET, seconds(2)));
    read.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn each_piece_of_a_body_has_its_time() {
    let (mut client, mut session) =
        asked(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").await;
    session.set_read_timeout(Some(seconds(10)));
    let start = Instant::now();
    let read = async {
        (
            session.read_body_bytes().await,
            read_body(&mut session).await,
        )
    };
    let (first, rest) = tokio::join!(read, async {
        sleep(seconds(9)).await;
        client.write_all(b"ab").await.unwrap();
        sleep(seconds(9)).await;
        client.write_all(b"c").await.unwrap();
    })
    .0;
    assert_eq!(first.unwrap().as_deref(), Some(&b"ab"[..]));
    let error = rest.unwrap_err();
    assert_eq!(error.etype(), &ErrorType::ReadTimedout);
    assert_eq!(start.elapsed().as_secs(), 28);
    assert_eq!(session.fault().unwrap().status(), 408);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_has_its_time_too() {
    let (mut client, server) = duplex(128);
    let mut session = HttpSession::new(Box::new(server));
    client.write_all(GET).await.unwrap();
    session.read_request().await.unwrap();
    session.set_write_timeout(Some(seconds(7)));
    let start = Instant::now();
    session
        .write_response_header(header(200, &[]))
        .await
        .unwrap();
    let error = session.write_body(&[b'x'; 1000]).await.unwrap_err();
    assert_eq!(
        (error.etype(), error.esource()),
        (&ErrorType::WriteTimedout, &ErrorSource::Downstream)
    );
    assert_eq!(start.elapsed().as_secs(), 7);
    assert!(
        !session.will_keepalive() && !session.wants_flush(),
        "nothing is left to wait for"
    );
    assert!(session.reuse().await.unwrap().is_none());
    assert!(start.elapsed().as_secs() < 10);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_measured_by_the_rate() {
    let (mut client, server) = duplex(64);
    let mut session = HttpSession::new(Box::new(server));
    client.write_all(GET).await.unwrap();
    session.read_request().await.unwrap();
    session.set_min_send_rate(Some(100));
    session
        .queue_response_header(header(200, &[("Content-Length", "1000")]), false)
        .unwrap();
    session.queue_body(Bytes::from(vec![b'x'; 1000])).unwrap();
    let limit = session.get_write_timeout().unwrap();
    assert!((10.0..12.0).contains(&limit.as_secs_f64()), "{limit:?}");
    let start = Instant::now();
    session.write_proxy_tasks().await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), limit.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_body_nobody_wants_has_its_time() {
    // A client that keeps sending, and one that falls silent after this many bytes.
    for (bytes, least, most) in [(500, 35, 36), (4, 10, 12)] {
        let (mut client, mut session) =
            asked(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n").await;
        let start = Instant::now();
        answer_empty(&mut session).await;
        let (reader, writer) = tokio::io::split(&mut client);
        let serving = async {
            let kept = next(session).await;
            (kept, start.elapsed().as_secs())
        };
        let pause = Duration::from_millis(500);
        let body = vec![b'x'; bytes];
        let ((kept, took), answer, ()) =
            tokio::join!(serving, received(reader), drip(writer, &body, pause));
        assert!(kept.is_none() && answer.starts_with("HTTP/1.1 200"));
        // 5 s to drain the body; then 30 s for the client to finish, 5 s of which may be silent.
        assert!((least..=most).contains(&took), "{bytes} bytes: {took} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_was_given_up_leaves_no_deadline_behind() {
    let (mut client, server) = duplex(64);
    let mut session = HttpSession::new(Box::new(server));
    let upload = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n";
    client.write_all(upload).await.unwrap();
    session.read_request().await.unwrap();
    let given_up = tokio::time::timeout(seconds(10), session.read_body_bytes()).await;
    assert!(given_up.is_err());
    sleep(seconds(100)).await;
    let header = header(200, &[("Content-Length", "1000")]);
    let (written, ()) = tokio::join!(
        async {
            session.write_response_header(header).await?;
            session.write_body(&[b'x'; 1000]).await
        },
        async {
            sleep(seconds(10)).await;
            client.read_exact(&mut [0; 1039]).await.unwrap();
        }
    );
    assert_eq!(
        written.unwrap(),
        Some(1000),
        "only the deadline of the write itself counts"
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_has_its_time() {
    let (_client, mut session) = asked(GET).await;
    answer_empty(&mut session).await;
    let mut session = next(session).await.unwrap();
    let start = Instant::now();
    let at = start + seconds(30);
    std::future::poll_fn(|cx| session.poll_keepalive(cx, at, Instant::now())).await;
    assert_eq!(start.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn endless_limits_are_no_limits() {
    let (client, mut session) = pair(WIDE);
    session.set_header_timeout(Some(Duration::MAX));
    session.set_read_timeout(Some(Duration::MAX));
    session.set_write_timeout(Some(Duration::MAX));
    session.set_total_drain_timeout(Some(Duration::MAX));
    let upload = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab";
    let serving = async {
        session.read_request().await.unwrap().unwrap();
        answer_empty(&mut session).await;
        next(session).await.is_some()
    };
    let (kept, ()) = tokio::join!(serving, drip(client, upload, seconds(1)));
    assert!(kept);
}
