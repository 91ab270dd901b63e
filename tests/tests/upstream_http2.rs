//! HTTP/2 connections to origins: how many there are, when another one is opened, and what is
//! retried.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use pingora::prelude::*;
use pingora::protocols::ALPN;
use pingora_tests::http2::frames::{self, ACK, Frame, kind};
use pingora_tests::http2::{Http2Client, RawHttp2};
use pingora_tests::{
    Ask, Authority, Message, Origin, Running, TestServer, Version, eventually, h2c_proxy, pattern,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

const BOTH: [Version; 2] = [Version::H1, Version::H2];

/// Everything goes to one peer.
struct To(HttpPeer);

#[async_trait]
impl ProxyHttp for To {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.0.clone()))
    }
}

/// A cleartext HTTP/2 upstream, with a hundred streams per connection.
fn peer(address: SocketAddr) -> HttpPeer {
    let mut peer = HttpPeer::new(address, false, String::new());
    peer.options.alpn = ALPN::H2;
    peer.options.max_h2_streams = 100;
    peer
}

async fn to(origin: &Origin) -> TestServer {
    h2c_proxy(To(peer(origin.address()))).await
}

/// Sends this many concurrent requests for this path over one connection.
async fn all_at_once(proxy: &TestServer, path: &str, count: usize) -> Vec<Message> {
    let client = Http2Client::to(proxy.address()).await;
    let ask = Ask::get(path);
    let asks = (0..count).map(|_| client.ask(&ask));
    futures::future::join_all(asks).await
}

fn assert_all_good(answers: &[Message], what: &str) {
    for answer in answers {
        assert_eq!(answer.status(), 200, "{what}: {answer:?}");
        assert!(answer.is_complete(), "{what}: {answer:?}");
    }
}

fn head(status: &str) -> Vec<u8> {
    frames::block(&[(":status", status)])
}

fn answer(stream: u32, body: &str) -> [Frame; 2] {
    [
        Frame::headers(stream, head("200"), false),
        Frame::data(stream, body, true),
    ]
}

#[tokio::test]
async fn one_connection_carries_many_streams() {
    let origin = Origin::http2().await;
    let proxy = to(&origin).await;
    assert_all_good(&all_at_once(&proxy, "/first", 1).await, "the first");
    let answers = all_at_once(&proxy, "/slow/10", 50).await;
    assert_all_good(&answers, "fifty at once");
    // And for clients of the other version.
    for _ in 0..5 {
        let answer = Ask::get("/x")
            .answered_over(Version::H1, proxy.address())
            .await;
        assert_eq!(answer.text(), "/x");
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_is_full_is_joined_by_another() {
    let origin = Origin::http2().await;
    let mut few = peer(origin.address());
    few.options.max_h2_streams = 5;
    let proxy = h2c_proxy(To(few)).await;
    assert_all_good(&all_at_once(&proxy, "/slow/30", 20).await, "twenty at once");
    let connections = origin.connections();
    assert!((4..=20).contains(&connections), "{connections} connections");
    // They are kept, and now have room.
    for _ in 0..3 {
        assert_all_good(&all_at_once(&proxy, "/slow/5", 5).await, "five at once");
    }
    assert_eq!(origin.connections(), connections);
}

#[tokio::test]
async fn by_default_a_connection_carries_one_stream_at_a_time() {
    let origin = Origin::http2().await;
    let mut one = HttpPeer::new(origin.address(), false, String::new());
    one.options.alpn = ALPN::H2;
    let proxy = h2c_proxy(To(one)).await;
    for _ in 0..5 {
        assert_all_good(&all_at_once(&proxy, "/x", 1).await, "one after the other");
    }
    assert_eq!(origin.connections(), 1);
    assert_all_good(&all_at_once(&proxy, "/slow/30", 4).await, "four at once");
    assert!(
        origin.connections() >= 4,
        "{} connections",
        origin.connections()
    );
}

#[tokio::test]
async fn the_origins_limit_counts_as_well() {
    let origin = Origin::http2_with_streams(3).await;
    let proxy = to(&origin).await;
    assert_all_good(&all_at_once(&proxy, "/first", 1).await, "the first");
    assert_all_good(&all_at_once(&proxy, "/slow/20", 12).await, "twelve at once");
    // A connection's limit is not known before the origin's SETTINGS have arrived: there are fewer
    // than four if some requests waited for that.
    assert!(origin.connections() >= 2);
}

#[tokio::test]
async fn an_origin_that_goes_away_finishes_what_it_began() {
    let origin = Origin::http2().await;
    let proxy = to(&origin).await;
    let client = Http2Client::to(proxy.address()).await;
    let slow = Ask::get("/slow/40");
    let (slow, ()) = tokio::join!(client.ask(&slow), async {
        eventually("it is under way", || origin.begun() == 1).await;
        assert_eq!(client.get("/goaway").await.text(), "last");
        // Requests after that need a connection of their own.
        for _ in 0..3 {
            assert_eq!(client.get("/after").await.text(), "/after");
        }
    });
    assert_eq!(slow.text().len(), 40, "{slow:?}");
    assert!(slow.is_complete());
    assert_eq!(origin.connections(), 2);
    eventually("the first connection ends", || {
        origin.open_connections() == 1
    })
    .await;
}

/// The first connection accepts two requests, and reports that it has processed only the first.
async fn half_deaf() -> (Origin, Arc<Notify>) {
    let heard = Arc::new(Notify::new());
    let hears = heard.clone();
    let origin = Origin::http2_scripted(&[], move |mut origin, index| {
        let hears = hears.clone();
        async move {
            if index > 0 {
                while let Some(request) = origin.frame_of(kind::HEADERS).await {
                    origin.send(answer(request.stream, "second")).await;
                }
                return;
            }
            let first = origin.frame_of(kind::HEADERS).await.unwrap().stream;
            hears.notify_one();
            origin.frame_of(kind::HEADERS).await.unwrap();
            origin.send([Frame::go_away(first, 0)]).await;
            origin.send(answer(first, "first")).await;
            origin.rest().await;
        }
    });
    (origin.await, heard)
}

#[tokio::test]
async fn what_a_leaving_origin_did_not_look_at_is_asked_anew() {
    for ask in [Ask::get("/"), Ask::by("POST", "/").body(pattern(1000))] {
        let (origin, heard) = half_deaf().await;
        let proxy = to(&origin).await;
        let client = Http2Client::to(proxy.address()).await;
        let first = client.begin(&Ask::get("/first"), true).await.unwrap();
        // The first request is on the connection by the time the second one looks for one.
        heard.notified().await;
        let second = client.ask(&ask).await;
        assert_eq!((second.status(), second.text()), (200, "second"), "{ask:?}");
        let first = first.0.await.unwrap();
        assert_eq!(first.status(), 200);
        assert_eq!(origin.connections(), 2);
    }
}

/// Refuses the first `refusals` streams, however much of their bodies has arrived; then answers
/// with the body.
async fn refusing(refusals: usize) -> (Origin, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let origin = Origin::http2_scripted(&[], move |mut origin, _| {
        let counter = counter.clone();
        async move {
            let mut body: Vec<u8> = Vec::new();
            while let Some(frame) = origin.frame().await {
                let begins = frame.kind == kind::HEADERS;
                let asked = counter.fetch_add(usize::from(begins), Ordering::SeqCst);
                if begins && asked < refusals {
                    // 7: REFUSED_STREAM.
                    origin.send([Frame::reset(frame.stream, 7)]).await;
                    continue;
                }
                if counter.load(Ordering::SeqCst) <= refusals {
                    continue;
                }
                if frame.kind == kind::DATA {
                    body.extend_from_slice(&frame.payload);
                }
                if frame.ends_stream() {
                    let head = Frame::headers(frame.stream, head("200"), false);
                    let data = Frame::data(frame.stream, std::mem::take(&mut body), true);
                    origin.send([head, data]).await;
                }
            }
        }
    });
    (origin.await, asked)
}

#[tokio::test]
async fn a_stream_that_was_refused_is_asked_anew_with_its_body() {
    for version in BOTH {
        for (ask, body) in [
            (Ask::get("/"), Vec::new()),
            (Ask::by("POST", "/").body(pattern(1000)), pattern(1000)),
            (
                Ask::by("POST", "/").pieces(pattern(10_000), 1000),
                pattern(10_000),
            ),
        ] {
            let (origin, asked) = refusing(1).await;
            let proxy = to(&origin).await;
            let answer = ask.answered_over(version, proxy.address()).await;
            assert_eq!(answer.status(), 200, "{ask:?}: {answer:?}");
            assert!(answer.body == body, "{ask:?}");
            assert_eq!(asked.load(Ordering::SeqCst), 2);
        }
    }
}

#[tokio::test]
async fn an_origin_that_refuses_always_is_a_502_after_a_few_attempts() {
    for version in BOTH {
        let (origin, asked) = refusing(usize::MAX).await;
        let proxy = to(&origin).await;
        let answer = Ask::get("/").answered_over(version, proxy.address()).await;
        assert_eq!(answer.status(), 502, "{answer:?}");
        let asked = asked.load(Ordering::SeqCst);
        assert!((2..=100).contains(&asked), "{asked} attempts");
    }
}

/// A request that an origin may have begun to process is not retried if its method is not
/// idempotent.
#[tokio::test]
async fn what_was_reset_after_a_beginning_is_not_asked_again() {
    for version in BOTH {
        let origin = Origin::http2().await;
        let proxy = to(&origin).await;
        let ask = Ask::by("POST", "/reset-head").body("x");
        let answer = ask.answered_over(version, proxy.address()).await;
        assert_eq!(answer.status(), 502, "{answer:?}");
        assert_eq!(origin.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_connection_that_ended_in_idleness_is_replaced() {
    let origin = Origin::http2_scripted(&[], |mut origin, _| async move {
        // One request per connection, without a GOAWAY.
        let request = origin.frame_of(kind::HEADERS).await.unwrap();
        origin.send(answer(request.stream, "one")).await;
    })
    .await;
    let proxy = to(&origin).await;
    for number in 1..=5 {
        let answer = Ask::get("/")
            .answered_over(Version::H1, proxy.address())
            .await;
        assert_eq!((answer.status(), answer.text()), (200, "one"), "{number}");
        assert_eq!(origin.connections(), number);
    }
}

#[tokio::test]
async fn streams_of_a_connection_that_dies_fail_and_the_next_one_lives() {
    let heard = Arc::new(Notify::new());
    let hears = heard.clone();
    let origin = Origin::http2_scripted(&[], move |mut origin, index| {
        let hears = hears.clone();
        async move {
            let request = origin.frame_of(kind::HEADERS).await.unwrap();
            hears.notify_one();
            if index > 0 {
                origin.send(answer(request.stream, "alive")).await;
                origin.rest().await;
                return;
            }
            for _ in 1..10 {
                origin.frame_of(kind::HEADERS).await;
            }
            origin.reset();
        }
    })
    .await;
    let proxy = to(&origin).await;
    let client = Http2Client::to(proxy.address()).await;
    let first = client.begin(&Ask::by("POST", "/"), true).await.unwrap();
    heard.notified().await;
    let ask = Ask::by("POST", "/");
    let others = futures::future::join_all((1..10).map(|_| client.ask(&ask))).await;
    assert!(
        others.iter().all(|answer| answer.status() == 502),
        "{others:?}"
    );
    assert_eq!(first.0.await.unwrap().status(), 502);
    assert_eq!(client.get("/").await.text(), "alive");
}

/// The first settings, and whether more follow.
async fn settings_with(adjust: impl FnOnce(&mut HttpPeer)) -> (Vec<(u16, u32)>, Option<u32>) {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let origin = Origin::http2_scripted(&[], move |mut origin: RawHttp2, _| {
        let tell = tell.clone();
        async move {
            let settings = origin.peer_settings().to_vec();
            let mut window = None;
            while let Some(frame) = origin.frame().await {
                if frame.kind == kind::WINDOW_UPDATE && frame.stream == 0 {
                    window = frame
                        .payload
                        .first_chunk()
                        .map(|bytes| u32::from_be_bytes(*bytes));
                }
                if frame.kind == kind::HEADERS {
                    origin.send(answer(frame.stream, "")).await;
                    let _ = tell.send((settings.clone(), window));
                }
            }
        }
    })
    .await;
    let mut peer = peer(origin.address());
    adjust(&mut peer);
    let proxy = h2c_proxy(To(peer)).await;
    let answer = Ask::get("/")
        .answered_over(Version::H1, proxy.address())
        .await;
    assert_eq!(answer.status(), 200);
    told.recv().await.unwrap()
}

#[tokio::test]
async fn windows_are_those_of_the_options_and_pushes_are_not_wanted() {
    let setting = |settings: &[(u16, u32)], wanted: u16| {
        let found = settings
            .iter()
            .find(|(identifier, _)| *identifier == wanted);
        found.map(|(_, value)| *value)
    };
    let (settings, window) = settings_with(|_| {}).await;
    assert_eq!(setting(&settings, 2), Some(0), "pushes: {settings:?}");
    // One stalled stream must not stall the others.
    let stream = setting(&settings, 4).unwrap_or(65_535);
    assert!(
        window.unwrap_or(0) + 65_535 > stream,
        "{settings:?} {window:?}"
    );
    let (settings, window) = settings_with(|peer| {
        peer.options.h2_stream_window_size = Some(200_000);
        peer.options.h2_connection_window_size = Some(1_000_000);
    })
    .await;
    assert_eq!(setting(&settings, 4), Some(200_000), "{settings:?}");
    assert_eq!(window, Some(1_000_000 - 65_535));
}

#[tokio::test]
async fn a_connection_is_asked_whether_it_lives_and_given_up_if_not() {
    let pings = Arc::new(AtomicUsize::new(0));
    let counter = pings.clone();
    let origin = Origin::http2_scripted(&[], move |mut origin, index| {
        let counter = counter.clone();
        async move {
            let mut answered = 0;
            while let Some(frame) = origin.frame().await {
                if frame.kind == kind::HEADERS {
                    origin.send(answer(frame.stream, "alive")).await;
                }
                if frame.kind == kind::PING && frame.flags & ACK == 0 {
                    counter.fetch_add(1, Ordering::SeqCst);
                    answered += 1;
                    // The first connection goes silent after three of them.
                    if index > 0 || answered <= 3 {
                        let pong = Frame::new(kind::PING, ACK, 0, frame.payload);
                        if origin.try_send([pong]).await.is_err() {
                            return;
                        }
                    }
                }
            }
        }
    })
    .await;
    let mut peer = peer(origin.address());
    peer.options.h2_ping_interval = Some(Duration::from_millis(50));
    let proxy = h2c_proxy(To(peer)).await;
    let client = Http2Client::to(proxy.address()).await;
    assert_eq!(client.get("/").await.text(), "alive");
    eventually("it is asked", || pings.load(Ordering::SeqCst) >= 4).await;
    eventually("it is given up", || origin.open_connections() == 0).await;
    assert_eq!(client.get("/").await.text(), "alive");
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn an_origin_that_is_slow_beyond_measure_loses_its_stream_alone() {
    let origin = Origin::http2().await;
    let mut peer = peer(origin.address());
    peer.options.read_timeout = Some(Duration::from_millis(300));
    let proxy = h2c_proxy(To(peer)).await;
    for version in BOTH {
        let before = origin.aborted();
        let answer = Ask::get("/stall")
            .answered_over(version, proxy.address())
            .await;
        assert_eq!(answer.status(), 504, "{version:?}: {answer:?}");
        eventually("the origin hears of it", || origin.aborted() > before).await;
        let next = Ask::get("/next")
            .answered_over(version, proxy.address())
            .await;
        assert_eq!(next.text(), "/next");
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn an_origin_of_another_protocol_is_a_502() {
    let origin = Origin::well_behaved().await;
    let proxy = to(&origin).await;
    for version in BOTH {
        let answer = Ask::get("/").answered_over(version, proxy.address()).await;
        assert_eq!(answer.status(), 502, "{version:?}: {answer:?}");
    }
    // An origin that accepts the connection and never sends SETTINGS.
    let silent = Origin::scripted(|mut connection, _| async move {
        connection.rest().await;
    })
    .await;
    let mut peer = peer(silent.address());
    peer.options.read_timeout = Some(Duration::from_millis(300));
    peer.options.total_connection_timeout = Some(Duration::from_millis(500));
    let proxy = h2c_proxy(To(peer)).await;
    let answer = Ask::get("/")
        .answered_over(Version::H1, proxy.address())
        .await;
    assert!(matches!(answer.status(), 502 | 504), "{answer:?}");
}

fn secure_peer(origin: &Origin, authority: &Authority, alpn: ALPN) -> HttpPeer {
    let mut peer = HttpPeer::new(origin.address(), true, "back.example".to_string());
    let trusted = vec![authority.certificate()];
    peer.options.ca = Some(Arc::new(trusted.into_boxed_slice()));
    peer.options.alpn = alpn;
    peer.options.max_h2_streams = 100;
    peer
}

#[tokio::test]
async fn over_tls_the_origin_chooses() {
    let authority = Authority::new();
    let origin = Origin::over_tls(&authority, "back.example", &["h2", "http/1.1"]).await;
    for (alpn, version) in [
        (ALPN::H2, "HTTP/2.0"),
        (ALPN::H2H1, "HTTP/2.0"),
        (ALPN::H1, "HTTP/1.1"),
    ] {
        let proxy = h2c_proxy(To(secure_peer(&origin, &authority, alpn))).await;
        for down in BOTH {
            let before = origin.connections();
            for _ in 0..3 {
                let answer = Ask::get("/x").answered_over(down, proxy.address()).await;
                assert_eq!((answer.status(), answer.text()), (200, "/x"), "{answer:?}");
                let seen = origin.last_request();
                assert!(seen.start_line.ends_with(version), "{}", seen.start_line);
            }
            assert!(origin.connections() <= before + 1);
        }
    }
}

#[tokio::test]
async fn an_origin_that_chose_http_1_is_remembered() {
    let authority = Authority::new();
    let origin = Origin::over_tls(&authority, "back.example", &["http/1.1"]).await;
    let proxy = h2c_proxy(To(secure_peer(&origin, &authority, ALPN::H2H1))).await;
    // Each handshake results in a connection that is used.
    for number in 0..5 {
        let path = format!("/{number}");
        let answer = Ask::get(&path)
            .answered_over(Version::H2, proxy.address())
            .await;
        assert_eq!((answer.status(), answer.text()), (200, path.as_str()));
        assert_eq!(origin.connections(), 1, "handshakes by request {number}");
    }
    assert_all_good(&all_at_once(&proxy, "/x", 4).await, "four at once");
    assert!(
        origin.connections() <= 4,
        "{} handshakes",
        origin.connections()
    );
    assert!(origin.last_request().start_line.ends_with("HTTP/1.1"));
}

#[tokio::test]
async fn an_origin_without_http_2_is_a_502_where_nothing_else_will_do() {
    let authority = Authority::new();
    let origin = Origin::over_tls(&authority, "back.example", &["http/1.1"]).await;
    let proxy = h2c_proxy(To(secure_peer(&origin, &authority, ALPN::H2))).await;
    let answer = Ask::get("/")
        .answered_over(Version::H1, proxy.address())
        .await;
    assert_eq!(answer.status(), 502, "{answer:?}");
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test]
async fn idle_connections_end_after_their_time() {
    let origin = Origin::http2().await;
    let mut peer = peer(origin.address());
    peer.options.idle_timeout = Some(Duration::from_millis(200));
    let proxy = h2c_proxy(To(peer)).await;
    assert_all_good(&all_at_once(&proxy, "/x", 3).await, "three");
    eventually("it is closed", || origin.open_connections() == 0).await;
    assert_all_good(&all_at_once(&proxy, "/x", 3).await, "three more");
}

/// A client's stalled stream holds back only its own answer, although the streams share the
/// connection to the origin.
#[tokio::test]
async fn a_slow_reader_does_not_hold_up_others_on_the_same_connection() {
    let origin = Origin::http2().await;
    let proxy = to(&origin).await;
    assert_all_good(&all_at_once(&proxy, "/first", 1).await, "the first");
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut client = RawHttp2::client(proxy.address(), &[(4, 0)]).await;
        let ask = frames::request("GET", "/length/10000000");
        client.send([Frame::headers(1, ask, true)]).await;
        assert_eq!(
            client.frame_of(kind::HEADERS).await.unwrap().status(),
            Some(200)
        );
        slow.push(client);
    }
    for _ in 0..5 {
        let answers = all_at_once(&proxy, "/length/300000", 5).await;
        assert!(answers.iter().all(|answer| answer.body.len() == 300_000));
    }
    assert_eq!(origin.connections(), 1);
    drop(slow);
    eventually("the origin hears of them", || origin.aborted() == 20).await;
}

/// An origin that never answers, without a time limit: its requests are dropped together with the
/// clients, and the connection continues to be used.
#[tokio::test]
async fn requests_whose_clients_left_are_given_up() {
    let origin = Origin::http2().await;
    let proxy = to(&origin).await;
    assert_all_good(&all_at_once(&proxy, "/first", 1).await, "the first");
    for version in BOTH {
        let (before, stall) = (origin.aborted(), Ask::get("/stall"));
        let mut crowd = Vec::new();
        for _ in 0..10 {
            crowd.push(Running::begin(version, proxy.address(), &stall).await);
        }
        let asked = |origin: &Origin| {
            let requests = origin.requests();
            requests
                .iter()
                .filter(|request| request.target() == "/stall")
                .count()
        };
        eventually("they are under way", || asked(&origin) >= before + 10).await;
        drop(crowd);
        eventually("they are given up", || origin.aborted() == before + 10).await;
    }
    assert_all_good(&all_at_once(&proxy, "/next", 10).await, "ten at once");
    assert_eq!(origin.connections(), 1);
}

/// An origin that sends complete responses and leaves their streams open: nothing is missing, so no
/// client waits for long, and the connection continues to be used.
#[tokio::test]
async fn a_response_whose_end_does_not_come_holds_nobody_up() {
    let origin = Origin::http2_scripted(&[], |mut origin, _| async move {
        let head = frames::block(&[(":status", "200"), ("content-length", "5")]);
        while let Some(request) = origin.frame_of(kind::HEADERS).await {
            let answer = [
                Frame::headers(request.stream, head.clone(), false),
                Frame::data(request.stream, "hello", false),
            ];
            if origin.try_send(answer).await.is_err() {
                return;
            }
        }
    })
    .await;
    let proxy = to(&origin).await;
    let limit = Duration::from_secs(20);
    let mut client = proxy.connect().await;
    for number in 0..2 {
        let asked = client.ask("GET /one HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = tokio::time::timeout(limit, asked).await.unwrap();
        assert_eq!((answer.status(), answer.text()), (200, "hello"), "{number}");
    }
    let answers = tokio::time::timeout(limit, all_at_once(&proxy, "/streams", 5)).await;
    assert_all_good(&answers.unwrap(), "five streams");
    assert_eq!(origin.connections(), 1);
}

/// An origin that opens no window keeps uploads waiting, read and unread. If a client resets them, it
/// gets back their share of the window that all of its streams use.
#[tokio::test]
async fn uploads_that_are_reset_while_the_origin_takes_nothing_are_given_up() {
    const UPLOADS: u32 = 20;
    const PIECES: u32 = 6;
    const PIECE: usize = 16 * 1024;
    const WINDOW: u32 = 2 * 1024 * 1024;
    let reset = Arc::new(AtomicUsize::new(0));
    let seen = reset.clone();
    let origin = Origin::http2_scripted(&[(4, 0)], move |mut origin, _| {
        let seen = seen.clone();
        async move {
            while origin.frame_of(kind::RST_STREAM).await.is_some() {
                seen.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let proxy = to(&origin).await;
    let mut client = RawHttp2::client(proxy.address(), &[]).await;
    let streams: Vec<u32> = (0..UPLOADS).map(|n| 2 * n + 1).collect();
    for &stream in &streams {
        let head = Frame::headers(stream, frames::request("POST", "/"), false);
        let piece = || Frame::data(stream, vec![0; PIECE], false);
        client.send([head]).await;
        client.send((0..PIECES).map(|_| piece())).await;
    }
    let mut window = WINDOW - UPLOADS * PIECES * PIECE as u32;
    // The data queued for the origin was read, and its window space given back.
    tokio::time::sleep(Duration::from_millis(300)).await;
    client
        .send(streams.iter().map(|&stream| Frame::reset(stream, 8)))
        .await;
    eventually("the origin hears of them", || {
        reset.load(Ordering::SeqCst) == UPLOADS as usize
    })
    .await;
    client.send([Frame::ping(1)]).await;
    while let Some(frame) = client.frame().await {
        match frame.kind {
            kind::WINDOW_UPDATE if frame.stream == 0 => {
                let increment: [u8; 4] = frame.payload[..4].try_into().unwrap();
                window += u32::from_be_bytes(increment);
            }
            kind::PING => break,
            _ => {}
        }
    }
    // Less than half of the window may be unannounced.
    assert!(window > WINDOW / 8 * 5, "{window}");
}
