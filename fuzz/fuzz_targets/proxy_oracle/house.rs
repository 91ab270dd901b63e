//! A proxy in memory, between a client and upstreams that say what the fuzzer wants. It notes each request that it
//! knows of; what comes out on either side is read by others and compared.

use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::apps::{HttpServerOptions, ServerApp};
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::ALPN;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{HttpProxy, ProxyHttp, Session};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A request as the proxy knows it; its number is its place in the log, and goes in `X-Seq` both ways.
#[derive(Debug, Default, Clone)]
pub struct Known {
    pub method: String,
    pub target: String,
    pub tries: usize,
    pub body: Vec<u8>,
    pub response_body: Vec<u8>,
}

/// How one side behaves.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// A piece is there to be read once as many writes have come: for a client, all are there at once.
    pub pieces: Vec<Vec<u8>>,
    pub waits_for_writes: bool,
    /// It says nothing more at the end, instead of closing.
    pub stays: bool,
    /// How many bytes it takes and gives at once; 0: all.
    pub step: usize,
}

#[derive(Debug, Default)]
struct Side {
    script: Script,
    piece: usize,
    at: usize,
    writes: usize,
    reader: Option<Waker>,
}

/// What a side got.
pub type Got = Arc<Mutex<Vec<u8>>>;

#[derive(Debug)]
struct Socket {
    side: Mutex<Side>,
    got: Got,
}

impl Socket {
    fn stream(script: Script, got: Got) -> Stream {
        let side = Mutex::new(Side {
            script,
            ..Side::default()
        });
        VirtualSocketStream::new(Box::new(Socket { side, got })).into()
    }
}

impl VirtualSocket for Socket {
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let side = &mut *self.side.lock().unwrap();
        loop {
            let Some(piece) = side.script.pieces.get(side.piece) else {
                if side.script.stays {
                    side.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                return Poll::Ready(Ok(()));
            };
            if side.script.waits_for_writes && side.writes <= side.piece {
                side.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let rest = &piece[side.at..];
            if rest.is_empty() {
                side.piece += 1;
                side.at = 0;
                continue;
            }
            let step = match side.script.step {
                0 => rest.len(),
                step => step,
            };
            let count = rest.len().min(step).min(buf.remaining());
            buf.put_slice(&rest[..count]);
            side.at += count;
            return Poll::Ready(Ok(()));
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let side = &mut *self.side.lock().unwrap();
        let count = match side.script.step {
            0 => buf.len(),
            step => buf.len().min(step * 7),
        };
        self.got.lock().unwrap().extend_from_slice(&buf[..count]);
        side.writes += 1;
        if let Some(reader) = side.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The upstreams: each connection takes the next script.
#[derive(Debug)]
struct Upstreams {
    scripts: Mutex<std::vec::IntoIter<Script>>,
    got: Mutex<Vec<Got>>,
}

#[async_trait]
impl L4Connect for Upstreams {
    async fn connect(&self, _: &SocketAddr) -> Result<Stream> {
        let Some(script) = self.scripts.lock().unwrap().next() else {
            return Error::e_explain(ErrorType::ConnectRefused, "no script is left");
        };
        let got = Got::default();
        self.got.lock().unwrap().push(got.clone());
        Ok(Socket::stream(script, got))
    }
}

struct House {
    upstreams: Arc<Upstreams>,
    http2: bool,
    log: Arc<Mutex<Vec<Known>>>,
}

impl House {
    fn note(&self, request: Option<usize>, note: impl FnOnce(&mut Known)) {
        let mut log = self.log.lock().unwrap();
        note(&mut log[request.expect("it began")]);
    }
}

#[async_trait]
impl ProxyHttp for House {
    type CTX = Option<usize>;

    fn new_ctx(&self) -> Option<usize> {
        None
    }

    async fn early_request_filter(
        &self,
        session: &mut Session,
        ctx: &mut Option<usize>,
    ) -> Result<()> {
        let head = session.req_header();
        let known = Known {
            method: head.method.to_string(),
            target: String::from_utf8_lossy(head.raw_path()).into_owned(),
            ..Known::default()
        };
        let mut log = self.log.lock().unwrap();
        *ctx = Some(log.len());
        log.push(known);
        Ok(())
    }

    async fn upstream_peer(
        &self,
        _: &mut Session,
        _: &mut Option<usize>,
    ) -> Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new("192.0.2.1:80", false, String::new());
        peer.options.custom_l4 = Some(self.upstreams.clone());
        if self.http2 {
            peer.options.alpn = ALPN::H2;
            peer.options.max_h2_streams = 4;
        }
        peer.options.read_timeout = Some(Duration::from_secs(5));
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        head: &mut RequestHeader,
        ctx: &mut Option<usize>,
    ) -> Result<()> {
        self.note(*ctx, |known| known.tries += 1);
        head.insert_header("X-Seq", ctx.expect("it began").to_string())
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        ctx: &mut Option<usize>,
    ) -> Result<()> {
        let piece = body.as_deref().unwrap_or_default();
        self.note(*ctx, |known| known.body.extend_from_slice(piece));
        Ok(())
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut Option<usize>,
    ) -> Result<()> {
        head.insert_header("X-Seq", ctx.expect("it began").to_string())
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        ctx: &mut Option<usize>,
    ) -> Result<Option<Duration>> {
        let piece = body.as_deref().unwrap_or_default();
        self.note(*ctx, |known| known.response_body.extend_from_slice(piece));
        Ok(None)
    }
}

/// What was seen on all sides.
#[derive(Debug)]
pub struct Seen {
    pub requests: Vec<Known>,
    pub client: Vec<u8>,
    pub upstreams: Vec<Vec<u8>>,
}

/// Lets a client have its way with a proxy whose upstreams speak HTTP/1 or HTTP/2. Time passes as fast as it can.
pub fn run(client: Script, upstreams: Vec<Script>, http2: bool) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let log = Arc::<Mutex<Vec<Known>>>::default();
    let upstreams = Arc::new(Upstreams {
        scripts: Mutex::new(upstreams.into_iter()),
        got: Mutex::default(),
    });
    let house = House {
        upstreams: upstreams.clone(),
        http2,
        log: log.clone(),
    };
    let got = Got::default();
    let served = async {
        let mut proxy = HttpProxy::new(house, Arc::new(ServerConf::default()));
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        proxy.server_options = Some(options);
        proxy.handle_init_modules();
        let proxy = Arc::new(proxy);
        let (_running, shutdown) = tokio::sync::watch::channel(false);
        let mut stream: Option<pingora_core::protocols::Stream> =
            Some(Box::new(Socket::stream(client, got.clone())));
        while let Some(open) = stream {
            stream = proxy.process_new(open, &shutdown).await;
        }
    };
    let hour = Duration::from_secs(3600);
    let in_time = runtime.block_on(async { tokio::time::timeout(hour, served).await });
    assert!(in_time.is_ok(), "the connection goes on for ever");
    drop(runtime);
    let upstreams = upstreams.got.lock().unwrap();
    let requests = log.lock().unwrap().clone();
    let client = got.lock().unwrap().clone();
    Seen {
        requests,
        client,
        upstreams: upstreams.iter().map(|got| got.lock().unwrap().clone()).collect(),
    }
}
