//! The load balancer with a real name server whose zone changes under load: dnsmasq.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use pingora::lb::discovery::DnsDiscovery;
use pingora::lb::selection::RoundRobin;
use pingora::lb::{Backends, LoadBalancer, Tries, Upstreams};
use pingora::prelude::*;
use pingora::server::configuration::ServerConf;
use pingora_tests::{Program, TestServer, eventually, free_port};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The time to live of the name server's answers.
const TTL: Duration = Duration::from_secs(1);
/// The duration of a query itself on a busy machine.
const SLACK: Duration = Duration::from_secs(2);
const CLIENTS: usize = 8;
const NAME: &str = "app.test.";

struct Balancer(Upstreams<RoundRobin>);

#[async_trait]
impl ProxyHttp for Balancer {
    type CTX = Tries;

    fn new_ctx(&self) -> Tries {
        Tries::default()
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        tries: &mut Tries,
    ) -> Result<Box<HttpPeer>> {
        self.0.peer(session, b"", tries)
    }
}

/// dnsmasq with a zone of its own; it is killed when this is dropped.
struct Dnsmasq {
    program: Program,
    address: SocketAddr,
    zone: PathBuf,
    _folder: TempDir,
}

impl Dnsmasq {
    async fn start(ips: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let zone = folder.path().join("zone");
        std::fs::write(&zone, lines(ips)).unwrap();
        let port = free_port();
        // `--no-daemon` keeps it running as the user that started it, so it can read the zone.
        let mut command = Command::new("/usr/sbin/dnsmasq");
        command
            .args([
                "--no-daemon",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
            ])
            .args([
                "--listen-address=127.0.0.1",
                "--bind-interfaces",
                "--pid-file=",
            ])
            .arg(format!("--port={port}"))
            .arg(format!("--local-ttl={}", TTL.as_secs()))
            .arg(format!("--addn-hosts={}", zone.display()));
        let dnsmasq = Dnsmasq {
            program: Program::start(&mut command),
            address: ([127, 0, 0, 1], port).into(),
            zone,
            _folder: folder,
        };
        eventually("dnsmasq has read its zone", || dnsmasq.reads() == 1).await;
        dnsmasq
    }

    /// The number of times that it has read its zone.
    fn reads(&self) -> usize {
        let lines = self.program.lines();
        lines.iter().filter(|line| line.contains("zone")).count()
    }

    /// Returns once the new zone is in force.
    async fn change(&self, ips: &[&str]) {
        let before = self.reads();
        std::fs::write(&self.zone, lines(ips)).unwrap();
        let id = self.program.id().to_string();
        let told = Command::new("kill").args(["-s", "HUP", &id]).status();
        assert!(told.unwrap().success());
        eventually("dnsmasq has read its zone again", || self.reads() > before).await;
    }
}

fn lines(ips: &[&str]) -> String {
    let name = NAME.trim_end_matches('.');
    ips.iter().map(|ip| format!("{ip} {name}\n")).collect()
}

/// An origin that answers with the address that it listens on; keeps its connections.
async fn origin(address: SocketAddr) -> tokio::task::JoinHandle<()> {
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(answer(stream));
        }
    })
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let body = stream.local_addr()?.ip().to_string();
    let length = body.len();
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
    let mut head = Vec::new();
    loop {
        head.clear();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        stream.write_all(response.as_bytes()).await?;
    }
}

/// The answers that continuously requesting clients have received.
#[derive(Default)]
struct Seen {
    /// The backends that have answered since this was last cleared.
    bodies: Mutex<BTreeSet<String>>,
    count: AtomicUsize,
    over: AtomicBool,
}

impl Seen {
    async fn until_only(&self, wanted: &[&str]) {
        let wanted: BTreeSet<String> = wanted.iter().map(|ip| ip.to_string()).collect();
        let mut from = 0;
        eventually("only these answer", || {
            let now = self.count.load(Ordering::SeqCst);
            // Each client has received at least one answer to a request made since the last check.
            if now < from + 4 * CLIENTS {
                return false;
            }
            from = now;
            std::mem::take(&mut *self.bodies.lock().unwrap()) == wanted
        })
        .await;
    }
}

/// Sends requests until the end; any answer other than 200 fails the test.
async fn ask(proxy: SocketAddr, seen: Arc<Seen>) {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    while !seen.over.load(Ordering::SeqCst) {
        let request = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            text.push(stream.read_u8().await.expect("an answer"));
        }
        let head = String::from_utf8(text).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        let length = head.split("content-length: ").nth(1).unwrap();
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let body = String::from_utf8(body).unwrap();
        seen.bodies.lock().unwrap().insert(body);
        seen.count.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_that_changes_under_load_is_in_force_in_time_and_fails_no_request() {
    let (one, two) = ("127.0.0.1", "127.0.0.2");
    let port = free_port();
    let first = origin(format!("{one}:{port}").parse().unwrap()).await;
    let _second = origin(format!("{two}:{port}").parse().unwrap()).await;
    let dns = Dnsmasq::start(&[one]).await;

    let names = DnsDiscovery::with_servers(&[dns.address]).unwrap();
    let set = Backends::new(Box::new(names.addresses(NAME, port)));
    let background = background_service("upstreams", LoadBalancer::from_backends(set));
    let balancer = Balancer(Upstreams::new(background.task()));
    let mut server = Server::new_with_opt_and_conf(None::<Opt>, ServerConf::default());
    server.bootstrap();
    let mut proxy = http_proxy_service(&server.configuration, balancer);
    proxy.add_tcp("127.0.0.1:0");
    let bound = proxy.bound_addresses();
    let background = server.add_service(background);
    server.add_service(proxy).add_dependency(&background);
    let server = TestServer::start(server, bound).await;

    let seen = Arc::<Seen>::default();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(ask(server.address(), seen.clone())))
        .collect();
    seen.until_only(&[one]).await;
    for zone in [&[one, two][..], &[two], &[one], &[two]] {
        dns.change(zone).await;
        let begun = Instant::now();
        seen.until_only(zone).await;
        let took = begun.elapsed();
        assert!(took < TTL + SLACK, "{zone:?} after {took:?}");
    }
    // No requests go there any more.
    first.abort();
    let count = seen.count.load(Ordering::SeqCst);
    eventually("requests go on", || {
        seen.count.load(Ordering::SeqCst) > count + 100
    })
    .await;
    seen.over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
}
