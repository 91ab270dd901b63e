//! Which proxies are trusted, and how other connections are treated.

use super::*;
use crate::listeners::bind::bind_address;
use crate::listeners::{
    AcceptedSocket, BoundSocket, ConnectionFilter, ListenAddress, OfClient, ServerAddress,
    Transport,
};
use crate::process::Fds;
use crate::protocols::Stream;
use crate::protocols::l4::socket::SocketAddr as AnyAddr;
use async_trait::async_trait;
use pingora_error::ErrorSource;
use std::io::Write;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use tokio::io::AsyncWriteExt;

const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";

fn loopback() -> ProxyProtocol {
    ProxyProtocol::trusting("127.0.0.0/8".parse().unwrap())
}

/// An endpoint, and how connections become streams there.
struct Endpoint {
    socket: BoundSocket,
    transport: Transport,
}

impl Endpoint {
    fn expecting(expected: ProxyProtocol) -> Self {
        let address = ServerAddress::Tcp("127.0.0.1:0".into(), None);
        Endpoint {
            socket: bind_address(&address, &mut Fds::new()).unwrap(),
            transport: Transport {
                proxy_protocol: Some(Arc::new(expected)),
                ..Transport::plain()
            },
        }
    }

    fn connect(&self) -> (TcpStream, AcceptedSocket) {
        let ListenAddress::Tcp(address) = self.socket.place else {
            panic!("it is TCP")
        };
        let client = TcpStream::connect(address).unwrap();
        let end = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            match crate::sys::descriptor::accept(self.socket.fd.as_fd()) {
                Ok((fd, peer)) => return (client, AcceptedSocket { fd, peer }),
                Err(e) => assert!(std::time::Instant::now() < end, "{e}"),
            }
            std::thread::yield_now();
        }
    }

    async fn establish(&self, accepted: AcceptedSocket) -> Result<Stream> {
        let of_client = self.transport.admit(&accepted);
        let mut of_client = of_client.ok_or_else(|| Error::new(ErrorType::AcceptError))?;
        self.transport.establish(accepted, &mut of_client).await
    }

    /// The result for a connection that begins with these bytes and then ends.
    async fn of(&self, bytes: &[u8]) -> Result<Stream> {
        let (mut client, accepted) = self.connect();
        client.write_all(bytes).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        self.establish(accepted).await
    }
}

fn peer_of(stream: &Stream) -> String {
    let digest = stream.get_socket_digest().unwrap();
    digest.peer_addr().unwrap().to_string()
}

async fn rest_of(mut stream: Stream) -> Vec<u8> {
    let mut rest = vec![];
    stream.read_to_end(&mut rest).await.unwrap();
    rest
}

#[tokio::test]
async fn the_client_that_a_trusted_proxy_names_is_the_peer() {
    let endpoint = Endpoint::expecting(loopback());
    let stream = endpoint.of(&[LINE, b"GET /"].concat()).await.unwrap();
    let digest = stream.get_socket_digest().unwrap();
    assert_eq!(digest.peer_addr().unwrap().to_string(), "192.0.2.1:56324");
    assert_eq!(digest.local_addr().unwrap().to_string(), "198.51.100.1:443");
    let loopback =
        |address: Option<&AnyAddr>| address.unwrap().as_inet().unwrap().ip().is_loopback();
    assert!(loopback(digest.transport_peer_addr()));
    assert!(loopback(digest.transport_local_addr()));
    assert!(digest.tcp_info().is_some());
    assert_eq!(digest.to_proxy_header().source(), digest.peer_addr());
    assert!(digest.proxy_header().is_some());
    assert_eq!(rest_of(stream).await, b"GET /");
}

#[tokio::test]
async fn where_no_client_is_named_the_proxy_is_the_client() {
    let endpoint = Endpoint::expecting(loopback());
    let v2 =
        |header: ProxyHeader| header.encode(crate::protocols::proxy_protocol::ProxyVersion::V2);
    for bytes in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        v2(ProxyHeader::local()),
        v2(ProxyHeader::unknown()),
    ] {
        let stream = endpoint.of(&[&bytes[..], b"x"].concat()).await.unwrap();
        assert!(peer_of(&stream).starts_with("127.0.0.1:"));
        let digest = stream.get_socket_digest().unwrap();
        assert_eq!(digest.peer_addr(), digest.transport_peer_addr());
        assert_eq!(digest.local_addr(), digest.transport_local_addr());
        assert_eq!(rest_of(stream).await, b"x");
    }
}

#[tokio::test]
async fn what_a_trusted_proxy_sends_instead_of_a_header_is_refused() {
    let endpoint = Endpoint::expecting(loopback().longest_header(60));
    let long = ProxyHeader::new("1.1.1.1:1".parse().unwrap(), "1.1.1.1:2".parse().unwrap());
    let long = long.with_tlv(0xe0, &[0; 60]).unwrap();
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x16\x03\x01\0\0",
        b"",
        &LINE[..20],
        b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 99999\r\n",
        &long.encode(crate::protocols::proxy_protocol::ProxyVersion::V2),
        &b"PROXY UNKNOWN ".repeat(9),
    ] {
        let error = endpoint.of(bytes).await.unwrap_err();
        assert_eq!(error.etype(), &ErrorType::HandshakeError);
        assert_eq!(error.esource(), &ErrorSource::Downstream);
        assert!(error.to_string().contains("proxy 127.0.0.1:"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_proxy_has_so_much_time() {
    let endpoint = Endpoint::expecting(loopback().timeout(Duration::from_secs(2)));
    let (mut client, accepted) = endpoint.connect();
    client.write_all(&LINE[..LINE.len() - 1]).unwrap();
    let begun = tokio::time::Instant::now();
    let error = endpoint.establish(accepted).await.unwrap_err();
    assert!(error.to_string().contains("took too long"), "{error}");
    assert_eq!(begun.elapsed().as_secs(), 2);
}

#[tokio::test]
async fn strangers_are_closed_or_are_clients() {
    let nobody = || ProxyProtocol::trusting(Networks::none());
    let strict = Endpoint::expecting(nobody());
    assert!(strict.of(LINE).await.is_err());

    let open = Endpoint::expecting(nobody().admit_others());
    let stream = open.of(LINE).await.unwrap();
    assert!(peer_of(&stream).starts_with("127.0.0.1:"));
    assert!(stream.get_socket_digest().unwrap().proxy_header().is_none());
    assert_eq!(rest_of(stream).await, LINE, "it is data");
}

#[test]
fn a_unix_socket_is_trusted_where_that_was_said() {
    for (expected, origin) in [
        (loopback(), PeerRole::Stranger),
        (loopback().admit_others(), PeerRole::Client),
        (loopback().trust_unix(), PeerRole::Proxy),
    ] {
        assert_eq!(expected.role_of(None), origin);
    }
    let mapped = "[::ffff:127.0.0.1]:1".parse().unwrap();
    assert_eq!(loopback().role_of(Some(mapped)), PeerRole::Proxy);
}

#[tokio::test]
async fn a_header_over_a_unix_socket_names_the_client_too() {
    let (client, server) = std::os::unix::net::UnixStream::pair().unwrap();
    server.set_nonblocking(true).unwrap();
    client.set_nonblocking(true).unwrap();
    let accepted = AcceptedSocket {
        fd: server.into(),
        peer: None,
    };
    let mut client = tokio::net::UnixStream::from_std(client).unwrap();
    client.write_all(LINE).await.unwrap();
    let endpoint = Endpoint::expecting(loopback().trust_unix());
    let stream = endpoint.establish(accepted).await.unwrap();
    assert_eq!(peer_of(&stream), "192.0.2.1:56324");
    let digest = stream.get_socket_digest().unwrap();
    assert_eq!(digest.transport_peer_addr(), None);
}

/// Records the clients that it was called with, and admits one.
#[derive(Debug, Default)]
struct Asked(Mutex<Vec<Option<SocketAddr>>>);

#[async_trait]
impl ConnectionFilter for Asked {
    async fn should_accept(&self, addr: Option<&SocketAddr>) -> bool {
        self.0.lock().unwrap().push(addr.copied());
        addr.is_none_or(|addr| addr.port() == 56324)
    }
}

#[tokio::test]
async fn the_filter_is_asked_about_the_real_client() {
    let asked = Arc::new(Asked::default());
    let mut endpoint = Endpoint::expecting(loopback());
    endpoint.transport.filter = Some(asked.clone());
    endpoint.of(LINE).await.unwrap();
    let other = b"PROXY TCP6 2001:db8::1 ::1 7 443\r\n";
    assert!(endpoint.of(other).await.is_err());
    let unix = ProxyHeader::new("/a".parse().unwrap(), "/b".parse().unwrap());
    let unix = unix.encode(crate::protocols::proxy_protocol::ProxyVersion::V2);
    endpoint.of(&unix).await.unwrap();
    let asked = asked.0.lock().unwrap();
    let expected = ["192.0.2.1:56324", "[2001:db8::1]:7"].map(|text| text.parse().ok());
    assert_eq!(asked[..], [&expected[..], &[None]].concat());
}

/// The proxy is not counted, so it may have any number of connections; its client is.
#[tokio::test]
async fn the_real_client_is_counted() {
    let endpoint = Endpoint::expecting(loopback());
    let nobody = format!("{:?}", OfClient::unlimited());
    for (bytes, counted) in [(LINE, true), (b"PROXY UNKNOWN\r\n", false)] {
        let (mut client, accepted) = endpoint.connect();
        client.write_all(bytes).unwrap();
        let mut of_client = endpoint.transport.admit(&accepted).unwrap();
        assert_eq!(format!("{of_client:?}"), nobody);
        let established = endpoint.transport.establish(accepted, &mut of_client);
        established.await.unwrap();
        assert_eq!(format!("{of_client:?}") != nobody, counted);
    }
}
