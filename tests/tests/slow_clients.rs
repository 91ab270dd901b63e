//! Thousands of clients that send a head or a body by the byte: they hold little memory, each is shed at its
//! deadline, and others are served meanwhile.
//!
//! A separate program, because memory is counted. There are 250 connections, or as many as
//! `PINGORA_SLOW_CLIENTS` says; each takes two or four descriptors.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]
#![allow(
    clippy::print_stdout,
    reason = "what it cost is to be seen, with --nocapture"
)]

use async_trait::async_trait;
use pingora::apps::HttpServerOptions;
use pingora::prelude::*;
use pingora::server::configuration::ServerConf;
use pingora_tests::{Connection, CountingAllocator, Origin, TestServer, proxy_with};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// What five thousand connections may take: bytes.
const BUDGET: usize = 64 * 1024 * 1024;
/// How long a head may take, and a body.
const LIMIT: Duration = Duration::from_secs(8);
/// A client that waits longer for its end was forgotten.
const FORGOTTEN: Duration = Duration::from_secs(120);

const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: slow/1\r\nX-Slow: ";
const BODY: &[u8] = b"POST /slow HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: 1000\r\n\r\n";

struct Patient {
    origin: SocketAddr,
    silent: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Patient {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let slow = session.req_header().uri.path() == "/slow";
        session.limit_request_body(slow.then_some(LIMIT));
        let address = if slow { self.silent } else { self.origin };
        Ok(Box::new(HttpPeer::new(address, false, String::new())))
    }
}

async fn server(origin: &Origin, silent: &Origin) -> TestServer {
    let patient = Patient {
        origin: origin.address(),
        silent: silent.address(),
    };
    let mut options = HttpServerOptions::default();
    options.set_header_timeout(Some(LIMIT));
    let conf = ServerConf {
        threads: 1,
        ..ServerConf::default()
    };
    proxy_with(conf, patient, |service| {
        service.app_logic_mut().unwrap().server_options = Some(options);
    })
    .await
}

/// Opens all, lets a byte of each drip in turn until its end is there, and returns how many were open at once.
fn drip_all(proxy: SocketAddr, count: usize) -> usize {
    let open = |number: usize| {
        let mut client = TcpStream::connect(proxy).unwrap();
        client
            .write_all(if number.is_multiple_of(2) { HEAD } else { BODY })
            .unwrap();
        client.set_nonblocking(true).unwrap();
        client
    };
    let begun = Instant::now();
    let mut clients: Vec<TcpStream> = Vec::with_capacity(count);
    for number in 0..count {
        clients.push(open(number));
    }
    let in_time = clients.iter().filter(|client| is_open(client)).count();
    let mut answers = 0;
    while !clients.is_empty() {
        assert!(begun.elapsed() < FORGOTTEN, "{} are left", clients.len());
        clients.retain_mut(|client| {
            let mut answer = [0; 1024];
            match client.read(&mut answer) {
                Ok(length) => {
                    let answer = String::from_utf8_lossy(&answer[..length]);
                    assert!(answer.starts_with("HTTP/1.1 408"), "{answer:?}");
                    answers += 1;
                    false
                }
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                    // It may be closed just now.
                    let _ = client.write(b"x");
                    true
                }
            }
        });
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(answers, count);
    in_time
}

fn is_open(client: &TcpStream) -> bool {
    client.peek(&mut [0]).is_err()
}

/// Asks without pause until the slow ones are over, and returns how often, and the longest wait.
async fn ask(mut client: Connection, over: Arc<AtomicBool>) -> (usize, Duration) {
    let (mut asked, mut longest) = (0, Duration::ZERO);
    while !over.load(Ordering::SeqCst) {
        let begun = Instant::now();
        let answer = client.ask("GET /quick HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!((answer.status(), answer.text()), (200, "/quick"));
        longest = longest.max(begun.elapsed());
        asked += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (asked, longest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_hold_little_are_shed_in_time_and_are_in_nobodys_way() {
    let count = std::env::var("PINGORA_SLOW_CLIENTS").ok();
    let count: usize = count.map_or(250, |count| count.parse().unwrap());
    let origin = Origin::well_behaved().await;
    // It reads heads, and nothing of bodies.
    let silent = Origin::scripted(|mut connection, _| async move {
        connection.request_head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let server = server(&origin, &silent).await;
    let proxy = server.address();
    let quick = || {
        let requests = origin.requests();
        requests.iter().filter(|r| r.target() == "/quick").count()
    };
    let over = Arc::new(AtomicBool::new(false));
    let asking = tokio::spawn(ask(server.connect().await, over.clone()));
    let (before, _) = CountingAllocator::in_use();
    let dripping = tokio::task::spawn_blocking(move || drip_all(proxy, count));
    let open = dripping.await.unwrap();
    let (_, peak) = CountingAllocator::in_use();
    over.store(true, Ordering::SeqCst);
    let (asked, longest) = asking.await.unwrap();
    let cost = peak - before;
    println!(
        "{count} slow clients, {open} at once: {cost} bytes; {asked} other requests, at most {longest:?} each"
    );
    assert!(asked > 10, "others asked {asked} times");
    // On one connection, and each once: none was dropped, and none asked again.
    assert_eq!(quick(), asked, "what others asked, and what was answered");
    assert!(cost < BUDGET / 5000 * count + BUDGET / 20, "{cost} bytes");
}
