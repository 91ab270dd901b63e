//! The stream, with handshakes in memory.

use super::*;
use crate::protocols::tls::openssl::test_certificates::authority;
use crate::sys::tls as sys;
use openssl::ssl::{
    ErrorCode, SslAcceptor, SslConnector, SslConnectorBuilder, SslMethod, SslSessionCacheMode,
    SslVerifyMode, SslVersion,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

type Pair = (SslStream<DuplexStream>, SslStream<DuplexStream>);

fn acceptor() -> SslAcceptor {
    let made = authority("ca").issue(&["one.example"], &[]);
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    builder.set_certificate(&made.cert).unwrap();
    builder.set_private_key(&made.key).unwrap();
    builder.set_max_early_data(1024).unwrap();
    builder.build()
}

fn connector() -> SslConnectorBuilder {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
    builder.set_verify(SslVerifyMode::NONE);
    builder
}

fn client(connector: &SslConnector) -> Ssl {
    let configured = connector.configure().unwrap();
    configured.into_ssl("one.example").unwrap()
}

/// Both ends, before their handshake.
fn pair(client: Ssl, acceptor: &SslAcceptor) -> Pair {
    let (near, far) = duplex(1 << 16);
    let server = Ssl::new(acceptor.context()).unwrap();
    (
        SslStream::new(client, near).unwrap(),
        SslStream::new(server, far).unwrap(),
    )
}

async fn established() -> Pair {
    let (mut client, mut server) = pair(client(&connector().build()), &acceptor());
    let (connected, accepted) = tokio::join!(
        Pin::new(&mut client).connect(),
        Pin::new(&mut server).accept()
    );
    connected.unwrap();
    accepted.unwrap();
    (client, server)
}

#[tokio::test]
async fn bytes_go_both_ways_until_the_goodbye() {
    let (mut client, mut server) = established().await;
    assert_eq!(client.ssl().version2(), Some(SslVersion::TLS1_3));
    client.write_all(b"question").await.unwrap();
    let mut buf = [0; 8];
    server.read_exact(&mut buf).await.unwrap();
    assert_eq!(&buf, b"question");
    let slices = [IoSlice::new(b"ans"), IoSlice::new(b"wer")];
    assert!(server.is_write_vectored());
    assert_eq!(server.write_vectored(&slices).await.unwrap(), 6);
    server.flush().await.unwrap();
    server.shutdown().await.unwrap();
    let mut answer = vec![];
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"answer");
}

#[tokio::test]
async fn an_end_without_goodbye_is_an_error() {
    let (mut client, server) = established().await;
    drop(server);
    let e = client.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(e.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn payload_that_was_looked_at_is_read_again() {
    let (mut client, mut server) = established().await;
    // It has to wait first.
    let looking = async {
        let mut buf = [0; 4];
        let n = Pin::new(&mut client).peek(&mut buf).await.unwrap();
        buf[..n].to_vec()
    };
    let (seen, written) = tokio::join!(looking, server.write_all(b"payload"));
    written.unwrap();
    assert_eq!(seen, b"payl");
    let mut buf = [0; 7];
    client.read_exact(&mut buf).await.unwrap();
    assert_eq!(&buf, b"payload");
    // Also where a read has found that there is nothing more.
    let again = async {
        let mut buf = [0; 4];
        let n = Pin::new(&mut client).peek(&mut buf).await.unwrap();
        buf[..n].to_vec()
    };
    let (seen, written) = tokio::join!(again, server.write_all(b"x"));
    written.unwrap();
    assert_eq!(seen, b"x");
    assert_eq!(client.read(&mut buf).await.unwrap(), 1);
    server.shutdown().await.unwrap();
    let e = Pin::new(&mut client).peek(&mut buf).await.unwrap_err();
    assert_eq!(e.code(), ErrorCode::ZERO_RETURN);
}

#[tokio::test]
async fn a_server_that_only_looks_has_sent_its_tickets() {
    let (mut client, mut server) = established().await;
    let mut storage = [0; 4];
    let mut looking = Box::pin(Pin::new(&mut server).peek(&mut storage));
    assert!(futures::poll!(&mut looking).is_pending());
    drop(looking);
    // There is nothing to read, but the tickets have arrived.
    let mut buf = [0; 1];
    assert!(futures::poll!(Box::pin(client.read(&mut buf))).is_pending());
    assert!(client.ssl().session().unwrap().max_early_data() > 0);
}

#[tokio::test]
async fn each_side_does_what_it_was_set_to() {
    let mut ssl = client(&connector().build());
    ssl.set_connect_state();
    let (near, far) = duplex(1 << 16);
    let mut client = SslStream::new(ssl, near).unwrap();
    let mut ssl = Ssl::new(acceptor().context()).unwrap();
    ssl.set_accept_state();
    let mut server = SslStream::new(ssl, far).unwrap();
    let (connected, accepted) = tokio::join!(
        Pin::new(&mut client).do_handshake(),
        Pin::new(&mut server).do_handshake()
    );
    connected.unwrap();
    accepted.unwrap();
    assert!(server.ssl().is_server() && !client.ssl().is_server());
}

#[tokio::test]
async fn the_stream_below_is_there() {
    let (mut client, server) = established().await;
    drop(server);
    let _: &DuplexStream = client.get_ref();
    let below: &mut DuplexStream = client.get_mut();
    below.shutdown().await.unwrap();
    let _: Pin<&mut DuplexStream> = Pin::new(&mut client).get_pin_mut();
    assert!(format!("{client:?}").contains("DuplexStream"));
}

#[tokio::test]
async fn payload_leaves_before_the_handshake_is_complete() {
    let acceptor = acceptor();
    let mut builder = connector();
    builder.set_session_cache_mode(SslSessionCacheMode::CLIENT);
    sys::Session::keep_of(&mut builder).unwrap();
    let connector = builder.build();
    let (mut first, mut server) = pair(client(&connector), &acceptor);
    let serving = async {
        Pin::new(&mut server).accept().await.unwrap();
        server.write_all(b"x").await.unwrap();
    };
    let asking = async {
        Pin::new(&mut first).connect().await.unwrap();
        first.read_exact(&mut [0]).await.unwrap();
    };
    tokio::join!(serving, asking);
    let session = sys::Session::of(first.ssl()).unwrap();

    let mut ssl = client(&connector);
    assert!(session.offer(&mut ssl));
    let (mut second, mut server) = pair(ssl, &acceptor);
    let asking = async {
        let mut second = Pin::new(&mut second);
        let sent = second.as_mut().write_early_data(b"early").await.unwrap();
        assert_eq!(sent, 5);
        second.as_mut().connect().await.unwrap();
        second.write_all(b"late").await.unwrap();
    };
    let serving = async {
        let mut buf = [0; 64];
        let mut server = Pin::new(&mut server);
        let n = server.as_mut().read_early_data(&mut buf).await.unwrap();
        assert_eq!(&buf[..n], b"early");
        let end = server.as_mut().read_early_data(&mut buf).await.unwrap();
        assert_eq!(end, 0);
        server.as_mut().accept().await.unwrap();
        let n = server.read(&mut buf).await.unwrap();
        assert_eq!(&buf[..n], b"late");
    };
    tokio::join!(asking, serving);
    assert!(second.ssl().session_reused());
}
