//! The code of `docs/upstream_tls.md`.

use pingora::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;

fn a_peer() -> HttpPeer {
    let mut peer = HttpPeer::new("10.0.0.1:443", true, "one.example".to_string());
    peer.options.verify_hostname = true;
    peer
}

fn through_a_proxy(headers: BTreeMap<String, Vec<u8>>) -> HttpPeer {
    let peer = HttpPeer::new_proxy(
        "proxy.example:3128", // or the path of a Unix socket
        IpAddr::from([10, 0, 0, 1]),
        443, // where the proxy connects to
        true,
        "one.example", // TLS, end to end: the proxy sees none of it
        headers,       // for the proxy: Proxy-Authorization, say
    );
    peer
}
