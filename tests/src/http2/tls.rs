//! TLS for clients and origins, without the code under test.

use crate::authority::Authority;
use openssl::ssl::{AlpnError, SslAcceptor, SslConnector, SslFiletype, SslMethod};
use std::net::SocketAddr;
use std::pin::Pin;
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

/// A TLS connection.
pub type TlsStream = SslStream<TcpStream>;

/// Connects as somebody who trusts the authority, and offers these protocols by ALPN.
///
/// # Panics
/// When there is no connection, or the server can't show that it bears this name.
pub async fn connect(
    address: SocketAddr,
    authority: &Authority,
    name: &str,
    protocols: &[&str],
) -> TlsStream {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).expect("OpenSSL works");
    let known = builder.cert_store_mut().add_cert(authority.certificate());
    known.expect("a certificate can be trusted");
    let offered = protocols.iter();
    let offered: Vec<u8> = offered.flat_map(|name| wire_format(name)).collect();
    builder.set_alpn_protos(&offered).expect("it is a list");
    let ssl = builder.build().configure().expect("OpenSSL works");
    let ssl = ssl.into_ssl(name).expect("it is a name");
    let stream = TcpStream::connect(address).await.expect("connects");
    stream.set_nodelay(true).expect("TCP_NODELAY is settable");
    let mut stream = SslStream::new(ssl, stream).expect("OpenSSL works");
    let done = Pin::new(&mut stream).connect().await;
    done.expect("the handshake succeeds");
    stream
}

/// Accepts TLS with a certificate for `name`, and selects the first of these protocols that a client
/// offers.
pub fn acceptor(authority: &Authority, name: &str, protocols: &'static [&str]) -> SslAcceptor {
    let (certificate, key) = authority.issue(&[name]);
    let settings = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server());
    let mut builder = settings.expect("OpenSSL works");
    let loaded = builder.set_certificate_chain_file(certificate);
    loaded.expect("it was issued");
    let loaded = builder.set_private_key_file(key, SslFiletype::PEM);
    loaded.expect("it was issued");
    builder.set_alpn_select_callback(|_, offered| select(protocols, offered));
    builder.build()
}

fn select<'a>(protocols: &[&str], offered: &'a [u8]) -> Result<&'a [u8], AlpnError> {
    let mut names = Vec::new();
    let mut rest = offered;
    while let Some((length, more)) = rest.split_first() {
        let (name, after) = more
            .split_at_checked(usize::from(*length))
            .ok_or(AlpnError::ALERT_FATAL)?;
        names.push(name);
        rest = after;
    }
    let mut ours = protocols.iter();
    let selected = ours.find_map(|name| names.iter().find(|n| **n == name.as_bytes()));
    selected.copied().ok_or(AlpnError::NOACK)
}

/// The server's side of a handshake; `None` when it fails.
pub async fn accept(acceptor: &SslAcceptor, stream: TcpStream) -> Option<TlsStream> {
    let ssl = openssl::ssl::Ssl::new(acceptor.context()).expect("OpenSSL works");
    let mut stream = SslStream::new(ssl, stream).expect("OpenSSL works");
    let done = Pin::new(&mut stream).accept().await;
    done.ok().map(|()| stream)
}

/// The protocol that was selected by ALPN.
pub fn selected(stream: &TlsStream) -> Option<String> {
    let name = stream.ssl().selected_alpn_protocol()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

fn wire_format(name: &str) -> Vec<u8> {
    let length = u8::try_from(name.len()).expect("it is short");
    [&[length][..], name.as_bytes()].concat()
}
