//! Against a real authority, Pebble, which looks for answers where a server of the framework listens.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use http::Response;
use pingora::apps::http_app::ServeHttp;
use pingora::connectors::ConnectorOptions;
use pingora::listeners::tls::{CertificateStore, TlsSettings};
use pingora::prelude::*;
use pingora::protocols::http::ServerSession;
use pingora::server::configuration::ServerConf;
use pingora::services::background::{GenBackgroundService, background_service};
use pingora::services::listening::Service;
use pingora_acme::{
    Acme, AcmeBuilder, CertificateKey, Challenge, DiskStorage, DnsProvider, Issuer, OnDemand,
    RevocationReason, Storage,
};
use pingora_tests::{Pebble, TestServer, eventually};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Hello;

#[async_trait]
impl ServeHttp for Hello {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let tls = session
            .digest()
            .and_then(|digest| digest.ssl_digest.clone());
        let name = tls.and_then(|tls| tls.server_name().map(str::to_string));
        Response::new(format!("hello {}", name.unwrap_or_default()).into_bytes())
    }
}

fn issuer(pebble: &Pebble) -> Issuer {
    let mut options = ConnectorOptions::new(8);
    options.ca_file = Some(pebble.ca_file().display().to_string());
    Issuer::new(pebble.directory())
        .agree_to_terms()
        .contact("mailto:admin@one.example")
        .connector(options)
}

/// Settings with an empty store, and a storage in this directory.
fn builder(directory: &Path) -> (AcmeBuilder, CertificateStore) {
    let store = CertificateStore::new();
    let storage = DiskStorage::open(directory).unwrap();
    (Acme::builder(store.clone(), storage), store)
}

/// A server that greets over TLS where this authority looks, and answers it over HTTP.
async fn serve(pebble: &Pebble, acme: Acme, store: CertificateStore) -> TestServer {
    let tls = TlsSettings::with_store(store).unwrap();
    serve_by(pebble, background_service("acme", acme), tls).await
}

/// The same with settings of one's own.
async fn serve_by(
    pebble: &Pebble,
    acme: GenBackgroundService<Acme>,
    mut tls: TlsSettings,
) -> TestServer {
    let mut server = Server::new_with_opt_and_conf(None, ServerConf::default());
    server.bootstrap();
    let mut answers = Service::new("http-01".to_string(), acme.task().http01());
    answers.add_tcp(&format!("127.0.0.1:{}", pebble.http_port()));
    tls.enable_h2();
    let mut hello = Service::new("hello".to_string(), Hello);
    hello.add_tls_with_settings(&format!("127.0.0.1:{}", pebble.tls_port()), None, tls);
    let bound = hello.bound_addresses();
    let acme = server.add_service(acme);
    server.add_service(answers);
    server.add_service(hello).add_dependency(&acme);
    TestServer::start(server, bound).await
}

/// Waits until the server is believed by this name.
async fn believed(pebble: &Pebble, name: &str) {
    let wanted = format!("hello {name}");
    for _ in 0..600 {
        if pebble.ask(name).as_ref() == Some(&wanted) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nobody believes in {name}: {:?}", pebble.lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_comes_by_http_and_is_kept() {
    let (pebble, directory) = (Pebble::start(), tempfile::tempdir().unwrap());
    let settings = || {
        let (builder, store) = builder(directory.path());
        let acme = builder
            .issuer(issuer(&pebble))
            .challenges([Challenge::Http01])
            .certificate(["one.example", "www.one.example"])
            .build()
            .unwrap();
        (acme, store)
    };
    let (acme, store) = settings();
    let server = serve(&pebble, acme, store.clone()).await;
    believed(&pebble, "one.example").await;
    believed(&pebble, "www.one.example").await;
    let first = store.certificates();
    assert_eq!(first.len(), 1);
    drop(server);
    for file in ["certificates/one.example", "accounts"] {
        let found = std::fs::metadata(directory.path().join(file)).unwrap();
        assert_eq!(found.permissions().mode() & 0o077, 0, "{file}");
    }

    // After a new start it is there when the server listens, and nothing is ordered.
    let orders = || {
        pebble
            .lines()
            .iter()
            .filter(|line| line.contains("/order-plz"))
            .count()
    };
    let before = orders();
    assert!(before > 0, "{:?}", pebble.lines());
    let (acme, store) = settings();
    let _server = serve(&pebble, acme, store.clone()).await;
    assert_eq!(pebble.ask("one.example").unwrap(), "hello one.example");
    assert_eq!(store.certificates()[0].fingerprint, first[0].fingerprint);
    assert_eq!(orders(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_comes_by_tls() {
    let (pebble, directory) = (Pebble::start(), tempfile::tempdir().unwrap());
    let (builder, store) = builder(directory.path());
    let acme = builder
        .issuer(issuer(&pebble))
        .challenges([Challenge::TlsAlpn01])
        .certificate(["one.example"])
        .certificate(["two.example", "three.example"])
        .build()
        .unwrap();
    let _server = serve(&pebble, acme, store).await;
    for name in ["one.example", "two.example", "three.example"] {
        believed(&pebble, name).await;
    }
}

/// All of it over rustls: the handshake that answers the authority, those of clients, and a new one after each renewal.
#[cfg(feature = "rustls")]
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_comes_by_tls_that_rustls_speaks() {
    let (pebble, directory) = (Pebble::start(), tempfile::tempdir().unwrap());
    let (builder, store) = builder(directory.path());
    store.refuse_unknown_names(true);
    let acme = builder
        .issuer(issuer(&pebble))
        .challenges([Challenge::TlsAlpn01])
        .certificate(["one.example"])
        .on_demand(
            OnDemand::new(|name: &str| name == "two.example").patience(Duration::from_secs(50)),
        )
        .build()
        .unwrap();
    let mut tls =
        TlsSettings::with_backend(pingora::protocols::tls::rustls::RustlsServer::new()).unwrap();
    tls.set_store(store.clone());
    let acme = background_service("acme", acme);
    let task = acme.task();
    let _server = serve_by(&pebble, acme, tls).await;
    believed(&pebble, "one.example").await;
    assert_eq!(pebble.ask("two.example").unwrap(), "hello two.example");
    assert_eq!(pebble.ask("three.example"), None);
    // The order of the two is that in which they were last put there.
    let shown = || {
        let all = store.certificates();
        let of_one = all
            .iter()
            .find(|certificate| certificate.names == ["one.example"]);
        of_one.map(|certificate| certificate.fingerprint)
    };
    let first = shown();
    assert!(first.is_some());
    task.revoke("one.example", RevocationReason::Superseded)
        .await
        .unwrap();
    eventually("another one is shown", || {
        shown().is_some_and(|now| Some(now) != first)
    })
    .await;
    assert_eq!(pebble.ask("one.example").unwrap(), "hello one.example");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_is_replaced_at_once() {
    let (pebble, directory) = (Pebble::start(), tempfile::tempdir().unwrap());
    let (builder, store) = builder(directory.path());
    let acme = builder
        .issuer(issuer(&pebble))
        .challenges([Challenge::Http01])
        .certificate(["one.example", "www.one.example"])
        .key(CertificateKey::Rsa2048)
        .build()
        .unwrap();
    let tls = TlsSettings::with_store(store.clone()).unwrap();
    let acme = background_service("acme", acme);
    let task = acme.task();
    let _server = serve_by(&pebble, acme, tls).await;
    believed(&pebble, "one.example").await;
    let kept = || {
        let file = directory.path().join("certificates/one.example");
        let kept: serde_json::Value =
            serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        kept
    };
    let key = kept()["key"].as_str().unwrap().to_string();
    let rsa = openssl::pkey::PKey::private_key_from_pem(key.as_bytes()).unwrap();
    assert_eq!((rsa.id(), rsa.bits()), (openssl::pkey::Id::RSA, 2048));

    // Only what was obtained can be taken back, by its first name.
    for stranger in ["www.one.example", "stranger.example", "127.0.0.1"] {
        let refused = task.revoke(stranger, RevocationReason::default()).await;
        let refused = refused.unwrap_err();
        assert_eq!(*refused.etype(), pingora_acme::ACME_CONF_ERR, "{stranger}");
    }
    let first = store.certificates();
    let revoked = task
        .revoke("One.Example.", RevocationReason::KeyCompromise)
        .await;
    revoked.unwrap();
    eventually("another one is shown", || {
        let now = store.certificates();
        now.len() == 1 && now[0].fingerprint != first[0].fingerprint
    })
    .await;
    believed(&pebble, "one.example").await;
    let lines = pebble.lines();
    let calls = lines.iter().filter(|line| line.contains("/revoke-cert"));
    assert!(calls.count() > 0, "{lines:?}");
    let now = kept();
    assert_eq!(now["revoked"], false);
    assert!(now["key"] != key.as_str(), "with another key");
}

/// Tells the DNS server that belongs to the authority.
#[derive(Debug)]
struct TestDns {
    at: (Ipv4Addr, u16),
    set: Arc<AtomicUsize>,
}

impl TestDns {
    async fn tell(&self, path: &str, body: String) -> Result<()> {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: dns\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Ok(())
    }
}

#[async_trait]
impl DnsProvider for TestDns {
    async fn add_txt(&self, name: &str, value: &str) -> Result<()> {
        self.set.fetch_add(1, Ordering::Relaxed);
        self.tell(
            "/set-txt",
            format!(r#"{{"host": "{name}.", "value": "{value}"}}"#),
        )
        .await
    }

    async fn remove_txt(&self, name: &str, _value: &str) -> Result<()> {
        self.set.fetch_sub(1, Ordering::Relaxed);
        self.tell("/clear-txt", format!(r#"{{"host": "{name}."}}"#))
            .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_comes_by_the_dns() {
    let (pebble, directory) = (Pebble::start(), tempfile::tempdir().unwrap());
    let (builder, store) = builder(directory.path());
    let set = Arc::new(AtomicUsize::new(0));
    let dns = TestDns {
        at: pebble.dns_management(),
        set: set.clone(),
    };
    let acme = builder
        .issuer(issuer(&pebble))
        .dns(dns)
        .certificate(["*.one.example", "one.example"])
        .build()
        .unwrap();
    let _server = serve(&pebble, acme, store).await;
    believed(&pebble, "anything.one.example").await;
    believed(&pebble, "one.example").await;
    eventually("the records are gone", || set.load(Ordering::Relaxed) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_issuer_is_asked_where_the_first_one_fails() {
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let (pebble, directory) = (
        Pebble::with_external_accounts("kid-1", key),
        tempfile::tempdir().unwrap(),
    );
    let (builder, store) = builder(directory.path());
    // The first one gives us no account: nobody has told it the key.
    let acme = builder
        .issuer(issuer(&pebble))
        .issuer(issuer(&pebble).external_account("kid-1", key))
        .challenges([Challenge::Http01])
        .certificate(["one.example"])
        .build()
        .unwrap();
    let _server = serve(&pebble, acme, store).await;
    believed(&pebble, "one.example").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_allowed_get_certificates_when_clients_ask() {
    let (pebble, directory) = (Pebble::start(), tempfile::tempdir().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let settings = || {
        let (builder, store) = builder(directory.path());
        store.refuse_unknown_names(true);
        let asked = asked.clone();
        let rule = move |name: &str| {
            asked.fetch_add(1, Ordering::Relaxed);
            name.ends_with(".tenants.example")
        };
        let acme = builder
            .issuer(issuer(&pebble))
            .certificate(["one.example"])
            .on_demand(OnDemand::new(rule).patience(Duration::from_secs(50)))
            .build()
            .unwrap();
        (acme, store)
    };
    let (acme, store) = settings();
    let server = serve(&pebble, acme, store.clone()).await;
    believed(&pebble, "one.example").await;
    // The very first client is served; so are many at once, by one order.
    assert_eq!(
        pebble.ask("a.tenants.example").unwrap(),
        "hello a.tenants.example"
    );
    let clients = 8;
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| assert!(pebble.ask("b.tenants.example").is_some()));
        }
    });
    assert_eq!(pebble.ask("stranger.example"), None);
    assert_eq!(pebble.ask("stranger.example"), None);
    assert_eq!(
        asked.load(Ordering::Relaxed),
        3,
        "each name is asked for once"
    );
    assert_eq!(store.certificates().len(), 3);
    drop(server);

    // After a new start they are there.
    let (acme, store) = settings();
    let _server = serve(&pebble, acme, store.clone()).await;
    assert!(pebble.ask("b.tenants.example").is_some());
    assert_eq!(store.certificates().len(), 3);
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_share_what_one_of_them_has_obtained() {
    let (pebble, directory) = (Pebble::start(), tempfile::tempdir().unwrap());
    let host = || {
        let store = CertificateStore::new();
        let storage = DiskStorage::open(directory.path()).unwrap().shared(true);
        let acme = Acme::builder(store.clone(), storage)
            .issuer(issuer(&pebble))
            .challenges([Challenge::Http01])
            .certificate(["one.example"])
            .build()
            .unwrap();
        (acme, store)
    };
    // One host answers authorities, another one has the certificate first.
    let (front, front_store) = host();
    let (back, back_store) = host();
    let held = DiskStorage::open(directory.path()).unwrap();
    let lock = held.try_lock("certificates/one.example").await.unwrap();
    let _front = serve(&pebble, front, front_store.clone()).await;
    // The lock goes from the test to the host in the background, whose answer only the other one can give.
    let mut server = Server::new_with_opt_and_conf(None, ServerConf::default());
    server.bootstrap();
    let mut idle = Service::new("idle".to_string(), Hello);
    idle.add_tcp("127.0.0.1:0");
    let bound = idle.bound_addresses();
    server.add_service(idle);
    drop(lock);
    server.add_service(background_service("acme", back));
    let _back = TestServer::start(server, bound).await;
    eventually("the certificate is there", || {
        !back_store.certificates().is_empty()
    })
    .await;
    believed(&pebble, "one.example").await;
    assert_eq!(
        front_store.certificates()[0].fingerprint,
        back_store.certificates()[0].fingerprint
    );
}
