//! A hundred megabytes between every pair of versions to a slow reader: the other side is held back,
//! the proxy's memory stays small, and every byte arrives.
//!
//! The proxy is a separate process, so that its memory can be measured.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]
#![allow(
    clippy::print_stdout,
    reason = "what it cost is to be seen, with --nocapture"
)]

use bytes::Bytes;
use openssl::sha::Sha256;
use pingora_tests::http2::{Http2Client, send_body};
use pingora_tests::{PATIENCE, Pattern, Program, Version};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

const MB: usize = 1024 * 1024;
const LENGTH: usize = 100 * MB;
const PIECE: usize = 64 * 1024;
/// The memory that the proxy may hold at any moment in excess of the initial amount.
const BUDGET: usize = 16 * MB;
/// The amount that may be in flight while the reader is inactive: the system's buffers on both
/// connections, and the windows.
const ON_THE_WAY: usize = 50 * MB;

const PAIRS: [(Version, Version); 4] = [
    (Version::H1, Version::H1),
    (Version::H1, Version::H2),
    (Version::H2, Version::H1),
    (Version::H2, Version::H2),
];

/// The hash of the whole body.
fn hash() -> [u8; 32] {
    let (mut hash, mut pattern) = (Sha256::new(), Pattern::new());
    for _ in 0..LENGTH / PIECE {
        hash.update(&pattern.piece(PIECE));
    }
    hash.finish()
}

/// The part of a body that was read so far.
#[derive(Default)]
struct Heard {
    hash: Sha256,
    length: usize,
}

impl Heard {
    fn hear(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.length += bytes.len();
    }
}

/// The amount that the writing side has sent; and the signal for the reading side to begin.
#[derive(Clone, Default)]
struct Progress {
    written: Arc<AtomicUsize>,
    go: Arc<Notify>,
}

impl Progress {
    fn note(&self) {
        self.written.fetch_add(PIECE, Ordering::SeqCst);
    }

    /// Waits until the writer is held back, which has to happen.
    async fn is_held_back(&self, what: &str) {
        let mut before = 0;
        loop {
            // A writer that is not held back would write something in this time.
            tokio::time::sleep(Duration::from_millis(400)).await;
            let now = self.written.load(Ordering::SeqCst);
            if now == before && now > 0 {
                break;
            }
            before = now;
        }
        assert!(
            before < ON_THE_WAY,
            "{what}: {before} bytes, and nobody reads"
        );
    }
}

/// Writes the body over HTTP/1, or a stream of HTTP/2.
enum Writer {
    H1(TcpStream),
    H2(h2::SendStream<Bytes>),
}

impl Writer {
    async fn write(&mut self, progress: &Progress) {
        let mut pattern = Pattern::new();
        for number in 1..=LENGTH / PIECE {
            let piece = pattern.piece(PIECE);
            match self {
                Writer::H1(stream) => stream.write_all(&piece).await.unwrap(),
                Writer::H2(stream) => {
                    let last = number == LENGTH / PIECE;
                    send_body(stream, piece.into(), last).await.unwrap();
                }
            }
            progress.note();
        }
    }
}

/// Reads an HTTP/1 head, and the bytes after it.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = bytes.split_off(at + 4);
            return (String::from_utf8(bytes).unwrap(), rest);
        }
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
    }
}

/// Reads the body slowly: a little, nothing for a while, a little more, and then the rest.
async fn read_http1(stream: &mut TcpStream, first: &[u8]) -> Heard {
    let mut heard = Heard::default();
    heard.hear(first);
    let mut buffer = vec![0; PIECE];
    let mut pause = pauses();
    while heard.length < LENGTH {
        let count = timeout(PATIENCE, stream.read(&mut buffer)).await;
        let count = count.expect("it goes on").unwrap();
        assert_ne!(count, 0, "cut short at {}", heard.length);
        heard.hear(&buffer[..count]);
        pause(heard.length).await;
    }
    heard
}

async fn read_http2(body: &mut h2::RecvStream) -> Heard {
    let mut heard = Heard::default();
    let mut pause = pauses();
    while let Some(data) = timeout(PATIENCE, body.data()).await.expect("it goes on") {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        heard.hear(&data);
        pause(heard.length).await;
    }
    heard
}

/// Pauses at each of the first megabytes.
fn pauses() -> impl FnMut(usize) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    let mut next = MB;
    move |length| {
        let rest = length >= next && next <= 4 * MB;
        next += if rest { MB } else { 0 };
        Box::pin(async move {
            if rest {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
    }
}

/// An origin that sends the body in answer to GET, and reads it for PUT when it is told to; in that
/// case the answer is the body's hash.
async fn origin(version: Version, progress: Progress) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let progress = progress.clone();
            match version {
                Version::H1 => tokio::spawn(serve_http1(stream, progress)),
                Version::H2 => tokio::spawn(serve_http2(stream, progress)),
            };
        }
    });
    address
}

async fn serve_http1(mut stream: TcpStream, progress: Progress) {
    let (request, first) = head(&mut stream).await;
    if request.starts_with("GET") {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        return Writer::H1(stream).write(&progress).await;
    }
    progress.go.notified().await;
    let heard = read_http1(&mut stream, &first).await;
    let answer = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 32\r\n\r\n",
        &heard.hash.finish()[..],
    ];
    stream.write_all(&answer.concat()).await.unwrap();
    // Until the proxy has read it.
    let _ = stream.read(&mut [0; 1]).await;
}

async fn serve_http2(stream: TcpStream, progress: Progress) {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(MB as u32)
        .initial_connection_window_size(4 * MB as u32);
    let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let progress = progress.clone();
        tokio::spawn(async move {
            let put = request.method() == http::Method::PUT;
            let mut body = request.into_body();
            let heard = if put {
                progress.go.notified().await;
                Some(read_http2(&mut body).await)
            } else {
                None
            };
            let length = if put { 32 } else { LENGTH };
            let response = http::Response::builder().header("content-length", length);
            let mut stream = respond
                .send_response(response.body(()).unwrap(), false)
                .unwrap();
            match heard {
                Some(heard) => {
                    let hash = Bytes::copy_from_slice(&heard.hash.finish());
                    stream.send_data(hash, true).unwrap();
                }
                None => Writer::H2(stream).write(&progress).await,
            }
        });
    }
}

async fn proxy(up: Version, origin: SocketAddr) -> (Program, SocketAddr, usize) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fixed_proxy"));
    command.args(["--h2c", "--upstream", &origin.to_string()]);
    if up == Version::H2 {
        command.arg("--upstream-http2");
    }
    let mut program = Program::start(&mut command);
    let address = program.addresses()[0];
    let base = program.memory();
    (program, address, base)
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn assert_small(program: &Program, base: usize, what: &str) {
    let cost = program.peak_memory().saturating_sub(base);
    println!("{what}: {} KiB over the base at the most", cost / 1024);
    assert!(cost < BUDGET, "{what} costs {cost} bytes");
}

async fn downloads(down: Version, up: Version) {
    let what = format!("download, {down:?} to {up:?}");
    let progress = Progress::default();
    let origin = origin(up, progress.clone()).await;
    let (program, address, base) = proxy(up, origin).await;
    let heard = match down {
        Version::H1 => {
            let mut client = connect(address).await;
            client
                .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .unwrap();
            progress.is_held_back(&what).await;
            let (answer, first) = head(&mut client).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{what}: {answer}");
            read_http1(&mut client, &first).await
        }
        Version::H2 => {
            let client = Http2Client::to(address).await;
            let ask = pingora_tests::Ask::get("/");
            let (answer, _) = client.begin(&ask, true).await.unwrap();
            progress.is_held_back(&what).await;
            let mut body = answer.await.unwrap().into_body();
            read_http2(&mut body).await
        }
    };
    assert_eq!(heard.length, LENGTH, "{what}");
    assert_eq!(heard.hash.finish(), hash(), "{what}");
    assert_small(&program, base, &what);
}

async fn uploads(down: Version, up: Version) {
    let what = format!("upload, {down:?} to {up:?}");
    let progress = Progress::default();
    let origin = origin(up, progress.clone()).await;
    let (program, address, base) = proxy(up, origin).await;
    let told = async {
        progress.is_held_back(&what).await;
        progress.go.notify_one();
    };
    let answer = match down {
        Version::H1 => {
            let mut client = connect(address).await;
            let head = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n");
            client.write_all(head.as_bytes()).await.unwrap();
            let mut writer = Writer::H1(client);
            tokio::join!(writer.write(&progress), told);
            let Writer::H1(mut client) = writer else {
                return;
            };
            let (_, mut answer) = self::head(&mut client).await;
            while answer.len() < 32 {
                assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0);
            }
            answer
        }
        Version::H2 => {
            let client = Http2Client::to(address).await;
            let ask = pingora_tests::Ask::by("PUT", "/").claiming(LENGTH);
            let (answer, send) = client.begin(&ask, false).await.unwrap();
            tokio::join!(async { Writer::H2(send).write(&progress).await }, told);
            let mut body = answer.await.unwrap().into_body();
            let mut answer = Vec::new();
            while let Some(data) = body.data().await {
                answer.extend_from_slice(&data.unwrap());
            }
            answer
        }
    };
    assert_eq!(answer, hash(), "{what}");
    assert_small(&program, base, &what);
}

/// All pairs one after the other: each involves two processes and a hundred megabytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn downloads_are_held_back_and_arrive_whole() {
    for (down, up) in PAIRS {
        downloads(down, up).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_are_held_back_and_arrive_whole() {
    for (down, up) in PAIRS {
        uploads(down, up).await;
    }
}
