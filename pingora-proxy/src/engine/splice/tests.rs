//! Bodies over real sockets. Each test's proxy, client and origin share its thread.

mod bodies;
mod faults;
mod files;
mod seen;

use super::{Payload, WORTH_IT};
use crate::{HttpProxy, ProxyHttp, Session, http_proxy};
use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::l4::stream::Stream as PlainStream;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, Result};
use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

thread_local! {
    /// Bytes that went through pipes on this thread.
    pub(super) static SPLICED: Cell<usize> = const { Cell::new(0) };
    /// Makes this thread's relays find no pipe.
    pub(super) static NO_PIPES: Cell<bool> = const { Cell::new(false) };
}

/// A test that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A proxy without any filter.
#[derive(Clone)]
struct Plain(HttpPeer);

#[async_trait]
impl ProxyHttp for Plain {
    type CTX = ();
    fn new_ctx(&self) {}
    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.0.clone()))
    }
    fn suppress_error_log(&self, _: &Session, _: &(), _: &Error) -> bool {
        true
    }
}

impl Plain {
    fn to(address: SocketAddr) -> Self {
        Plain(HttpPeer::new(address, false, String::new()))
    }
}

/// Serves connections that come in at the returned address.
async fn serve<P>(proxy: P) -> SocketAddr
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let proxy = Arc::new(http_proxy(&Arc::new(ServerConf::default()), proxy));
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(serve_one(proxy.clone(), PlainStream::from(socket)));
        }
    });
    address
}

async fn serve_one<P>(proxy: Arc<HttpProxy<P>>, stream: PlainStream)
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    let (_stop, shutdown) = tokio::sync::watch::channel(false);
    let mut next: Option<pingora_core::protocols::Stream> = Some(Box::new(stream));
    while let Some(stream) = next {
        next = proxy.process_new(stream, &shutdown).await;
    }
}

/// Runs `script` for each connection; the counter says how many there were.
async fn origin<F, R>(script: F) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Fn(TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            counter.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(script(socket));
        }
    });
    (address, connections)
}

/// Bytes that tell their position, so that nothing can be lost, doubled or swapped unnoticed.
fn payload(length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| (i ^ (i >> 8) ^ (i >> 16).wrapping_mul(31)) as u8)
        .collect()
}

/// Reads a head, its blank line included; `None` where the connection ends first.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

fn content_length(head: &str) -> usize {
    let field = head.lines().find_map(|l| {
        l.to_lowercase()
            .strip_prefix("content-length: ")
            .map(str::to_owned)
    });
    field.map_or(0, |value| value.trim().parse().unwrap())
}

async fn read_body(stream: &mut (impl AsyncRead + Unpin), length: usize) -> Vec<u8> {
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    body
}

/// Asks for a body of this many bytes and checks what comes.
async fn fetch(client: &mut (impl AsyncRead + AsyncWrite + Unpin), length: usize) {
    let request = format!("GET /{length} HTTP/1.1\r\nHost: a\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    check_response(client, length).await;
}

async fn check_response(client: &mut (impl AsyncRead + Unpin), length: usize) {
    let head = read_head(client).await.expect("a response");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(content_length(&head), length);
    assert!(
        read_body(client, length).await == payload(length),
        "{length} bytes arrive as sent"
    );
}

/// Answers each request for `/N` with N bytes, head and body in one write.
async fn answer_by_path(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    while let Some(head) = read_head(&mut stream).await {
        let length: usize = head.split([' ', '/']).nth(2).unwrap().parse().unwrap();
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n"
        )
        .into_bytes();
        answer.extend_from_slice(&payload(length));
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// Reads each request's body and answers whether it is the pattern.
async fn judge_uploads(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    while let Some(head) = read_head(&mut stream).await {
        let length = content_length(&head);
        let sound = read_body(&mut stream, length).await == payload(length);
        let verdict = if sound { "200 OK" } else { "500 Broken" };
        let answer = format!("HTTP/1.1 {verdict}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

async fn upload(client: &mut (impl AsyncRead + AsyncWrite + Unpin), length: usize) {
    let head = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&payload(length)).await.unwrap();
    check_response(client, 0).await;
}

/// Fails instead of hanging.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

/// Sizes around everything that makes a difference.
fn sizes() -> Vec<usize> {
    let edges = [
        0,
        16 * 1024,
        64 * 1024,
        WORTH_IT as usize,
        256 * 1024,
        1024 * 1024,
    ];
    let around = |edge: usize| [edge.saturating_sub(1), edge, edge + 1];
    let mut sizes: Vec<usize> = edges.into_iter().flat_map(around).collect();
    sizes.extend([200_000, 400_000, 3_000_007]);
    sizes
}

#[test]
fn what_may_be_spliced() {
    const SOME: u64 = WORTH_IT;
    const LARGE_PIECE: usize = WORTH_IT as usize;
    // Under way, still to be received, room, last piece; the answer.
    type Row = (bool, Option<u64>, Option<u64>, usize, bool);
    let rows: &[Row] = &[
        // A known length has to be worth it,
        (false, Some(SOME), Some(SOME), 0, true),
        (false, Some(SOME - 1), Some(SOME - 1), 1 << 20, false),
        (false, Some(SOME), None, 0, true),
        (false, Some(0), None, 1 << 20, false),
        // until it is under way.
        (true, Some(1), Some(1), 1, true),
        (true, Some(0), Some(1), 1 << 20, false),
        // The session judges a body that exceeds its announced length or needs framing.
        (true, Some(9), Some(0), 9, false),
        (false, Some(1 << 30), Some(0), 1 << 20, false),
        (false, Some(1 << 30), Some(SOME - 1), 1 << 20, false),
        (false, None, Some(0), 1 << 20, false),
        // If no length is known the last piece tells.
        (false, None, None, 0, false),
        (false, None, None, LARGE_PIECE - 1, false),
        (false, None, None, LARGE_PIECE, true),
        (true, None, None, LARGE_PIECE - 1, false),
        (false, None, Some(SOME), LARGE_PIECE, true),
    ];
    for &(under_way, remaining, room, last_piece, expected) in rows {
        let payload = Payload {
            under_way,
            remaining,
            room,
            last_piece,
        };
        assert_eq!(payload.may_be_spliced(), expected, "{payload:?}");
    }
}
