//! The version that is used, depending on the result of the TLS handshake.

use super::*;
use crate::protocols::l4::stream::Stream as L4Stream;
use crate::protocols::tls::openssl::test_certificates::{Made, authority};
use crate::protocols::tls::server;
use crate::upstreams::peer::HttpPeer;
use openssl::ssl::{AlpnError, SslAcceptor, SslMethod};
use pingora_error::ErrorType;
use std::net::SocketAddr;
use std::sync::Mutex;
use tokio::net::TcpListener;

/// The protocols that clients offered in their handshakes.
type Offers = Arc<Mutex<Vec<Vec<u8>>>>;

/// A server that selects this protocol if it is offered, and then sends nothing.
async fn origin(made: &Made, speaks: &'static [u8]) -> (SocketAddr, Offers) {
    let offers = Offers::default();
    let seen = offers.clone();
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    builder.set_certificate(&made.cert).unwrap();
    builder.set_private_key(&made.key).unwrap();
    builder.set_alpn_select_callback(move |_, offered| {
        seen.lock().unwrap().push(offered.to_vec());
        let at = offered
            .windows(speaks.len())
            .position(|name| name == speaks);
        let at = at.ok_or(AlpnError::NOACK)?;
        Ok(&offered[at..at + speaks.len()])
    });
    let acceptor = Arc::new(builder.build());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let stream = server::handshake(&acceptor, L4Stream::from(stream)).await;
                let _kept = stream;
                std::future::pending::<()>().await;
            });
        }
    });
    (addr, offers)
}

fn peer(addr: SocketAddr, ca: &Made, alpn: ALPN) -> HttpPeer {
    let mut peer = HttpPeer::new(addr, true, "a.example".to_string());
    peer.options.ca = Some(Arc::new(vec![ca.cert.clone()].into()));
    peer.options.alpn = alpn;
    peer.options.max_h2_streams = 10;
    peer
}

#[tokio::test]
async fn the_handshake_selects_the_version() {
    let ca = authority("an authority");
    let made = ca.issue(&["a.example"], &[]);
    let h1: &[u8] = b"http/1.1";
    let rows: &[(ALPN, &[u8], Result<u8, ErrorType>)] = &[
        (ALPN::H1, h1, Ok(1)),
        (ALPN::H1, b"h2", Ok(1)),
        (ALPN::H2H1, h1, Ok(1)),
        (ALPN::H2H1, b"h2", Ok(2)),
        (ALPN::H2H1, b"nothing that is offered", Ok(1)),
        (ALPN::H2, b"h2", Ok(2)),
        (ALPN::H2, h1, Err(ErrorType::HandshakeError)),
    ];
    for (alpn, speaks, expected) in rows {
        let speaks: &'static [u8] = speaks.to_vec().leak();
        let (addr, _) = origin(&made, speaks).await;
        let connector = Connector::new(None);
        let found = connector
            .get_http_session(&peer(addr, &ca, alpn.clone()))
            .await;
        let found = match found {
            Ok((session, _)) => Ok(if session.as_http2().is_some() { 2 } else { 1 }),
            Err(error) => {
                assert_eq!(error.esource().as_str(), "Upstream");
                Err(error.root_etype().clone())
            }
        };
        assert_eq!(
            &found,
            expected,
            "{alpn} {:?}",
            speaks.escape_ascii().to_string()
        );
    }
}

#[tokio::test]
async fn a_server_without_http2_is_remembered_and_nobody_waits_for_it() {
    let ca = authority("an authority");
    let made = ca.issue(&["a.example"], &[]);
    let (addr, offers) = origin(&made, b"http/1.1").await;
    let connector = Connector::new(None);
    let peer = peer(addr, &ca, ALPN::H2H1);
    // Five at a time: the first finds out, the others then know.
    let sessions = (0..5).map(|_| connector.get_http_session(&peer));
    for session in futures::future::join_all(sessions).await {
        assert!(session.unwrap().0.as_http1().is_some());
    }
    let both = b"\x02h2\x08http/1.1".to_vec();
    let only = b"\x08http/1.1".to_vec();
    let mut seen = offers.lock().unwrap().clone();
    assert_eq!(seen.remove(0), both);
    assert_eq!(seen, vec![only; 4]);
    // A new HTTP/1 connection on which nothing was sent is not idle.
    assert!(connector.reused_session(&peer).is_none());
}

#[tokio::test]
async fn a_server_of_both_is_asked_for_http1_where_that_is_preferred() {
    let ca = authority("an authority");
    let made = ca.issue(&["a.example"], &[]);
    let (addr, offers) = origin(&made, b"http/1.1").await;
    let connector = Connector::new(None);
    let peer = peer(addr, &ca, ALPN::H2H1);
    connector.prefer_h1(&peer);
    let (session, _) = connector.get_http_session(&peer).await.unwrap();
    assert!(session.as_http1().is_some());
    connector.connect_in_advance(&peer, 1).await.unwrap();
    assert!(
        connector
            .reused_session(&peer)
            .is_some_and(|s| s.as_http1().is_some())
    );
    assert_eq!(*offers.lock().unwrap(), vec![b"\x08http/1.1".to_vec(); 2]);
}
