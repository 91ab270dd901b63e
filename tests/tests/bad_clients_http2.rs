//! Slow HTTP/2 clients: each kind of waiting has a limit, and the end of a stream is not the end of
//! its connection.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use pingora::apps::HttpServerOptions;
use pingora::prelude::*;
use pingora::server::configuration::ServerConf;
use pingora_tests::http2::frames::{self, ACK, END_STREAM, Frame, PREFACE, kind};
use pingora_tests::http2::{Http2Client, RawHttp2};
use pingora_tests::{Origin, PATIENCE, TestServer, eventually, proxy_with};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The time limit for clients.
const LIMIT: Duration = Duration::from_millis(500);

struct Impatient(SocketAddr);

#[async_trait]
impl ProxyHttp for Impatient {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn early_request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<()> {
        session.set_read_timeout(Some(LIMIT));
        session.set_write_timeout(Some(LIMIT));
        Ok(())
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

async fn impatient(origin: &Origin, adjust: impl FnOnce(&mut HttpServerOptions)) -> TestServer {
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    options.set_header_timeout(Some(LIMIT));
    options.h2_idle_timeout = Some(LIMIT);
    adjust(&mut options);
    proxy_with(
        ServerConf::default(),
        Impatient(origin.address()),
        |service| {
            service.app_logic_mut().unwrap().server_options = Some(options);
        },
    )
    .await
}

fn get(stream: u32, path: &str) -> Frame {
    Frame::headers(stream, frames::request("GET", path), true)
}

async fn is_served(client: &mut RawHttp2, stream: u32, what: &str) {
    client.send([get(stream, "/status/204")]).await;
    let answer = client.answer(stream).await;
    assert_eq!(answer.statuses, [204], "after {what}: {answer:?}");
}

#[tokio::test]
async fn a_client_that_never_introduces_itself_is_put_out() {
    let origin = Origin::well_behaved().await;
    let server = impatient(&origin, |_| {}).await;
    for preface in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM", PREFACE] {
        let begun = Instant::now();
        let mut client = RawHttp2::silent(server.address()).await;
        client.send_bytes(preface).await;
        let ended = client.ended_within(PATIENCE).await;
        assert!(ended, "{preface:?}");
        assert!(begun.elapsed() >= LIMIT / 2, "{preface:?}");
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn frames_that_drip_are_waited_for_a_limited_time() {
    let origin = Origin::well_behaved().await;
    let server = impatient(&origin, |_| {}).await;
    let head = frames::request("GET", "/dripped");
    let rows: [(&str, Vec<u8>); 3] = [
        (
            "half a head",
            Frame::headers(1, head.clone(), true).encode(),
        ),
        (
            "a head without end",
            Frame::new(kind::HEADERS, END_STREAM, 1, head).encode(),
        ),
        ("a frame without end", vec![0, 0x10, 0, 0xee, 0, 0, 0, 0, 0]),
    ];
    for (what, bytes) in rows {
        let mut client = RawHttp2::client(server.address(), &[]).await;
        let whole = what != "half a head";
        let sent = if whole {
            &bytes[..]
        } else {
            &bytes[..bytes.len() / 2]
        };
        client.send_bytes(sent).await;
        assert!(client.ended_within(PATIENCE).await, "{what}");
    }
    assert_eq!(origin.connections(), 0);
}

/// As over HTTP/1, no byte puts the end off.
#[tokio::test]
async fn a_head_that_drips_ends_its_connection_however_steadily_it_does() {
    let origin = Origin::well_behaved().await;
    let server = impatient(&origin, |_| {}).await;
    let long = [
        frames::request("GET", "/dripped"),
        frames::literal("x", "y".repeat(10_000)),
    ];
    let bytes = Frame::headers(1, long.concat(), true).encode();
    for introduced in [false, true] {
        let mut client = if introduced {
            RawHttp2::client(server.address(), &[]).await
        } else {
            RawHttp2::silent(server.address()).await
        };
        let sent = if introduced { &bytes[..] } else { PREFACE };
        let mut ended = false;
        for byte in sent.iter().take(1000) {
            // Little enough for each of them, and too much for all.
            ended = client.try_send_bytes([*byte]).await.is_err()
                || client.ended_within(LIMIT / 10).await;
            if ended {
                break;
            }
        }
        assert!(ended, "introduced: {introduced}");
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_body_that_stalls_ends_its_stream_alone() {
    let origin = Origin::well_behaved().await;
    let server = impatient(&origin, |_| {}).await;
    let mut client = RawHttp2::client(server.address(), &[]).await;
    client
        .send([
            Frame::headers(1, frames::request("POST", "/echo"), false),
            Frame::data(1, "begun", false),
        ])
        .await;
    let answer = client.answer(1).await;
    assert!(
        answer.statuses == [408] || answer.reset.is_some(),
        "{answer:?}"
    );
    assert!(!answer.closed, "{answer:?}");
    is_served(&mut client, 3, "a body that stalls").await;
    eventually("the origin hears of it", || origin.aborted() == 1).await;
    let requests = origin.requests();
    let complete = requests
        .iter()
        .any(|r| r.method() == "POST" && r.is_complete());
    assert!(!complete);
}

#[tokio::test]
async fn a_window_that_stays_closed_ends_its_stream_alone() {
    let origin = Origin::well_behaved().await;
    let server = impatient(&origin, |_| {}).await;
    let mut client = RawHttp2::client(server.address(), &[(4, 100)]).await;
    // More than all system buffers can hold.
    client.send([get(1, "/length/20000000")]).await;
    let answer = client.answer(1).await;
    assert_eq!(answer.statuses, [200]);
    assert!(answer.reset.is_some_and(|code| code != 0), "{answer:?}");
    assert_eq!(answer.body.len(), 100);
    is_served(&mut client, 3, "a window that stays closed").await;
    eventually("the origin hears of it", || origin.aborted() == 1).await;
}

#[tokio::test]
async fn the_connections_window_ends_streams_as_well() {
    let origin = Origin::well_behaved().await;
    let server = impatient(&origin, |_| {}).await;
    let mut client = RawHttp2::client(server.address(), &[(4, 1_000_000)]).await;
    client
        .send([get(1, "/length/1000000"), get(3, "/length/1000000")])
        .await;
    let mut resets = 0;
    while resets < 2 {
        match client.frame().await {
            Some(frame) if frame.kind == kind::RST_STREAM => resets += 1,
            Some(_) => {}
            None => break,
        }
    }
    origin.wait_until_unused().await;
}

#[tokio::test]
async fn a_socket_that_nobody_reads_is_given_up() {
    let origin = Origin::well_behaved().await;
    let server = impatient(&origin, |_| {}).await;
    let mut client = RawHttp2::client(server.address(), &[(4, 0x7fff_ffff)]).await;
    client
        .send([
            Frame::window_update(0, 0x7fff_0000),
            get(1, "/length/100000000"),
        ])
        .await;
    origin.wait_for_connections(1).await;
    origin.wait_until_unused().await;
    drop(client);
}

#[tokio::test]
async fn a_connection_without_streams_is_asked_and_ends_after_its_time() {
    let origin = Origin::well_behaved().await;
    let server = impatient(&origin, |_| {}).await;
    let mut client = RawHttp2::client(server.address(), &[]).await;
    is_served(&mut client, 1, "nothing").await;
    let begun = Instant::now();
    let frames = client.rest().await;
    let farewell = frames.iter().rfind(|frame| frame.kind == kind::GOAWAY);
    assert_eq!(farewell.and_then(Frame::code), Some(0), "{frames:?}");
    assert!(begun.elapsed() >= LIMIT / 2, "{:?}", begun.elapsed());

    // Active streams keep it open, as long as the client shows that it is alive.
    let busy = Http2Client::to(server.address()).await;
    let answer = busy.get("/slow/100").await;
    assert_eq!(answer.body.len(), 100, "{answer:?}");
    let mut dumb = RawHttp2::client(server.address(), &[]).await;
    dumb.send([get(1, "/stall")]).await;
    let frames = dumb.rest().await;
    let asked = frames
        .iter()
        .any(|frame| frame.kind == kind::PING && frame.flags & ACK == 0);
    assert!(asked, "{frames:?}");
}

#[tokio::test]
async fn pings_are_answered_in_time_and_unchanged() {
    let origin = Origin::well_behaved().await;
    let server = impatient(&origin, |_| {}).await;
    let mut client = RawHttp2::client(server.address(), &[]).await;
    for number in 0..5 {
        client.send([Frame::ping(number)]).await;
        let pong = client.frame_of(kind::PING).await.unwrap();
        assert_eq!(
            (pong.flags & ACK, pong.payload),
            (ACK, number.to_be_bytes().to_vec())
        );
    }
    eventually("nobody is asked", || origin.connections() == 0).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413_and_its_stream_alone() {
    let origin = Origin::well_behaved().await;
    let server = impatient(&origin, |options| options.set_max_body_size(Some(1000))).await;
    let mut client = RawHttp2::client(server.address(), &[]).await;
    let announced = [
        frames::request("POST", "/echo"),
        frames::literal("content-length", "1001"),
    ];
    client
        .send([Frame::headers(1, announced.concat(), false)])
        .await;
    let answer = client.answer(1).await;
    assert_eq!(answer.statuses, [413], "{answer:?}");
    client
        .send([
            Frame::headers(3, frames::request("POST", "/echo"), false),
            Frame::data(3, vec![b'x'; 1001], true),
        ])
        .await;
    let answer = client.answer(3).await;
    assert_eq!(answer.statuses, [413], "{answer:?}");
    client
        .send([
            Frame::headers(5, frames::request("POST", "/echo"), false),
            Frame::data(5, vec![b'x'; 1000], true),
        ])
        .await;
    let answer = client.answer(5).await;
    assert_eq!((answer.statuses, answer.body.len()), (vec![200], 1000));
    let complete = origin.requests();
    assert_eq!(complete.iter().filter(|r| r.is_complete()).count(), 1);
}

#[tokio::test]
async fn connect_is_refused_unless_it_is_allowed() {
    let origin = Origin::well_behaved().await;
    let server = impatient(&origin, |_| {}).await;
    let mut client = RawHttp2::client(server.address(), &[]).await;
    let connect = frames::block(&[(":method", "CONNECT"), (":authority", "test.example:443")]);
    client.send([Frame::headers(1, connect, false)]).await;
    let answer = client.answer(1).await;
    assert_eq!(answer.statuses, [405], "{answer:?}");
    is_served(&mut client, 3, "CONNECT").await;
}

#[tokio::test]
async fn sizes_of_heads_have_limits_with_a_status_each() {
    let origin = Origin::well_behaved().await;
    let server = impatient(&origin, |_| {}).await;
    let mut client = RawHttp2::client(server.address(), &[]).await;
    let long = frames::request("GET", &format!("/{}", "x".repeat(20_000)));
    let short = frames::request("GET", "/x");
    let fields = |count: usize| [&short[..], &frames::literal("a", "b").repeat(count)].concat();
    let crumbs =
        |count: usize| [&short[..], &frames::literal("cookie", "a=b").repeat(count)].concat();
    let rows = [
        ("a long target", long, 414),
        ("many fields", fields(129), 431),
        ("many pieces of a cookie", crumbs(257), 431),
        ("as many fields as may be", fields(127), 200),
        ("as many pieces as may be", crumbs(256), 200),
    ];
    for (number, (what, block, status)) in (0..).zip(rows) {
        let stream = 2 * number + 1;
        let mut pieces = block.chunks(16_000);
        let first = pieces.next().unwrap();
        let mut head = vec![Frame::new(kind::HEADERS, END_STREAM, stream, first)];
        head.extend(pieces.map(|piece| Frame::continuation(stream, piece, false)));
        head.last_mut().unwrap().flags |= frames::END_HEADERS;
        client.send(head).await;
        let answer = client.answer(stream).await;
        assert_eq!(answer.statuses, [status], "{what}: {answer:?}");
    }
    assert_eq!(origin.requests().len(), 2);
}
