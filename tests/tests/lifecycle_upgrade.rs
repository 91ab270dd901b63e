//! A proxy is repeatedly replaced by the next one, while clients are being served.
//!
//! The proxies are processes: this test program again, run with [`child`] as the only test.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use pingora::listeners::BoundAddresses;
use pingora::prelude::*;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use pingora_tests::{Connection, FixedUpstream, Origin, pattern};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

/// The directory that the child works in.
const ROOM: &str = "UPGRADE_TEST_ROOM";
/// The address of the child's origin.
const ORIGIN: &str = "UPGRADE_TEST_ORIGIN";
/// The file that the child writes its address to once it serves.
const ANNOUNCE: &str = "UPGRADE_TEST_ANNOUNCE";
/// The name of the child's abstract Unix socket.
const ABSTRACT: &str = "UPGRADE_TEST_ABSTRACT";
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The number of upgrades: more on request.
fn rounds(variable: &str, default: usize) -> usize {
    let told = std::env::var(variable).ok();
    told.and_then(|text| text.parse().ok()).unwrap_or(default)
}

struct Announce(BoundAddresses, PathBuf);

#[async_trait]
impl BackgroundService for Announce {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let addresses = self.0.wait().await.unwrap();
        let unfinished = self.1.with_extension("unfinished");
        std::fs::write(&unfinished, addresses[0].to_string()).unwrap();
        std::fs::rename(&unfinished, &self.1).unwrap();
    }
}

#[test]
#[ignore = "the process that the other tests start"]
fn child() {
    let Some(room) = std::env::var_os(ROOM).map(PathBuf::from) else {
        return;
    };
    let conf = room.join("conf.yaml");
    let mut opt = Opt {
        conf: Some(conf.to_str().unwrap().into()),
        ..Opt::default()
    };
    opt.upgrade = room.join("address").exists();
    let mut server = Server::new(opt).unwrap();
    server.bootstrap();
    let reloads = room.join("reloads");
    server.on_reload("note", move |_| {
        let mut noted = std::fs::read_to_string(&reloads).unwrap_or_default();
        noted.push('.');
        std::fs::write(&reloads, noted).unwrap();
        async { Ok(()) }
    });
    let origin: SocketAddr = std::env::var(ORIGIN).unwrap().parse().unwrap();
    let mut proxy = http_proxy_service(&server.configuration, FixedUpstream(origin));
    proxy.add_tcp("127.0.0.1:0");
    proxy.add_uds(room.join("proxy.sock").to_str().unwrap(), None);
    proxy.add_uds(&std::env::var(ABSTRACT).unwrap(), None);
    let announce = std::env::var_os(ANNOUNCE).unwrap().into();
    let announce = Announce(proxy.bound_addresses(), announce);
    let proxy = server.add_service(proxy);
    let announce = server.add_service(background_service("announce", announce));
    announce.add_dependency(proxy);
    server.run_forever();
}

/// A directory, and the proxies that follow one another in it.
struct Room {
    directory: TempDir,
    origin: SocketAddr,
    started: AtomicUsize,
    name: String,
}

impl Room {
    fn new(origin: SocketAddr) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = TempDir::new().unwrap();
        let socket = directory.path().join("upgrade.sock");
        let conf = format!("threads: 2\nupgrade_sock: {}\n", socket.display());
        std::fs::write(directory.path().join("conf.yaml"), conf).unwrap();
        Room {
            directory,
            origin,
            started: AtomicUsize::new(0),
            name: format!("@upgrade-test-{}-{n}", std::process::id()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts a proxy, which takes over from the last one unless it is the first. Returns it with the
    /// file in which it announces itself.
    fn spawn(&self) -> (Proxy, PathBuf) {
        let n = self.started.fetch_add(1, Ordering::Relaxed);
        let announced = match n {
            0 => self.path("address"),
            n => self.path(&format!("address-{n}")),
        };
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .args(["--test-threads=1"])
            .env(ROOM, self.directory.path())
            .env(ORIGIN, self.origin.to_string())
            .env(ANNOUNCE, &announced)
            .env(ABSTRACT, &self.name)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap();
        pingora_tests::repeat(child.stderr.take().unwrap());
        (Proxy(child), announced)
    }

    async fn start(&self) -> (Proxy, SocketAddr) {
        let (proxy, announced) = self.spawn();
        let address = announced_in(&announced).await;
        (proxy, address)
    }

    /// Replaces a running proxy, and waits until it has ended.
    async fn upgrade(&self, mut old: Proxy) -> Proxy {
        old.signal("QUIT");
        let (new, announced) = self.spawn();
        announced_in(&announced).await;
        let status = old.end().await;
        assert_eq!(status.code(), Some(0), "{status}");
        new
    }
}

async fn announced_in(file: &Path) -> SocketAddr {
    let text = poll("the address", || std::fs::read_to_string(file).ok()).await;
    text.parse().unwrap()
}

async fn poll<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A proxy, which does not outlive the test.
struct Proxy(Child);

impl Proxy {
    fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        let killed = Command::new("kill").args(["-s", name, &id]).status();
        assert!(killed.unwrap().success());
    }

    async fn end(&mut self) -> ExitStatus {
        poll("the end", || self.0.try_wait().unwrap()).await
    }

    /// The list of its descriptors.
    fn descriptors(&self) -> Vec<String> {
        let folder = format!("/proc/{}/fd", self.0.id());
        let entries = std::fs::read_dir(folder).unwrap().flatten();
        let target = |e: std::fs::DirEntry| std::fs::read_link(e.path()).ok();
        let name = |path: PathBuf| path.display().to_string();
        entries.filter_map(target).map(name).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Clients of many kinds, which require every answer to be complete.
struct Crowd {
    clients: JoinSet<usize>,
    over: Arc<AtomicBool>,
}

/// The requests of a client.
#[derive(Clone)]
struct Wish {
    request: Vec<u8>,
    body: Vec<u8>,
    /// The pause between an answer and the next request.
    pause: Duration,
    /// Whether to use a new connection for each request.
    fresh: bool,
}

impl Wish {
    fn get(path: &str, body: Vec<u8>) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
        Wish {
            request,
            body,
            pause: Duration::ZERO,
            fresh: false,
        }
    }

    fn upload(body: Vec<u8>) -> Self {
        let length = body.len();
        let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        let request = [head.as_bytes(), &body].concat();
        Wish {
            request,
            body,
            pause: Duration::ZERO,
            fresh: false,
        }
    }

    fn pausing(self, milliseconds: u64) -> Self {
        let pause = Duration::from_millis(milliseconds);
        Wish { pause, ..self }
    }

    fn on_fresh_connections(self) -> Self {
        Wish {
            fresh: true,
            ..self
        }
    }
}

impl Crowd {
    /// 72 clients: busy and pausing ones on kept connections, with a connection for each request,
    /// with slow answers, with uploads, and on Unix sockets.
    fn gather(address: SocketAddr, room: &Room) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        let mut add = |count: u64, wish: &dyn Fn(u64) -> Wish| {
            for n in 0..count {
                clients.spawn(insist(address, wish(n), over.clone()));
            }
        };
        let small = || Wish::get("/length/2000", pattern(2000));
        add(16, &|_| small().pausing(2));
        add(16, &|n| small().pausing(50 + 40 * n));
        add(12, &|_| small().pausing(5).on_fresh_connections());
        add(4, &|_| {
            Wish::get("/chunked/50000", pattern(50_000)).pausing(20)
        });
        add(8, &|_| Wish::get("/slow/30", b".".repeat(30)));
        add(8, &|_| Wish::upload(pattern(100_000)).pausing(30));
        for name in [
            room.path("proxy.sock").display().to_string(),
            room.name.clone(),
        ] {
            for _ in 0..4 {
                clients.spawn(insist_on_unix(name.clone(), over.clone()));
            }
        }
        Crowd { clients, over }
    }

    /// Stops all clients; returns the number of answers they received.
    async fn disperse(mut self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        let mut answers = 0;
        while let Some(client) = self.clients.join_next().await {
            answers += client.unwrap();
        }
        answers
    }
}

/// Sends requests continuously, and only gives up a connection after the proxy announced that it
/// will close it.
async fn insist(address: SocketAddr, wish: Wish, over: Arc<AtomicBool>) -> usize {
    let mut answers = 0;
    let mut kept = None;
    while !over.load(Ordering::Relaxed) {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => Connection::to(address).await,
        };
        let answer = connection.ask(&wish.request).await;
        assert!(answer.is_complete(), "{answer:?}");
        assert_eq!(answer.status(), 200, "{answer:?}");
        assert_same(&answer.body, &wish.body);
        answers += 1;
        let closing = answer.header("Connection") == Some("close");
        kept = (!closing && !wish.fresh).then_some(connection);
        tokio::time::sleep(wish.pause).await;
    }
    answers
}

/// Like `assert_eq!`, without printing two long bodies completely.
fn assert_same(got: &[u8], expected: &[u8]) {
    if got != expected {
        let same = got.iter().zip(expected).take_while(|(a, b)| a == b);
        let at = same.count();
        let shown = |body: &[u8]| {
            let piece = &body[at..body.len().min(at + 60)];
            String::from_utf8_lossy(piece).into_owned()
        };
        panic!(
            "{} bytes instead of {}; from {at} on: {:?} instead of {:?}",
            got.len(),
            expected.len(),
            shown(got),
            shown(expected)
        );
    }
}

/// A path, or the name of an abstract socket after `@`.
async fn connect_unix(name: &str) -> UnixStream {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixStream as Blocking};
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    };
    let stream = Blocking::connect_addr(&address.unwrap()).unwrap();
    stream.set_nonblocking(true).unwrap();
    UnixStream::from_std(stream).unwrap()
}

async fn insist_on_unix(name: String, over: Arc<AtomicBool>) -> usize {
    let mut answers = 0;
    while !over.load(Ordering::Relaxed) {
        let mut stream = connect_unix(&name).await;
        let request = "GET /length/3000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![];
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{name}");
        let head = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        assert_same(&answer[head + 4..], &pattern(3000));
        answers += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    answers
}

/// The same with a third-party client, which counts missing answers.
#[tokio::test]
async fn upgrades_lose_no_request_of_wrk() {
    let origin = Origin::well_behaved().await;
    let room = Room::new(origin.address());
    let (mut proxy, address) = room.start().await;
    let target = format!("http://{address}/length/1000");
    let wrk = Command::new("wrk")
        .args(["-t2", "-c64", "-d6s", &target])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(wrk) = wrk else {
        eprintln!("skipped: wrk is not installed");
        return;
    };
    for _ in 0..3 {
        let seen = origin.requests().len();
        poll("requests", || {
            (origin.requests().len() > seen + 100).then_some(())
        })
        .await;
        proxy = room.upgrade(proxy).await;
    }
    let report = tokio::task::spawn_blocking(|| wrk.wait_with_output().unwrap()).await;
    let report = String::from_utf8(report.unwrap().stdout).unwrap();
    assert!(report.contains("requests in"), "{report}");
    assert!(!report.contains("Socket errors"), "{report}");
    assert!(!report.contains("Non-2xx"), "{report}");
    drop(proxy);
}

/// `UPGRADE_ROUNDS=20 cargo test ...` makes 20.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrades_under_load_lose_no_request() {
    let origin = Origin::well_behaved().await;
    let room = Room::new(origin.address());
    let (mut proxy, address) = room.start().await;
    let crowd = Crowd::gather(address, &room);
    for _ in 0..rounds("UPGRADE_ROUNDS", 3) {
        // The crowd is active when the next upgrade begins.
        let seen = origin.requests().len();
        poll("requests", || {
            (origin.requests().len() > seen + 100).then_some(())
        })
        .await;
        proxy = room.upgrade(proxy).await;
    }
    let answers = crowd.disperse().await;
    assert!(answers > 300, "only {answers} answers");
    proxy.signal("TERM");
    assert_eq!(proxy.end().await.code(), Some(0));
    assert!(!room.path("proxy.sock").exists(), "the last one cleans up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_lose_no_request() {
    let origin = Origin::well_behaved().await;
    let room = Room::new(origin.address());
    let (mut proxy, address) = room.start().await;
    let crowd = Crowd::gather(address, &room);
    let conf = room.path("conf.yaml");
    let good = std::fs::read_to_string(&conf).unwrap();
    for round in 0..10 {
        let text = match round % 2 {
            0 => good.clone(),
            _ => format!("{good}max_retries: broken\n"),
        };
        std::fs::write(&conf, text).unwrap();
        let seen = origin.requests().len();
        proxy.signal("HUP");
        poll("requests", || {
            (origin.requests().len() > seen + 50).then_some(())
        })
        .await;
    }
    let reloaded = std::fs::read_to_string(room.path("reloads")).unwrap();
    assert!(!reloaded.is_empty());
    crowd.disperse().await;
    proxy.signal("TERM");
    assert_eq!(proxy.end().await.code(), Some(0));
}

/// `DESCRIPTOR_ROUNDS=50 cargo test ...` makes 50.
#[tokio::test]
async fn upgrades_leave_no_descriptors_behind() {
    let origin = Origin::well_behaved().await;
    let room = Room::new(origin.address());
    let (proxy, address) = room.start().await;
    let mut proxy = room.upgrade(proxy).await;
    let ask = async || {
        let mut client = Connection::to(address).await;
        let answer = client.ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(answer.await.status(), 200);
    };
    // The predecessor's end is noticed asynchronously, so the count is awaited.
    ask().await;
    let first = poll("an idle process", || settled(&proxy)).await;
    for _ in 0..rounds("DESCRIPTOR_ROUNDS", 4) {
        proxy = room.upgrade(proxy).await;
    }
    ask().await;
    let last = poll("an idle process", || settled(&proxy)).await;
    assert_eq!(first, last, "{:?}", proxy.descriptors());
}

/// The number of a process's descriptors once it no longer changes.
fn settled(proxy: &Proxy) -> Option<usize> {
    let before = proxy.descriptors().len();
    std::thread::sleep(Duration::from_millis(200));
    (proxy.descriptors().len() == before).then_some(before)
}
