//! Origins that reset, close, stall, trickle, send wrong lengths or answer early, at each point of the
//! exchange, over each pair of versions, with and without retries, for streamed and for buffered bodies.
//!
//! - `cases`: the points, the faults, and the documented behaviour for each.
//! - `http1`, `http2`: the origins.
//!
//! Each case also sends another request to the same origin and gets the matching answer; and when
//! everything is over, no task, connection or buffered byte is left.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

mod cases;
mod http1;
mod http2;

use async_trait::async_trait;
use cases::{Case, Expected, Limit, all_cases};
use pingora::prelude::*;
use pingora::protocols::ALPN;
use pingora::proxy::{RetryPolicy, Spooling};
use pingora_tests::{Ask, Message, Origin, Running, Version, eventually, h2c_proxy};
use std::hash::{DefaultHasher, Hasher};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Notify;

/// The limit of a try, or of a whole request, if the origin is slow on purpose.
const LIMIT: Duration = Duration::from_millis(1500);

/// Signals between an origin and the test.
#[derive(Default)]
struct Told {
    /// The client has the head of the response.
    head_seen: Notify,
    /// The origin has received as much of the request as it wants, or has caused the fault.
    reached: Notify,
    /// The proxy has dropped the connection, or the stream, with the fault.
    let_go: AtomicBool,
    /// A request arrived where none is allowed.
    misused: AtomicBool,
}

/// One column of the matrix.
#[derive(Debug, Clone, Copy)]
struct Column {
    down: Version,
    up: Version,
    retries: bool,
    buffered: bool,
}

impl Column {
    /// A buffered body exceeds the memory limit, and the retry limit of a streamed one.
    fn body(self) -> Vec<u8> {
        pingora_tests::pattern(if self.buffered { 200_000 } else { 20_000 })
    }
}

/// The path contains the ports of the origins for the first and the second try, and the limit.
struct Between {
    column: Column,
    spooling: Spooling,
    policy: RetryPolicy,
    hasty: RetryPolicy,
    runtime: Arc<OnceLock<Handle>>,
}

/// The answer of a good origin: a short body itself, and for a long one enough data to detect a lost
/// or duplicated piece.
fn reply(body: &[u8]) -> Vec<u8> {
    if body.len() < 1000 {
        return body.to_vec();
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(body);
    format!("{} bytes, {:x}", body.len(), hasher.finish()).into()
}

fn limit_of(session: &Session) -> Limit {
    match session.req_header().uri.path().rsplit('/').next() {
        Some("try") => Limit::Try,
        Some("all") => Limit::Request,
        _ => Limit::None,
    }
}

#[async_trait]
impl ProxyHttp for Between {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        self.runtime.get_or_init(Handle::current);
        if self.column.buffered {
            session.buffer_request_body(&self.spooling).await?;
        }
        // The client's duration is not tested here.
        let limit = limit_of(session);
        if limit == Limit::Request || limit == Limit::Try && !self.column.retries {
            session.limit_request(Some(LIMIT));
        }
        Ok(false)
    }

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let tried = session.failed_tries().len();
        let mut ports = session.req_header().uri.path().split('/').skip(1);
        let port: u16 = ports.nth(tried.min(1)).unwrap().parse().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut peer = HttpPeer::new(address, false, String::new());
        if self.column.up == Version::H2 {
            peer.options.alpn = ALPN::H2;
            peer.options.max_h2_streams = 10;
        }
        Ok(Box::new(peer))
    }

    fn retry_policy<'a>(&'a self, session: &Session, _: &()) -> Option<&'a RetryPolicy> {
        let policy = match limit_of(session) {
            Limit::Try => &self.hasty,
            _ => &self.policy,
        };
        self.column.retries.then_some(policy)
    }
}

async fn origin(version: Version, case: Option<Case>, told: &Arc<Told>) -> Origin {
    let told = told.clone();
    match version {
        Version::H1 => {
            Origin::scripted(move |connection, index| {
                let case = case.filter(|_| index == 0);
                http1::serve(connection, case, told.clone())
            })
            .await
        }
        Version::H2 => http2::origin(case, told).await,
    }
}

/// The head of the final response, and the rest of it once the origin knows that the head has
/// arrived.
async fn answer(running: &mut Running, told: &Told) -> Message {
    loop {
        let head = running.head().await;
        if head.status() == 0 || head.status() >= 200 {
            told.head_seen.notify_one();
            return running.rest_of(head).await;
        }
    }
}

/// One case; returns any deviation from the documented behaviour.
async fn run(case: Case, column: Column, proxy: SocketAddr) -> Result<(), String> {
    let told = Arc::new(Told::default());
    let bad = origin(column.up, Some(case), &told).await;
    let good = origin(column.up, None, &Arc::default()).await;
    let (first, second) = (bad.address().port(), good.address().port());
    let path = format!("/{first}/{second}/{}", case.limit().name());
    let body = column.body();
    let ask = Ask::by("PUT", &path).body(body.clone());
    let mut running = Running::begin(column.down, proxy, &ask).await;
    let ahead = if case.is_within_request() && !column.buffered {
        body.len() / 2
    } else {
        body.len()
    };
    let (ahead, rest) = body.split_at(ahead);
    let mut goes_on = running.try_send(ahead).await;
    if !rest.is_empty() {
        told.reached.notified().await;
        goes_on = goes_on && running.try_send(rest).await;
    }
    if goes_on {
        running.try_finish().await;
    }
    let answer = answer(&mut running, &told).await;
    let got = (answer.status(), answer.is_complete());
    let as_promised = match case.expected(column) {
        Expected::Whole(status) => got == (status, true),
        Expected::Cut => got == (200, false),
        Expected::OfTheOther => got == (200, true) && answer.body == reply(&body),
    };
    if !as_promised {
        let text = String::from_utf8_lossy(answer.body.get(..20).unwrap_or(&answer.body));
        return Err(format!("{got:?} {text:?} {:?}", case.expected(column)));
    }
    drop(running);
    asks_again(&case, column, proxy, [first, second]).await?;
    // The fault is over for the origin as well.
    eventually(&format!("{case:?} {column:?} is let go"), || {
        told.let_go.load(Ordering::SeqCst) || !case.has_to_be_let_go(column.up)
    })
    .await;
    if told.misused.load(Ordering::SeqCst) {
        Err("a request came over a connection that is not to be used".to_string())
    } else {
        Ok(())
    }
}

/// The next requests to the same origin get the matching answers.
async fn asks_again(
    case: &Case,
    column: Column,
    proxy: SocketAddr,
    [first, second]: [u16; 2],
) -> Result<(), String> {
    for number in 0..2 {
        let question = format!("question {number} after {case:?}");
        let ask = Ask::by("PUT", &format!("/{first}/{second}/none")).body(question.clone());
        let next = ask.answered_over(column.down, proxy).await;
        if (next.status(), next.text()) != (200, question.as_str()) {
            return Err(format!("then {} {:?}", next.status(), next.text()));
        }
    }
    Ok(())
}

async fn holds(column: Column) {
    let runtime = Arc::new(OnceLock::new());
    let spooling = Spooling::new(1 << 20).in_memory(16 * 1024);
    let policy = RetryPolicy::new(2).on_status([503]);
    let between = Between {
        column,
        spooling: spooling.clone(),
        hasty: policy.clone().on_timeout(true).per_try_timeout(LIMIT),
        policy,
        runtime: runtime.clone(),
    };
    let server = h2c_proxy(between).await;
    // One-time tasks are started before tasks are counted.
    let warm = origin(column.up, None, &Arc::default()).await;
    let port = warm.address().port();
    asks_again(
        &all_cases(column.up)[0],
        column,
        server.address(),
        [port; 2],
    )
    .await
    .unwrap();
    drop(warm);
    let tasks = || runtime.get().unwrap().metrics().num_alive_tasks();
    let mut before = 0;
    for _ in 0..2 {
        // A task that is about to end is not counted.
        tokio::task::yield_now().await;
        before = tasks();
    }
    let cases = all_cases(column.up);
    let running = cases
        .iter()
        .map(|case| run(*case, column, server.address()));
    let outcomes = futures::future::join_all(running).await;
    let wrong: Vec<String> = cases
        .iter()
        .zip(outcomes)
        .filter_map(|(case, outcome)| Some(format!("{case:?}: {}", outcome.err()?)))
        .collect();
    assert!(wrong.is_empty(), "{column:?}\n{}", wrong.join("\n"));
    eventually("the buffers are empty", || spooling.held() == (0, 0)).await;
    eventually("the tasks are over", || tasks() <= before).await;
}

async fn holds_between(down: Version, up: Version) {
    for (retries, buffered) in [(false, false), (true, false), (false, true), (true, true)] {
        let column = Column {
            down,
            up,
            retries,
            buffered,
        };
        holds(column).await;
    }
}

#[tokio::test]
async fn http1_to_http1() {
    holds_between(Version::H1, Version::H1).await;
}

#[tokio::test]
async fn http1_to_http2() {
    holds_between(Version::H1, Version::H2).await;
}

#[tokio::test]
async fn http2_to_http1() {
    holds_between(Version::H2, Version::H1).await;
}

#[tokio::test]
async fn http2_to_http2() {
    holds_between(Version::H2, Version::H2).await;
}
