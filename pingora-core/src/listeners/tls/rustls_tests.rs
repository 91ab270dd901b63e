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

const PAIRS: [(bool, bool); 3] = [(true, true), (true, false), (false, true)];

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
                // OpenSSL does not keep what it is given in a resumption.
                if client || turn < 2 {
                    assert_eq!(digest.is_resumed(), turn > 0, "{tickets} {client} {turn}");
                }
            }
        }
    }
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
