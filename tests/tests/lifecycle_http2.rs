//! HTTP/2 while a server stops or is replaced: active work is finished, and clients are told to go
//! elsewhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use pingora::server::ShutdownSignal;
use pingora_tests::http2::frames::{self, Frame, kind};
use pingora_tests::http2::{Http2Client, RawHttp2};
use pingora_tests::{
    Ask, Origin, Program, Running, TestServer, Version, VersionedUpstream, eventually, h2c_proxy,
    pattern,
};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const BOTH: [Version; 2] = [Version::H1, Version::H2];

async fn behind(version: Version) -> (Origin, TestServer) {
    let origin = match version {
        Version::H1 => Origin::well_behaved().await,
        Version::H2 => Origin::http2().await,
    };
    let address = origin.address();
    let server = h2c_proxy(VersionedUpstream { address, version }).await;
    (origin, server)
}

#[tokio::test]
async fn an_idle_connection_is_told_and_ends() {
    let (_origin, server) = behind(Version::H1).await;
    let mut client = RawHttp2::client(server.address(), &[]).await;
    client
        .send([Frame::headers(1, frames::request("GET", "/x"), true)])
        .await;
    assert_eq!(client.answer(1).await.statuses, [200]);
    let mut silent = RawHttp2::client(server.address(), &[]).await;
    let begun = Instant::now();
    server.signal(ShutdownSignal::GracefulTerminate);
    for (client, last) in [(&mut client, 1), (&mut silent, 0)] {
        let frames = client.rest().await;
        let farewell = frames.iter().rfind(|frame| frame.kind == kind::GOAWAY);
        let farewell = farewell.expect("there is a farewell");
        assert_eq!(farewell.code(), Some(0), "{frames:?}");
        let told = farewell.last_stream().unwrap();
        assert!(told == last || told == 0x7fff_ffff, "{frames:?}");
    }
    eventually("it stops", || server.has_stopped()).await;
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn streams_under_way_are_finished() {
    for version in BOTH {
        let (origin, server) = behind(version).await;
        let mut downloads =
            Running::begin(Version::H2, server.address(), &Ask::get("/slow/60")).await;
        let head = downloads.head().await;
        assert_eq!(head.status(), 200);
        let ask = Ask::by("POST", "/echo").pieces("", 0);
        let mut uploads = Running::begin(Version::H2, server.address(), &ask).await;
        uploads.send(b"before").await;
        let client = Http2Client::to(server.address()).await;
        let ask = Ask::get("/slow/30");
        let several = (0..10).map(|_| client.begin(&ask, true));
        let several = futures::future::join_all(several).await;
        eventually("they are under way", || origin.requests().len() >= 11).await;

        server.signal(ShutdownSignal::GracefulTerminate);
        eventually("nobody is let in", || {
            std::net::TcpStream::connect(server.address()).is_err()
        })
        .await;
        uploads.send(b" and after").await;
        uploads.finish().await;
        let answer = uploads.answer().await;
        assert_eq!((answer.status(), answer.text()), (200, "before and after"));
        let answer = downloads.rest_of(head).await;
        assert_eq!(answer.text().len(), 60, "{answer:?}");
        assert!(answer.is_complete(), "{answer:?}");
        for begun in several {
            let response = begun.unwrap().0.await.unwrap();
            let mut body = response.into_body();
            let mut count = 0;
            while let Some(data) = body.data().await {
                count += data.unwrap().len();
            }
            assert_eq!(count, 30);
        }
        let begun = Instant::now();
        eventually("it stops", || server.has_stopped()).await;
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{:?}",
            begun.elapsed()
        );
    }
}

/// A request that crosses the GOAWAY is served, or refused so that it can be sent elsewhere; never
/// cut short.
#[tokio::test]
async fn requests_that_cross_the_farewell_are_served_or_refused() {
    for round in 0..5 {
        let (_origin, server) = behind(Version::H1).await;
        let mut client = RawHttp2::client(server.address(), &[]).await;
        let ask = |id| Frame::headers(id, frames::request("GET", "/slow/5"), true);
        client.send([ask(1)]).await;
        tokio::time::sleep(Duration::from_millis(5 * round)).await;
        server.signal(ShutdownSignal::GracefulTerminate);
        // A client can't know what it has not received yet.
        let mut sent = vec![1];
        for id in (3..21).step_by(2) {
            if client.try_send([ask(id)]).await.is_err() {
                break;
            }
            sent.push(id);
        }
        let frames = client.rest().await;
        let last = frames.iter().rev().find_map(Frame::last_stream);
        let last = last.expect("there is a farewell");
        for id in sent {
            let served = frames
                .iter()
                .any(|frame| frame.stream == id && frame.ends_stream());
            let refused = frames
                .iter()
                .any(|frame| frame.stream == id && frame.code() == Some(7));
            assert!(served || refused || id > last, "stream {id}: {frames:?}");
        }
        eventually("it stops", || server.has_stopped()).await;
    }
}

#[tokio::test]
async fn an_end_by_force_is_the_end_of_no_body() {
    let (_origin, server) = behind(Version::H1).await;
    let mut running = Running::begin(Version::H2, server.address(), &Ask::get("/slow/10000")).await;
    let head = running.head().await;
    assert_eq!(head.status(), 200);
    server.signal(ShutdownSignal::FastShutdown);
    let answer = running.rest_of(head).await;
    assert!(!answer.is_complete(), "{answer:?}");
    eventually("it stops", || server.has_stopped()).await;
}

fn fixed_proxy(arguments: &[&str]) -> Program {
    Program::start(Command::new(env!("CARGO_BIN_EXE_fixed_proxy")).args(arguments))
}

#[tokio::test]
async fn a_program_ends_when_its_streams_have() {
    let origin = Origin::http2().await;
    let upstream = origin.address().to_string();
    let mut program = fixed_proxy(&["--h2c", "--upstream-http2", "--upstream", &upstream]);
    let address = program.addresses()[0];
    let mut downloads = Running::begin(Version::H2, address, &Ask::get("/slow/100")).await;
    let head = downloads.head().await;
    // An unused connection doesn't keep it.
    let idle = Http2Client::to(address).await;
    program.signal("TERM");
    let answer = downloads.rest_of(head).await;
    assert_eq!(answer.text().len(), 100);
    assert!(answer.is_complete(), "{answer:?}");
    let begun = Instant::now();
    let (status, lines) = program.end();
    assert_eq!(status.code(), Some(0), "{lines:?}");
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?} {lines:?}",
        begun.elapsed()
    );
    drop(idle);
    origin.wait_until_unused().await;
}

/// Clients that send requests continuously, and go elsewhere when they are told to.
async fn customers(address: SocketAddr, over: Arc<AtomicBool>, served: Arc<AtomicUsize>) {
    while !over.load(Ordering::SeqCst) {
        let client = Http2Client::to(address).await;
        loop {
            if over.load(Ordering::SeqCst) || client.has_ended() {
                break;
            }
            let ask = Ask::by("POST", "/echo").body(pattern(3000));
            // A connection that is being closed accepts no more.
            let Ok((answer, mut upload)) = client.begin(&ask, false).await else {
                break;
            };
            let body = bytes::Bytes::from(pattern(3000));
            let sent = pingora_tests::http2::send_body(&mut upload, body, true).await;
            let answer = match answer.await {
                Ok(answer) => answer,
                // The request was not processed: send it elsewhere.
                Err(error) if is_unprocessed(&error) => break,
                Err(error) => panic!("a request was lost: {error} (sent: {sent:?})"),
            };
            assert_eq!(answer.status(), 200);
            let mut body = answer.into_body();
            let mut length = 0;
            while let Some(data) = body.data().await {
                let data = data.expect("the answer comes whole");
                let _ = body.flow_control().release_capacity(data.len());
                length += data.len();
            }
            assert_eq!(length, 3000);
            served.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A stream above the last one of a GOAWAY without an error, or one that was refused (RFC 9113 section
/// 6.8 and 8.7).
fn is_unprocessed(error: &h2::Error) -> bool {
    let reason = error.reason();
    reason == Some(h2::Reason::REFUSED_STREAM)
        || error.is_go_away() && reason == Some(h2::Reason::NO_ERROR)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_loses_no_request() {
    let origin = Origin::well_behaved().await;
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("conf.yaml");
    let socket = dir.path().join("upgrade.sock");
    let text = format!("threads: 2\nupgrade_sock: {}\n", socket.display());
    std::fs::write(&conf, text).unwrap();
    let upstream = origin.address().to_string();
    let arguments = [
        "--h2c",
        "--upstream",
        &upstream,
        "-c",
        conf.to_str().unwrap(),
    ];
    let mut old = fixed_proxy(&arguments);
    let address = old.addresses()[0];

    let (over, served) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let crowd: Vec<_> = (0..4)
        .map(|_| tokio::spawn(customers(address, over.clone(), served.clone())))
        .collect();
    for _ in 0..2 {
        let before = served.load(Ordering::SeqCst);
        eventually("they are served", || {
            served.load(Ordering::SeqCst) > before + 20
        })
        .await;
        let mut under_way = Running::begin(Version::H2, address, &Ask::get("/slow/50")).await;
        let head = under_way.head().await;
        old.signal("QUIT");
        let mut new = fixed_proxy(&[&arguments[..], &["-u"]].concat());
        assert_eq!(new.addresses(), [address]);
        let answer = under_way.rest_of(head).await;
        assert_eq!(answer.text().len(), 50);
        assert!(answer.is_complete(), "{answer:?}");
        let (status, lines) = old.end();
        assert_eq!(status.code(), Some(0), "{lines:?}");
        old = new;
    }
    let before = served.load(Ordering::SeqCst);
    eventually("they are served", || {
        served.load(Ordering::SeqCst) > before + 20
    })
    .await;
    over.store(true, Ordering::SeqCst);
    for customer in crowd {
        customer.await.unwrap();
    }
}
