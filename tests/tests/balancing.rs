//! The load balancer in front of real nginx backends that run, die and come back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use pingora::lb::health_check::TcpHealthCheck;
use pingora::lb::selection::consistent::KetamaHashing;
use pingora::lb::selection::{BackendIter, BackendSelection, RoundRobin};
use pingora::lb::{Backend, LoadBalancer};
use pingora::prelude::*;
use pingora::server::configuration::ServerConf;
use pingora_tests::{Nginx, Refusing, TestServer, eventually};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The interval of health checks, as in the quick start.
const INTERVAL: Duration = Duration::from_secs(1);
/// The duration of a check itself on a busy machine.
const SLACK: Duration = Duration::from_secs(2);

struct Balancer<S: BackendSelection>(Arc<LoadBalancer<S>>);

#[async_trait]
impl<S> ProxyHttp for Balancer<S>
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let key = session.get_header_bytes("X-Key");
        let backend = self.0.select(key, 256);
        let backend = backend.or_err(
            ErrorType::HTTPStatus(503),
            "no backend of them all is alive",
        )?;
        Ok(Box::new(HttpPeer::new(backend, false, String::new())))
    }
}

/// Starts a balancer with its health check, and waits for the first check, which finds `dead` dead.
async fn balance<S>(
    addresses: &[SocketAddr],
    dead: &[SocketAddr],
) -> (TestServer, Arc<LoadBalancer<S>>)
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    let mut upstreams = LoadBalancer::<S>::try_from_iter(addresses).unwrap();
    upstreams.set_health_check(TcpHealthCheck::new());
    upstreams.health_check_frequency = Some(INTERVAL);
    let background = background_service("health check", upstreams);
    let upstreams = background.task();
    let mut server = Server::new_with_opt_and_conf(None::<Opt>, ServerConf::default());
    server.bootstrap();
    let mut proxy = http_proxy_service(&server.configuration, Balancer(upstreams.clone()));
    proxy.add_tcp("127.0.0.1:0");
    let bound = proxy.bound_addresses();
    server.add_service(background);
    server.add_service(proxy);
    let server = TestServer::start(server, bound).await;
    for address in dead {
        let balancer = upstreams.clone();
        eventually("the first check is over", || !ready(&balancer, *address)).await;
    }
    (server, upstreams)
}

fn ready<S>(upstreams: &LoadBalancer<S>, address: SocketAddr) -> bool
where
    S: BackendSelection + 'static,
    S::Iter: BackendIter,
{
    let backend = Backend::new(&address.to_string()).unwrap();
    upstreams.backends().ready(&backend)
}

/// Waits until a backend counts as alive, or dead, and fails if that takes longer than an interval.
async fn notices<S>(upstreams: &LoadBalancer<S>, address: SocketAddr, alive: bool)
where
    S: BackendSelection + 'static,
    S::Iter: BackendIter,
{
    let begun = Instant::now();
    eventually("the change is noticed", || {
        ready(upstreams, address) == alive
    })
    .await;
    let took = begun.elapsed();
    assert!(took < INTERVAL + SLACK, "noticed after {took:?}");
}

/// Sends this many requests, over several connections at a time, and counts the answers by status
/// and body.
async fn ask(server: &TestServer, times: usize, clients: usize) -> BTreeMap<String, usize> {
    let mut tasks = Vec::new();
    for client in 0..clients {
        let address = server.address();
        let share = times / clients + usize::from(client < times % clients);
        tasks.push(tokio::spawn(async move {
            let mut connection = pingora_tests::Connection::to(address).await;
            let mut answers = Vec::with_capacity(share);
            for _ in 0..share {
                let answer = connection.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
                answers.push(format!("{} {}", answer.status(), answer.text()));
            }
            answers
        }));
    }
    let mut counts = BTreeMap::new();
    for task in tasks {
        for answer in task.await.unwrap() {
            *counts.entry(answer).or_default() += 1;
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_share_ten_thousand_requests_evenly_and_none_fails() {
    let (one, two, dead) = (
        Nginx::answering("one"),
        Nginx::answering("two"),
        Refusing::new(),
    );
    let addresses = [one.address(), two.address(), dead.address()];
    let (server, _) = balance::<RoundRobin>(&addresses, &[dead.address()]).await;
    let counts = ask(&server, 10_000, 8).await;
    let answers: Vec<&str> = counts.keys().map(String::as_str).collect();
    assert_eq!(answers, ["200 one", "200 two"], "{counts:?}");
    for (answer, count) in &counts {
        assert!((4999..=5001).contains(count), "{answer}: {counts:?}");
    }
}

#[tokio::test]
async fn a_backend_that_dies_or_comes_back_is_noticed_within_its_interval() {
    let (mut one, two) = (Nginx::answering("one"), Nginx::answering("two"));
    let dead = Refusing::new();
    let addresses = [one.address(), two.address(), dead.address()];
    let (server, upstreams) = balance::<RoundRobin>(&addresses, &[dead.address()]).await;
    for _ in 0..2 {
        one.stop();
        notices(&upstreams, one.address(), false).await;
        let counts = ask(&server, 100, 2).await;
        assert_eq!(counts, BTreeMap::from([("200 two".into(), 100)]));

        one.start();
        notices(&upstreams, one.address(), true).await;
        let counts = ask(&server, 100, 2).await;
        let even = BTreeMap::from([("200 one".into(), 50), ("200 two".into(), 50)]);
        assert_eq!(counts, even);
    }
}

#[tokio::test]
async fn without_any_backend_alive_there_is_a_clean_error_until_one_comes_back() {
    let mut one = Nginx::answering("one");
    let dead = Refusing::new();
    let addresses = [one.address(), dead.address()];
    let (server, upstreams) = balance::<RoundRobin>(&addresses, &[dead.address()]).await;
    one.stop();
    // Until the failure is noticed, the upstream refuses connections.
    let answer = ask(&server, 1, 1).await;
    let status = answer.keys().next().unwrap();
    assert!(status.starts_with("502 ") || status.starts_with("503 "));
    notices(&upstreams, one.address(), false).await;
    let mut client = server.connect().await;
    for _ in 0..20 {
        let answer = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(answer.status(), 503);
    }
    one.start();
    notices(&upstreams, one.address(), true).await;
    // The same client's connection survived all of it.
    let answer = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((answer.status(), answer.text()), (200, "one"));
}

/// The backend that answers for each key.
async fn owners(server: &TestServer) -> Vec<String> {
    let mut client = server.connect().await;
    let mut owners = Vec::new();
    for key in 0..120 {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Key: key-{key}\r\n\r\n");
        let answer = client.ask(request).await;
        assert_eq!(answer.status(), 200);
        owners.push(answer.text().to_string());
    }
    owners
}

#[tokio::test]
async fn consistent_hashing_moves_the_keys_of_a_dead_backend_and_no_others() {
    let names = ["one", "two", "three"];
    let mut backends = names.map(Nginx::answering);
    let addresses = backends.each_ref().map(Nginx::address);
    let (server, upstreams) = balance::<KetamaHashing>(&addresses, &[]).await;
    let before = owners(&server).await;
    assert_eq!(before, owners(&server).await, "a key keeps its backend");
    for name in names {
        assert!(before.iter().any(|owner| owner == name), "{name} is unused");
    }
    let [_, two, _] = &mut backends;
    two.stop();
    notices(&upstreams, two.address(), false).await;
    let without = owners(&server).await;
    for (key, (was, is)) in before.iter().zip(&without).enumerate() {
        assert_ne!(is, "two", "key {key} goes to a dead backend");
        assert!(was == is || was == "two", "key {key} moved without need");
    }
    two.start();
    notices(&upstreams, two.address(), true).await;
    assert_eq!(before, owners(&server).await, "all keys are back");
}

/// The quick start as written: an unhealthy set makes its `unwrap()` panic.
struct Unwrapping(Arc<LoadBalancer<RoundRobin>>);

#[async_trait]
impl ProxyHttp for Unwrapping {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let upstream = self.0.select(b"", 256).unwrap();
        Ok(Box::new(HttpPeer::new(upstream, false, String::new())))
    }
}

#[tokio::test]
async fn a_proxy_that_unwraps_the_selection_answers_500_and_lives() {
    let dead = Refusing::new();
    let mut upstreams = LoadBalancer::<RoundRobin>::try_from_iter([dead.address()]).unwrap();
    upstreams.set_health_check(TcpHealthCheck::new());
    upstreams.backends().run_health_check(true).await;
    let server = pingora_tests::proxy(Unwrapping(Arc::new(upstreams))).await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        let answer = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(answer.status(), 500);
    }
}
