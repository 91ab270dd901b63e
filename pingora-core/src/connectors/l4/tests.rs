//! Connecting: addresses, timeouts, socket options, custom connectors.

use super::*;
use crate::connectors::{L4Connect, TransportConnector};
use crate::protocols::l4::{Tracer, Tracing};
use crate::upstreams::peer::{BasicPeer, HttpPeer};
use async_trait::async_trait;
use pingora_error::ErrorSource;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use tokio::net::TcpListener;

/// The error of a failed connection, checked for what every one must contain.
async fn refused<P: Peer + Send + Sync + 'static>(peer: &P) -> BError {
    let e = TransportConnector::new(None)
        .new_stream(peer)
        .await
        .unwrap_err();
    assert_eq!(e.esource, ErrorSource::Upstream, "{e}");
    assert!(
        e.to_string().contains(&peer.address().to_string()),
        "{e} does not name the peer"
    );
    e
}

#[tokio::test]
async fn a_refusal_is_the_upstreams() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = BasicPeer::new(&listener.local_addr().unwrap().to_string());
    drop(listener);
    assert_eq!(
        *refused(&peer).await.root_etype(),
        ErrorType::ConnectRefused
    );
}

/// A listener that never accepts, its backlog full: the kernel drops further SYNs.
async fn full_listener() -> (std::net::SocketAddr, Vec<std::net::TcpStream>, TcpListener) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut held = Vec::new();
    for _ in 0..64 {
        let limit = Duration::from_millis(200);
        match std::net::TcpStream::connect_timeout(&addr, limit) {
            Ok(stream) => held.push(stream),
            Err(_) => return (addr, held, listener),
        }
    }
    panic!("the backlog never filled");
}

#[tokio::test]
async fn a_silent_upstream_is_given_up_in_time() {
    let (addr, _held, _listener) = full_listener().await;
    let mut peer = BasicPeer::new(&addr.to_string());
    peer.options.connection_timeout = Some(Duration::from_millis(30));
    assert_eq!(
        *refused(&peer).await.root_etype(),
        ErrorType::ConnectTimedout
    );

    peer.options.connection_timeout = None;
    peer.options.total_connection_timeout = Some(Duration::from_millis(30));
    assert_eq!(
        *refused(&peer).await.root_etype(),
        ErrorType::ConnectTimedout
    );
}

#[tokio::test]
async fn a_name_without_an_address_fails_where_it_is_connected_to() {
    let peer = HttpPeer::new("no such name:80", false, String::new());
    let e = refused(&peer).await;
    assert_eq!(*e.root_etype(), ErrorType::ConnectNoRoute);
    let named = r#"not resolved: "no such name:80": "#;
    assert!(e.to_string().contains(named), "{e}");

    let e = refused(&BasicPeer::new("not an address")).await;
    assert_eq!(*e.root_etype(), ErrorType::ConnectNoRoute);
}

#[tokio::test]
async fn options_are_set_before_connecting() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peer = BasicPeer::new(&listener.local_addr().unwrap().to_string());
    peer.options.tcp_recv_buf = Some(16 * 1024);
    peer.options.dscp = Some(8);
    peer.options.tcp_fast_open = true;
    peer.options.bind_to = Some(BindTo::from(
        "127.0.0.3:0".parse::<std::net::SocketAddr>().unwrap(),
    ));
    peer.options.tcp_keepalive = Some(crate::protocols::l4::ext::TcpKeepalive {
        idle: Duration::from_secs(5),
        interval: Duration::from_secs(1),
        count: 3,
        user_timeout: Duration::ZERO,
    });
    let tweaked = Arc::new(AtomicUsize::new(0));
    let count = tweaked.clone();
    peer.options.upstream_tcp_sock_tweak_hook = Some(Arc::new(move |socket: &TcpSocket| {
        assert!(socket.recv_buffer_size().unwrap() <= 64 * 1024);
        count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }));
    let stream = TransportConnector::new(None)
        .new_stream(&peer)
        .await
        .unwrap();
    assert_eq!(tweaked.load(Ordering::Relaxed), 1);
    let digest = stream.get_socket_digest().unwrap();
    assert_eq!(digest.peer_addr(), Some(peer.address()));
    let local = *digest.local_addr().unwrap().as_inet().unwrap();
    assert_eq!(local.ip().to_string(), "127.0.0.3");
    assert!(stream.get_ssl_digest().is_none());

    peer.options.upstream_tcp_sock_tweak_hook = Some(Arc::new(|_: &TcpSocket| {
        Error::e_explain(ErrorType::SocketError, "tweaked too far")
    }));
    assert_eq!(*refused(&peer).await.root_etype(), ErrorType::SocketError);
}

#[tokio::test]
async fn the_connectors_own_addresses_are_used_for_their_family() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = BasicPeer::new(&listener.local_addr().unwrap().to_string());
    let mut options = crate::connectors::ConnectorOptions::new(1);
    options.bind_to_v4 = vec!["127.0.0.4:0".parse().unwrap()];
    options.bind_to_v6 = vec!["[2001:db8::1]:0".parse().unwrap()];
    let stream = TransportConnector::new(Some(options))
        .new_stream(&peer)
        .await
        .unwrap();
    let digest = stream.get_socket_digest().unwrap();
    let local = *digest.local_addr().unwrap().as_inet().unwrap();
    assert_eq!(local.ip().to_string(), "127.0.0.4");
}

#[cfg(not(any(feature = "openssl", feature = "rustls")))]
#[tokio::test]
async fn without_a_library_tls_fails_and_says_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let peer = HttpPeer::new(addr, true, "one.example".to_string());
    let e = refused(&peer).await;
    assert_eq!(*e.root_etype(), ErrorType::TLSHandshakeFailure);
    assert!(e.to_string().contains("turn on the feature openssl"), "{e}");
}

#[derive(Debug)]
struct Elsewhere(std::net::SocketAddr);

#[async_trait]
impl L4Connect for Elsewhere {
    async fn connect(&self, _: &SocketAddr) -> Result<Stream> {
        Ok(crate::protocols::l4::ext::connect(&self.0, None)
            .await?
            .into())
    }
}

#[derive(Debug, Clone, Default)]
struct Open(Arc<AtomicIsize>);

impl Tracing for Open {
    fn on_connected(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn on_disconnected(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
    fn boxed_clone(&self) -> Box<dyn Tracing> {
        Box::new(self.clone())
    }
}

#[tokio::test]
async fn a_peer_may_bring_its_own_way_and_its_own_tracer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peer = BasicPeer::new("192.0.2.1:1");
    peer.options.custom_l4 = Some(Arc::new(Elsewhere(listener.local_addr().unwrap())));
    let open = Open::default();
    peer.options.tracer = Some(Tracer(open.boxed_clone()));
    let connector = TransportConnector::new(None);
    let (stream, reused) = connector.get_stream(&peer).await.unwrap();
    assert!(!reused);
    assert_eq!(open.0.load(Ordering::Relaxed), 1);
    connector.release_stream(stream, peer.reuse_hash(), None);
    let (stream, reused) = connector.get_stream(&peer).await.unwrap();
    assert!(reused);
    assert_eq!(open.0.load(Ordering::Relaxed), 1);
    drop(stream);
    assert_eq!(open.0.load(Ordering::Relaxed), 0);
}

/// A peer as a resolver creates it from a name with these addresses.
fn named(addresses: &[std::net::SocketAddr]) -> HttpPeer {
    HttpPeer::new(addresses, false, String::new())
}

/// An address without a listener.
async fn dead(ip: &str) -> std::net::SocketAddr {
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    listener.local_addr().unwrap()
}

/// RFC 8305: the first address that answers is used.
#[tokio::test]
async fn a_dead_address_of_a_name_is_not_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let live = listener.local_addr().unwrap();
    let (refuses, silent) = (dead("127.0.0.2").await, full_listener().await);
    // If the system has no IPv6, that is one more way to fail.
    let other_family: std::net::SocketAddr = format!("[::1]:{}", live.port()).parse().unwrap();
    for before in [
        vec![],
        vec![refuses],
        vec![other_family],
        vec![silent.0],
        vec![refuses, silent.0, other_family],
    ] {
        let addresses = [&before[..], &[live]].concat();
        let mut peer = named(&addresses);
        peer.options.connection_timeout = Some(Duration::from_secs(5));
        let tweaked = Arc::new(AtomicUsize::new(0));
        let count = tweaked.clone();
        peer.options.upstream_tcp_sock_tweak_hook = Some(Arc::new(move |_: &TcpSocket| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }));
        let open = Open::default();
        peer.options.tracer = Some(Tracer(open.boxed_clone()));
        let connector = TransportConnector::new(None);
        let stream = connector.new_stream(&peer).await.unwrap();
        let digest = stream.get_socket_digest().unwrap();
        assert_eq!(digest.peer_addr(), Some(&live.into()), "{before:?}");
        assert_eq!(open.0.load(Ordering::Relaxed), 1, "one connection is made");
        let sockets = tweaked.load(Ordering::Relaxed);
        assert!((1..=addresses.len()).contains(&sockets), "{before:?}");
        assert!(peer.matches_fd(stream.id()), "{before:?}");
        // A peer that was resolved again finds it, in whatever order its addresses are.
        connector.release_stream(stream, peer.reuse_hash(), None);
        let mut turned = addresses.clone();
        turned.rotate_left(1);
        let (_, reused) = connector.get_stream(&named(&turned)).await.unwrap();
        assert!(reused, "{before:?}");
    }
}

#[tokio::test]
async fn a_name_all_of_whose_addresses_are_dead_fails_in_the_time_of_one() {
    let (one, two) = (dead("127.0.0.2").await, dead("127.0.0.3").await);
    let e = refused(&named(&[one, two])).await;
    assert_eq!(*e.root_etype(), ErrorType::ConnectRefused);
    assert!(e.to_string().contains(&two.to_string()), "{e}");
    let (first, second) = (full_listener().await, full_listener().await);
    let mut peer = named(&[first.0, second.0]);
    peer.options.connection_timeout = Some(Duration::from_millis(400));
    let begun = std::time::Instant::now();
    let e = refused(&peer).await;
    assert_eq!(*e.root_etype(), ErrorType::ConnectTimedout);
    assert!(begun.elapsed() >= Duration::from_millis(400));
}

#[tokio::test]
async fn a_local_address_is_chosen_for_each_remote_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let live = listener.local_addr().unwrap();
    let other_family: std::net::SocketAddr = format!("[::1]:{}", live.port()).parse().unwrap();
    let mut options = crate::connectors::ConnectorOptions::new(1);
    options.bind_to_v4 = vec!["127.0.0.4:0".parse().unwrap()];
    options.bind_to_v6 = vec!["[2001:db8::1]:0".parse().unwrap()];
    let connector = TransportConnector::new(Some(options));
    let stream = connector
        .new_stream(&named(&[other_family, live]))
        .await
        .unwrap();
    let digest = stream.get_socket_digest().unwrap();
    let local = *digest.local_addr().unwrap().as_inet().unwrap();
    assert_eq!(local.ip().to_string(), "127.0.0.4");
}

/// The name that every system has, with `::1` before `127.0.0.1` on most.
#[tokio::test]
async fn localhost_is_reached_by_whichever_family_is_listened_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let name = format!("localhost:{port}");
    let peers = [
        HttpPeer::new(&*name, false, String::new()),
        HttpPeer::new(("localhost", port), false, String::new()),
        HttpPeer::try_new(&*name, false, String::new()).unwrap(),
        HttpPeer::resolve(&name, false, String::new())
            .await
            .unwrap(),
    ];
    for peer in peers {
        TransportConnector::new(None)
            .new_stream(&peer)
            .await
            .unwrap();
    }
}

/// The PROXY protocol header comes before everything else, on every kind of connection.
#[tokio::test]
async fn a_connection_begins_with_what_the_peer_announces() {
    use crate::protocols::proxy_protocol::{ProxyHeader, ProxyVersion};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let live = listener.local_addr().unwrap();
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    let header = ProxyHeader::new(address("192.0.2.1:5"), address("192.0.2.2:443"));
    let expected = header.encode(ProxyVersion::V2);
    let plain = HttpPeer::new(live, false, String::new());
    let several = named(&[dead("127.0.0.2").await, live]);
    let mut own = HttpPeer::new("192.0.2.1:1", false, String::new());
    own.options.custom_l4 = Some(Arc::new(Elsewhere(live)));
    for mut peer in [plain, several, own] {
        peer.options.connection_timeout = Some(Duration::from_secs(30));
        peer.options.send_proxy_header(&header, ProxyVersion::V2);
        let connector = TransportConnector::new(None);
        let mut stream = connector.new_stream(&peer).await.unwrap();
        stream.write_all(b"then").await.unwrap();
        let (mut accepted, _) = listener.accept().await.unwrap();
        let mut read = vec![0; expected.len() + 4];
        let reading = tokio::io::AsyncReadExt::read_exact(&mut accepted, &mut read);
        reading.await.unwrap();
        assert_eq!(read, [&expected[..], b"then"].concat());
        assert!(peer.matches_fd(stream.id()));

        connector.release_stream(stream, peer.reuse_hash(), None);
        let mut other = peer.clone();
        let header = ProxyHeader::new(address("192.0.2.1:6"), address("192.0.2.2:443"));
        other.options.send_proxy_header(&header, ProxyVersion::V2);
        assert!(connector.reused_stream(&other).await.is_none());
        assert!(connector.reused_stream(&peer).await.is_some());
    }
}
