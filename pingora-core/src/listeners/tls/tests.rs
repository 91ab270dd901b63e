//! Both sides of TLS against each other.

use super::*;
use crate::connectors::{ConnectorOptions, TransportConnector};
use crate::listeners::Listeners;
use crate::process::{Fds, Reload, run_hooks};
use crate::protocols::Peek;
use crate::protocols::l4::listener::Listener;
use crate::protocols::tls::openssl::test_certificates::{Made, authority};
use crate::protocols::tls::{SslStream, TlsRef};
use crate::upstreams::peer::{HttpPeer, Peer};
use crate::utils::tls::{CertKey, get_common_name, get_organization_unit};
use ::openssl::pkey::PKey;
use ::openssl::ssl::{NameType, SslAcceptor, SslMethod, SslVerifyMode};
use ::openssl::x509::X509;
use async_trait::async_trait;
use pingora_error::{BError, ErrorSource};
use std::any::Any;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Settings with this certificate.
fn settings(made: &Made) -> TlsSettings {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    builder.set_certificate(&made.cert).unwrap();
    builder.set_private_key(&made.key).unwrap();
    builder.into()
}

/// After this byte the echo server says goodbye.
const LAST: u8 = b'!';

/// Accepts any number of connections and sends back what it gets. Gone with the runtime.
async fn echo_server(settings: TlsSettings) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (listener, acceptor) = (
        Listener::from(listener),
        Arc::new(settings.build().unwrap()),
    );
    tokio::spawn(async move {
        while let Ok(stream) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.handshake(stream).await else {
                    return;
                };
                let mut buf = vec![0; 8 * 1024];
                while let Ok(n @ 1..) = stream.read(&mut buf).await {
                    stream.write_all(&buf[..n]).await.unwrap();
                    if buf[..n] == [LAST] {
                        break;
                    }
                }
                crate::protocols::Shutdown::shutdown(&mut *stream).await;
            });
        }
    });
    addr
}

/// A peer that trusts this authority.
fn peer(addr: SocketAddr, sni: &str, ca: &Made) -> HttpPeer {
    let mut peer = HttpPeer::new(addr, true, sni.to_string());
    peer.options.ca = Some(Arc::new(vec![ca.cert.clone()].into()));
    peer
}

/// One connector for all tests: reading the system's certificates takes its time.
fn connector() -> &'static TransportConnector {
    static CONNECTOR: LazyLock<TransportConnector> =
        LazyLock::new(|| TransportConnector::new(None));
    &CONNECTOR
}

async fn connect(peer: &HttpPeer) -> Result<Stream> {
    connector().new_stream(peer).await
}

async fn refused(peer: &HttpPeer) -> BError {
    let e = connect(peer).await.unwrap_err();
    assert_eq!(e.esource, ErrorSource::Upstream, "{e}");
    assert!(
        e.to_string().contains(&peer.address().to_string()),
        "{e} does not name the peer"
    );
    e
}

#[tokio::test]
async fn names_and_chains_are_verified() {
    let (ca, stranger) = (authority("ca"), authority("stranger"));
    let addr = echo_server(settings(&ca.issue(&["one.example", "*.two.example"], &[]))).await;

    for name in ["one.example", "ONE.example", "a.two.example"] {
        connect(&peer(addr, name, &ca))
            .await
            .unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    for name in [
        "two.example",
        "a.b.two.example",
        "one.example.evil",
        "127.0.0.1",
        "",
    ] {
        assert_eq!(
            *refused(&peer(addr, name, &ca)).await.root_etype(),
            ErrorType::InvalidCert
        );
    }
    let unknown = peer(addr, "one.example", &stranger);
    assert_eq!(
        *refused(&unknown).await.root_etype(),
        ErrorType::InvalidCert
    );
    // The system does not know our authority either.
    let system = HttpPeer::new(addr, true, "one.example".to_string());
    assert_eq!(*refused(&system).await.root_etype(), ErrorType::InvalidCert);
}

#[tokio::test]
async fn verification_ends_where_the_options_end_it() {
    let (ca, stranger) = (authority("ca"), authority("stranger"));
    let addr = echo_server(settings(&ca.issue(&["one.example"], &[]))).await;

    let mut other_name = peer(addr, "other.example", &ca);
    other_name.options.verify_hostname = false;
    connect(&other_name).await.unwrap();
    let mut alternative = peer(addr, "other.example", &ca);
    alternative.options.alternative_cn = Some("one.example".to_string());
    connect(&alternative).await.unwrap();
    alternative.options.alternative_cn = Some("two.example".to_string());
    assert_eq!(
        *refused(&alternative).await.root_etype(),
        ErrorType::InvalidCert
    );
    let mut unnamed = peer(addr, "", &ca);
    unnamed.options.alternative_cn = Some("one.example".to_string());
    connect(&unnamed).await.unwrap();

    let mut unknown = peer(addr, "other.example", &stranger);
    unknown.options.verify_hostname = false;
    assert_eq!(
        *refused(&unknown).await.root_etype(),
        ErrorType::InvalidCert
    );
    unknown.options.verify_cert = false;
    connect(&unknown).await.unwrap();
}

#[tokio::test]
async fn without_a_name_the_address_has_to_be_right() {
    let ca = authority("ca");
    let right = echo_server(settings(&ca.issue(&[], &["127.0.0.1"]))).await;
    connect(&peer(right, "", &ca)).await.unwrap();
    connect(&peer(right, "127.0.0.1", &ca)).await.unwrap();
    let wrong = echo_server(settings(&ca.issue(&[], &["127.0.0.2"]))).await;
    assert_eq!(
        *refused(&peer(wrong, "", &ca)).await.root_etype(),
        ErrorType::InvalidCert
    );
}

#[tokio::test]
async fn without_name_and_address_verification_fails() {
    let ca = authority("ca");
    let addr = echo_server(settings(&ca.issue(&["one.example"], &[]))).await;
    let mut unix = HttpPeer::new_uds("/run/nobody", true, String::new()).unwrap();
    unix.options = peer(addr, "", &ca).options;
    unix.options.custom_l4 = Some(Arc::new(To(addr)));
    let e = refused(&unix).await;
    assert_eq!(*e.root_etype(), ErrorType::InvalidCert);
    assert!(e.to_string().contains("sni"), "{e}");
}

#[derive(Debug)]
struct To(SocketAddr);

#[async_trait]
impl crate::connectors::L4Connect for To {
    async fn connect(&self, _: &crate::protocols::l4::socket::SocketAddr) -> Result<L4Stream> {
        Ok(TcpStream::connect(self.0).await.unwrap().into())
    }
}

#[tokio::test]
async fn the_protocol_is_agreed_upon() {
    let ca = authority("ca");
    let mut both = settings(&ca.issue(&["one.example"], &[]));
    both.set_alpn(ALPN::H2H1);
    let addr = echo_server(both).await;
    let mut peer = peer(addr, "one.example", &ca);
    for (max, min, selected) in [(2, 1, ALPN::H2), (1, 1, ALPN::H1), (2, 2, ALPN::H2)] {
        peer.options.set_http_version(max, min);
        let stream = connect(&peer).await.unwrap();
        assert_eq!(stream.selected_alpn_proto(), Some(selected));
    }
    peer.options.set_http_version(2, 1);
    let connector = TransportConnector::new(None);
    connector.prefer_h1(&peer);
    let stream = connector.new_stream(&peer).await.unwrap();
    assert_eq!(stream.selected_alpn_proto(), Some(ALPN::H1));

    let mut h2_only = settings(&ca.issue(&["one.example"], &[]));
    h2_only.set_alpn(ALPN::H2);
    peer._address = echo_server(h2_only).await.into();
    peer.options.set_http_version(1, 1);
    assert_eq!(
        *refused(&peer).await.root_etype(),
        ErrorType::TLSHandshakeFailure
    );
}

#[tokio::test]
async fn a_listener_that_enables_http2_agrees_upon_what_the_client_prefers() {
    let ca = authority("ca");
    let mut both = settings(&ca.issue(&["one.example"], &[]));
    both.enable_h2();
    let mut peer = peer(echo_server(both).await, "one.example", &ca);
    for (max, min, selected) in [(2, 1, ALPN::H2), (1, 1, ALPN::H1)] {
        peer.options.set_http_version(max, min);
        let stream = connect(&peer).await.unwrap();
        assert_eq!(stream.selected_alpn_proto(), Some(selected));
    }
}

#[tokio::test]
async fn the_digest_tells_what_was_agreed_upon() {
    let ca = authority("ca");
    let addr = echo_server(settings(&ca.issue(&["one.example"], &[]))).await;
    let mut peer = peer(addr, "one.example", &ca);
    peer.options.curves = Some("P-256".into());
    peer.options.upstream_tls_handshake_complete_hook = Some(Arc::new(|ssl: &TlsRef| {
        let name = get_common_name(&ssl.peer_certificate()?)?;
        Some(Arc::new(name) as Arc<dyn Any + Send + Sync>)
    }));
    let stream = connect(&peer).await.unwrap();
    let digest = stream.get_ssl_digest().unwrap();
    assert_eq!(digest.version, "TLSv1.3");
    assert!(digest.cipher.starts_with("TLS_"), "{}", digest.cipher);
    assert_eq!(digest.organization.as_deref(), Some("Test Organisation"));
    assert_eq!(digest.serial_number.as_deref(), Some("C0FFEE"));
    assert_eq!(digest.cert_digest.len(), 32);
    assert_eq!(digest.extension.get::<String>().unwrap(), "one.example");
    assert_eq!(stream.get_timing_digest().len(), 2);
    assert!(
        stream.get_timing_digest()[1]
            .as_ref()
            .unwrap()
            .establishment_duration
            .is_some()
    );
    assert_eq!(
        stream.get_socket_digest().unwrap().peer_addr(),
        Some(peer.address())
    );

    peer.options.curves = Some("no-such-group".into());
    assert_eq!(*refused(&peer).await.root_etype(), ErrorType::InternalError);
}

#[tokio::test]
async fn a_client_may_show_a_certificate() {
    let ca = authority("ca");
    let mut demanding = settings(&ca.issue(&["one.example"], &[]));
    demanding.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    demanding
        .cert_store_mut()
        .add_cert(ca.cert.clone())
        .unwrap();
    let addr = echo_server(demanding).await;
    let client = ca.issue(&["client.example"], &[]);
    let cert_key = Arc::new(CertKey::new(vec![client.cert, ca.cert.clone()], client.key));
    assert_eq!(cert_key.intermediates().len(), 1);
    assert_eq!(cert_key.to_string(), "client.example (serial C0FFEE)");
    assert_eq!(get_organization_unit(cert_key.leaf()).unwrap(), "Test Unit");

    let mut known = HttpPeer::new_mtls(addr, "one.example".to_string(), cert_key);
    known.options.ca = peer(addr, "", &ca).options.ca;
    let mut stream = connect(&known).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');

    // In TLS 1.3 the refusal comes after the client's side of the handshake.
    let mut stream = connect(&peer(addr, "one.example", &ca)).await.unwrap();
    assert!(stream.read_u8().await.is_err());
    assert_ne!(
        known.reuse_hash(),
        peer(addr, "one.example", &ca).reuse_hash()
    );
}

#[tokio::test]
async fn bytes_pass_both_ways_whatever_their_number() {
    let ca = authority("ca");
    let addr = echo_server(settings(&ca.issue(&["one.example"], &[]))).await;
    let stream = connect(&peer(addr, "one.example", &ca)).await.unwrap();
    assert!(stream.is_write_vectored());
    let (mut reader, mut writer) = tokio::io::split(stream);
    let sent: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        let mut rest = &sent[..];
        while !rest.is_empty() {
            // Slices of all sizes, small ones first.
            let (a, b) = rest.split_at(rest.len().min(100));
            let slices = [IoSlice::new(a), IoSlice::new(&[]), IoSlice::new(b)];
            let n = writer.write_vectored(&slices).await.unwrap();
            assert!(n > 0 && n <= 64 * 1024);
            rest = &rest[n..];
        }
        writer.flush().await.unwrap();
        writer
    });
    let mut received = vec![0; expected.len()];
    reader.read_exact(&mut received).await.unwrap();
    assert!(received == expected);
    // An orderly end is the end of the stream.
    let mut writer = writing.await.unwrap();
    writer.shutdown().await.unwrap();
    assert_eq!(reader.read(&mut received).await.unwrap(), 0);
}

#[tokio::test]
async fn an_end_without_close_notify_is_an_error() {
    let ca = authority("ca");
    let acceptor = settings(&ca.issue(&["one.example"], &[])).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = peer(listener.local_addr().unwrap(), "one.example", &ca);
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.handshake(stream.into()).await.unwrap();
        stream.write_all(b"half of it").await.unwrap();
        let tls = stream
            .into_any()
            .downcast::<crate::protocols::tls::SslStream<L4Stream>>();
        tls.unwrap().get_mut().shutdown().await.unwrap();
    });
    let mut stream = connect(&peer).await.unwrap();
    server.await.unwrap();
    let mut buf = [0; 64];
    // Data that came before it is delivered first.
    assert_eq!(stream.read(&mut buf).await.unwrap(), 10);
    let e = stream.read(&mut buf).await.unwrap_err();
    assert_eq!(e.kind(), std::io::ErrorKind::UnexpectedEof, "{e}");
}

#[tokio::test]
async fn a_ticket_does_not_end_an_idle_connection_but_a_close_does() {
    let ca = authority("ca");
    let addr = echo_server(settings(&ca.issue(&["one.example"], &[]))).await;
    let peer = peer(addr, "one.example", &ca);
    let connector = TransportConnector::new(None);
    let stream = connector.new_stream(&peer).await.unwrap();
    // The server's session tickets arrive, and are first read by the pool.
    let mut stream = stream.into_any().downcast::<SslStream<L4Stream>>().unwrap();
    assert!(stream.get_mut().try_peek(&mut [0]).await.unwrap());
    connector.release_stream(stream, peer.reuse_hash(), None);
    let mut stream = connector.reused_stream(&peer).await.expect("alive");
    stream.write_all(b"x").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');

    stream.write_u8(LAST).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), LAST);
    connector.release_stream(stream, peer.reuse_hash(), None);
    for _ in 0..500 {
        if format!("{connector:?}").contains("idle: 0") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(connector.reused_stream(&peer).await.is_none());
    assert_eq!(connector.unexpected_data_connection_count(), 0);
}

#[tokio::test]
async fn a_silent_server_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peer = peer(
        listener.local_addr().unwrap(),
        "one.example",
        &authority("ca"),
    );
    peer.options.connection_timeout = Some(Duration::from_millis(30));
    assert_eq!(
        *refused(&peer).await.root_etype(),
        ErrorType::TLSHandshakeTimedout
    );
    peer.options.connection_timeout = None;
    peer.options.total_connection_timeout = Some(Duration::from_millis(30));
    assert_eq!(
        *refused(&peer).await.root_etype(),
        ErrorType::ConnectTimedout
    );
}

#[tokio::test]
async fn what_is_no_tls_fails_on_both_sides() {
    let ca = authority("ca");
    let acceptor = settings(&ca.issue(&["one.example"], &[])).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: one.example\r\n\r\n")
        .await
        .unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let e = acceptor.handshake(stream.into()).await.unwrap_err();
    assert_eq!(
        (&e.etype, &e.esource),
        (&ErrorType::TLSHandshakeFailure, &ErrorSource::Downstream)
    );

    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"SSH-2.0-nothing\r\n").await.unwrap();
    });
    let e = refused(&peer(addr, "one.example", &ca)).await;
    assert_eq!(*e.root_etype(), ErrorType::TLSHandshakeFailure);
}

/// Chooses the certificate by the name that the client asks for, as slowly as a database would.
struct ByName {
    one: (X509, PKey<::openssl::pkey::Private>),
    two: (X509, PKey<::openssl::pkey::Private>),
    completed: Arc<AtomicUsize>,
}

#[async_trait]
impl TlsAccept for ByName {
    async fn certificate_callback(&self, ssl: &mut TlsRef) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let (cert, key) = match ssl.servername(NameType::HOST_NAME) {
            Some("one.example") => &self.one,
            Some("two.example") => &self.two,
            _ => return,
        };
        ssl.set_certificate(cert).unwrap();
        ssl.set_private_key(key).unwrap();
    }

    async fn handshake_complete_callback(
        &self,
        ssl: &TlsRef,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        self.completed.fetch_add(1, Ordering::Relaxed);
        let name = ssl.servername(NameType::HOST_NAME)?.to_string();
        Some(Arc::new(name))
    }
}

#[tokio::test]
async fn callbacks_choose_the_certificate() {
    let ca = authority("ca");
    let made = |name: &str| {
        let made = ca.issue(&[name], &[]);
        (made.cert, made.key)
    };
    let completed = Arc::new(AtomicUsize::new(0));
    let callbacks = ByName {
        one: made("one.example"),
        two: made("two.example"),
        completed: completed.clone(),
    };
    let addr = echo_server(TlsSettings::with_callbacks(Box::new(callbacks)).unwrap()).await;
    for name in ["one.example", "two.example"] {
        connect(&peer(addr, name, &ca))
            .await
            .unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    let e = refused(&peer(addr, "three.example", &ca)).await;
    assert_eq!(*e.root_etype(), ErrorType::TLSHandshakeFailure);
    for _ in 0..500 {
        if completed.load(Ordering::Relaxed) == 2 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the callback was not called");
}

/// PEM files, removed with the value.
struct Files(PathBuf);

impl Files {
    fn new(name: &str, made: &Made) -> Files {
        let dir = std::env::temp_dir().join(format!("tls-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("cert.pem"), made.cert.to_pem().unwrap()).unwrap();
        std::fs::write(
            dir.join("key.pem"),
            made.key.private_key_to_pem_pkcs8().unwrap(),
        )
        .unwrap();
        Files(dir)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn files_are_read_and_faults_in_them_named() {
    let ca = authority("ca");
    let server = Files::new("server", &ca.issue(&["one.example"], &[]));
    let trusted = Files::new("trusted", &ca);
    let (cert, key) = (server.path("cert.pem"), server.path("key.pem"));
    let addr = echo_server(TlsSettings::intermediate(&cert, &key).unwrap()).await;
    let peer = HttpPeer::new(addr, true, "one.example".to_string());
    let mut options = ConnectorOptions::new(1);
    options.ca_file = Some(trusted.path("cert.pem"));
    TransportConnector::new(Some(options.clone()))
        .new_stream(&peer)
        .await
        .unwrap();

    for (cert, key, named) in [
        ("/nonexistent.pem", key.as_str(), "/nonexistent.pem"),
        (cert.as_str(), "/nonexistent.pem", "/nonexistent.pem"),
        (key.as_str(), key.as_str(), key.as_str()),
        (cert.as_str(), &trusted.path("key.pem"), "trusted"),
    ] {
        let e = TlsSettings::intermediate(cert, key).unwrap_err();
        assert_eq!(e.etype, TLS_CONF_ERR);
        assert!(e.to_string().contains(named), "{e}");
    }
    options.ca_file = Some("/nonexistent.pem".to_string());
    let broken = TransportConnector::new(Some(options));
    let e = broken.new_stream(&peer).await.unwrap_err();
    assert!(e.to_string().contains("/nonexistent.pem"), "{e}");
}

#[tokio::test]
async fn a_certificate_that_is_renewed_is_shown_after_a_reload() {
    let (first, second) = (authority("first"), authority("second"));
    let path = |name: &str| {
        let name = format!("renewal-{}-{name}.pem", std::process::id());
        std::env::temp_dir().join(name)
    };
    let (cert, key) = (path("cert"), path("key"));
    let write = |from: &Made, key_of: &Made| {
        let made = (
            from.issue(&["one.test"], &[]),
            key_of.issue(&["one.test"], &[]),
        );
        std::fs::write(&cert, made.0.cert.to_pem().unwrap()).unwrap();
        let key_of = if std::ptr::eq(from, key_of) {
            &made.0
        } else {
            &made.1
        };
        std::fs::write(&key, key_of.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    };
    write(&first, &first);
    let mut listeners = Listeners::new();
    let (cert_path, key_path) = (cert.to_str().unwrap(), key.to_str().unwrap());
    listeners
        .add_tls("127.0.0.1:0", cert_path, key_path)
        .unwrap();
    let hooks = listeners.reload_hooks("test");
    let endpoint = listeners.bind(&mut Fds::new()).unwrap().remove(0);
    let acceptor = endpoint.transport.tls().unwrap();
    let reload = Reload::new(Arc::default(), None);
    let shown = async |ca: &Made| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Listener::from(listener);
        let serving = async {
            let stream = listener.accept().await.unwrap();
            acceptor.handshake(stream).await.map(drop)
        };
        let peer = peer(address, "one.test", ca);
        let (_, connected) = tokio::join!(serving, connector().new_stream(&peer));
        connected.is_ok()
    };
    assert!(shown(&first).await && !shown(&second).await);

    write(&second, &first);
    let (name, error) = run_hooks(&hooks, &reload).await.unwrap_err();
    assert_eq!(name, "test: certificates");
    assert!(error.to_string().contains("does not belong"), "{error}");
    assert!(shown(&first).await, "stays as it was");

    write(&second, &second);
    run_hooks(&hooks, &reload).await.unwrap();
    assert!(shown(&second).await && !shown(&first).await);
    for path in [cert, key] {
        std::fs::remove_file(path).unwrap();
    }
}
