//! rustls on either side, against itself and against OpenSSL.

use super::*;
use crate::connectors::TransportConnector;
use crate::protocols::l4::listener::Listener;
use crate::protocols::tls::openssl::test_certificates::{Made, authority};
use crate::protocols::tls::rustls::{RustlsClient, RustlsServer, library};
use crate::upstreams::peer::HttpPeer;
use crate::utils::tls::CertKey;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Settings of either library with this certificate.
fn settings(rustls: bool, made: &Made) -> TlsSettings {
    let store = CertificateStore::new();
    store.add(made.source()).unwrap();
    if !rustls {
        return TlsSettings::with_store(store).unwrap();
    }
    let mut settings = TlsSettings::with_backend(RustlsServer::new()).unwrap();
    settings.set_store(store);
    settings
}

fn connector(rustls: bool) -> TransportConnector {
    let connector = TransportConnector::new(None);
    if rustls {
        connector.set_tls_backend(&RustlsClient::new()).unwrap();
    }
    connector
}

fn peer(addr: SocketAddr, ca: &Made) -> HttpPeer {
    let mut peer = HttpPeer::new(addr, true, "one.example".to_string());
    peer.options.ca = Some(Arc::new(vec![ca.cert.clone()].into()));
    peer
}

/// Sends back what it gets until the client says goodbye, and then says so itself.
async fn serve(settings: TlsSettings) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let acceptor = Arc::new(settings.build().unwrap());
    let listener = Listener::from(listener);
    tokio::spawn(async move {
        while let Ok(stream) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.handshake(stream).await else {
                    return;
                };
                let mut buf = vec![0; 100_000];
                while let Ok(n @ 1..) = stream.read(&mut buf).await {
                    stream.write_all(&buf[..n]).await.unwrap();
                    stream.flush().await.unwrap();
                }
                crate::protocols::Shutdown::shutdown(&mut *stream).await;
            });
        }
    });
    addr
}

/// So many bytes there and back.
async fn echo(stream: &mut Stream, count: usize) {
    let sent: Vec<u8> = (0..count).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let writing = async {
        writer.write_all(&sent).await.unwrap();
        writer.flush().await.unwrap();
    };
    let mut got = vec![0; count];
    let reading = async { reader.read_exact(&mut got).await.unwrap() };
    tokio::join!(writing, reading);
    assert!(got == sent);
}

const PAIRS: [(bool, bool); 4] = [(true, true), (true, false), (false, true), (false, false)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_libraries_understand_each_other() {
    let ca = authority("ca");
    for (server, client) in PAIRS {
        let addr = serve(settings(server, &ca.issue(&["one.example"], &[]))).await;
        let connector = connector(client);
        for turn in 0..3 {
            let mut stream = connector.new_stream(&peer(addr, &ca)).await.unwrap();
            for count in [1, 100, 16_384, 16_385, 1_000_000, 1] {
                echo(&mut stream, count).await;
            }
            let digest = stream.get_ssl_digest().unwrap();
            assert_eq!(digest.version, "TLSv1.3");
            assert!(digest.cipher.starts_with("TLS_"), "{}", digest.cipher);
            assert_eq!(digest.organization.as_deref(), Some("Test Organisation"));
            assert_eq!(digest.serial_number.as_deref(), Some("C0FFEE"));
            assert_eq!(digest.cert_digest.len(), 32);
            assert_eq!(digest.is_resumed(), turn > 0, "{server} {client} {turn}");
            let subject = "CN=one.example,OU=Test Unit,O=Test Organisation";
            assert_eq!(digest.verified_subject(), Some(subject));
            if server && client && turn == 0 {
                assert_eq!(digest.group(), Some("X25519MLKEM768"));
            }
            // A goodbye is answered by one.
            stream.shutdown().await.unwrap();
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
        }
        let counts = connector.tls_handshake_counts();
        assert_eq!((counts.full, counts.resumed), (1, 2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_1_2_is_spoken_and_resumed() {
    let ca = authority("ca");
    let made = ca.issue(&["one.example"], &[]);
    let store = CertificateStore::new();
    store.add(made.source()).unwrap();
    let versions = [&library::version::TLS12];
    for tickets in [true, false] {
        let backend = RustlsServer::new().versions(&versions);
        let mut settings = TlsSettings::with_backend(backend).unwrap();
        settings.set_store(store.clone());
        if !tickets {
            settings.set_session_tickets(SessionTickets::off());
        }
        let addr = serve(settings).await;
        for client in [true, false] {
            let connector = connector(client);
            for turn in 0..3 {
                let mut stream = connector.new_stream(&peer(addr, &ca)).await.unwrap();
                echo(&mut stream, 40_000).await;
                let digest = stream.get_ssl_digest().unwrap();
                assert_eq!(digest.version, "TLSv1.2");
                assert!(
                    digest.cipher.starts_with("ECDHE-ECDSA-"),
                    "{}",
                    digest.cipher
                );
                assert_eq!(digest.is_resumed(), turn > 0, "{tickets} {client} {turn}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_of_clients_sessions_are_written_for_a_debugger() {
    let ca = authority("ca");
    let path = std::env::temp_dir().join(format!("listener-keylog-{}", std::process::id()));
    let backend = RustlsServer::new().key_log_file(&path).unwrap();
    let mut settings = settings(true, &ca.issue(&["one.example"], &[]));
    settings.set_backend(backend);
    let addr = serve(settings).await;
    let mut stream = connector(false).new_stream(&peer(addr, &ca)).await.unwrap();
    echo(&mut stream, 1).await;
    let log = std::fs::read_to_string(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    for label in ["CLIENT_TRAFFIC_SECRET_0 ", "SERVER_TRAFFIC_SECRET_0 "] {
        assert!(log.lines().any(|line| line.starts_with(label)), "{log}");
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&mode.permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_show_certificates() {
    let (ca, clients, strangers) = (authority("ca"), authority("clients"), authority("others"));
    let made = ca.issue(&["one.example"], &[]);
    let of = |ca: &Made| {
        let made = ca.issue(&["alice"], &[]);
        Some(Arc::new(CertKey::new(vec![made.cert], made.key)))
    };
    for (server, client) in PAIRS {
        for required in [true, false] {
            let mut settings = settings(server, &made);
            let wanted = if required {
                ClientCertificates::required()
            } else {
                ClientCertificates::optional()
            };
            let wanted = wanted.ca_pem(clients.cert_pem());
            settings.set_client_certificates(wanted).unwrap();
            let counters = settings.handshake_counters();
            let addr = serve(settings).await;
            let connector = connector(client);
            for (shown, good) in [
                (of(&clients), true),
                (of(&strangers), false),
                (None, !required),
                (of(&clients), true),
            ] {
                let mut peer = peer(addr, &ca);
                peer.client_cert_key = shown;
                // In TLS 1.3 the client learns of it when it reads.
                let mut accepted = false;
                if let Ok(mut stream) = connector.new_stream(&peer).await {
                    let asked = stream.write_all(b"x").await.is_ok();
                    accepted = asked && stream.read_u8().await.is_ok();
                }
                assert_eq!(accepted, good, "{server} {client} {required}");
            }
            let failed = if required { 2 } else { 1 };
            let counted = counters.failed(HandshakeFailure::ClientCertificate);
            assert_eq!(counted, failed, "{server} {client} {required}");
        }
    }
}

/// A configuration of the program's own, with this certificate.
fn own_config(made: &Made) -> library::ServerConfig {
    use library::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
    let chain = vec![CertificateDer::from(made.cert.to_der().unwrap())];
    let key = PrivatePkcs8KeyDer::from(made.key.private_key_to_pkcs8().unwrap());
    let provider = Arc::new(library::crypto::aws_lc_rs::default_provider());
    library::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::Pkcs8(key))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configurations_of_the_programs_own_are_used_as_they_are() {
    let ca = authority("ca");
    let made = ca.issue(&["one.example"], &[]);
    let mut config = own_config(&made);
    config.alpn_protocols = vec![b"own".to_vec()];
    let config = Arc::new(config);
    let resolver = config.cert_resolver.clone();
    let whole = TlsSettings::with_backend(RustlsServer::with_config(config.clone())).unwrap();
    let mut part = TlsSettings::with_backend(RustlsServer::new().resolver(resolver)).unwrap();
    part.enable_h2();
    for (settings, offered, chosen) in [
        (whole, "own", "own"),
        // A name of its own is no name that the listener accepts.
        (part, "http/1.1", "H1"),
    ] {
        let addr = serve(settings).await;
        let mut peer = peer(addr, &ca);
        peer.options.alpn = match offered {
            "own" => ALPN::Custom(crate::protocols::tls::CustomALPN::new(b"own".to_vec())),
            _ => ALPN::H1,
        };
        for client in [true, false] {
            let mut stream = connector(client).new_stream(&peer).await.unwrap();
            echo(&mut stream, 100).await;
            let alpn = stream.selected_alpn_proto().unwrap();
            assert_eq!(alpn.to_string(), chosen);
        }
    }
}

#[test]
fn what_nobody_would_heed_is_refused_at_the_start() {
    let ca = authority("ca");
    let made = ca.issue(&["one.example"], &[]);
    let config = Arc::new(own_config(&made));
    let store = CertificateStore::new();
    store.add(made.source()).unwrap();
    let with = |backend: RustlsServer| TlsSettings::with_backend(backend).unwrap();
    let mut two_sources = with(RustlsServer::with_config(config.clone()));
    two_sources.set_store(store.clone());
    let mut two_resolvers = with(RustlsServer::new().resolver(config.cert_resolver.clone()));
    two_resolvers.set_store(store.clone());
    let mut two_demands = with(RustlsServer::with_config(config.clone()));
    let wanted = ClientCertificates::required().ca_pem(ca.cert_pem());
    two_demands.set_client_certificates(wanted).unwrap();
    let versions = [&library::version::TLS13];
    let two_configs = with(RustlsServer::with_config(config).versions(&versions));
    for (settings, word) in [
        (two_sources, "leave the store out"),
        (two_resolvers, "leave the store out"),
        (two_demands, "leave set_client_certificates out"),
        (two_configs, "set it there"),
    ] {
        let text = settings.build().unwrap_err().to_string();
        assert!(text.contains(word), "{text}");
    }
    let unknown = RustlsServer::new()
        .cipher_suites(["AES128-SHA"])
        .unwrap_err();
    assert!(
        unknown.to_string().contains("ECDHE-RSA-AES128-GCM-SHA256"),
        "{unknown}"
    );
    let unknown = RustlsServer::new().groups(["P-521"]).unwrap_err();
    assert!(unknown.to_string().contains("X25519MLKEM768"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_and_cipher_suites_are_those_that_were_asked_for() {
    let ca = authority("ca");
    let store = CertificateStore::new();
    store.add(ca.issue(&["one.example"], &[]).source()).unwrap();
    let of = |backend: RustlsServer| {
        let mut settings = TlsSettings::with_backend(backend).unwrap();
        settings.set_store(store.clone());
        settings
    };
    let rows = [
        (RustlsServer::new(), None, "X25519MLKEM768", "TLS_AES_"),
        (RustlsServer::new(), Some("P-384"), "secp384r1", "TLS_AES_"),
        (
            RustlsServer::new().groups(["P-256"]).unwrap(),
            None,
            "P-256",
            "TLS_AES_",
        ),
        (
            RustlsServer::new()
                .cipher_suites(["TLS_CHACHA20_POLY1305_SHA256"])
                .unwrap(),
            Some("X25519"),
            "X25519",
            "TLS_CHACHA20_POLY1305_SHA256",
        ),
    ];
    for (backend, curves, group, cipher) in rows {
        let addr = serve(of(backend)).await;
        let mut peer = peer(addr, &ca);
        peer.options.curves = curves.map(Into::into);
        let connector = connector(true);
        for turn in 0..2 {
            let mut stream = connector.new_stream(&peer).await.unwrap();
            echo(&mut stream, 100).await;
            let digest = stream.get_ssl_digest().unwrap();
            assert_eq!(digest.group(), Some(group));
            assert!(digest.cipher.starts_with(cipher), "{}", digest.cipher);
            assert_eq!(digest.is_resumed(), turn > 0);
        }
    }
    let mut unknown = peer(serve(of(RustlsServer::new())).await, &ca);
    unknown.options.curves = Some("P-521".into());
    let e = connector(true).new_stream(&unknown).await.unwrap_err();
    assert_eq!(e.etype, ErrorType::InternalError, "{e}");
}

/// Accepts whom it is asked about, and counts.
#[derive(Debug)]
struct Anybody(
    std::sync::atomic::AtomicUsize,
    library::crypto::WebPkiSupportedAlgorithms,
);

impl library::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &library::pki_types::CertificateDer<'_>,
        _: &[library::pki_types::CertificateDer<'_>],
        name: &library::pki_types::ServerName<'_>,
        _: &[u8],
        _: library::pki_types::UnixTime,
    ) -> Result<library::client::danger::ServerCertVerified, library::Error> {
        assert_eq!(name.to_str(), "one.example");
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(library::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &library::pki_types::CertificateDer<'_>,
        dss: &library::DigitallySignedStruct,
    ) -> Result<library::client::danger::HandshakeSignatureValid, library::Error> {
        library::crypto::verify_tls12_signature(message, cert, dss, &self.1)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &library::pki_types::CertificateDer<'_>,
        dss: &library::DigitallySignedStruct,
    ) -> Result<library::client::danger::HandshakeSignatureValid, library::Error> {
        library::crypto::verify_tls13_signature(message, cert, dss, &self.1)
    }

    fn supported_verify_schemes(&self) -> Vec<library::SignatureScheme> {
        self.1.supported_schemes()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verifier_or_a_configuration_of_the_programs_own_decides_about_upstreams() {
    let ca = authority("ca");
    let addr = serve(settings(false, &ca.issue(&["other.example"], &[]))).await;
    let provider = library::crypto::aws_lc_rs::default_provider();
    let algorithms = provider.signature_verification_algorithms;
    let verifier = Arc::new(Anybody(Default::default(), algorithms));
    let config = library::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone())
        .with_no_client_auth();
    for (own, backend) in [
        (false, RustlsClient::new().verifier(verifier.clone())),
        (true, RustlsClient::with_config(Arc::new(config))),
    ] {
        let connector = TransportConnector::new(None);
        connector.set_tls_backend(&backend).unwrap();
        let peer = HttpPeer::new(addr, true, "one.example".to_string());
        let before = verifier.0.load(std::sync::atomic::Ordering::Relaxed);
        for turn in 0..2 {
            let mut stream = connector.new_stream(&peer).await.unwrap();
            echo(&mut stream, 100).await;
            assert_eq!(stream.get_ssl_digest().unwrap().is_resumed(), turn > 0);
        }
        let asked = verifier.0.load(std::sync::atomic::Ordering::Relaxed) - before;
        assert_eq!(asked, 1, "a session that is resumed was verified before");
        // The verifier would ignore options that it is not told about.
        for change in [
            (|peer: &mut HttpPeer| peer.options.verify_cert = false) as fn(&mut HttpPeer),
            |peer| peer.options.verify_hostname = false,
            |peer| peer.options.alternative_cn = Some("two.example".to_string()),
            |peer| peer.options.ca = Some(Arc::new(Box::new([]))),
        ] {
            let mut peer = peer.clone();
            change(&mut peer);
            let e = connector.new_stream(&peer).await.unwrap_err();
            assert_eq!(e.etype, ErrorType::InternalError, "{own} {e}");
        }
    }
}
