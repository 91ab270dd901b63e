//! Handshakes on threads of their own.

use crate::reporter::Reporter;
use crate::{ask, ec_key, rsa_key, settings, source};
use pingora::listeners::tls::{
    CertificateStore, ClientCertificates, HandshakeFailure, TlsSettings,
};
use pingora::server::configuration::ServerConf;
use pingora_tests::{Authority, Connection};
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_are_made_elsewhere_and_connections_served_here() {
    let authority = Authority::new();
    let store = CertificateStore::new();
    for (stem, key) in [("rsa", rsa_key()), ("ec", ec_key())] {
        let files = authority.issue_as(stem, &["one.example"], &key, |_| {});
        store.add(source(&files)).unwrap();
    }
    let mut settings = TlsSettings::with_store(store).unwrap();
    let conf = ServerConf {
        downstream_tls_offload_threadpools: Some(2),
        downstream_tls_offload_thread_per_pool: Some(2),
        ..ServerConf::default()
    };
    settings.set_offload_threadpool_from_server_conf(&conf);
    settings.keep_client_hello(true);
    settings.set_handshake_timeout(Duration::from_millis(500));
    let wanted = ClientCertificates::optional().ca_file(authority.file());
    settings.set_client_certificates(wanted).unwrap();
    let server = Arc::new(Reporter::start(settings).await);
    let authority = Arc::new(authority);
    let clients = (0..12).map(|index| {
        let (server, authority) = (server.clone(), authority.clone());
        tokio::task::spawn_blocking(move || {
            let version = ["-tls1_2", "-tls1_3"][index % 2];
            ask(&server, &authority, "one.example", &[version])
        })
    });
    for client in clients.collect::<Vec<_>>() {
        let said = client.await.unwrap();
        assert!(said.good && said.contains("offloaded=true"), "{said:?}");
        assert!(said.contains("ja4=t1"), "{said:?}");
    }
    // What fails there fails as it does here.
    let mut plain = Connection::to(server.address()).await;
    plain.send("GET / HTTP/1.1\r\n\r\n").await;
    plain.rest().await;
    server.failed(HandshakeFailure::PlainHttp, 1).await;
    let mut silent = Connection::to(server.address()).await;
    silent.closed().await;
    server.failed(HandshakeFailure::TimedOut, 1).await;
    assert_eq!(server.counters().full(), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_keys_of_the_configuration_they_stay() {
    let authority = Authority::new();
    let mut settings = settings(&authority);
    settings.set_offload_threadpool_from_server_conf(&ServerConf::default());
    let server = Reporter::start(settings).await;
    let said = ask(&server, &authority, "one.example", &[]);
    assert!(said.contains("offloaded=false"), "{said:?}");
}
