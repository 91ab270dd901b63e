//! A protocol unknown to all crates here is served and proxied to, through the public traits alone:
//! keep-alive, pool, retries, trailers, shutdown.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that can't go on ends by panicking"
)]

mod client;
mod frames;
mod server;

use async_trait::async_trait;
use bytes::BytesMut;
use client::Letters;
use frames::{Framed, push};
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use pingora::apps::serve_custom;
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::*;
use pingora::protocols::ALPN;
use pingora::protocols::tls::CustomALPN;
use pingora::proxy::{HttpProxy, ProxyServiceBuilder};
use pingora::server::configuration::ServerConf;
use pingora::server::{ShutdownSignal, ShutdownWatch};
use pingora_tests::{Authority, Origin, TestServer, eventually};
use server::ServerEnd;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);
const NAME: &[u8] = b"letters";

fn alpn() -> ALPN {
    ALPN::Custom(CustomALPN::new(NAME.to_vec()))
}

/// The frames of one message.
type Message = Vec<(u8, String)>;

async fn read_message(framed: &mut Framed) -> Option<Message> {
    let mut message = vec![];
    loop {
        let frame = poll_fn(|cx| framed.poll_frame(cx)).await.ok()??;
        let end = matches!(frame.0, b'T' | b'E');
        message.push((frame.0, String::from_utf8_lossy(&frame.1).into_owned()));
        if end {
            return Some(message);
        }
    }
}

/// An origin that speaks the protocol, and answers with the body that it received.
struct FramedOrigin {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Message>>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for FramedOrigin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FramedOrigin {
    /// An origin whose connections close silently when they get another request after `answers`
    /// answers.
    async fn start(answers: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(vec![]));
        let connections = Arc::new(AtomicUsize::new(0));
        let (log, count) = (requests.clone(), connections.clone());
        let task = tokio::spawn(async move {
            loop {
                let (io, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(answer(io, log.clone(), answers));
            }
        });
        FramedOrigin {
            address,
            requests,
            connections,
            task,
        }
    }
}

async fn answer(io: TcpStream, log: Arc<Mutex<Vec<Message>>>, answers: usize) {
    let mut framed = Framed::new(Box::new(pingora::protocols::l4::stream::Stream::from(io)));
    for _ in 0..answers {
        let Some(request) = read_message(&mut framed).await else {
            return;
        };
        log.lock().unwrap().push(request.clone());
        framed.push(b'H', b"200\nx-from: letters\n");
        framed.push(b'D', b"you sent ");
        for (kind, payload) in &request {
            if *kind == b'D' {
                framed.push(b'D', payload.as_bytes());
            }
        }
        framed.push(b'T', b"x-sum: 7\n");
        poll_fn(|cx| framed.poll_out(cx)).await.unwrap();
    }
    let _ = poll_fn(|cx| framed.poll_fill(cx)).await;
}

/// `/http/...` goes to an HTTP/1 origin, everything else to one that speaks the custom protocol.
struct Router {
    letters: SocketAddr,
    http: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Router {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        if session.req_header().uri.path().starts_with("/http") {
            return Ok(Box::new(HttpPeer::new(self.http, false, String::new())));
        }
        let mut peer = HttpPeer::new(self.letters, false, String::new());
        peer.options.alpn = alpn();
        Ok(Box::new(peer))
    }
}

struct Rig {
    server: TestServer,
    authority: Authority,
    opened: Arc<AtomicUsize>,
}

/// A proxy: its first endpoint speaks the protocol over TLS, the second one HTTP/1.
async fn proxy(letters: SocketAddr, http: SocketAddr) -> Rig {
    let conf = ServerConf {
        threads: 1,
        max_retries: 2,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None::<Opt>, conf);
    let authority = Authority::new();
    let (certificate, key) = authority.issue(&["letters.test"]);
    let connector = Letters::default();
    let opened = connector.opened.clone();
    let serve = |proxy: Arc<HttpProxy<Router, Letters>>, io, shutdown: &ShutdownWatch| {
        let shutdown = shutdown.clone();
        let served = async move {
            serve_custom(&proxy, Box::new(ServerEnd::new(io)), &shutdown).await;
            None
        };
        Box::pin(served) as futures::future::BoxFuture<'static, _>
    };
    let mut service = ProxyServiceBuilder::new(&server.configuration, Router { letters, http })
        .custom(connector, Arc::new(serve))
        .build();
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let mut tls = TlsSettings::intermediate(certificate, key).unwrap();
    tls.set_alpn(alpn());
    service.add_tls_with_settings("127.0.0.1:0", None, tls);
    service.add_tcp("127.0.0.1:0");
    let bound = service.bound_addresses();
    server.add_service(service);
    Rig {
        server: TestServer::start(server, bound).await,
        authority,
        opened,
    }
}

impl Rig {
    async fn connect(&self) -> Client {
        let mut builder = SslConnector::builder(SslMethod::tls()).unwrap();
        builder.set_verify(SslVerifyMode::PEER);
        builder
            .cert_store_mut()
            .add_cert(self.authority.certificate())
            .unwrap();
        builder
            .set_alpn_protos(&[&[NAME.len() as u8], NAME].concat())
            .unwrap();
        let ssl = builder
            .build()
            .configure()
            .unwrap()
            .into_ssl("letters.test")
            .unwrap();
        let io = TcpStream::connect(self.server.address()).await.unwrap();
        let mut io = tokio_openssl::SslStream::new(ssl, io).unwrap();
        std::pin::Pin::new(&mut io).connect().await.unwrap();
        let (near, far) = tokio::io::duplex(1 << 20);
        // Any stream works for the frames: this one is connected to the TLS connection.
        let joined = tokio::spawn(async move {
            let mut far = far;
            let _ = tokio::io::copy_bidirectional(&mut io, &mut far).await;
        });
        Client {
            framed: Framed::new(Box::new(near)),
            joined,
        }
    }
}

struct Client {
    framed: Framed,
    joined: JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.joined.abort();
    }
}

impl Client {
    async fn ask(&mut self, frames: &[(u8, &str)]) -> Option<Message> {
        let mut out = BytesMut::new();
        for (kind, payload) in frames {
            push(&mut out, *kind, payload.as_bytes());
        }
        self.framed.io.write_all(&out).await.unwrap();
        timeout(PATIENCE, read_message(&mut self.framed))
            .await
            .expect("no answer")
    }

    /// Waits until the proxy has closed the connection.
    async fn closed(&mut self) -> bool {
        let end = poll_fn(|cx| self.framed.poll_frame(cx));
        timeout(PATIENCE, end)
            .await
            .expect("still open")
            .ok()
            .flatten()
            .is_none()
    }
}

fn body(message: &Message) -> String {
    let pieces = message.iter().filter(|frame| frame.0 == b'D');
    pieces.map(|frame| frame.1.as_str()).collect()
}

const UPLOAD: [(u8, &str); 4] = [
    (b'H', "PUT /x\nhost: a\ncontent-length: 10\nx-asked: yes\n"),
    (b'D', "hello "),
    (b'D', "you!"),
    (b'T', "x-last: words\n"),
];

#[tokio::test]
async fn a_protocol_of_ones_own_is_served_and_proxied_to() {
    let origin = FramedOrigin::start(usize::MAX).await;
    let rig = proxy(origin.address, origin.address).await;
    let mut client = rig.connect().await;
    for round in 0..3 {
        let answer = client.ask(&UPLOAD).await.expect("the connection is kept");
        assert!(answer[0].1.starts_with("200\n"), "{round}: {answer:?}");
        assert!(answer[0].1.contains("x-from: letters\n"), "{answer:?}");
        assert_eq!(body(&answer), "you sent hello you!");
        assert_eq!(answer.last().unwrap(), &(b'T', "x-sum: 7\n".to_string()));
        let request = origin.requests.lock().unwrap().pop().unwrap();
        assert!(request[0].1.starts_with("PUT /x\n"), "{request:?}");
        assert!(request[0].1.contains("x-asked: yes\n"), "{request:?}");
        assert_eq!(body(&request), "hello you!");
        assert_eq!(
            request.last().unwrap(),
            &(b'T', "x-last: words\n".to_string())
        );
    }
    assert_eq!(origin.connections.load(Ordering::Relaxed), 1, "it was kept");
    assert_eq!(rig.opened.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn it_meets_http_on_either_side() {
    let letters = FramedOrigin::start(usize::MAX).await;
    let http = Origin::well_behaved().await;
    let rig = proxy(letters.address, http.address()).await;
    let mut client = rig.connect().await;
    let answer = client.ask(&[(b'H', "GET /http\nhost: a\n")]).await.unwrap();
    assert!(answer[0].1.starts_with("200\n"), "{answer:?}");
    let mut http1 = pingora_tests::Connection::to(rig.server.addresses()[1]).await;
    http1
        .send("PUT /y HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        .await;
    let answer = http1.response_to("PUT").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.body, b"you sent abc");
}

#[tokio::test]
async fn a_connection_that_ended_while_it_was_kept_is_replaced() {
    // Each connection answers once, and closes on the next request.
    let origin = FramedOrigin::start(1).await;
    let rig = proxy(origin.address, origin.address).await;
    let mut client = rig.connect().await;
    for _ in 0..3 {
        let answer = client.ask(&UPLOAD).await.unwrap();
        assert_eq!(body(&answer), "you sent hello you!", "sent again, whole");
    }
    assert_eq!(origin.connections.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_head_that_is_none_gets_an_error_page_and_the_end() {
    let origin = FramedOrigin::start(1).await;
    let rig = proxy(origin.address, origin.address).await;
    let mut client = rig.connect().await;
    let answer = client.ask(&[(b'D', "what?")]).await.unwrap();
    assert!(answer[0].1.starts_with("400\n"), "{answer:?}");
    assert!(client.closed().await);
    assert_eq!(origin.connections.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_idle_connection_ends_with_the_process() {
    let origin = FramedOrigin::start(usize::MAX).await;
    let rig = proxy(origin.address, origin.address).await;
    let mut client = rig.connect().await;
    client.ask(&UPLOAD).await.unwrap();
    rig.server.signal(ShutdownSignal::GracefulTerminate);
    assert!(client.closed().await);
    eventually("the server stops", || rig.server.has_stopped()).await;
}
