//! Addresses: their text form, their equality, and those that can't be connected to.

use super::*;
use std::collections::HashSet;
use std::os::fd::AsRawFd;

fn parse(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn text_becomes_an_address_and_text_again() {
    for (text, shown) in [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("[::1]:8080", "[::1]:8080"),
        ("/run/a.sock", "/run/a.sock"),
        ("unix:/run/a.sock", "/run/a.sock"),
        ("unix:a.sock", "a.sock"),
    ] {
        let addr = parse(text);
        assert_eq!(addr.to_string(), shown);
        assert_eq!(addr.as_unix().is_some(), addr.as_inet().is_none());
    }
    for bad in ["", "localhost:80", "127.0.0.1", "127.0.0.1:99999", "::1:80"] {
        assert!(bad.parse::<SocketAddr>().is_err(), "{bad}");
    }
    assert!(
        format!("/{}", "x".repeat(200))
            .parse::<SocketAddr>()
            .is_err()
    );
}

#[test]
fn addresses_compare_by_what_they_mean() {
    let sorted = ["1.1.1.1:1", "1.1.1.1:2", "[::1]:1", "/a", "/b"].map(parse);
    assert!(sorted.is_sorted());
    assert_eq!(parse("/a"), parse("unix:/a"));
    let set: HashSet<SocketAddr> = ["/a", "unix:/a", "1.1.1.1:1", "1.1.1.1:1"]
        .map(parse)
        .into_iter()
        .collect();
    assert_eq!(set.len(), 2);
}

#[test]
fn a_port_can_be_changed_where_there_is_one() {
    let mut addr = parse("1.1.1.1:1");
    addr.set_port(443);
    assert_eq!(addr, parse("1.1.1.1:443"));
    let mut unix = parse("/a");
    unix.set_port(443);
    assert_eq!(unix, parse("/a"));
}

#[test]
fn only_internet_addresses_can_be_looked_up() {
    assert_eq!(parse("1.1.1.1:1").to_socket_addrs().unwrap().count(), 1);
    assert!(parse("/a").to_socket_addrs().is_err());
}

#[test]
fn the_kernel_knows_both_ends() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let fd = client.as_raw_fd();
    assert_eq!(
        SocketAddr::from_raw_fd(fd, true).unwrap(),
        listener.local_addr().unwrap().into()
    );
    assert_eq!(
        SocketAddr::from_raw_fd(fd, false).unwrap(),
        client.local_addr().unwrap().into()
    );
    assert_eq!(SocketAddr::from_raw_fd(-1, false), None);

    let (left, _right) = std::os::unix::net::UnixStream::pair().unwrap();
    for peer in [true, false] {
        assert_eq!(SocketAddr::from_raw_fd(left.as_raw_fd(), peer), None);
    }
}

/// A client of a Unix socket has no address, unless it was bound to one.
#[tokio::test]
async fn an_unnamed_end_of_a_unix_socket_has_no_address() {
    use crate::protocols::GetSocketDigest;
    use crate::protocols::l4::{listener::Listener, stream::Stream};
    let folder = std::env::temp_dir().join(format!("unnamed-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (served, named) = (folder.join("served"), folder.join("named"));
    let unix = tokio::net::UnixListener::bind(&served).unwrap();
    let listener = Listener::from(unix);
    let socket = |path| {
        let socket = tokio::net::UnixSocket::new_stream().unwrap();
        if let Some(path) = path {
            socket.bind(path).unwrap();
        }
        socket.connect(&served)
    };
    for (bound, expected) in [(None, None), (Some(&named), Some(&named))] {
        let client = Stream::from(socket(bound).await.unwrap());
        let accepted = listener.accept().await.unwrap();
        let expected = expected.map(|path| path.to_str().unwrap().to_string());
        let path = |address: Option<&SocketAddr>| address.map(ToString::to_string);
        let there = accepted.get_socket_digest().unwrap();
        assert_eq!(path(there.peer_addr()), expected);
        assert_eq!(path(there.local_addr()).as_deref(), served.to_str());
        let here = client.get_socket_digest().unwrap();
        assert_eq!(path(here.local_addr()), expected);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_name_without_an_address_keeps_the_reason() {
    let addr = SocketAddr::unresolved("no such host");
    assert_eq!(addr.unresolved_reason(), Some("no such host"));
    assert_eq!(addr.to_string(), "(unresolved: no such host)");
    assert_eq!(parse("/a").unresolved_reason(), None);
    let long = SocketAddr::unresolved(&"é\0".repeat(300));
    assert!(
        long.unresolved_reason()
            .is_some_and(|r| r.starts_with("é é"))
    );
}
