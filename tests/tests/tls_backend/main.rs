//! A backend of TLS that no crate here knows speaks on both sides, beside OpenSSL in the same program.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that can't go on ends by panicking"
)]

mod xor;

use async_trait::async_trait;
use http::Response;
use pingora::apps::HttpServerOptions;
use pingora::apps::http_app::{HttpServer, ServeHttp};
use pingora::connectors::TransportConnector;
use pingora::listeners::tls::{
    CertificateSource, CertificateStore, HandshakeCounters, HandshakeFailure, TlsSettings,
};
use pingora::prelude::*;
use pingora::protocols::http::ServerSession;
use pingora::protocols::tls::ALPN;
use pingora::proxy::ProxyServiceBuilder;
use pingora::server::configuration::ServerConf;
use pingora::services::listening::Service;
use pingora_tests::{Authority, TestServer, eventually};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use xor::Xor;

const PATIENCE: Duration = Duration::from_secs(20);

/// Answers with what is known of the session.
struct Report;

#[async_trait]
impl ServeHttp for Report {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let version = session.req_header().version;
        let digest = session.digest().unwrap();
        let tls = digest.ssl_digest.as_deref().unwrap();
        let waited = digest.timing_digest.iter().flatten();
        let offloaded = waited.filter_map(|layer| layer.offload_wait_duration);
        let text = format!(
            "{version:?} {} sni={:?} alpn={:?} resumed={} grouped={} offloaded={}",
            tls.version,
            tls.server_name(),
            tls.alpn(),
            tls.is_resumed(),
            tls.group().is_some(),
            offloaded.count() > 0
        );
        Response::new(text.into_bytes())
    }
}

/// One service whose first endpoint speaks by the other backend, the second one by OpenSSL.
struct Origin {
    server: TestServer,
    counters: Arc<HandshakeCounters>,
    authority: Authority,
}

impl Origin {
    async fn start(adjust: impl FnOnce(&mut TlsSettings)) -> Self {
        let conf = ServerConf {
            threads: 1,
            ..ServerConf::default()
        };
        let mut server = Server::new_with_opt_and_conf(None::<Opt>, conf);
        server.bootstrap();
        let authority = Authority::new();
        let (chain, key) = authority.issue(&["one.example"]);
        let store = CertificateStore::new();
        store.add(CertificateSource::files(chain, key)).unwrap();
        store.refuse_unknown_names(true);
        let mut other = TlsSettings::with_backend(Xor).unwrap();
        other.set_store(store.clone());
        other.enable_h2();
        adjust(&mut other);
        let counters = other.handshake_counters();
        let mut openssl = TlsSettings::with_store(store).unwrap();
        openssl.enable_h2();
        let mut service = Service::new("report".into(), HttpServer::new_app(Report));
        service.add_tls_with_settings("127.0.0.1:0", None, other);
        service.add_tls_with_settings("127.0.0.1:0", None, openssl);
        let bound = service.bound_addresses();
        server.add_service(service);
        Origin {
            server: TestServer::start(server, bound).await,
            counters,
            authority,
        }
    }

    fn peer(&self, endpoint: usize, name: &str, alpn: ALPN) -> HttpPeer {
        let mut peer = HttpPeer::new(self.server.addresses()[endpoint], true, name.to_string());
        peer.options.ca = Some(Arc::new(vec![self.authority.certificate()].into()));
        peer.options.alpn = alpn;
        peer
    }
}

fn xor_connector() -> TransportConnector {
    let connector = TransportConnector::new(None);
    connector.set_tls_backend(&Xor).unwrap();
    connector
}

/// One request; all that comes back up to the close_notify, without which this panics.
async fn ask(connector: &TransportConnector, peer: &HttpPeer) -> String {
    let mut stream = connector.new_stream(peer).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = String::new();
    let read = timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
    read.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn both_backends_serve_and_connect_in_one_program() {
    let origin = Origin::start(|_| {}).await;
    let (xor, openssl) = (xor_connector(), TransportConnector::new(None));
    let said = ask(&xor, &origin.peer(0, "one.example", ALPN::H1)).await;
    let facts = "HTTP/1.1 XORv1 sni=Some(\"one.example\") alpn=Some(H1) resumed=false grouped=true offloaded=false";
    assert!(said.contains(facts), "{said}");
    let said = ask(&openssl, &origin.peer(1, "one.example", ALPN::H1)).await;
    assert!(
        said.contains("TLSv1.3 sni=Some(\"one.example\") alpn=Some(H1)"),
        "{said}"
    );
    assert!(said.contains("grouped="), "{said}");
    // Neither understands the other.
    assert!(
        xor.new_stream(&origin.peer(1, "one.example", ALPN::H1))
            .await
            .is_err()
    );
    let e = openssl
        .new_stream(&origin.peer(0, "one.example", ALPN::H1))
        .await;
    assert!(e.is_err());
    let failed = || origin.counters.failed(HandshakeFailure::NotTls) == 1;
    eventually("the failure is counted", failed).await;
    // A second backend is refused, and the first one stays.
    assert!(xor.set_tls_backend(&Xor).is_err());

    // The session is resumed, and counted on both sides.
    let said = ask(&xor, &origin.peer(0, "one.example", ALPN::H1)).await;
    assert!(said.contains("resumed=true"), "{said}");
    let counts = xor.tls_handshake_counts();
    assert_eq!((counts.full, counts.resumed), (1, 1));
    assert_eq!((origin.counters.full(), origin.counters.resumed()), (1, 1));
}

#[tokio::test]
async fn names_and_protocols_are_chosen_by_the_settings() {
    let origin = Origin::start(|_| {}).await;
    let xor = xor_connector();
    let stream = xor
        .new_stream(&origin.peer(0, "one.example", ALPN::H2H1))
        .await
        .unwrap();
    assert_eq!(stream.selected_alpn_proto(), Some(ALPN::H2));
    assert!(stream.is_encrypted() && stream.get_ssl().is_none());
    let digest = stream.get_ssl_digest().unwrap();
    assert_eq!(digest.peer_chain_der()[0].len(), 32);
    assert!(digest.peer_chain().is_empty(), "it is no certificate");
    let unknown = xor
        .new_stream(&origin.peer(0, "two.example", ALPN::H1))
        .await;
    assert!(unknown.is_err());
    let failed = || origin.counters.failed(HandshakeFailure::NoCertificate) == 1;
    eventually("the failure is counted", failed).await;
}

#[tokio::test]
async fn handshakes_of_another_backend_run_on_threads_of_their_own_and_plain_http_is_answered() {
    let origin = Origin::start(|settings| settings.set_offload_threadpool(1, 1)).await;
    let said = ask(&xor_connector(), &origin.peer(0, "one.example", ALPN::H1)).await;
    assert!(said.contains("offloaded=true"), "{said}");
    let mut plain = TcpStream::connect(origin.server.address()).await.unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    let read = timeout(PATIENCE, plain.read_to_string(&mut answer)).await;
    read.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(origin.counters.failed(HandshakeFailure::PlainHttp), 1);
}

/// Everything goes to one peer.
struct To(HttpPeer);

#[async_trait]
impl ProxyHttp for To {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.0.clone()))
    }
}

async fn proxy(peer: HttpPeer) -> TestServer {
    let conf = ServerConf {
        threads: 1,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None::<Opt>, conf);
    server.bootstrap();
    let mut service = ProxyServiceBuilder::new(&server.configuration, To(peer))
        .tls_backend(Arc::new(Xor))
        .server_options(HttpServerOptions::default())
        .build();
    service.add_tcp("127.0.0.1:0");
    let bound = service.bound_addresses();
    server.add_service(service);
    TestServer::start(server, bound).await
}

async fn get(address: SocketAddr) -> String {
    let mut client = TcpStream::connect(address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\r\n";
    client.write_all(request).await.unwrap();
    let mut answer = String::new();
    let read = timeout(PATIENCE, client.read_to_string(&mut answer)).await;
    read.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn a_proxy_reaches_upstreams_by_another_backend_over_both_versions() {
    let origin = Origin::start(|_| {}).await;
    for (alpn, version) in [(ALPN::H1, "HTTP/1.1 XORv1"), (ALPN::H2, "HTTP/2.0 XORv1")] {
        let proxy = proxy(origin.peer(0, "one.example", alpn)).await;
        for _ in 0..2 {
            let said = get(proxy.address()).await;
            assert!(
                said.starts_with("HTTP/1.1 200") && said.contains(version),
                "{said}"
            );
        }
    }
    // Each proxy kept its connection for the second request.
    assert_eq!(origin.counters.full() + origin.counters.resumed(), 2);
}
