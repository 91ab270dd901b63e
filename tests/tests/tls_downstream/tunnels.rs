//! A tunnel whose client speaks TLS, and whose origin does not: no filter looks at its bytes.

use crate::settings;
use openssl::ssl::{SslConnector, SslMethod};
use pingora::server::configuration::ServerConf;
use pingora_tests::{Authority, FixedUpstream, PATIENCE, Pattern, proxy_with};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_openssl::SslStream;

const UPGRADE: &[u8] = b"GET /chat HTTP/1.1\r\nHost: one.example\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\n\r\n";
const SWITCH: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// More than the system holds on two connections.
const LENGTH: usize = 48 * 1024 * 1024;
const PIECE: usize = 64 * 1024;

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
}

async fn expect(stream: &mut (impl AsyncRead + Unpin), bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    let read = timeout(PATIENCE, stream.read_exact(&mut got)).await;
    read.expect("it arrives in time").unwrap();
    assert!(got == bytes);
}

async fn connect(address: SocketAddr, authority: &Authority) -> SslStream<TcpStream> {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
    let trusted = builder.cert_store_mut().add_cert(authority.certificate());
    trusted.unwrap();
    let configuration = builder.build().configure().unwrap();
    let ssl = configuration.into_ssl("one.example").unwrap();
    let mut client = SslStream::new(ssl, TcpStream::connect(address).await.unwrap()).unwrap();
    Pin::new(&mut client).connect().await.unwrap();
    client
}

/// Sends the pattern to a peer that does not read before it has stalled; every byte arrives, and the end.
async fn holds_back_and_loses_nothing(
    mut from: impl AsyncWrite + Unpin + Send + 'static,
    to: &mut (impl AsyncRead + Unpin),
) {
    let written = Arc::new(AtomicUsize::new(0));
    let count = written.clone();
    let writing = tokio::spawn(async move {
        let mut pattern = Pattern::new();
        for _ in 0..LENGTH / PIECE {
            from.write_all(&pattern.piece(PIECE)).await.unwrap();
            count.fetch_add(PIECE, Ordering::SeqCst);
        }
        from.shutdown().await.unwrap();
    });
    let mut before = 0;
    loop {
        sleep(Duration::from_millis(100)).await;
        match written.load(Ordering::SeqCst) {
            now if now == before && now > 0 => break,
            now => before = now,
        }
    }
    assert!(before < LENGTH, "it is held back");
    let mut pattern = Pattern::new();
    for _ in 0..LENGTH / PIECE {
        expect(to, &pattern.piece(PIECE)).await;
    }
    writing.await.unwrap();
    let end = timeout(PATIENCE, to.read(&mut [0])).await.unwrap();
    assert_eq!(end.unwrap(), 0);
}

#[tokio::test]
async fn a_tunnel_from_tls_holds_back_either_side_and_loses_nothing() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = FixedUpstream(listener.local_addr().unwrap());
    let conf = ServerConf {
        threads: 1,
        ..ServerConf::default()
    };
    let mut settings = settings(&authority);
    crate::choose_library(&mut settings);
    let server = proxy_with(conf, upstream, |service| {
        service.add_tls_with_settings("127.0.0.1:0", None, settings);
    })
    .await;
    let mut client = connect(server.addresses()[1], &authority).await;
    client.write_all(UPGRADE).await.unwrap();
    let (mut origin, _) = listener.accept().await.unwrap();
    read_head(&mut origin).await;
    origin.write_all(SWITCH).await.unwrap();
    read_head(&mut client).await;
    for _ in 0..3 {
        client.write_all(b"there?").await.unwrap();
        expect(&mut origin, b"there?").await;
        origin.write_all(b"here").await.unwrap();
        expect(&mut client, b"here").await;
    }
    let (mut client_reads, client_writes) = tokio::io::split(client);
    let (mut origin_reads, origin_writes) = origin.into_split();
    holds_back_and_loses_nothing(origin_writes, &mut client_reads).await;
    holds_back_and_loses_nothing(client_writes, &mut origin_reads).await;
}
