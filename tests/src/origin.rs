//! Origins on a port of their own.

use crate::authority::Authority;
use crate::connection::{Connection, eventually};
use crate::http2::{self, tls};
use crate::message::Message;
use crate::well_behaved;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// An origin on 127.0.0.1 and a port of its own; it ends, with its connections, when it is dropped.
///
/// It runs in the runtime that it was started in.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    seen: Arc<Seen>,
    accepting: JoinHandle<()>,
}

/// The requests that an origin has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    connections: AtomicUsize,
    open: AtomicUsize,
    requests: Mutex<Vec<Message>>,
    begun: AtomicUsize,
    aborted: AtomicUsize,
    /// How many streams it lets a client open at once; 0: 100.
    max_streams: u32,
}

impl Seen {
    pub(crate) fn max_streams(&self) -> u32 {
        match self.max_streams {
            0 => 100,
            count => count,
        }
    }

    pub(crate) fn note(&self, request: Message) {
        self.requests
            .lock()
            .expect("no panic while noting")
            .push(request);
    }

    pub(crate) fn note_begin(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn note_abort(&self) {
        self.aborted.fetch_add(1, Ordering::SeqCst);
    }
}

/// A request that has begun. Unless it was finished, it counts as aborted, also when the task that answers it
/// ends with its connection.
#[must_use]
pub(crate) struct Begun(Option<Arc<Seen>>);

impl Begun {
    pub(crate) fn new(seen: &Arc<Seen>) -> Self {
        seen.note_begin();
        Begun(Some(seen.clone()))
    }

    pub(crate) fn finish(mut self) {
        self.0 = None;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(seen) = self.0.take() {
            seen.note_abort();
        }
    }
}

/// Counts a connection as open as long as it lives, also when its task is aborted.
struct Open(Arc<Seen>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Origin {
    /// An origin that does on each connection what `script` says; the second argument counts the
    /// connections from 0. When the script returns, the connection is closed, unless the script gave
    /// it away, say to [`Connection::reset`].
    pub async fn scripted<F, R>(script: F) -> Self
    where
        F: Fn(Connection, usize) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        Self::start(move |connection, index, _| script(connection, index)).await
    }

    /// An origin that reads one request on each connection and answers it with these very bytes;
    /// then it closes.
    pub async fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes: Arc<[u8]> = bytes.into().into();
        Self::start(move |mut connection, _, seen| {
            let bytes = bytes.clone();
            async move {
                if let Some(request) = connection.request().await {
                    seen.note(request);
                    // The proxy may have given up in the meantime.
                    let _ = connection.try_send(bytes).await;
                }
            }
        })
        .await
    }

    /// A good HTTP/1.1 server with keep-alive. The path says what it answers:
    ///
    /// | path | answer |
    /// |---|---|
    /// | `/echo` | the request's body |
    /// | `/length/N` | N bytes with Content-Length |
    /// | `/chunked/N` | N bytes in chunks of at most 1,000 |
    /// | `/drip/N` | N bytes with Content-Length, each in a segment of its own |
    /// | `/close/N` | N bytes, delimited by the end of the connection |
    /// | `/trailers` | a chunked body with the trailer `X-Checksum: 42` |
    /// | `/hints` | 103 with a Link, then 200 |
    /// | `/continue` | 100 before it reads the body, then the body |
    /// | `/status/N` | this status without a body |
    /// | `/slow/N` | N chunks of one byte, 10 ms apart |
    /// | `/cut/N` | half of the N bytes that Content-Length announces, then the end |
    /// | `/reset/N` | half of the N bytes that Content-Length announces, then a reset |
    /// | `/long/N` | ten bytes more than the N that Content-Length announces |
    /// | `/reset-head` | a reset |
    /// | `/reset-body/N` | a head that announces N bytes, then a reset |
    /// | `/reset-trailers/N` | N bytes in chunks, and a reset where the last one would be |
    /// | `/echo-trailers` | the request's body in chunks, and its trailers |
    /// | `/early` | 413 and five bytes, ahead of the request's body, which it then reads |
    /// | `/stall` | nothing, ever |
    /// | `/upgrade` | 101, then every byte that comes back |
    /// | others | 200 with the path as body |
    pub async fn well_behaved() -> Self {
        Self::start(|connection, _, seen| well_behaved::serve(connection, seen)).await
    }

    /// A good HTTP/2 server in cleartext. The paths are those of [`well_behaved`](Self::well_behaved),
    /// save `/upgrade`; chunks become DATA frames, and a reset is one of the stream with
    /// INTERNAL_ERROR. A length that is a lie is followed by an orderly end. Besides:
    ///
    /// | path | answer |
    /// |---|---|
    /// | `/empty-frames/N` | N bytes with Content-Length, with frames without payload in between |
    /// | `/early-reset` | 413 and five bytes ahead of the request's body, and RST_STREAM with NO_ERROR |
    /// | `/pipe`, `/websocket` | 200, then every byte that comes back as it comes |
    /// | `/goaway` | 200, and GOAWAY: other streams are finished, new ones need a new connection |
    pub async fn http2() -> Self {
        Self::start(|connection, _, seen| http2::serve(connection.into_stream(), seen)).await
    }

    /// As [`http2`](Self::http2), with this many streams at once on each connection.
    pub async fn http2_with_streams(max_streams: u32) -> Self {
        let seen = Seen {
            max_streams,
            ..Seen::default()
        };
        let serve = |connection: Connection, _, seen| http2::serve(connection.into_stream(), seen);
        Self::start_with(seen, serve).await
    }

    /// An origin over TLS that bears this name and selects the first of these protocols that is
    /// offered by ALPN. With `h2` selected it is as [`http2`](Self::http2); else it answers each
    /// request without a body by 200 with the path as body, over HTTP/1.1.
    pub async fn over_tls(
        authority: &Authority,
        name: &str,
        protocols: &'static [&'static str],
    ) -> Self {
        let acceptor = Arc::new(tls::acceptor(authority, name, protocols));
        Self::start(move |connection, _, seen| {
            let acceptor = acceptor.clone();
            async move {
                let Some(stream) = tls::accept(&acceptor, connection.into_stream()).await else {
                    return;
                };
                match tls::selected(&stream).as_deref() {
                    Some("h2") => http2::serve(stream, seen).await,
                    _ => well_behaved::answer_paths(stream, seen).await,
                }
            }
        })
        .await
    }

    /// An origin that does on each connection what `script` says, with HTTP/2 by hand.
    pub async fn http2_scripted<F, R>(settings: &'static [(u16, u32)], script: F) -> Self
    where
        F: Fn(http2::RawHttp2, usize) -> R + Clone + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        Self::start(move |connection, index, _| {
            let script = script.clone();
            async move {
                let stream = connection.into_stream();
                if let Some(raw) = http2::RawHttp2::server(stream, settings).await {
                    script(raw, index).await;
                }
            }
        })
        .await
    }

    async fn start<F, R>(serve: F) -> Self
    where
        F: Fn(Connection, usize, Arc<Seen>) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        Self::start_with(Seen::default(), serve).await
    }

    async fn start_with<F, R>(seen: Seen, serve: F) -> Self
    where
        F: Fn(Connection, usize, Arc<Seen>) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let seen = Arc::new(seen);
        let noted = seen.clone();
        let accepting = tokio::spawn(async move {
            let mut serving = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("the listener accepts");
                let index = noted.connections.fetch_add(1, Ordering::SeqCst);
                noted.open.fetch_add(1, Ordering::SeqCst);
                let open = Open(noted.clone());
                let exchange = serve(Connection::new(stream), index, noted.clone());
                serving.spawn(async move {
                    exchange.await;
                    drop(open);
                });
                while serving.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            seen,
            accepting,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were accepted until now.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// How many of them are open.
    pub fn open_connections(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    /// The requests until now, oldest first. A scripted origin has none.
    pub fn requests(&self) -> Vec<Message> {
        self.seen
            .requests
            .lock()
            .expect("no panic while noting")
            .clone()
    }

    /// Forgets the requests until now.
    pub fn forget_requests(&self) {
        let mut requests = self.seen.requests.lock();
        requests.as_mut().expect("no panic while noting").clear();
    }

    /// The latest request.
    ///
    /// # Panics
    /// When there was none.
    pub fn last_request(&self) -> Message {
        self.requests().pop().expect("the origin was asked")
    }

    /// How many requests have come until now, if only their heads. A scripted origin has none.
    pub fn begun(&self) -> usize {
        self.seen.begun.load(Ordering::SeqCst)
    }

    /// How many exchanges the other side has ended by force until now. One that came to a whole
    /// answer doesn't count.
    pub fn aborted(&self) -> usize {
        self.seen.aborted.load(Ordering::SeqCst)
    }

    /// Waits until this many connections were accepted.
    pub async fn wait_for_connections(&self, count: usize) {
        eventually("the connections arrive", || self.connections() >= count).await;
    }

    /// Waits until all connections have ended.
    pub async fn wait_until_unused(&self) {
        eventually("the origin's connections end", || {
            self.open_connections() == 0
        })
        .await;
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
