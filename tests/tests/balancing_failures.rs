//! Backends die and come back under load, and no request fails, with each selection algorithm.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use pingora::lb::circuit::Breaker;
use pingora::lb::selection::{
    BackendIter, BackendSelection, Consistent, LeastConnections, LeastTime, Maglev, PeakEwma,
    SmoothRoundRobin,
};
use pingora::lb::{LoadBalancer, Tries, Upstreams};
use pingora::prelude::*;
use pingora_tests::{Connection, Nginx, eventually};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const CLIENTS: usize = 16;
/// The number of requests that are answered while a backend is dead, and before the next one dies.
const BETWEEN: usize = 300;

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

/// Kills one backend after the other while clients send requests continuously.
async fn nothing_fails<S>()
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    let mut backends = ["one", "two", "three"].map(Nginx::answering);
    let addresses = backends.each_ref().map(Nginx::address);
    let balancer = Arc::new(LoadBalancer::<S>::try_from_iter(addresses).unwrap());
    let breaker =
        Breaker::new().ejection_time(Duration::from_millis(50), Duration::from_millis(200));
    balancer.backends().set_breaker(breaker);
    let server = pingora_tests::proxy(Proxy(Upstreams::new(balancer.clone()))).await;
    let (answered, done) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (address, answered, done) = (server.address(), answered.clone(), done.clone());
            tokio::spawn(async move {
                let mut connection = Connection::to(address).await;
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
            })
        })
        .collect();
    let more = || {
        let (answered, until) = (&answered, answered.load(Ordering::Relaxed) + BETWEEN);
        eventually("requests are answered", move || {
            answered.load(Ordering::Relaxed) >= until
        })
    };
    for backend in &mut backends {
        more().await;
        backend.stop();
        more().await;
        backend.start();
    }
    more().await;
    done.store(true, Ordering::Relaxed);
    let mut all = BTreeMap::<String, usize>::new();
    for client in clients {
        for (answer, count) in client.await.unwrap() {
            *all.entry(answer).or_default() += count;
        }
    }
    let good = ["200 one", "200 three", "200 two"];
    assert!(
        all.keys().all(|answer| good.contains(&answer.as_str())),
        "{all:?}"
    );
    eventually("no lease is left", || {
        let set = balancer.backends().get_backend();
        set.iter()
            .all(|backend| balancer.backends().in_flight(backend) == 0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_by_turns() {
    nothing_fails::<SmoothRoundRobin>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_by_load_and_speed() {
    nothing_fails::<LeastConnections>().await;
    nothing_fails::<LeastTime>().await;
    nothing_fails::<PeakEwma>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_by_key() {
    nothing_fails::<Consistent>().await;
    nothing_fails::<Maglev>().await;
}
