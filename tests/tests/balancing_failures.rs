//! Backends die and come back under load, and no request fails, with each selection algorithm.
//!
//! `cargo test -p pingora-tests --test balancing_failures -- --ignored --test-threads=1 --nocapture` runs the long form:
//! a minute for each algorithm, with 64 clients, in which one of three backends is killed every two seconds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use pingora::lb::circuit::Breaker;
use pingora::lb::selection::{
    BackendIter, BackendSelection, Consistent, FNVHash, LeastConnections, LeastTime, Maglev,
    PeakEwma, Random, RoundRobin, SmoothRoundRobin, Tiered,
};
use pingora::lb::{LoadBalancer, Tries, Upstreams};
use pingora::prelude::*;
use pingora_tests::{Connection, Nginx, TestServer, eventually};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

const CLIENTS: usize = 16;
/// The number of requests that are answered while a backend is dead, and before the next one dies.
const BETWEEN: usize = 300;

/// Of the long form: its duration, how often a backend is killed, and for how long it is dead.
const LONG: Duration = Duration::from_secs(60);
const EVERY: Duration = Duration::from_secs(2);
const DEAD: Duration = Duration::from_secs(1);
const MANY_CLIENTS: usize = 64;

struct Proxy<S: BackendSelection>(Upstreams<S>);

#[async_trait]
impl<S> ProxyHttp for Proxy<S>
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    type CTX = Tries;

    fn new_ctx(&self) -> Tries {
        Tries::default()
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        tries: &mut Tries,
    ) -> Result<Box<HttpPeer>> {
        let key = session.get_header_bytes("X-Key").to_vec();
        self.0.peer(session, &key, tries)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        tries: &mut Tries,
        error: Box<Error>,
    ) -> Box<Error> {
        self.0.fail_to_connect(tries, error)
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        tries: &mut Tries,
        reused: bool,
    ) -> Box<Error> {
        self.0
            .error_while_proxy(session, peer, tries, error, reused)
    }
}

/// Three backends, a proxy in front of them, and clients that send requests continuously.
struct Trial<S: BackendSelection> {
    backends: [Nginx; 3],
    balancer: Arc<LoadBalancer<S>>,
    clients: Vec<JoinHandle<BTreeMap<String, usize>>>,
    answered: Arc<AtomicUsize>,
    done: Arc<AtomicBool>,
    _server: TestServer,
}

impl<S> Trial<S>
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    async fn begin(clients: usize) -> Self {
        let backends = ["one", "two", "three"].map(Nginx::answering);
        let addresses = backends.each_ref().map(Nginx::address);
        let balancer = Arc::new(LoadBalancer::<S>::try_from_iter(addresses).unwrap());
        let breaker =
            Breaker::new().ejection_time(Duration::from_millis(50), Duration::from_millis(200));
        balancer.backends().set_breaker(breaker);
        let server = pingora_tests::proxy(Proxy(Upstreams::new(balancer.clone()))).await;
        let answered = Arc::new(AtomicUsize::new(0));
        let done = Arc::new(AtomicBool::new(false));
        let clients = (0..clients)
            .map(|number| {
                let (answered, done) = (answered.clone(), done.clone());
                tokio::spawn(ask(server.address(), number, answered, done))
            })
            .collect();
        Trial {
            backends,
            balancer,
            clients,
            answered,
            done,
            _server: server,
        }
    }

    /// Returns once this many more requests have been answered.
    async fn more(&self, count: usize) {
        let until = self.answered.load(Ordering::Relaxed) + count;
        eventually("requests are answered", || {
            self.answered.load(Ordering::Relaxed) >= until
        })
        .await;
    }

    /// Asserts that every request was answered by a backend, and returns the number of answers from each.
    async fn end(self) -> BTreeMap<String, usize> {
        self.done.store(true, Ordering::Relaxed);
        let mut all = BTreeMap::<String, usize>::new();
        for client in self.clients {
            for (answer, count) in client.await.unwrap() {
                *all.entry(answer).or_default() += count;
            }
        }
        let good = ["200 one", "200 three", "200 two"];
        assert!(
            all.keys().all(|answer| good.contains(&answer.as_str())),
            "{all:?}"
        );
        let backends = self.balancer.backends();
        eventually("no lease is left", || {
            let set = backends.get_backend();
            set.iter().all(|backend| backends.in_flight(backend) == 0)
        })
        .await;
        all
    }
}

/// Sends requests over one connection until `done`; returns the number of each answer.
async fn ask(
    proxy: SocketAddr,
    number: usize,
    answered: Arc<AtomicUsize>,
    done: Arc<AtomicBool>,
) -> BTreeMap<String, usize> {
    let mut connection = Connection::to(proxy).await;
    let mut answers = BTreeMap::<String, usize>::new();
    for turn in 0.. {
        if done.load(Ordering::Relaxed) {
            break;
        }
        let key = number * 7919 + turn;
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Key: {key}\r\n\r\n");
        let answer = connection.ask(request).await;
        let answer = format!("{} {}", answer.status(), answer.text());
        *answers.entry(answer).or_default() += 1;
        answered.fetch_add(1, Ordering::Relaxed);
    }
    answers
}

/// Kills one backend after the other while clients send requests continuously.
async fn nothing_fails<S>()
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    let mut trial = Trial::<S>::begin(CLIENTS).await;
    for index in 0..trial.backends.len() {
        trial.more(BETWEEN).await;
        trial.backends[index].stop();
        trial.more(BETWEEN).await;
        trial.backends[index].start();
    }
    trial.more(BETWEEN).await;
    trial.end().await;
}

/// The long form: by the clock, for a minute.
#[expect(clippy::print_stdout, reason = "what a run by hand is for")]
async fn nothing_fails_for_long<S>(name: &str)
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    let mut trial = Trial::<S>::begin(MANY_CLIENTS).await;
    let begun = Instant::now();
    let (mut next, mut killed) = (begun + EVERY, 0);
    while next < begun + LONG {
        sleep_until(next).await;
        let index = killed % trial.backends.len();
        trial.backends[index].stop();
        killed += 1;
        sleep_until(next + DEAD).await;
        trial.backends[index].start();
        next += EVERY;
        // Requests are still answered, so the count at the end means something.
        trial.more(MANY_CLIENTS).await;
    }
    sleep_until(begun + LONG).await;
    let answers = trial.end().await;
    let count: usize = answers.values().sum();
    println!("{name}: {killed} kills, {count} requests, none failed: {answers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_by_turns() {
    nothing_fails::<RoundRobin>().await;
    nothing_fails::<SmoothRoundRobin>().await;
    nothing_fails::<Random>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_by_load_and_speed() {
    nothing_fails::<LeastConnections>().await;
    nothing_fails::<LeastTime>().await;
    nothing_fails::<PeakEwma>().await;
    nothing_fails::<Tiered<PeakEwma>>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_by_key() {
    nothing_fails::<FNVHash>().await;
    nothing_fails::<Consistent>().await;
    nothing_fails::<Maglev>().await;
}

macro_rules! for_a_minute {
    ($($test:ident: $selector:ty),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        #[ignore = "the long form takes a minute"]
        async fn $test() {
            nothing_fails_for_long::<$selector>(stringify!($selector)).await;
        }
    )*};
}

for_a_minute! {
    a_minute_of_round_robin: RoundRobin,
    a_minute_of_smooth_round_robin: SmoothRoundRobin,
    a_minute_of_chance: Random,
    a_minute_of_hashes: FNVHash,
    a_minute_of_consistent_hashes: Consistent,
    a_minute_of_maglev: Maglev,
    a_minute_of_least_connections: LeastConnections,
    a_minute_of_least_time: LeastTime,
    a_minute_of_peak_ewma: PeakEwma,
    a_minute_of_tiers: Tiered<PeakEwma>,
}
