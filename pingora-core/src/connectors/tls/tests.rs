//! The client's side of TLS against a server that uses the library directly.

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
                super::super::RUSTLS.set(true);
                super::$name().await;
            }
        }
    )*};
}

mod hints;
mod resumption;
mod secrets;
mod verification;

use super::Connector;
use crate::connectors::{ConnectorOptions, TransportConnector};
use crate::protocols::Stream;
use crate::protocols::l4::stream::Stream as L4Stream;
use crate::protocols::tls::openssl::test_certificates::Made;
use crate::protocols::tls::server;
use crate::upstreams::peer::{HttpPeer, Peer};
use openssl::ssl::{SslAcceptor, SslAcceptorBuilder, SslMethod};
use pingora_error::Result;
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Accepts any number of connections and echoes what it receives. Ends with the runtime.
async fn origin(made: &Made, configure: impl FnOnce(&mut SslAcceptorBuilder)) -> SocketAddr {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    builder.set_certificate(&made.cert).unwrap();
    builder.set_private_key(&made.key).unwrap();
    configure(&mut builder);
    let acceptor = Arc::new(builder.build());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = server::handshake(&acceptor, L4Stream::from(stream)).await
                else {
                    return;
                };
                let mut buf = [0; 64];
                while let Ok(n @ 1..) = stream.read(&mut buf).await {
                    if stream.write_all(&buf[..n]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    addr
}

/// A peer that trusts this authority.
fn peer(addr: SocketAddr, sni: &str, ca: &Made) -> HttpPeer {
    let mut peer = HttpPeer::new(addr, true, sni.to_string());
    peer.options.ca = Some(Arc::new(vec![ca.cert.clone()].into()));
    peer
}

thread_local! {
    /// Whether the connectors of the test on this thread speak TLS by rustls.
    static RUSTLS: Cell<bool> = const { Cell::new(false) };
}

/// Whether the connectors of this test speak TLS by rustls.
fn is_rustls() -> bool {
    RUSTLS.get()
}

/// One connector for many tests, because reading the system's certificates is slow.
fn connector() -> &'static TransportConnector {
    static OPENSSL: LazyLock<TransportConnector> = LazyLock::new(|| TransportConnector::new(None));
    static OTHER: LazyLock<TransportConnector> = LazyLock::new(new_connector);
    if is_rustls() { &OTHER } else { &OPENSSL }
}

/// A connector with sessions of its own.
fn new_connector() -> TransportConnector {
    connector_with(None)
}

/// A connector with these options.
fn connector_with(options: Option<ConnectorOptions>) -> TransportConnector {
    let connector = TransportConnector::new(options);
    // Each connection reports what is not supported.
    let _ = choose_library(&connector.tls);
    connector
}

/// Has the library of this test speak TLS.
fn choose_library(connector: &Connector) -> Result<()> {
    #[cfg(feature = "rustls")]
    if is_rustls() {
        return connector.set_backend(&crate::protocols::tls::rustls::RustlsClient::new());
    }
    let _ = connector;
    Ok(())
}

/// One byte there and back, so that everything the server sends after its handshake has been read.
async fn echo(stream: &mut Stream) -> std::io::Result<()> {
    stream.write_all(b"x").await?;
    stream.flush().await?;
    stream.read_u8().await.map(drop)
}

/// A new connection that has carried one byte.
async fn connected(connector: &TransportConnector, peer: &HttpPeer) -> Result<Stream> {
    let mut stream = connector.new_stream(peer).await?;
    echo(&mut stream).await.unwrap();
    Ok(stream)
}
