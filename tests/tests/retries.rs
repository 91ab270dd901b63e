//! Retries by a policy: which failures are retried, where, how often, and what the client sees.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use pingora::prelude::*;
use pingora::proxy::{Backoff, RetryBudget, RetryPolicy};
use pingora_tests::{Ask, Message, Origin, Refusing, TestServer, Version, h2c_proxy};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Each try goes to the next peer, and all tries after the last of them to that one.
struct Trying {
    peers: Vec<SocketAddr>,
    policy: Option<RetryPolicy>,
    vetoes: bool,
    request_limit: Option<Duration>,
    /// The number of tries.
    tries: Arc<AtomicUsize>,
}

impl Trying {
    fn over(peers: &[SocketAddr], policy: RetryPolicy) -> Self {
        Trying {
            peers: peers.to_vec(),
            policy: Some(policy),
            vetoes: false,
            request_limit: None,
            tries: Arc::default(),
        }
    }
}

#[async_trait]
impl ProxyHttp for Trying {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        session.limit_request(self.request_limit);
        Ok(false)
    }

    async fn upstream_peer(&self, session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        self.tries.fetch_add(1, Ordering::SeqCst);
        let failed = session.failed_tries();
        for (before, peer) in failed.iter().zip(&self.peers) {
            assert_eq!(before.address.as_inet(), Some(peer));
        }
        let place = failed.len().min(self.peers.len() - 1);
        let mut peer = HttpPeer::new(self.peers[place], false, String::new());
        if session.req_header().uri.path().starts_with("/h2") {
            peer.options.set_http_version(2, 2);
        }
        Ok(Box::new(peer))
    }

    fn retry_policy<'a>(&'a self, _session: &Session, _ctx: &()) -> Option<&'a RetryPolicy> {
        self.policy.as_ref()
    }

    fn allow_retry(&self, _session: &Session, _ctx: &(), _error: &Error, _tries: usize) -> bool {
        !self.vetoes
    }
}

/// An origin whose connections answer every request with these bytes, and stay open.
async fn always(answer: &'static str) -> Origin {
    Origin::scripted(move |mut connection, _| async move {
        while connection.request().await.is_some() {
            connection.send(answer).await;
        }
    })
    .await
}

/// An origin that reads a request and then breaks the connection.
async fn resetting() -> Origin {
    Origin::scripted(|mut connection, _| async move {
        connection.request().await;
        connection.reset();
    })
    .await
}

const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy";
const PATIENT: Duration = Duration::from_secs(60);

async fn ask(server: &TestServer, ask: &Ask, version: Version) -> Message {
    ask.answered_over(version, server.address()).await
}

/// The status of a request with each HTTP version, and the number of tries of each.
async fn outcome(trying: Trying, request: &Ask) -> Vec<(u16, usize)> {
    let tries = trying.tries.clone();
    let server = h2c_proxy(trying).await;
    let mut outcomes = Vec::new();
    for version in [Version::H1, Version::H2] {
        let answer = ask(&server, request, version).await;
        outcomes.push((answer.status(), tries.swap(0, Ordering::SeqCst)));
    }
    outcomes
}

fn both(status: u16, tries: usize) -> Vec<(u16, usize)> {
    vec![(status, tries); 2]
}

#[tokio::test]
async fn a_peer_that_refuses_is_followed_by_the_next_for_every_method() {
    let (refusing, good) = (Refusing::new(), Origin::well_behaved().await);
    for method in ["GET", "POST"] {
        let peers = [refusing.address(), good.address()];
        let trying = Trying::over(&peers, RetryPolicy::new(2));
        let request = Ask::by(method, "/echo").body("text");
        assert_eq!(outcome(trying, &request).await, both(200, 2), "{method}");
    }
    assert_eq!(good.last_request().body, b"text", "the body was sent again");
}

#[tokio::test]
async fn a_reset_ahead_of_the_response_is_tried_again_where_that_does_no_harm() {
    let (bad, good) = (resetting().await, Origin::well_behaved().await);
    let peers = [bad.address(), good.address()];
    let policy = || RetryPolicy::new(2);
    for (method, policy, expected) in [
        ("GET", policy(), both(200, 2)),
        ("PUT", policy(), both(200, 2)),
        ("POST", policy(), both(502, 1)),
        ("POST", policy().any_method(true), both(200, 2)),
        ("GET", policy().on_reset(false), both(502, 1)),
        ("GET", RetryPolicy::new(1), both(502, 1)),
        ("GET", RetryPolicy::new(0), both(502, 1)),
    ] {
        let what = format!("{method} {policy:?}");
        let request = Ask::by(method, "/echo").body("text");
        let trying = Trying::over(&peers, policy);
        assert_eq!(outcome(trying, &request).await, expected, "{what}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_to_keep_is_not_sent_again() {
    let (bad, good) = (resetting().await, Origin::well_behaved().await);
    let trying = Trying::over(&[bad.address(), good.address()], RetryPolicy::new(2));
    let server = h2c_proxy(trying).await;
    let request = Ask::by("PUT", "/echo").body(vec![b'a'; 200_000]);
    // The reset may also reach the client's body first.
    let answer = ask(&server, &request, Version::H1).await;
    assert_eq!(answer.status(), 502);
    assert_eq!(good.connections(), 0);
}

#[tokio::test]
async fn a_status_is_tried_again_and_the_last_response_is_the_clients() {
    let (busy, good) = (always(BUSY).await, Origin::well_behaved().await);
    let policy = || RetryPolicy::new(2).on_status([503]);
    let request = Ask::get("/length/5");
    let peers = [busy.address(), good.address()];
    let answers = outcome(Trying::over(&peers, policy()), &request).await;
    assert_eq!(answers, both(200, 2));
    assert_eq!(busy.connections(), 1, "the connection was drained and kept");

    let server = h2c_proxy(Trying::over(&[busy.address()], policy())).await;
    for version in [Version::H1, Version::H2] {
        let answer = ask(&server, &request, version).await;
        assert_eq!((answer.status(), answer.text()), (503, "busy"));
    }
    let post = Ask::by("POST", "/echo").body("text");
    for (policy, expected) in [
        (policy(), both(503, 1)),
        (policy().any_method(true), both(200, 2)),
        (RetryPolicy::new(2).on_status([500, 502]), both(503, 1)),
    ] {
        let trying = Trying::over(&peers, policy);
        assert_eq!(outcome(trying, &post).await, expected);
    }
}

#[tokio::test]
async fn a_status_over_http2_is_tried_again() {
    let (busy, good) = (Origin::http2().await, Origin::http2().await);
    let policy = RetryPolicy::new(3).on_status([503]);
    let trying = Trying::over(&[busy.address(), good.address()], policy);
    let request = Ask::get("/h2");
    let answers = outcome(trying, &request).await;
    // Neither has such a path; the point is that the first is not asked again.
    assert_eq!(answers[0].0, answers[1].0);
    let policy = RetryPolicy::new(2).on_status([answers[0].0]);
    let trying = Trying::over(&[busy.address(), good.address()], policy);
    assert_eq!(outcome(trying, &request).await, both(answers[0].0, 2));
    assert_eq!((busy.connections(), good.connections()), (2, 1));
}

#[tokio::test]
async fn what_is_dropped_is_read_within_bounds() {
    let long = "HTTP/1.1 503 Busy\r\nContent-Length: 100000\r\n\r\n";
    let chunked = "HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n\
                   a\r\n0123456789\r\n1\r\nx\r\n";
    let stalling = "HTTP/1.1 503 Busy\r\nContent-Length: 10\r\n\r\n01234";
    let cut = "HTTP/1.1 503 Busy\r\n\r\nuntil the end";
    let empty = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    for (response, kept) in [
        (long, false),
        (chunked, false),
        (stalling, false),
        (cut, false),
        (empty, true),
        (BUSY, true),
    ] {
        let (busy, good) = (always(response).await, Origin::well_behaved().await);
        let policy = RetryPolicy::new(2).on_status([503]).drain(10);
        let trying = Trying::over(&[busy.address(), good.address()], policy);
        let answers = outcome(trying, &Ask::get("/length/5")).await;
        assert_eq!(answers, both(200, 2), "{response}");
        assert_eq!(busy.connections() == 1, kept, "{response}");
        if !kept {
            busy.wait_until_unused().await;
        }
    }
}

#[tokio::test]
async fn retry_after_is_honoured_or_the_response_passed_on() {
    let later = always("HTTP/1.1 503 Busy\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n").await;
    let now = always("HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n").await;
    let good = Origin::well_behaved().await;
    let policy = || RetryPolicy::new(2).on_status([503]);
    let honouring = || policy().honour_retry_after(Duration::from_secs(1));
    let request = Ask::get("/length/5");
    for (first, policy, expected) in [
        (&later, policy(), both(200, 2)),
        (&later, honouring(), both(503, 1)),
        (&now, honouring(), both(200, 2)),
    ] {
        let trying = Trying::over(&[first.address(), good.address()], policy);
        assert_eq!(outcome(trying, &request).await, expected);
    }
}

#[tokio::test]
async fn a_try_that_takes_too_long_is_followed_by_the_next() {
    let silent = Origin::scripted(|mut connection, _| async move {
        connection.request().await;
        connection.closed().await;
    })
    .await;
    let good = Origin::well_behaved().await;
    let peers = [silent.address(), good.address()];
    let limit = Duration::from_millis(100);
    let policy = || RetryPolicy::new(2).per_try_timeout(limit);
    let request = Ask::get("/length/5");
    let trying = Trying::over(&peers, policy());
    assert_eq!(outcome(trying, &request).await, both(200, 2));
    silent.wait_until_unused().await;
    let trying = Trying::over(&peers, policy().on_timeout(false));
    assert_eq!(outcome(trying, &request).await, both(504, 1));
    // Once the head is there, the limit no longer applies.
    let slow = Origin::scripted(|mut connection, _| async move {
        connection.request().await;
        connection
            .send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsl")
            .await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        connection.send("ow").await;
    })
    .await;
    let trying = Trying::over(&[slow.address()], policy());
    assert_eq!(outcome(trying, &request).await, both(200, 1));
}

#[tokio::test]
async fn the_budget_bounds_the_retries_of_all_requests() {
    let (bad, good) = (Refusing::new(), Origin::well_behaved().await);
    let budget = RetryBudget::new(0.5, 0);
    let policy = RetryPolicy::new(2).budget(budget.clone());
    let server = h2c_proxy(Trying::over(&[bad.address(), good.address()], policy)).await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        let answer = ask(&server, &Ask::get("/length/5"), Version::H1).await;
        statuses.push(answer.status());
    }
    assert_eq!(statuses, [502, 200, 502, 200, 502, 200]);
    assert_eq!(budget.refused(), 3);
}

#[tokio::test]
async fn a_program_can_veto_a_retry() {
    let (busy, good) = (always(BUSY).await, Origin::well_behaved().await);
    let refusing = Refusing::new();
    let request = Ask::get("/length/5");
    for (first, expected) in [
        (busy.address(), both(503, 1)),
        (refusing.address(), both(502, 1)),
    ] {
        let policy = RetryPolicy::new(2).on_status([503]);
        let mut trying = Trying::over(&[first, good.address()], policy);
        trying.vetoes = true;
        assert_eq!(outcome(trying, &request).await, expected);
    }
}

#[tokio::test]
async fn a_wait_ends_when_the_client_leaves() {
    let refusing = Refusing::new();
    let policy = RetryPolicy::new(usize::MAX).backoff(Backoff::new(PATIENT, PATIENT));
    let trying = Trying::over(&[refusing.address()], policy);
    let tries = trying.tries.clone();
    let server = h2c_proxy(trying).await;
    for version in [Version::H1, Version::H2] {
        tries.store(0, Ordering::SeqCst);
        let running =
            pingora_tests::Running::begin(version, server.address(), &Ask::get("/")).await;
        pingora_tests::eventually("the second try", || tries.load(Ordering::SeqCst) >= 2).await;
        drop(running);
    }
    // A server that waits for its requests to end would not stop.
    server.signal(pingora::server::ShutdownSignal::GracefulTerminate);
    pingora_tests::eventually("the end", || server.has_stopped()).await;
}

#[tokio::test]
async fn a_request_has_a_limit_over_all_its_tries() {
    let silent = Origin::scripted(|mut connection, _| async move {
        connection.request().await;
        connection.closed().await;
    })
    .await;
    let dripping = Origin::scripted(|mut connection, _| async move {
        connection.request().await;
        connection
            .send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            .await;
        while connection.try_send("x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let limit = Some(Duration::from_millis(200));
    let limited = |peer: SocketAddr, policy| {
        let mut trying = Trying::over(&[peer], policy);
        trying.request_limit = limit;
        trying
    };
    let request = Ask::get("/");
    let policy = || RetryPolicy::new(usize::MAX).on_timeout(true);
    // No retry begins when the time is up.
    let trying = limited(silent.address(), policy());
    assert_eq!(outcome(trying, &request).await, both(504, 1));
    let refusing = Refusing::new();
    let waiting = policy().backoff(Backoff::new(
        Duration::from_millis(20),
        Duration::from_millis(20),
    ));
    for (status, tries) in outcome(limited(refusing.address(), waiting), &request).await {
        // The time may have run out while connecting for the last time.
        assert!(
            matches!(status, 502 | 504) && tries > 2,
            "{status} after {tries}"
        );
    }
    let server = h2c_proxy(limited(dripping.address(), policy())).await;
    let answer = ask(&server, &request, Version::H1).await;
    assert!(
        !answer.is_complete() && answer.status() == 200,
        "{answer:?}"
    );
    dripping.wait_until_unused().await;

    // The rest of the request is missing, which is the client's fault.
    let good = Origin::well_behaved().await;
    let server = h2c_proxy(limited(good.address(), policy())).await;
    for version in [Version::H1, Version::H2] {
        let upload = Ask::by("POST", "/echo").body("").claiming(1000);
        let mut running = pingora_tests::Running::begin(version, server.address(), &upload).await;
        assert_eq!(running.answer().await.status(), 408, "{version:?}");
    }
}
