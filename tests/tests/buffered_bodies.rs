//! Request bodies that are buffered before an upstream is chosen: they determine where the request goes,
//! are sent from the buffer, and are bounded in size, time and number.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use pingora::prelude::*;
use pingora::protocols::ALPN;
use pingora::protocols::http::hop_by_hop::H1UpgradePolicy;
use pingora::proxy::{RetryPolicy, SpooledBody, Spooling};
use pingora_tests::{Ask, Origin, Running, TestServer, Version, eventually, h2c_proxy};
use std::net::SocketAddr;
use std::time::Duration;

const VERSIONS: [Version; 2] = [Version::H1, Version::H2];

/// A body that begins with `b` goes to the second upstream, all others to the first. Each failed try goes
/// to the next one.
struct ByBody {
    upstreams: Vec<SocketAddr>,
    upstream_version: Version,
    spooling: Spooling,
    policy: RetryPolicy,
    limit: Option<Duration>,
    /// A piece of the body is read manually beforehand.
    reads_ahead: bool,
}

impl ByBody {
    fn new(upstreams: &[SocketAddr]) -> Self {
        ByBody {
            upstreams: upstreams.to_vec(),
            upstream_version: Version::H1,
            spooling: Spooling::new(10 << 20),
            policy: RetryPolicy::new(2).any_method(true),
            limit: None,
            reads_ahead: false,
        }
    }
}

#[async_trait]
impl ProxyHttp for ByBody {
    type CTX = Option<SpooledBody>;

    fn new_ctx(&self) -> Self::CTX {
        None
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        session.limit_request_body(self.limit);
        if self.reads_ahead {
            session.read_request_body().await?;
        }
        let body = session.buffer_request_body(&self.spooling).await?;
        let again = session.buffer_request_body(&self.spooling).await?;
        assert_eq!(body.len(), again.len());
        assert_eq!(session.buffered_request_body().unwrap().len(), body.len());
        *ctx = Some(body);
        Ok(false)
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        let body = ctx.as_ref().unwrap();
        let first = usize::from(body.in_memory().starts_with(b"b"));
        let place = (first + session.failed_tries().len()) % self.upstreams.len();
        let mut peer = HttpPeer::new(self.upstreams[place], false, String::new());
        peer.options.http_upstream_request_policy.h1_upgrade = H1UpgradePolicy::Preserve;
        if self.upstream_version == Version::H2 {
            peer.options.alpn = ALPN::H2;
        }
        Ok(Box::new(peer))
    }

    fn retry_policy<'a>(&'a self, _: &Session, _: &Self::CTX) -> Option<&'a RetryPolicy> {
        Some(&self.policy)
    }
}

fn body(first: u8, length: usize) -> Vec<u8> {
    let rest = (1..length).map(|n| (n % 251) as u8);
    std::iter::once(first).chain(rest).take(length).collect()
}

async fn good(version: Version) -> Origin {
    match version {
        Version::H1 => Origin::well_behaved().await,
        Version::H2 => Origin::http2().await,
    }
}

#[tokio::test]
async fn the_body_chooses_the_upstream_and_arrives_whole() {
    for upstream_version in VERSIONS {
        let (a, b) = (good(upstream_version).await, good(upstream_version).await);
        let mut by_body = ByBody::new(&[a.address(), b.address()]);
        by_body.upstream_version = upstream_version;
        let spooling = by_body.spooling.clone();
        let server = h2c_proxy(by_body).await;
        for version in VERSIONS {
            for (first, length) in [
                (b'a', 10),
                (b'b', 65_536),
                (b'b', 65_537),
                (b'a', 3_000_000),
            ] {
                let sent = body(first, length);
                let ask = Ask::by("POST", "/echo").body(sent.clone());
                let answer = ask.answered_over(version, server.address()).await;
                let what = format!("{length} over {version:?} to {upstream_version:?}");
                assert!(answer.status() == 200 && answer.body == sent, "{what}");
                let seen = if first == b'b' { &b } else { &a };
                assert_eq!(seen.last_request().body.len(), length, "{what}");
            }
            let empty = Ask::by("POST", "/echo").body("");
            let answer = empty.answered_over(version, server.address()).await;
            assert_eq!((answer.status(), answer.text()), (200, ""));
            assert_eq!(status(&server, version, &Ask::get("/length/5")).await, 200);
        }
        eventually("all is given back", || spooling.held() == (0, 0)).await;
    }
}

#[tokio::test]
async fn a_long_body_is_sent_again_to_the_next_upstream() {
    let bad = Origin::scripted(|mut connection, _| async move {
        connection.request_head().await;
        connection.bytes(100_000).await;
        connection.reset();
    })
    .await;
    let good = Origin::well_behaved().await;
    let server = h2c_proxy(ByBody::new(&[bad.address(), good.address()])).await;
    for version in VERSIONS {
        let sent = body(b'a', 1_000_000);
        let ask = Ask::by("POST", "/echo").body(sent.clone());
        let answer = ask.answered_over(version, server.address()).await;
        assert!(answer.status() == 200 && answer.body == sent, "{version:?}");
    }
    assert_eq!(bad.connections(), 2);
}

#[tokio::test]
async fn an_early_answer_ends_the_sending() {
    let early = Origin::scripted(|mut connection, _| async move {
        connection.request_head().await;
        connection
            .send("HTTP/1.1 413 Too Long\r\nContent-Length: 5\r\n\r\nearly")
            .await;
        connection.closed().await;
    })
    .await;
    let server = h2c_proxy(ByBody::new(&[early.address()])).await;
    for version in VERSIONS {
        let ask = Ask::by("POST", "/echo").body(body(b'a', 9_000_000));
        let answer = ask.answered_over(version, server.address()).await;
        assert_eq!((answer.status(), answer.text()), (413, "early"));
    }
    early.wait_until_unused().await;
}

async fn status(server: &TestServer, version: Version, ask: &Ask) -> u16 {
    ask.answered_over(version, server.address()).await.status()
}

#[tokio::test]
async fn each_bound_has_its_status() {
    let good = Origin::well_behaved().await;
    let declared = Ask::by("POST", "/echo").body(body(b'a', 2000));
    let undeclared = Ask::by("POST", "/echo").pieces(body(b'a', 2000), 300);
    let spooling = Spooling::new(1000);
    for (spooling, expected) in [
        (spooling.clone(), 413),
        (Spooling::new(2000).total_in_memory(1999), 503),
        (Spooling::new(2000).in_memory(10).total_in_files(1989), 503),
        (
            Spooling::new(2000).in_memory(10).directory("/proc/none"),
            500,
        ),
        (Spooling::new(2000).in_memory(10), 200),
    ] {
        let mut by_body = ByBody::new(&[good.address()]);
        by_body.spooling = spooling;
        let server = h2c_proxy(by_body).await;
        for version in VERSIONS {
            for ask in [&declared, &undeclared] {
                let what = format!("{version:?} {ask:?}");
                assert_eq!(status(&server, version, ask).await, expected, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_is_late_is_a_408() {
    let good = Origin::well_behaved().await;
    let mut by_body = ByBody::new(&[good.address()]);
    by_body.limit = Some(Duration::from_millis(100));
    let server = h2c_proxy(by_body).await;
    for version in VERSIONS {
        let ask = Ask::by("POST", "/echo").body("").claiming(10);
        let mut running = Running::begin(version, server.address(), &ask).await;
        running.send(b"12345").await;
        assert_eq!(running.answer().await.status(), 408, "{version:?}");
    }
    assert_eq!(good.connections(), 0);
}

#[tokio::test]
async fn a_client_that_waits_for_permission_gets_it() {
    let good = Origin::well_behaved().await;
    let server = h2c_proxy(ByBody::new(&[good.address()])).await;
    let mut client = server.connect().await;
    client
        .send("POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        .await;
    assert_eq!(client.head().await.status(), 100);
    client.send("text").await;
    assert_eq!(client.response().await.text(), "text");
    assert_eq!(good.last_request().header("Expect"), None);
}

#[tokio::test]
async fn what_was_read_before_is_part_of_the_body() {
    let good = Origin::well_behaved().await;
    let mut by_body = ByBody::new(&[good.address()]);
    by_body.reads_ahead = true;
    let server = h2c_proxy(by_body).await;
    for version in VERSIONS {
        for length in [1, 1000, 60_000] {
            let sent = body(b'a', length);
            let ask = Ask::by("POST", "/echo").body(sent.clone());
            let answer = ask.answered_over(version, server.address()).await;
            assert!(
                answer.status() == 200 && answer.body == sent,
                "{length} over {version:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_upgrade_may_have_a_body() {
    let origin = Origin::scripted(|mut connection, _| async move {
        let request = connection.request().await.unwrap();
        assert_eq!(request.body, b"text");
        connection
            .send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: own\r\n\r\nhello")
            .await;
        connection.closed().await;
    })
    .await;
    let server = h2c_proxy(ByBody::new(&[origin.address()])).await;
    let mut client = server.connect().await;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: own\r\n\
             Content-Length: 4\r\n\r\ntext",
        )
        .await;
    assert_eq!(client.head().await.status(), 101);
    assert_eq!(client.bytes(5).await, b"hello");
}
