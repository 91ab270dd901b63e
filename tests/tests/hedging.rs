//! Hedged requests: which are, which of two tries wins, and what becomes of the other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use pingora::http::RequestHeader;
use pingora::prelude::*;
use pingora::proxy::{FailedTry, RetryBudget, RetryPolicy};
use pingora::upstreams::outcome::{Attempt, Outcome};
use pingora::upstreams::peer::Peer;
use pingora_tests::{Ask, Message, Origin, Refusing, Version, eventually, h2c_proxy};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

const NOW: Duration = Duration::ZERO;
const LATER: Duration = Duration::from_secs(60);
const FIRST: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst";
const SECOND: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond";

/// What happened, in order.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    /// Waits for the end of a request, and returns what happened.
    async fn of_request(&self) -> Vec<String> {
        let ended = || {
            self.0
                .lock()
                .unwrap()
                .iter()
                .any(|l| l.starts_with("logging"))
        };
        eventually("the request ends", ended).await;
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

struct Reported(usize, Journal);

impl Attempt for Reported {
    fn responded(&mut self, _status: u16) {}

    fn end(self: Box<Self>, outcome: Outcome) {
        self.1.note(format!("{} {outcome:?}", self.0));
    }
}

impl Drop for Reported {
    fn drop(&mut self) {
        self.1.note(format!("{} gone", self.0));
    }
}

/// The first try goes to the first peer, the second one to the second.
struct Hedging {
    peers: [SocketAddr; 2],
    policy: RetryPolicy,
    journal: Journal,
    limit: Option<Duration>,
    /// Told when the connection of a second try fails.
    failed: Arc<Notify>,
}

impl Hedging {
    fn over(peers: [SocketAddr; 2], delay: Duration) -> Self {
        Hedging {
            peers,
            policy: RetryPolicy::new(2).hedge_after(delay),
            journal: Journal::default(),
            limit: None,
            failed: Arc::default(),
        }
    }

    fn place_of(&self, peer: &HttpPeer) -> usize {
        let at = |one: &SocketAddr| peer.address().as_inet() == Some(one);
        self.peers.iter().position(at).unwrap()
    }
}

#[async_trait]
impl ProxyHttp for Hedging {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        session.limit_request(self.limit);
        session.record_times();
        Ok(false)
    }

    fn retry_policy<'a>(&'a self, _: &Session, _: &()) -> Option<&'a RetryPolicy> {
        Some(&self.policy)
    }

    fn hedge_delay(&self, session: &Session, _: &(), delay: Duration) -> Option<Duration> {
        (session.req_header().uri.path() != "/never").then_some(delay)
    }

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let place = session.failed_tries().len();
        let attempt = Reported(place, self.journal.clone());
        session.report_attempt(Some(Box::new(attempt)));
        let mut peer = HttpPeer::new(self.peers[place], false, String::new());
        if session.req_header().uri.path().starts_with("/h2") {
            peer.options.set_http_version(2, 2);
        }
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _: &mut (),
    ) -> Result<()> {
        if request.uri.path() == "/h2" && session.failed_tries().is_empty() {
            request.set_uri("/stall".parse().unwrap());
        }
        Ok(())
    }

    fn hedge_settled(&self, _: &mut Session, peer: &HttpPeer, _: &mut ()) {
        self.journal
            .note(format!("settled {}", self.place_of(peer)));
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        _: &mut (),
        error: Box<Error>,
    ) -> Box<Error> {
        self.failed.notify_one();
        error
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, _: &mut ()) {
        for failed in session.failed_tries() {
            let peer = self
                .peers
                .iter()
                .position(|p| failed.address.as_inet() == Some(p));
            let why = match &failed.error {
                hedged if *hedged == FailedTry::HEDGED => "hedged",
                other => other.as_str(),
            };
            self.journal.note(format!("failed {} {why}", peer.unwrap()));
        }
        let times = session.times().unwrap();
        assert!(times.tries.iter().all(|one| one.total.is_some()));
        let last = times.tries.last().unwrap();
        assert_eq!(last.first_byte.is_some(), error.is_none());
        let status = session.response_written().map(|r| r.status.as_u16());
        self.journal.note(format!("logging {status:?}"));
    }
}

/// An origin that answers once it is told to, and tells when it was asked.
async fn told(answer: &'static str, go: &Arc<Notify>, asked: &Arc<Notify>) -> Origin {
    let (go, asked) = (go.clone(), asked.clone());
    Origin::scripted(move |mut connection, _| {
        let (go, asked) = (go.clone(), asked.clone());
        async move {
            while connection.request().await.is_some() {
                asked.notify_one();
                tokio::select! {
                    () = go.notified() => {}
                    _ = connection.some_bytes() => return,
                }
                match answer {
                    "" => return connection.reset(),
                    answer => connection.send(answer).await,
                }
            }
        }
    })
    .await
}

fn signal() -> Arc<Notify> {
    Arc::default()
}

/// What came back for a request by each version of HTTP, and what happened.
async fn outcome(hedging: Hedging, ask: &Ask) -> Vec<(Message, Vec<String>)> {
    let journal = hedging.journal.clone();
    let server = h2c_proxy(hedging).await;
    let mut outcomes = Vec::new();
    for version in [Version::H1, Version::H2] {
        let answer = ask.answered_over(version, server.address()).await;
        outcomes.push((answer, journal.of_request().await));
    }
    outcomes
}

#[tokio::test]
async fn a_second_try_wins_where_the_first_says_nothing() {
    let (go, asked) = (signal(), signal());
    let first = told(FIRST, &signal(), &asked).await;
    let second = told(SECOND, &go, &go).await;
    let hedging = Hedging::over([first.address(), second.address()], NOW);
    for (answer, journal) in outcome(hedging, &Ask::get("/")).await {
        assert_eq!((answer.status(), &answer.body[..]), (200, &b"second"[..]));
        let expected =
            "0 Cancelled|0 gone|settled 1|1 Completed|1 gone|failed 0 hedged|logging Some(200)";
        assert_eq!(journal.join("|"), expected);
    }
    first.wait_until_unused().await;
}

#[tokio::test]
async fn the_first_try_wins_where_it_is_still_faster() {
    let (go, never) = (signal(), signal());
    let first = told(FIRST, &go, &signal()).await;
    // Being asked, the second one lets the first one answer.
    let second = told(SECOND, &never, &go).await;
    let hedging = Hedging::over([first.address(), second.address()], NOW);
    for (answer, journal) in outcome(hedging, &Ask::get("/")).await {
        assert_eq!((answer.status(), &answer.body[..]), (200, &b"first"[..]));
        let expected =
            "1 Cancelled|1 gone|settled 0|0 Completed|0 gone|failed 1 hedged|logging Some(200)";
        assert_eq!(journal.join("|"), expected);
    }
    second.wait_until_unused().await;
}

#[tokio::test]
async fn a_stream_that_loses_is_reset() {
    let (first, second) = (Origin::http2().await, Origin::http2().await);
    let hedging = Hedging::over([first.address(), second.address()], NOW);
    for (answer, journal) in outcome(hedging, &Ask::get("/h2")).await {
        assert_eq!(answer.status(), 200);
        assert!(
            journal.contains(&"failed 0 hedged".to_string()),
            "{journal:?}"
        );
    }
    eventually("both streams are reset", || first.aborted() == 2).await;
    assert_eq!(first.connections(), 1, "which costs no connection");
}

#[tokio::test]
async fn what_is_answered_in_time_is_not_hedged() {
    let (first, second) = (Origin::well_behaved().await, Origin::well_behaved().await);
    for (ask, delay) in [(Ask::get("/"), LATER), (Ask::get("/never"), NOW)] {
        let hedging = Hedging::over([first.address(), second.address()], delay);
        for (answer, journal) in outcome(hedging, &ask).await {
            assert_eq!(answer.status(), 200);
            assert_eq!(journal.join("|"), "0 Completed|0 gone|logging Some(200)");
        }
    }
    assert_eq!(second.connections(), 0);
}

#[tokio::test]
async fn only_safe_requests_without_a_body_are_hedged_within_tries_and_budget() {
    let upgrade = Ask::get("/")
        .with("Connection", "Upgrade")
        .with("Upgrade", "websocket");
    let none = RetryBudget::new(0.0, 0);
    let plain = || RetryPolicy::new(2).hedge_after(NOW);
    for (ask, policy) in [
        (Ask::by("POST", "/").body("x"), plain()),
        (Ask::by("PUT", "/").body("x"), plain()),
        (Ask::by("DELETE", "/"), plain()),
        (Ask::by("GET", "/").body("x"), plain()),
        (upgrade, plain()),
        (Ask::get("/"), plain().budget(none.clone())),
        (Ask::get("/"), RetryPolicy::new(1).hedge_after(NOW)),
        (Ask::get("/"), RetryPolicy::new(2)),
    ] {
        let (first, second) = (Origin::well_behaved().await, Origin::well_behaved().await);
        let mut hedging = Hedging::over([first.address(), second.address()], NOW);
        hedging.policy = policy;
        let journal = hedging.journal.clone();
        let server = h2c_proxy(hedging).await;
        let answer = ask.answered_over(Version::H1, server.address()).await;
        assert_eq!(answer.status(), 200, "{ask:?}");
        let journal = journal.of_request().await;
        assert_eq!(
            journal.join("|"),
            "0 Completed|0 gone|logging Some(200)",
            "{ask:?}"
        );
        assert_eq!(second.connections(), 0, "{ask:?}");
    }
    assert_eq!(none.refused(), 1);
}

#[tokio::test]
async fn a_second_try_that_finds_no_connection_leaves_the_request_to_the_first() {
    let refusing = Refusing::new();
    let go = signal();
    let first = told(FIRST, &go, &signal()).await;
    let mut hedging = Hedging::over([first.address(), refusing.address()], NOW);
    hedging.failed = go;
    for (answer, journal) in outcome(hedging, &Ask::get("/")).await {
        assert_eq!((answer.status(), &answer.body[..]), (200, &b"first"[..]));
        let expected = "1 ConnectFailed|1 gone|settled 0|0 Completed|0 gone|failed 1 ConnectRefused|logging Some(200)";
        assert_eq!(journal.join("|"), expected);
    }
}

#[tokio::test]
async fn a_try_that_fails_leaves_the_request_to_the_other() {
    for (failing, outcome_of_first) in [(0, "0 Failed|0 gone"), (1, "1 Failed|1 gone")] {
        let (asked, answers) = (signal(), signal());
        // The one that fails does so when the other was asked; the other one answers after that.
        let bad = told("", &asked, &signal()).await;
        let (go, ask) = (answers.clone(), asked.clone());
        let good = Origin::scripted(move |mut connection, _| {
            let (go, ask) = (go.clone(), ask.clone());
            async move {
                while connection.request().await.is_some() {
                    ask.notify_one();
                    go.notified().await;
                    connection.send(FIRST).await;
                }
            }
        })
        .await;
        let mut peers = [bad.address(), good.address()];
        peers.swap(0, failing);
        let hedging = Hedging::over(peers, NOW);
        let journal = hedging.journal.clone();
        let server = h2c_proxy(hedging).await;
        let address = server.address();
        let asking =
            tokio::spawn(async move { Ask::get("/").answered_over(Version::H1, address).await });
        let settled = || {
            journal
                .0
                .lock()
                .unwrap()
                .iter()
                .any(|l| l.starts_with("settled"))
        };
        eventually("one try goes on", settled).await;
        answers.notify_one();
        assert_eq!(asking.await.unwrap().status(), 200);
        let journal = journal.of_request().await.join("|");
        assert!(journal.starts_with(outcome_of_first), "{journal}");
        let good = 1 - failing;
        let rest = format!("settled {good}|{good} Completed|{good} gone|failed {failing} ");
        assert!(journal.contains(&rest), "{journal}");
    }
}

#[tokio::test]
async fn two_silent_tries_end_with_the_request() {
    let (asked, never) = (signal(), signal());
    let (first, second) = (
        told(FIRST, &never, &signal()).await,
        told(SECOND, &never, &asked).await,
    );
    let mut hedging = Hedging::over([first.address(), second.address()], NOW);
    hedging.limit = Some(Duration::from_millis(50));
    let journal = hedging.journal.clone();
    let server = h2c_proxy(hedging).await;
    let answer = Ask::get("/")
        .answered_over(Version::H1, server.address())
        .await;
    assert_eq!(answer.status(), 504);
    let journal = journal.of_request().await.join("|");
    assert!(journal.ends_with("logging Some(504)"), "{journal}");
    assert_eq!(journal.matches("gone").count(), 2, "{journal}");
    first.wait_until_unused().await;
    second.wait_until_unused().await;
}
