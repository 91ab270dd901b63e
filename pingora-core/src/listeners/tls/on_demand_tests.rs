//! Certificates shown to an authority that looks for an answer, and certificates that come during a handshake.

use super::*;
use crate::connectors::TransportConnector;
use crate::protocols::l4::listener::Listener;
use crate::protocols::tls::CustomALPN;
use crate::protocols::tls::openssl::test_certificates::{Made, authority};
use crate::upstreams::peer::HttpPeer;
use futures::future::BoxFuture;
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Mutex;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

thread_local! {
    /// Whether the listeners of the test on this thread speak TLS by rustls.
    static RUSTLS: Cell<bool> = const { Cell::new(false) };
}

/// Makes a test of each of these functions for each library.
macro_rules! over_each_library {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[tokio::test]
            async fn openssl() {
                super::$name().await;
            }

            #[cfg(feature = "rustls")]
            #[tokio::test]
            async fn rustls() {
                super::RUSTLS.set(true);
                super::$name().await;
            }
        }
    )*};
}

over_each_library! {
    authorities_see_the_answer_and_others_do_not,
    a_certificate_may_come_while_a_client_waits,
}

/// Shakes hands with all who come and closes then.
async fn server(#[allow(unused_mut)] mut settings: TlsSettings) -> SocketAddr {
    #[cfg(feature = "rustls")]
    if RUSTLS.get() {
        settings.set_backend(crate::protocols::tls::rustls::RustlsServer::new());
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = Arc::new(settings.build().unwrap());
    tokio::spawn(async move {
        let listener = Listener::from(listener);
        while let Ok(stream) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.handshake(stream).await {
                    let _ = stream.read_u8().await;
                }
            });
        }
    });
    address
}

/// The digest of the certificate that a client is shown and the protocol that is agreed upon, or the error.
async fn shown(address: SocketAddr, name: &str, alpn: ALPN) -> Result<(Vec<u8>, Option<ALPN>)> {
    let mut peer = HttpPeer::new(address, true, name.to_string());
    peer.options.verify_cert = false;
    peer.options.alpn = alpn;
    let stream = TransportConnector::new(None).new_stream(&peer).await?;
    let digest = stream.get_ssl_digest().unwrap().cert_digest.clone();
    Ok((digest, stream.selected_alpn_proto()))
}

fn acme() -> ALPN {
    ALPN::Custom(CustomALPN::new(ACME_TLS_ALPN.to_vec()))
}

async fn authorities_see_the_answer_and_others_do_not() {
    let (ca, prover) = (authority("ca"), authority("prover"));
    let usual = ca.issue(&["one.example"], &[]);
    let answer = prover.issue(&["one.example"], &[]);
    for with_protocols in [false, true] {
        let store = CertificateStore::new();
        store.add(usual.source()).unwrap();
        let mut settings = TlsSettings::with_store(store.clone()).unwrap();
        if with_protocols {
            settings.enable_h2();
        }
        let address = server(settings).await;
        let common = with_protocols.then_some(ALPN::H2);
        let (usually, _) = shown(address, "one.example", ALPN::H2).await.unwrap();
        // No authority is expected.
        let early = shown(address, "one.example", acme()).await;
        assert!(early.is_err() == with_protocols || early.unwrap().1.is_none());

        store.set_challenge("One.Example", answer.source()).unwrap();
        assert!(store.set_challenge("*.example", answer.source()).is_err());
        let seen = shown(address, "one.example", acme()).await.unwrap();
        assert_eq!(seen.1, Some(acme()));
        assert_ne!(seen.0, usually);
        // A name without an answer gets none, and other clients don't see the answers.
        assert!(shown(address, "two.example", acme()).await.is_err());
        let others = shown(address, "one.example", ALPN::H2H1).await.unwrap();
        assert_eq!(others, (usually.clone(), common.clone()));

        assert!(store.remove_challenge("one.example"));
        assert!(!store.remove_challenge("one.example"));
        let others = shown(address, "one.example", ALPN::H2).await.unwrap();
        assert_eq!(others.0, usually);
    }
}

struct Fetches {
    store: CertificateStore,
    ca: Made,
    asked: Mutex<Vec<String>>,
}

impl std::fmt::Debug for Fetches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fetches")
    }
}

impl CertificateProvider for Fetches {
    fn provide<'a>(&'a self, name: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(name.to_string());
            tokio::task::yield_now().await;
            if name.starts_with("good") {
                self.store
                    .add(self.ca.issue(&[name], &[]).source())
                    .unwrap();
            }
        })
    }
}

async fn a_certificate_may_come_while_a_client_waits() {
    let store = CertificateStore::new();
    let ca = authority("ca");
    store.add(ca.issue(&["one.example"], &[]).source()).unwrap();
    store.refuse_unknown_names(true);
    let provider = Arc::new(Fetches {
        store: store.clone(),
        ca,
        asked: Mutex::default(),
    });
    store.set_provider(Some(provider.clone()));
    let address = server(TlsSettings::with_store(store.clone()).unwrap()).await;
    for (name, served) in [
        ("one.example", true),
        ("GOOD.example", true),
        ("good.example", true),
        ("bad.example", false),
    ] {
        let served_now = shown(address, name, ALPN::H1).await.is_ok();
        assert_eq!(served_now, served, "{name}");
    }
    // An authority that looks for the answer must not wait for the certificate that it is to issue.
    let answer = authority("prover").issue(&["proven.example"], &[]);
    store
        .set_challenge("proven.example", answer.source())
        .unwrap();
    let seen = shown(address, "proven.example", acme()).await.unwrap();
    assert_eq!(seen.1, Some(acme()));
    assert!(shown(address, "forged.example", acme()).await.is_err());
    let asked = provider.asked.lock().unwrap().clone();
    assert_eq!(asked, ["good.example", "bad.example"]);
    store.set_provider(None);
    assert!(!store.waits_for("bad.example"));
}

#[test]
fn a_certificate_is_replaced_where_it_stands() {
    let store = CertificateStore::new();
    let ca = authority("ca");
    let first = store.add(ca.issue(&["one.example"], &[]).source()).unwrap();
    store.add(ca.issue(&["two.example"], &[]).source()).unwrap();
    let before = store.certificates();
    store
        .replace(first, ca.issue(&["one.example"], &[]).source())
        .unwrap();
    let after = store.certificates();
    assert_ne!(before[0].fingerprint, after[0].fingerprint);
    assert_eq!((after[0].id, after[0].is_default), (first, true));
    assert!(store.remove(first));
    let made = ca.issue(&["one.example"], &[]);
    assert!(store.replace(first, made.source()).is_err());
}
