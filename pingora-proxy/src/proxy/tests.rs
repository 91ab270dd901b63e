//! Whole exchanges: a client in memory, a proxy, and a scripted origin on a port of its own.

mod bodies;
mod failures;
mod first_pieces;
mod http2;
mod messages;
mod outcomes;
mod phases;
mod recorder;
mod retries;
mod shapes;
mod subrequests;
mod tunnels;

use crate::prelude::*;
use crate::{FailToProxy, HttpProxy};
use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::Stream;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{BError, Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(10);
const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The origin's behaviour after it has answered a request.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    /// It waits for the next request on this connection.
    Keep,
    Close,
    /// It waits for the proxy to close, and notes that it did.
    Watch,
}

/// One answer: when it is given, what it is, and what follows.
#[derive(Clone)]
struct Reply {
    /// Answer as soon as the head is there.
    early: bool,
    bytes: Vec<u8>,
    then: Then,
}

fn reply(bytes: impl AsRef<[u8]>, then: Then) -> Reply {
    Reply {
        early: false,
        bytes: bytes.as_ref().to_vec(),
        then,
    }
}

fn early(bytes: impl AsRef<[u8]>, then: Then) -> Reply {
    Reply {
        early: true,
        ..reply(bytes, then)
    }
}

#[derive(Default)]
struct Seen {
    /// Requests as they arrived: the connection's number, and all bytes.
    requests: Mutex<Vec<(usize, String)>>,
    closed: Mutex<usize>,
    news: tokio::sync::Notify,
}

/// An origin that answers the n-th connection by the n-th script (the last one again and again).
struct Origin {
    address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin {
    async fn start(scripts: Vec<Vec<Reply>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let log = seen.clone();
        let task = tokio::spawn(async move {
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let script = scripts.get(number).or(scripts.last()).cloned().unwrap();
                tokio::spawn(serve(stream, number, script, log.clone()));
            }
        });
        Origin {
            address,
            seen,
            task,
        }
    }

    /// One that answers every request in the same way.
    async fn always(bytes: impl AsRef<[u8]>) -> Self {
        Origin::start(vec![vec![reply(bytes, Then::Keep); 20]]).await
    }

    fn requests(&self) -> Vec<String> {
        self.seen
            .requests
            .lock()
            .unwrap()
            .iter()
            .map(|(_, text)| text.clone())
            .collect()
    }

    /// Which connection each request came on.
    fn connections(&self) -> Vec<usize> {
        self.seen
            .requests
            .lock()
            .unwrap()
            .iter()
            .map(|(number, _)| *number)
            .collect()
    }

    /// Waits until the proxy has closed a connection that was watched.
    async fn closed(&self) {
        let wait = async {
            while *self.seen.closed.lock().unwrap() == 0 {
                self.seen.news.notified().await;
            }
        };
        timeout(PATIENCE, wait)
            .await
            .expect("the upstream connection stays open");
    }
}

async fn serve(mut stream: TcpStream, number: usize, script: Vec<Reply>, seen: Arc<Seen>) {
    let mut ahead = Vec::new();
    for reply in script {
        let whole = if reply.early {
            Whole::Head
        } else {
            Whole::Request
        };
        let Some(request) = read_message(&mut stream, &mut ahead, whole).await else {
            return;
        };
        seen.requests.lock().unwrap().push((number, request));
        if stream.write_all(&reply.bytes).await.is_err() {
            return;
        }
        match reply.then {
            Then::Keep => {}
            Then::Close => return,
            Then::Watch => {
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
                *seen.closed.lock().unwrap() += 1;
                seen.news.notify_one();
                return;
            }
        }
    }
    // An idle connection, until the proxy closes it.
    let _ = stream.read_to_end(&mut ahead).await;
}

/// Where a message ends.
#[derive(Clone, Copy, PartialEq)]
enum Whole {
    Head,
    Request,
    Response,
}

/// Bytes as text, without the dates of today that responses are given.
fn undated(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.split_inclusive("\r\n");
    lines.filter(|line| !line.starts_with("Date: ")).collect()
}

/// Reads one message, framing and all but its date; `None` if the peer closed before it began. A
/// message that is cut short is returned as it is.
async fn read_message(
    stream: &mut (impl AsyncRead + Unpin),
    ahead: &mut Vec<u8>,
    whole: Whole,
) -> Option<String> {
    loop {
        let end = message_end(ahead, whole);
        if let Some(end) = end {
            let rest = ahead.split_off(end);
            let message = std::mem::replace(ahead, rest);
            return Some(undated(&message));
        }
        if stream.read_buf(ahead).await.unwrap_or(0) == 0 {
            let message = std::mem::take(ahead);
            return (!message.is_empty()).then(|| undated(&message));
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

fn message_end(bytes: &[u8], whole: Whole) -> Option<usize> {
    let head = find(bytes, b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
    let status = text.split(' ').nth(1).unwrap_or_default();
    let bodiless = matches!(status, "204" | "304" | "100" | "103" | "101");
    if whole == Whole::Head || whole == Whole::Response && bodiless {
        return Some(head);
    }
    if text.contains("transfer-encoding: chunked") {
        // Looked for only if it may be: the tests' messages end with a read.
        if !bytes.ends_with(b"\r\n\r\n") {
            return None;
        }
        return find(&bytes[head - 2..], b"\r\n0\r\n").and_then(|at| {
            let from = head + at + 3;
            find(&bytes[from - 2..], b"\r\n\r\n").map(|end| from + end + 2)
        });
    }
    match text.split("content-length: ").nth(1) {
        Some(length) => {
            let end = head + length.split('\r').next()?.parse::<usize>().ok()?;
            (bytes.len() >= end).then_some(end)
        }
        None if whole == Whole::Request => Some(head),
        None => None,
    }
}

/// Both directions of a connection.
trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A client of a proxy.
struct Client {
    io: Box<dyn Io>,
    ahead: Vec<u8>,
    /// The proxy's side of the connection.
    serving: JoinHandle<()>,
    _shutdown: watch::Sender<bool>,
}

impl Client {
    /// One in memory.
    fn of<SV>(proxy: &Arc<HttpProxy<SV>>) -> Self
    where
        SV: ProxyHttp + Send + Sync + 'static,
        SV::CTX: Send + Sync,
    {
        Self::with_window(proxy, 1 << 16)
    }

    /// One in memory, whose connection holds so many bytes.
    fn with_window<SV>(proxy: &Arc<HttpProxy<SV>>, window: usize) -> Self
    where
        SV: ProxyHttp + Send + Sync + 'static,
        SV::CTX: Send + Sync,
    {
        let (io, server) = duplex(window);
        Self::new(proxy, Box::new(io), Box::new(server))
    }

    /// One over a socket: bodies may be spliced.
    async fn over_tcp<SV>(proxy: &Arc<HttpProxy<SV>>) -> Self
    where
        SV: ProxyHttp + Send + Sync + 'static,
        SV::CTX: Send + Sync,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let io = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (server, _) = listener.accept().await.unwrap();
        Self::new(proxy, Box::new(io), Box::new(L4Stream::from(server)))
    }

    fn new<SV>(proxy: &Arc<HttpProxy<SV>>, io: Box<dyn Io>, server: Stream) -> Self
    where
        SV: ProxyHttp + Send + Sync + 'static,
        SV::CTX: Send + Sync,
    {
        let (sender, shutdown) = watch::channel(false);
        let proxy = proxy.clone();
        let serving = tokio::spawn(async move {
            let _ = proxy.process_new(server, &shutdown).await;
        });
        Client {
            io,
            ahead: Vec::new(),
            serving,
            _shutdown: sender,
        }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        timeout(PATIENCE, self.io.write_all(bytes.as_ref()))
            .await
            .unwrap()
            .unwrap();
    }

    async fn next(&mut self, whole: Whole) -> String {
        let reading = read_message(&mut self.io, &mut self.ahead, whole);
        timeout(PATIENCE, reading)
            .await
            .expect("no answer")
            .unwrap_or_default()
    }

    /// The next response; empty if the proxy closed the connection instead.
    async fn response(&mut self) -> String {
        self.next(Whole::Response).await
    }

    async fn ask(&mut self, bytes: impl AsRef<[u8]>) -> String {
        self.send(bytes).await;
        self.response().await
    }

    /// Waits until the proxy is done with the connection; returns what else it sent.
    async fn end(mut self) -> String {
        let mut rest = self.ahead;
        timeout(PATIENCE, self.io.read_to_end(&mut rest))
            .await
            .expect("still open")
            .unwrap();
        timeout(PATIENCE, self.serving)
            .await
            .expect("still served")
            .unwrap();
        undated(&rest)
    }
}

fn proxy_of<SV: ProxyHttp>(inner: SV) -> Arc<HttpProxy<SV>> {
    let conf = ServerConf {
        max_retries: 3,
        ..ServerConf::default()
    };
    Arc::new(http_proxy(&Arc::new(conf), inner))
}

/// One request through this proxy on a connection of its own.
async fn through<SV>(inner: SV, request: &str) -> String
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
{
    Client::of(&proxy_of(inner)).ask(request).await
}

fn peer(address: SocketAddr) -> Result<Box<HttpPeer>> {
    Ok(Box::new(HttpPeer::new(address, false, String::new())))
}

/// The notes that the phases of one test leave.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, text: impl Into<String>) {
        self.0.lock().unwrap().push(text.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// Waits until something was noted that begins with this.
    async fn has(&self, text: &str) {
        let wait = async {
            while !self
                .0
                .lock()
                .unwrap()
                .iter()
                .any(|line| line.starts_with(text))
            {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("never noted: {text}"));
    }
}

/// A proxy to one origin, with these phases besides.
macro_rules! proxy {
    ($visible:vis $name:ident { $($phases:tt)* }) => {
        $visible struct $name {
            origin: SocketAddr,
            log: Log,
        }

        impl $name {
            #[allow(dead_code)]
            $visible fn to(origin: &Origin) -> Self {
                $name { origin: origin.address, log: Log::default() }
            }
        }

        #[async_trait]
        impl ProxyHttp for $name {
            type CTX = ();
            fn new_ctx(&self) {}

            async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
                peer(self.origin)
            }

            async fn logging(&self, session: &mut Session, e: Option<&Error>, _: &mut ()) {
                let status = session.response_written().map_or(0, |r| r.status.as_u16());
                let error = e.map_or("-".to_string(), |e| {
                    format!("{}/{}", e.source_str(), e.reason_str())
                });
                self.log.note(format!("logging {status} {error}"));
            }

            $($phases)*
        }
    };
}
use proxy;

proxy!(Plain {});
