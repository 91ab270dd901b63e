//! Certificates that are replaced under load.

use crate::reporter::Reporter;
use crate::{Files, ec_key, rsa_key, source};
use openssl::ssl::{SslConnector, SslMethod, SslSession, SslStream};
use pingora::listeners::tls::{CertificateStore, TlsSettings};
use pingora_tests::http2::Http2Client;
use pingora_tests::{Ask, Authority};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const SWAPS: usize = 100;
const CLIENTS: usize = 4;

/// A client that trusts the authority, and nobody else.
fn connector(authority: &Authority) -> SslConnector {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
    let trusted = builder.cert_store_mut().add_cert(authority.certificate());
    trusted.unwrap();
    builder.build()
}

fn connect(server: &Reporter, connector: &SslConnector) -> SslStream<TcpStream> {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_nodelay(true).unwrap();
    connector
        .connect("one.example", stream)
        .expect("a handshake failed")
}

/// Sends a request and reads the answer to its end.
fn request(stream: &mut SslStream<TcpStream>) {
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: one.example\r\n\r\n")
        .expect("a request failed");
    let (mut answer, mut buf) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(b"offloaded=false\n") {
        let count = stream.read(&mut buf).expect("a request failed");
        assert!(count > 0, "a request was cut off");
        answer.extend_from_slice(&buf[..count]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
}

/// Connects again and again, with a connection that stays beside.
fn load(server: &Reporter, connector: &SslConnector, stop: &AtomicBool, count: &AtomicUsize) {
    let mut kept = connect(server, connector);
    let mut session: Option<SslSession> = None;
    while !stop.load(Ordering::Relaxed) {
        request(&mut kept);
        let mut fresh = connect(server, connector);
        for _ in 0..3 {
            request(&mut fresh);
        }
        session = fresh.ssl().session().map(ToOwned::to_owned).or(session);
        count.fetch_add(1, Ordering::Relaxed);
    }
    request(&mut kept);
}

/// The same over HTTP/2: many requests on a connection that stays, and on new ones.
async fn load_http2(server: &Reporter, authority: &Authority, stop: &AtomicBool) -> usize {
    let mut ask = Ask::get("/");
    ask.authority = "one.example".into();
    let kept = Http2Client::over_tls(server.address(), authority, "one.example").await;
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let fresh = Http2Client::over_tls(server.address(), authority, "one.example").await;
        for client in [&kept, &fresh] {
            let (one, other) = tokio::join!(client.ask(&ask), client.ask(&ask));
            for answer in [one, other] {
                assert!(answer.is_complete(), "{answer:?}");
                assert_eq!(answer.status(), 200);
                count += 1;
            }
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_swaps_under_load_fail_nobody() {
    let authority = Arc::new(Authority::new());
    let served = tempfile::tempdir().unwrap();
    let (chain, key) = (
        served.path().join("chain.pem"),
        served.path().join("key.pem"),
    );
    let put = |files: &Files| {
        std::fs::copy(&files.0, &chain).unwrap();
        std::fs::copy(&files.1, &key).unwrap();
    };
    let issue = |stem, key| authority.issue_as(stem, &["one.example"], &key, |_| {});
    let sets = [
        issue("a", ec_key()),
        issue("b", rsa_key()),
        issue("c", ec_key()),
    ];
    put(&sets[0]);
    let store = CertificateStore::new();
    store.add(source(&(chain.clone(), key.clone()))).unwrap();
    let mut settings = TlsSettings::with_store(store.clone()).unwrap();
    settings.enable_h2();
    let server = Arc::new(Reporter::start(settings).await);
    let connector = Arc::new(connector(&authority));
    let (stop, count) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (server, connector) = (server.clone(), connector.clone());
            let (stop, count) = (stop.clone(), count.clone());
            std::thread::spawn(move || load(&server, &connector, &stop, &count))
        })
        .collect();
    let http2 = tokio::spawn({
        let (server, stop) = (server.clone(), stop.clone());
        let authority = authority.clone();
        async move { load_http2(&server, &authority, &stop).await }
    });
    for index in 1..=SWAPS {
        let before = count.load(Ordering::Relaxed);
        match index % 4 {
            // Through the files, or all at once.
            0 => drop(
                store
                    .replace_all([source(&sets[1]), source(&sets[2])])
                    .unwrap(),
            ),
            1 => drop(
                store
                    .replace_all([source(&(chain.clone(), key.clone()))])
                    .unwrap(),
            ),
            _ => {
                put(&sets[index % 3]);
                store.reload().unwrap();
            }
        }
        // Each lives for a few handshakes.
        pingora_tests::eventually("the load goes on", || {
            count.load(Ordering::Relaxed) >= before + 2 || clients.iter().any(|c| c.is_finished())
        })
        .await;
        assert!(
            !clients.iter().any(|client| client.is_finished()) && !http2.is_finished(),
            "a client failed"
        );
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("no handshake and no request failed");
    }
    let http2 = http2.await.expect("no handshake and no request failed");
    assert!(http2 > 0, "nothing was asked over HTTP/2");
    let counters = server.counters();
    assert_eq!(counters.all_failed(), 0, "{counters:?}");
    assert!(counters.full() + counters.resumed() >= 200, "{counters:?}");
}
