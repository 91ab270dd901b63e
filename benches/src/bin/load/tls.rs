//! Clients that speak TLS and trust everybody.

use openssl::ssl::{Ssl, SslConnector, SslMethod, SslMode, SslVerifyMode};
use pingora::protocols::tls::SslStream;
use std::io;
use tokio::net::TcpStream;

pub(crate) type TlsStream = SslStream<TcpStream>;

/// The settings that all connections share.
pub(crate) struct Clients(SslConnector);

impl Clients {
    /// `protocols` are offered by ALPN, each behind its length; none if it is empty.
    pub(crate) fn new(protocols: &[u8]) -> io::Result<Self> {
        let mut connector = SslConnector::builder(SslMethod::tls_client())?;
        connector.set_verify(SslVerifyMode::NONE);
        if !protocols.is_empty() {
            connector.set_alpn_protos(protocols)?;
        }
        // Thousands of idle connections are held by one process.
        connector.set_mode(SslMode::RELEASE_BUFFERS);
        Ok(Self(connector.build()))
    }

    fn session(&self) -> io::Result<Ssl> {
        Ok(self.0.configure()?.into_ssl("bench.test")?)
    }

    /// A full handshake over `stream`.
    pub(crate) async fn connect(&self, stream: TcpStream) -> io::Result<TlsStream> {
        let mut stream = SslStream::new(self.session()?, stream).map_err(io::Error::other)?;
        stream.connect().await.map_err(io::Error::other)?;
        Ok(stream)
    }
}

/// A handshake over a new connection with what `old` knows of its session: the last ticket that
/// arrived there, if one did.
pub(crate) async fn connect_again(old: &mut TlsStream, stream: TcpStream) -> io::Result<()> {
    *old.get_mut() = stream;
    // Everything of the old connection is forgotten but the session.
    old.ssl_mut().set_connect_state();
    old.connect().await.map_err(io::Error::other)
}
