//! Which peers may share a connection, and what their options mean.

use super::*;
use std::collections::HashSet;
use std::net::SocketAddr as InetSocketAddr;
use std::path::Path;

fn peer() -> HttpPeer {
    HttpPeer::new("127.0.0.1:443", true, "one.example".to_string())
}

#[test]
fn whatever_a_connection_depends_on_changes_its_hash() {
    let changes: &[fn(&mut HttpPeer)] = &[
        |_| {},
        |p| p._address.set_port(444),
        |p| p.scheme = Scheme::HTTP,
        |p| p.sni = "two.example".to_string(),
        |p| p.group_key = 1,
        |p| p.options.verify_cert = false,
        |p| p.options.verify_hostname = false,
        |p| p.options.alternative_cn = Some("two.example".to_string()),
        |p| p.options.set_http_version(2, 1),
        |p| p.options.curves = Some("X25519".into()),
        |p| p.options.bind_to = Some(BindTo::default()),
        |p| p.options.ca = Some(Arc::new(Box::new([]))),
        |p| {
            p.proxy = Some(Proxy {
                next_hop: Path::new("/run/proxy").into(),
                host: "a".to_string(),
                port: 1,
                headers: Default::default(),
            });
        },
    ];
    let hashes: HashSet<u64> = changes
        .iter()
        .map(|change| {
            let mut changed = peer();
            change(&mut changed);
            assert_eq!(changed.reuse_hash(), changed.clone().reuse_hash());
            changed.reuse_hash()
        })
        .collect();
    assert_eq!(hashes.len(), changes.len());
}

/// A header names the client of the connection: no other client's request may be sent over it.
#[test]
fn a_proxy_header_tells_peers_apart_and_leaves_the_rest_as_it_was() {
    use crate::protocols::proxy_protocol::{ProxyHeader, ProxyVersion};
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    let header = |client: &str| ProxyHeader::new(address(client), address("1.1.1.1:443"));
    let announced = |client: &str, version| {
        let mut peer = peer();
        peer.options.send_proxy_header(&header(client), version);
        peer
    };
    let hashes = HashSet::from([
        peer().reuse_hash(),
        announced("1.2.3.4:1", ProxyVersion::V1).reuse_hash(),
        announced("1.2.3.4:1", ProxyVersion::V2).reuse_hash(),
        announced("1.2.3.4:2", ProxyVersion::V2).reuse_hash(),
        announced("1.2.3.5:1", ProxyVersion::V2).reuse_hash(),
    ]);
    assert_eq!(hashes.len(), 5);
    let mut twice = announced("1.2.3.4:1", ProxyVersion::V1);
    twice
        .options
        .send_proxy_header(&header("1.2.3.4:1"), ProxyVersion::V2);
    let once = announced("1.2.3.4:1", ProxyVersion::V2);
    assert_eq!(
        twice.reuse_hash(),
        once.reuse_hash(),
        "the second replaces the first"
    );
    assert!(once.options.own_way().is_none());

    let inet = |text: &str| text.parse::<InetSocketAddr>().unwrap();
    let several = [inet("1.1.1.1:1"), inet("1.1.1.2:1")];
    let mut peer = HttpPeer::new(&several[..], false, String::new());
    peer.options
        .send_proxy_header(&header("1.2.3.4:1"), ProxyVersion::V2);
    assert_eq!(peer.options.addresses(peer.address()), several);
    let basic = |text: &str| {
        let mut basic = BasicPeer::new("127.0.0.1:80");
        basic
            .options
            .send_proxy_header(&header(text), ProxyVersion::V1);
        basic.reuse_hash()
    };
    assert_ne!(basic("1.2.3.4:1"), basic("1.2.3.4:2"));
}

#[test]
fn what_a_connection_does_not_depend_on_leaves_its_hash() {
    let mut same = peer();
    same.options.connection_timeout = Some(Duration::from_secs(1));
    same.options.read_timeout = Some(Duration::from_secs(1));
    same.options.idle_timeout = Some(Duration::from_secs(1));
    assert_eq!(same.reuse_hash(), peer().reuse_hash());
    // TLS options have no effect on a plain connection.
    let plain = HttpPeer::new("127.0.0.1:80", false, String::new());
    let mut named = HttpPeer::new("127.0.0.1:80", false, "one.example".to_string());
    named.options.verify_cert = false;
    assert_eq!(named.reuse_hash(), plain.reuse_hash());
}

#[test]
fn basic_peers_are_told_apart_too() {
    let one = BasicPeer::new("127.0.0.1:80");
    let mut tls = one.clone();
    tls.sni = "one.example".to_string();
    assert!(tls.tls() && !one.tls());
    assert_ne!(one.reuse_hash(), tls.reuse_hash());
    assert_eq!(
        one.reuse_hash(),
        BasicPeer::new("127.0.0.1:80").reuse_hash()
    );
    assert!(
        BasicPeer::new_uds("/run/a.sock")
            .unwrap()
            .address()
            .as_unix()
            .is_some()
    );
    assert!(BasicPeer::new_uds("").is_err());
    assert!(HttpPeer::new_uds(&"x".repeat(200), false, String::new()).is_err());
}

#[test]
fn an_address_of_ours_may_be_of_either_family() {
    for text in ["127.0.0.1:80", "/run/a.sock"] {
        let address: SocketAddr = text.parse().unwrap();
        let peer = HttpPeer::new(address.clone(), false, String::new());
        assert_eq!(peer.address(), &address);
    }
}

#[tokio::test]
async fn names_are_resolved_or_fail_in_the_open() {
    let e = HttpPeer::try_new("no such name:80", false, String::new()).unwrap_err();
    assert_eq!(e.etype, pingora_error::ErrorType::ConnectNoRoute);
    assert!(e.to_string().contains(r#""no such name:80""#), "{e}");
    let e = HttpPeer::try_new(("no such name", 81), false, String::new()).unwrap_err();
    assert!(e.to_string().contains(r#""no such name:81""#), "{e}");
    let e = HttpPeer::resolve("no such name:80", false, String::new())
        .await
        .unwrap_err();
    assert_eq!(e.etype, pingora_error::ErrorType::ConnectNoRoute);
    assert!(e.to_string().contains("no such name"), "{e}");
    assert!(
        HttpPeer::resolve("no port", false, String::new())
            .await
            .is_err()
    );

    let address: InetSocketAddr = "127.0.0.1:80".parse().unwrap();
    let peer = HttpPeer::resolve("127.0.0.1:80", true, String::new())
        .await
        .unwrap();
    assert_eq!(peer.address(), &address.into());
    let peer = HttpPeer::resolve("localhost:80", false, String::new())
        .await
        .unwrap();
    assert_eq!(peer.address().as_inet().unwrap().port(), 80);
    assert!(
        HttpPeer::new("no such name:80", true, String::new())
            .address()
            .unresolved_reason()
            .is_some_and(|reason| reason.starts_with(r#""no such name:80": "#))
    );
}

#[test]
fn defaults_are_safe() {
    let peer = peer();
    assert!(peer.verify_cert() && peer.verify_hostname());
    assert_eq!(peer.get_alpn(), Some(&ALPN::H1));
    assert_eq!(peer.get_peer_options().unwrap().max_h2_streams, 1);
    let policy = HttpUpstreamRequestPolicy::default();
    assert_eq!(policy, HttpUpstreamRequestPolicy::standard());
    assert_eq!(policy.h1_upgrade, H1UpgradePolicy::WebSocketOnly);
}

#[test]
fn a_peer_shows_what_it_is() {
    let mut peer = peer();
    peer.options.read_timeout = Some(Duration::from_secs(3));
    assert_eq!(
        peer.to_string(),
        "addr: 127.0.0.1:443, scheme: https, sni: one.example"
    );
    assert_eq!(peer.options.to_string(), "read_timeout: 3s");
    peer.options.verify_cert = false;
    assert_eq!(
        peer.options.to_string(),
        "read_timeout: 3s, verify_cert: false"
    );
    assert_eq!(PeerOptions::new().to_string(), "");
}

#[test]
fn the_kernels_address_is_compared() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let stream = std::net::TcpStream::connect(addr).unwrap();
    assert!(HttpPeer::new(addr, false, String::new()).matches_fd(stream.as_raw_fd()));
    assert!(!peer().matches_fd(stream.as_raw_fd()));
}

#[test]
fn options_stay_small() {
    // They are created for every request.
    assert!(
        size_of::<PeerOptions>() <= 640,
        "{}",
        size_of::<PeerOptions>()
    );
}

/// A connection to a peer with several addresses may lead to any of them.
#[test]
fn several_addresses_are_one_peer_and_none_of_them_alone() {
    let address = |text: &str| text.parse::<InetSocketAddr>().unwrap();
    let (a, b, c) = (
        address("[::1]:1"),
        address("1.1.1.1:1"),
        address("1.1.1.2:1"),
    );
    let hash = |addresses: &[InetSocketAddr]| {
        let peer = HttpPeer::new(addresses, false, String::new());
        assert_eq!(peer.address(), &addresses[0].into());
        peer.reuse_hash()
    };
    assert_eq!(hash(&[a, b, c]), hash(&[c, a, b]));
    assert_eq!(hash(&[a]), hash(&[a, a]), "one address, however often");
    let all = [
        hash(&[a]),
        hash(&[b]),
        hash(&[a, b]),
        hash(&[a, c]),
        hash(&[a, b, c]),
    ];
    assert_eq!(HashSet::from(all).len(), all.len());
    // A different address given to such a peer takes precedence.
    let mut moved = HttpPeer::new(&[a, b][..], false, String::new());
    moved._address = c.into();
    assert_eq!(moved.reuse_hash(), hash(&[c]));
}
