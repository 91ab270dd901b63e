//! Whole programs: how they start, how they report that they can't, and how they end. And servers of
//! every kind: threads, Unix sockets, several at a time, with custom services alongside the proxy.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use pingora::apps::http_app::{HttpServer, ServeHttp};
use pingora::prelude::*;
use pingora::protocols::http::ServerSession;
use pingora::server::configuration::ServerConf;
use pingora::server::{ShutdownSignal, ShutdownWatch};
use pingora::services::background::BackgroundService;
use pingora::services::listening::Service;
use pingora_tests::{
    Connection, Ending, FixedUpstream, Origin, Program, TestServer, eventually, pattern, proxy,
};
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

fn fixed_proxy(arguments: &[&str]) -> Program {
    Program::start(Command::new(env!("CARGO_BIN_EXE_fixed_proxy")).args(arguments))
}

fn before(origin: &Origin) -> (Program, SocketAddr) {
    let mut program = fixed_proxy(&["--upstream", &origin.address().to_string()]);
    let address = program.addresses()[0];
    (program, address)
}

#[tokio::test]
async fn an_idle_program_ends_within_a_second_of_sigterm() {
    let origin = Origin::well_behaved().await;
    let (mut program, address) = before(&origin);
    // With connections that are kept on both sides.
    let mut client = Connection::to(address).await;
    assert_eq!(client.ask(GET).await.status(), 200);
    let begun = Instant::now();
    program.signal("TERM");
    let (status, lines) = program.end();
    assert!(begun.elapsed() < Duration::from_secs(1), "{lines:?}");
    assert_eq!(status.code(), Some(0), "{lines:?}");
    client.closed().await;
    origin.wait_until_unused().await;
}

#[tokio::test]
async fn what_is_under_way_at_sigterm_is_finished_and_nothing_else_is_begun() {
    let origin = Origin::well_behaved().await;
    let (mut program, address) = before(&origin);
    let mut downloads = Connection::to(address).await;
    downloads
        .send("GET /slow/100 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    let begun = downloads.head().await;
    assert_eq!(begun.status(), 200);
    let mut uploads = Connection::to(address).await;
    uploads
        .send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
        .await;
    origin.wait_for_connections(2).await;
    program.signal("TERM");
    // The listener is closed.
    eventually("nobody is let in", || {
        std::net::TcpStream::connect(address).is_err()
    })
    .await;
    uploads.send("67890").await;
    let answer = uploads.response().await;
    assert_eq!((answer.status(), answer.text()), (200, "1234567890"));
    assert_eq!(answer.header("connection"), Some("close"), "it is the last");
    uploads.closed().await;
    let rest = downloads.rest().await;
    let dots = rest.iter().filter(|byte| **byte == b'.').count();
    assert_eq!(dots, 100);
    assert!(rest.ends_with(b"0\r\n\r\n"), "a clean end");
    let (status, lines) = program.end();
    assert_eq!(status.code(), Some(0), "{lines:?}");
}

#[tokio::test]
async fn sigint_ends_at_once_and_cuts_short_what_is_under_way() {
    let origin = Origin::well_behaved().await;
    let (mut program, address) = before(&origin);
    let mut client = Connection::to(address).await;
    client.send("GET /stall HTTP/1.1\r\nHost: a\r\n\r\n").await;
    origin.wait_for_connections(1).await;
    let begun = Instant::now();
    program.signal("INT");
    let (status, lines) = program.end();
    assert!(begun.elapsed() < Duration::from_secs(2), "{lines:?}");
    assert_eq!(status.code(), Some(0), "{lines:?}");
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn an_end_by_force_never_looks_like_the_end_of_a_body() {
    let origin = Origin::well_behaved().await;
    // For HTTP/1.0, the end of the connection delimits this body.
    for (signal, version) in [("INT", "1.0"), ("INT", "1.1"), ("KILL", "1.0")] {
        let (mut program, address) = before(&origin);
        let mut client = Connection::to(address).await;
        let request = format!("GET /slow/10000 HTTP/{version}\r\nHost: a\r\n\r\n");
        client.send(request).await;
        let ends = async {
            program.signal(signal);
            program.end();
        };
        let answer = client.head().await;
        ends.await;
        let answer = client.rest_of(answer).await;
        let cut = matches!(answer.ending, Ending::CutShort | Ending::Reset);
        assert!(cut, "{signal}, HTTP/{version}: {:?}", answer.ending);
    }
}

#[tokio::test]
async fn a_second_signal_or_the_grace_period_ends_the_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("conf.yaml");
    std::fs::write(
        &conf,
        "grace_period_seconds: 1\ngraceful_shutdown_timeout_seconds: 1\n",
    )
    .unwrap();
    let origin = Origin::well_behaved().await;
    for hurried in [false, true] {
        let upstream = origin.address().to_string();
        let arguments = ["--upstream", &upstream, "-c", conf.to_str().unwrap()];
        let mut program = fixed_proxy(if hurried { &arguments[..2] } else { &arguments });
        let mut client = Connection::to(program.addresses()[0]).await;
        client.send("GET /stall HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let seen = origin.connections();
        eventually("it is under way", || origin.connections() >= seen.max(1)).await;
        let begun = Instant::now();
        program.signal("TERM");
        if hurried {
            eventually("nobody is let in", || {
                std::net::TcpStream::connect(client.peer_address()).is_err()
            })
            .await;
            program.signal("INT");
        }
        let (_, lines) = program.end();
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(4), "{took:?} {lines:?}");
    }
}

/// Runs a program that can't start: it reports that in one line, and fails.
fn refuses(arguments: &[&str], said: &[&str]) {
    let mut program = fixed_proxy(arguments);
    let (status, lines) = program.end();
    assert!(!status.success(), "{arguments:?}: {lines:?}");
    assert!(status.code().is_some(), "{arguments:?} ends by a signal");
    assert_eq!(lines.len(), 1, "{arguments:?}: {lines:?}");
    for text in said {
        assert!(lines[0].contains(text), "{text:?} is missing: {lines:?}");
    }
}

#[tokio::test]
async fn a_place_to_listen_that_is_taken_or_bad_is_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refuses(&["--listen", &address], &[&address, "in use"]);
    refuses(&["--listen", "127.0.0.1"], &["127.0.0.1"]);
    refuses(&["--listen", "nonsense"], &["nonsense"]);
    refuses(&["--listen", "127.0.0.1:99999"], &["127.0.0.1:99999"]);
    refuses(
        &["--listen", "unix:/nonexistent/socket"],
        &["/nonexistent/socket"],
    );
    // One of many is enough.
    refuses(
        &["--listen", "127.0.0.1:0", "--listen", &address],
        &[&address, "in use"],
    );
}

#[test]
fn a_bad_configuration_is_one_line_that_names_file_key_and_reason() {
    let dir = tempfile::tempdir().unwrap();
    let rows: [(&str, &[&str]); 9] = [
        ("threads: many\n", &["threads", "many"]),
        ("threads: -1\n", &["threads"]),
        ("threads: 0\n", &["threads", "at least 1"]),
        (
            "work_stealing: perhaps\n",
            &["work_stealing", "true or false"],
        ),
        ("pid_file: [1, 2]\n", &["pid_file"]),
        (
            "client_bind_to_ipv4: [nowhere]\n",
            &["client_bind_to_ipv4", "nowhere"],
        ),
        ("grace_period_seconds: 1.5\n", &["grace_period_seconds"]),
        ("threads: 1\nthreads: 2\n", &["threads"]),
        ("threads: [1\n", &[]),
    ];
    for (number, (text, said)) in rows.into_iter().enumerate() {
        let path = dir.path().join(format!("conf-{number}.yaml"));
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap();
        let said = [said, &[path]].concat();
        refuses(&["-c", path], &said);
        refuses(&["-t", "-c", path], &said);
    }
    let missing = dir.path().join("missing.yaml");
    let missing = missing.to_str().unwrap();
    refuses(&["-c", missing], &[missing, "can't be read"]);
    let folder = dir.path().to_str().unwrap();
    refuses(&["-c", folder], &[folder, "can't be read"]);
    let binary = dir.path().join("binary.yaml");
    std::fs::write(&binary, [0xff, 0xfe, 0]).unwrap();
    refuses(&["-c", binary.to_str().unwrap()], &["binary.yaml"]);
}

#[tokio::test]
async fn a_test_of_the_configuration_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("conf.yaml");
    std::fs::write(&conf, "threads: 2\nof_my_own: {a: b}\n").unwrap();
    let conf = conf.to_str().unwrap();
    // Not even if another one already serves.
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for arguments in [
        vec!["-t"],
        vec!["-t", "-c", conf],
        vec!["--test", "--conf", conf, "--listen", &address],
    ] {
        let (status, lines) = fixed_proxy(&arguments).end();
        assert_eq!(status.code(), Some(0), "{arguments:?}: {lines:?}");
        let listens = lines.iter().any(|line| line.contains("listening on 127"));
        assert!(!listens, "{arguments:?}: {lines:?}");
    }
    let (status, lines) = fixed_proxy(&["--nonsense"]).end();
    assert!(!status.success() && !lines.is_empty());
}

/// Sends a hundred requests over ten connections at a time.
async fn all_served(address: SocketAddr) {
    let mut tasks = Vec::new();
    for client in 0..10 {
        tasks.push(tokio::spawn(async move {
            let mut connection = Connection::to(address).await;
            for number in 0..10 {
                let path = format!("/{client}/{number}");
                let answer = connection
                    .ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
                    .await;
                assert_eq!((answer.status(), answer.text()), (200, path.as_str()));
                let upload = pattern(30_000);
                let mut request =
                    b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 30000\r\n\r\n".to_vec();
                request.extend_from_slice(&upload);
                assert!(connection.ask(request).await.body == upload);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_runtime_serves_and_stops() {
    for work_stealing in [true, false] {
        for (threads, listener_tasks_per_fd) in [(1, 1), (4, 1), (4, 2)] {
            let origin = Origin::well_behaved().await;
            let conf = ServerConf {
                threads,
                work_stealing,
                listener_tasks_per_fd,
                ..ServerConf::default()
            };
            let server =
                pingora_tests::proxy_with(conf, FixedUpstream(origin.address()), |_| {}).await;
            all_served(server.address()).await;
            server.signal(ShutdownSignal::GracefulTerminate);
            let begun = Instant::now();
            eventually("it stops", || server.has_stopped()).await;
            let took = begun.elapsed();
            assert!(
                took < Duration::from_secs(2),
                "work_stealing: {work_stealing}, threads: {threads}: {took:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_in_one_process_end_one_by_one() {
    let origin = Origin::well_behaved().await;
    let one = proxy(FixedUpstream(origin.address())).await;
    let two = proxy(FixedUpstream(origin.address())).await;
    assert_ne!(one.address(), two.address());
    all_served(one.address()).await;
    all_served(two.address()).await;
    one.signal(ShutdownSignal::GracefulTerminate);
    eventually("the first stops", || one.has_stopped()).await;
    all_served(two.address()).await;
    assert!(!two.has_stopped());
}

/// Sends a request over a Unix socket and reads the answer until the connection ends.
async fn ask_unix(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    let request = "GET /unix HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Answers every request on a Unix socket, and counts the connections.
fn unix_origin(path: &Path) -> Arc<AtomicUsize> {
    let listener = UnixListener::bind(path).unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(1..) = stream.read(&mut buffer).await {
                    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfrom unix";
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    connections
}

#[tokio::test]
async fn unix_sockets_serve_on_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let (front, back) = (dir.path().join("front.sock"), dir.path().join("back.sock"));
    let connections = unix_origin(&back);
    // A socket that is no longer served does not get in the way.
    drop(std::os::unix::net::UnixListener::bind(&front).unwrap());
    let listen = format!("unix:{}", front.display());
    let upstream = format!("unix:{}", back.display());
    let mut program = fixed_proxy(&[
        "--listen",
        "127.0.0.1:0",
        "--listen",
        &listen,
        "--upstream",
        &upstream,
    ]);
    let address = program.addresses()[0];
    for _ in 0..3 {
        let answer = ask_unix(&front).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.ends_with("from unix"), "{answer}");
        let mut client = Connection::to(address).await;
        let answer = client
            .ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        assert_eq!(answer.text(), "from unix");
        // By then, the connection to the origin has been given back.
        client.closed().await;
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1, "it is kept");
    let meta = std::fs::metadata(&front).unwrap();
    assert!(meta.file_type().is_socket());
    // A socket that is being served is not taken away.
    refuses(&["--listen", &listen], &["front.sock"]);
    assert!(ask_unix(&front).await.ends_with("from unix"));
    program.signal("TERM");
    assert_eq!(program.end().0.code(), Some(0));
    assert!(!front.exists(), "it cleans up");
    // An upstream that is gone is a 502.
    let missing = format!("unix:{}", dir.path().join("none.sock").display());
    let mut program = fixed_proxy(&["--upstream", &missing]);
    let mut client = Connection::to(program.addresses()[0]).await;
    assert_eq!(client.ask(GET).await.status(), 502);
}

/// Counts, and reports when it was told to stop.
#[derive(Default)]
struct Ticker {
    ticks: AtomicUsize,
    stopped: AtomicUsize,
}

#[async_trait]
impl BackgroundService for Ticker {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        loop {
            tokio::select! {
                _ = shutdown.changed() => break,
                _ = tick.tick() => self.ticks.fetch_add(1, Ordering::SeqCst),
            };
        }
        self.stopped.fetch_add(1, Ordering::SeqCst);
    }
}

/// Reports how often the ticker has ticked.
struct Status(Arc<Ticker>);

#[async_trait]
impl ServeHttp for Status {
    async fn response(&self, session: &mut ServerSession) -> http::Response<Vec<u8>> {
        let path = session.req_header().uri.path().to_string();
        let body = format!("{path} {}", self.0.ticks.load(Ordering::SeqCst));
        http::Response::builder()
            .status(200)
            .body(body.into_bytes())
            .expect("it has all that a response needs")
    }
}

#[tokio::test]
async fn a_service_of_ones_own_runs_beside_the_proxy_and_stops_with_it() {
    let origin = Origin::well_behaved().await;
    let mut server = Server::new_with_opt_and_conf(None::<Opt>, ServerConf::default());
    server.bootstrap();
    let background = background_service("ticker", Ticker::default());
    let ticker = background.task();
    let mut status = Service::new("status".into(), HttpServer::new_app(Status(ticker.clone())));
    status.add_tcp("127.0.0.1:0");
    let status_address = status.bound_addresses();
    let mut proxy = http_proxy_service(&server.configuration, FixedUpstream(origin.address()));
    proxy.add_tcp("127.0.0.1:0");
    proxy.add_tcp("127.0.0.1:0");
    let bound = proxy.bound_addresses();
    let background = server.add_service(background);
    server.add_service(status).add_dependency(&background);
    server.add_service(proxy);
    let server = TestServer::start(server, bound).await;
    for address in server.addresses() {
        let answer = Connection::to(*address).await.ask(GET).await;
        assert_eq!(answer.text(), "/x");
    }
    eventually("it ticks", || ticker.ticks.load(Ordering::SeqCst) > 3).await;
    let address = status_address.wait().await.unwrap()[0];
    let answer = Connection::to(address)
        .await
        .ask("GET /ticks HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    let ticks = answer.text().strip_prefix("/ticks ").unwrap();
    assert!(ticks.parse::<usize>().unwrap() > 3);
    server.signal(ShutdownSignal::GracefulTerminate);
    eventually("the server stops", || server.has_stopped()).await;
    assert_eq!(ticker.stopped.load(Ordering::SeqCst), 1);
}
