//! The PROXY protocol, with HAProxy and nginx at the other end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

mod receiving;
mod sending;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::listeners::tls::TlsSettings;
use pingora::listeners::{ListenerConfig, ProxyProtocol};
use pingora::prelude::*;
use pingora::protocols::SocketDigest;
use pingora::protocols::l4::socket::SocketAddr as AnyAddr;
use pingora::server::ServerBounds;
use pingora_tests::{Authority, TestServer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Answers each request with what its session knows about the client.
#[derive(Clone, Default)]
struct Tell {
    /// The number of requests over a connection that a proxy made on its own behalf.
    checks: Arc<AtomicUsize>,
}

fn or_none(address: Option<&AnyAddr>) -> String {
    address.map_or("none".into(), ToString::to_string)
}

fn told(digest: &SocketDigest) -> String {
    let header = digest.proxy_header();
    let authority = header.and_then(|h| h.authority()).unwrap_or("none");
    let id = header.and_then(|h| h.unique_id()).unwrap_or(b"none");
    format!(
        "{} {} {authority} {} {}",
        or_none(digest.peer_addr()),
        or_none(digest.local_addr()),
        String::from_utf8_lossy(id),
        or_none(digest.transport_peer_addr()),
    )
}

#[async_trait]
impl ProxyHttp for Tell {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        let digest = session.digest().and_then(|d| d.socket_digest.clone());
        let digest = digest.expect("there is a socket");
        assert_eq!(session.client_addr(), digest.peer_addr());
        if digest
            .proxy_header()
            .is_some_and(|header| header.is_local())
        {
            self.checks.fetch_add(1, Ordering::SeqCst);
        }
        let text = told(&digest);
        let mut head = ResponseHeader::build(200, None)?;
        head.insert_header("Content-Length", text.len().to_string())?;
        session
            .write_response(Box::new(head), Bytes::from(text))
            .await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Error::e_explain(ErrorType::InternalError, "answered before")
    }
}

/// The endpoints of [`telling`], by their index.
mod endpoint {
    pub(crate) const PLAIN: usize = 0;
    pub(crate) const TLS: usize = 1;
    /// Trusts no proxy.
    pub(crate) const STRICT: usize = 2;
    /// Trusts no proxy, and serves all clients.
    pub(crate) const OPEN: usize = 3;
}

/// A server whose clients may have two connections each.
async fn telling(tell: Tell, authority: &Authority) -> TestServer {
    let mut server = Server::new(None).unwrap();
    let mut bounds = ServerBounds::default();
    bounds.connections_per_client = Some(2);
    server.set_bounds(bounds).unwrap();
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, tell);
    let options = service.app_logic_mut().unwrap();
    options.server_options.get_or_insert_default().h2c = true;

    let loopback = || ProxyProtocol::trusting("127.0.0.0/8".parse().unwrap());
    let nobody = || ProxyProtocol::trusting("192.0.2.0/24".parse().unwrap());
    let (certificate, key) = authority.issue(&["front.example"]);
    let text = |path: &Path| path.to_str().unwrap().to_string();
    let mut tls = TlsSettings::intermediate(&text(&certificate), &text(&key)).unwrap();
    tls.enable_h2();
    let at = || ListenerConfig::tcp("127.0.0.1:0");
    service.add_listener(at().proxy_protocol(loopback()));
    service.add_listener(at().proxy_protocol(loopback()).tls(tls));
    service.add_listener(at().proxy_protocol(nobody()));
    service.add_listener(at().proxy_protocol(nobody().admit_others()));
    let bound = service.bound_addresses();
    server.add_service(service);
    TestServer::start(server, bound).await
}

/// The certificate and the key in one file, as HAProxy requires.
fn together(files: &(PathBuf, PathBuf)) -> PathBuf {
    let both = [&files.0, &files.1].map(|path| std::fs::read(path).unwrap());
    let path = files.0.with_extension("both");
    std::fs::write(&path, both.concat()).unwrap();
    path
}
