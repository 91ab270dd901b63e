//! Upstreams behind a CONNECT proxy.

use super::certificates::{Shape, write};
use super::routes::{Routes, get, refused, trusting};
use pingora::prelude::*;
use pingora_tests::{Connection, Nginx, PATIENCE};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::{TcpListener, TcpStream};

const NAME: &str = "one.example";

/// A forward proxy for those who know the password. It counts the tunnels that it has opened.
async fn forward_proxy() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let opened = Arc::new(AtomicUsize::new(0));
    let count = opened.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, count.clone()));
        }
    });
    (address, opened)
}

async fn serve(mut stream: TcpStream, opened: Arc<AtomicUsize>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let answer: &[u8] = if head.contains("Proxy-Authorization: Basic c2VjcmV0\r\n") {
        b"HTTP/1.1 200 Connection established\r\n\r\n"
    } else {
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    };
    stream.write_all(answer).await.unwrap();
    if answer.starts_with(b"HTTP/1.1 200") {
        opened.fetch_add(1, Ordering::Relaxed);
        let target = head.split(' ').nth(1).unwrap();
        let mut upstream = TcpStream::connect(target).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
    }
}

fn through(proxy: SocketAddr, upstream: SocketAddr, tls: bool, password: &str) -> HttpPeer {
    let field = (
        "Proxy-Authorization".to_string(),
        password.as_bytes().to_vec(),
    );
    HttpPeer::new_proxy(
        &proxy.to_string(),
        upstream.ip(),
        upstream.port(),
        tls,
        if tls { NAME } else { "" },
        BTreeMap::from([field]),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_and_tls_upstreams_are_reached_through_a_proxy() {
    let dir = tempfile::tempdir().unwrap();
    let root = Shape::authority("Test Root").root();
    let files = write(dir.path(), "leaf", &[&Shape::leaf(NAME).by(&root)]);
    let says = "location / { return 200 \"$scheme $ssl_server_name $connection\"; }";
    let (plain, secure) = (Nginx::with_server(says), Nginx::with_tls(&files, says));
    let (proxy, opened) = forward_proxy().await;
    let password = "Basic c2VjcmV0";
    let mut routes = Routes::default();
    routes.add("plain", through(proxy, plain.address(), false, password));
    let tls = through(proxy, secure.address(), true, password);
    // The proxy can't pass for the upstream: the certificate is verified at the far end.
    routes.add("distrusted", tls.clone());
    let mut misnamed = trusting(tls.clone(), &root);
    misnamed.sni = "two.example".to_string();
    routes.add("misnamed", misnamed);
    routes.add("secure", trusting(tls, &root));
    routes.add(
        "forbidden",
        through(proxy, plain.address(), false, "Basic wrong"),
    );
    let server = routes.start().await;

    let text = |answer: pingora_tests::Message| String::from_utf8(answer.body).unwrap();
    let answer = text(get(&server, "/plain/").await);
    assert!(answer.starts_with("http  "), "{answer}");
    assert_eq!(
        answer,
        text(get(&server, "/plain/again").await),
        "the tunnel is kept"
    );
    let answer = text(get(&server, "/secure/").await);
    assert!(answer.starts_with("https one.example "), "{answer}");
    assert_eq!(
        answer,
        text(get(&server, "/secure/again").await),
        "the tunnel is kept"
    );
    assert_eq!(opened.load(Ordering::Relaxed), 2);

    let line = refused(&server, "/forbidden/tunnel").await;
    assert!(
        line.contains("ConnectProxyFailure") && line.contains("407"),
        "{line}"
    );
    for secret in ["c2VjcmV0", "wrong"] {
        assert!(!line.contains(secret), "{line}");
    }
    let line = refused(&server, "/distrusted/tunnel").await;
    assert!(line.contains("InvalidCert"), "{line}");
    let line = refused(&server, "/misnamed/tunnel").await;
    assert!(line.to_lowercase().contains("hostname mismatch"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listener.local_addr().unwrap();
    let mut peer = through(silent, silent, false, "Basic c2VjcmV0");
    peer.options.connection_timeout = Some(PATIENCE / 100);
    let mut routes = Routes::default();
    routes.add("silent", peer);
    let server = routes.start().await;
    assert_eq!(get(&server, "/silent/tunnel").await.status(), 504);
    let line = pingora_tests::logged("/silent/tunnel").await;
    assert!(
        line.contains("ConnectTimedout") && line.contains("CONNECT"),
        "{line}"
    );
    let (stream, _) = listener.accept().await.unwrap();
    let mut asked = Connection::new(stream);
    let head = asked.head().await;
    assert_eq!(head.method(), "CONNECT");
}
