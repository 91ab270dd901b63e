//! Certificates that a program chooses, manual TLS, and facts about connections.

use async_trait::async_trait;
use http::Response;
use once_cell::sync::OnceCell;
use pingora::apps::http_app::ServeHttp;
use pingora::listeners::tls::boringssl_openssl as listener_tls;
use pingora::listeners::{TlsAccept, TlsAcceptCallbacks, TlsSettings};
use pingora::prelude::*;
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::{socket::SocketAddr, stream::Stream as L4Stream};
use pingora::protocols::tls::boringssl_openssl::{CaType, TlsRef, client, server};
use pingora::protocols::tls::{HandshakeCompleteHook, SslDigest, SslStream};
use pingora::protocols::{
    Digest, GetSocketDigest, GetTimingDigest, SocketDigest, Ssl as _, Stream, TimingDigest,
};
use pingora::services::listening::Service;
use pingora::tls::error::ErrorStack;
use pingora::tls::pkey::{PKey, PKeyRef, Private};
use pingora::tls::ssl::{
    self, NameType, Ssl, SslAcceptor, SslConnector, SslMethod, SslRef, SslVersion,
};
use pingora::tls::x509::store::{X509StoreBuilder, X509StoreRef};
use pingora::tls::x509::verify::X509VerifyParamRef;
use pingora::tls::x509::{X509, X509Ref};
use pingora::tls::{ext, tokio_ssl};
use pingora::utils::tls::boringssl_openssl::{
    CertKey, get_common_name, get_organization, get_organization_unit, get_serial,
};
use pingora_tests::{Authority, TestServer};
use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn issue(authority: &Authority, name: &str) -> CertKey {
    let (certificate, key) = authority.issue(&[name]);
    let certificate = X509::from_pem(&std::fs::read(certificate).unwrap()).unwrap();
    let key = PKey::private_key_from_pem(&std::fs::read(key).unwrap()).unwrap();
    CertKey::new(vec![certificate, authority.certificate()], key)
}

/// Presents each client with the certificate for the name that it asks for.
struct ByName(Vec<CertKey>);

#[async_trait]
impl TlsAccept for ByName {
    async fn certificate_callback(&self, ssl: &mut TlsRef) -> () {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let name = ssl.servername(NameType::HOST_NAME).map(str::to_string);
        let mut all = self.0.iter();
        let Some(chosen) = all.find(|cert| get_common_name(cert.leaf()) == name) else {
            return;
        };
        ext::ssl_use_certificate(ssl, chosen.leaf()).unwrap();
        ext::ssl_use_private_key(ssl, chosen.key()).unwrap();
        for intermediate in chosen.intermediates() {
            ext::ssl_add_chain_cert(ssl, intermediate).unwrap();
        }
    }

    async fn handshake_complete_callback(
        &self,
        ssl: &TlsRef,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        let shown = ssl.certificate()?.to_owned();
        Some(Arc::new(get_common_name(&shown)?))
    }
}

/// Answers with the facts known about a connection.
struct Mirror;

#[async_trait]
impl ServeHttp for Mirror {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let digest: &Digest = session.digest().unwrap();
        let tls: Arc<SslDigest> = digest.ssl_digest.clone().unwrap();
        let socket: Arc<SocketDigest> = digest.socket_digest.clone().unwrap();
        let kept: &String = tls.extension.get().unwrap();
        let peer = socket.peer_addr().unwrap();
        let cell: &OnceCell<Option<SocketAddr>> = &socket.peer_addr;
        assert_eq!(cell.get().unwrap().as_ref(), Some(peer));
        Response::new(format!("{} {kept} {peer}\n", tls.version).into_bytes())
    }
}

/// A client that trusts the authority and asks for this name.
fn session(authority: &Authority, name: &str) -> Ssl {
    let connector = SslConnector::builder(SslMethod::tls()).unwrap().build();
    let mut ssl = connector.configure().unwrap().into_ssl(name).unwrap();
    let mut store = X509StoreBuilder::new().unwrap();
    store.add_cert(authority.certificate()).unwrap();
    ext::ssl_set_verify_cert_store(&mut ssl, &store.build()).unwrap();
    ssl
}

#[tokio::test]
async fn certificates_are_chosen_in_a_callback() {
    let authority = Authority::new();
    let names = ["one.example", "two.example"];
    let certificates = names.map(|name| issue(&authority, name));
    let callbacks: TlsAcceptCallbacks = Box::new(ByName(certificates.into()));
    let mut settings = listener_tls::TlsSettings::with_callbacks(callbacks).unwrap();
    settings
        .set_max_proto_version(Some(SslVersion::TLS1_3))
        .unwrap();

    let mut server = Server::new(None).unwrap();
    server.bootstrap();
    let mut service = Service::new("mirror".to_string(), Mirror);
    service.add_tls_with_settings("127.0.0.1:0", None, settings);
    let bound = service.bound_addresses();
    server.add_service(service);
    let server = TestServer::start(server, bound).await;

    for name in names {
        let stream = TcpStream::connect(server.address()).await.unwrap();
        let here = stream.local_addr().unwrap();
        let ssl = session(&authority, name);
        let mut stream = tokio_ssl::SslStream::new(ssl, stream).unwrap();
        Pin::new(&mut stream).connect().await.unwrap();
        let chain = stream.ssl().peer_cert_chain().unwrap();
        assert_eq!(chain.len(), 2, "with the authority");
        let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let told = format!("\r\n\r\nTLSv1.3 {name} {here}\n");
        assert!(answer.ends_with(&told), "{answer}");
    }
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let ssl = session(&authority, "three.example");
    let mut stream = tokio_ssl::SslStream::new(ssl, stream).unwrap();
    Pin::new(&mut stream).connect().await.unwrap_err();
}

async fn pair() -> (L4Stream, L4Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(near, listener.accept());
    (near.unwrap().into(), far.unwrap().0.into())
}

#[tokio::test]
async fn both_handshakes_by_hand() {
    let authority = Authority::new();
    let acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    let acceptor = acceptor.build();
    let (near, far) = pair().await;
    let callbacks = ByName(vec![issue(&authority, "one.example")]);
    let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
    let trusted = connector.cert_store_mut().add_cert(authority.certificate());
    trusted.unwrap();
    let configured = connector.build().configure().unwrap();
    let hook: HandshakeCompleteHook = Arc::new(|ssl: &TlsRef| {
        let kept: Arc<dyn Any + Send + Sync> = Arc::new(ssl.version_str());
        Some(kept)
    });
    let (near, far) = tokio::join!(
        client::handshake(configured, "one.example", near, Some(hook)),
        server::handshake_with_callback(&acceptor, far, &callbacks),
    );
    let (near, far): (SslStream<L4Stream>, SslStream<L4Stream>) = (near.unwrap(), far.unwrap());
    let kept = far.ssl_digest().unwrap();
    assert_eq!(kept.extension.get(), Some(&"one.example".to_string()));
    assert_eq!(near.get_ssl().unwrap().version_str(), "TLSv1.3");
    let mut derived = [[0; 32]; 2];
    for (side, out) in [&near, &far].into_iter().zip(&mut derived) {
        ext::ssl_export_keying_material(side, out, "EXPORTER-test", None).unwrap();
    }
    assert_eq!(derived[0], derived[1]);
    // Both are accepted by the layers above.
    let streams: [Stream; 2] = [Box::new(near), Box::new(far)];
    for stream in streams {
        assert_eq!(stream.get_timing_digest().len(), 2);
        assert!(stream.get_proxy_digest().is_none() && stream.get_socket_digest().is_some());
    }
}

#[tokio::test]
async fn the_facts_of_a_connection_are_set_by_the_program() {
    let (mut near, _far) = pair().await;
    let behind: SocketAddr = "192.0.2.1:80".parse().unwrap();
    let mut digest = SocketDigest::from_raw_fd(-1);
    digest.peer_addr.set(Some(behind.clone())).unwrap();
    digest.local_addr = OnceCell::with_value(None);
    digest.original_dst.get_or_init(|| Some(behind.clone()));
    near.set_socket_digest(digest);
    let digest = near.get_socket_digest().unwrap();
    assert_eq!(digest.peer_addr(), Some(&behind));
    assert_eq!(digest.local_addr(), None);
    assert_eq!(digest.original_dst(), Some(&behind));
    assert!(digest.tcp_info().is_none() && digest.socket_cookie().is_err());
    assert!(digest.get_recv_buf().is_none() && digest.get_snd_buf().is_none());
    let TimingDigest { .. } = near.get_timing_digest().remove(0).unwrap();
    let known = Digest {
        socket_digest: Some(digest),
        ..Digest::default()
    };
    assert!(known.ssl_digest.is_none() && known.proxy_digest.is_none());
}

#[test]
fn the_items_have_their_types() {
    type Done = Result<(), ErrorStack>;
    let _: fn(&mut X509VerifyParamRef, &str) -> Done = ext::add_host;
    let _: fn(&mut SslRef, &X509StoreRef) -> Done = ext::ssl_set_verify_cert_store;
    let _: fn(&mut SslRef, &X509Ref) -> Done = ext::ssl_use_certificate;
    let _: fn(&mut SslRef, &PKeyRef<Private>) -> Done = ext::ssl_use_private_key;
    let _: fn(&mut SslRef, &X509Ref) -> Done = ext::ssl_add_chain_cert;
    let _: fn(&mut SslRef, &str) -> Done = ext::ssl_set_groups_list;
    let _: fn(&mut SslRef) = ext::ssl_set_renegotiate_mode_freely;
    let _: fn(&mut SslRef, bool) = ext::ssl_use_second_key_share;
    let _: fn(&SslAcceptor) -> Result<Ssl, ErrorStack> = ext::ssl_from_acceptor;
    let _: fn(&mut SslRef) = ext::suspend_when_need_ssl_cert;
    let _: fn(&mut SslRef) = ext::unblock_ssl_cert;
    let _: fn(&ssl::Error) -> bool = ext::is_suspended_for_cert;
    let _: fn() = ext::clear_error_stack;
    let _: fn(&X509) -> Option<String> = get_organization;
    let _: fn(&X509) -> Option<String> = get_organization_unit;
    let _: fn(&X509) -> Result<String> = get_serial;
    let _: fn(&SslRef) -> SslDigest = SslDigest::from_ssl;
    let _: fn(&str, &str) -> Result<TlsSettings> = TlsSettings::intermediate;
    let _: fn(ssl::SslAcceptorBuilder) -> TlsSettings = TlsSettings::from;
    let _: Option<CaType> = None;
    let _ = (listener_tls::TLS_CONF_ERR, listener_tls::ALPN::H2);
}
