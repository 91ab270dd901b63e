//! Accepting: endpoints, filters, running out of descriptors.

use super::bind::{bind_address, check_address};
use super::*;
use crate::protocols::l4::ext::{self, TcpKeepalive};
use nix::sys::socket::{getsockopt, sockopt};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A path that no other test uses.
fn fresh_path() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("listeners-{}-{n}.sock", std::process::id()))
}

fn tcp(address: &str) -> ServerAddress {
    ServerAddress::Tcp(address.into(), None)
}

fn inet(socket: &BoundSocket) -> SocketAddr {
    match socket.place {
        ListenAddress::Tcp(address) => address,
        _ => panic!("not TCP"),
    }
}

fn refusal(address: &ServerAddress) -> String {
    let error = bind_address(address, &mut Fds::new()).unwrap_err();
    assert!(error.cause.is_none());
    let message = error.context.unwrap().as_str().to_string();
    assert_eq!(message.lines().count(), 1);
    assert!(message.contains(address.as_ref()), "{message}");
    message
}

#[test]
fn port_zero_is_a_free_port_and_every_socket_its_own() {
    let mut fds = Fds::new();
    let one = bind_address(&tcp("127.0.0.1:0"), &mut fds).unwrap();
    let two = bind_address(&tcp("127.0.0.1:0"), &mut fds).unwrap();
    assert_ne!(inet(&one), inet(&two));
    assert_ne!(inet(&one).port(), 0);
    assert_eq!(fds.get("127.0.0.1:0"), Some(&one.fd.as_raw_fd()));
    assert_eq!(fds.get("127.0.0.1:0#2"), Some(&two.fd.as_raw_fd()));
    TcpStream::connect(inet(&one)).unwrap();
}

#[test]
fn names_are_resolved() {
    let socket = bind_address(&tcp("localhost:0"), &mut Fds::new()).unwrap();
    assert!(inet(&socket).ip().is_loopback());
}

#[test]
fn a_refused_address_is_named_with_the_reason() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let message = refusal(&tcp(&taken.local_addr().unwrap().to_string()));
    assert!(message.contains("Address already in use"), "{message}");
    assert!(message.contains("is another server running?"), "{message}");

    for bad in [
        "127.0.0.1",
        "127.0.0.1:99999",
        "nonsense",
        ":",
        "[::1",
        "127.0.0.1:http",
    ] {
        let message = refusal(&tcp(bad));
        assert!(message.contains("not an address"), "{message}");
        assert!(check_address(bad).is_err());
    }
    // 192.0.2.0/24 is for documentation (RFC 5737).
    assert!(refusal(&tcp("192.0.2.1:0")).contains("does not have that address"));
}

#[test]
fn addresses_are_checked_without_listening() {
    for good in [
        "127.0.0.1:1",
        "[::]:80",
        "0.0.0.0:443",
        "localhost:80",
        "/run/proxy.sock",
        "@proxy",
    ] {
        check_address(good).unwrap();
    }
    assert!(check_address(&format!("/{}", "long".repeat(40))).is_err());
}

#[test]
fn socket_options_are_set_and_connections_inherit_them() {
    let options = TcpSocketOptions {
        tcp_fastopen: Some(8),
        tcp_keepalive: Some(TcpKeepalive {
            idle: Duration::from_secs(31),
            interval: Duration::from_secs(7),
            count: 3,
            user_timeout: Duration::from_millis(4500),
        }),
        dscp: Some(10),
        so_reuseport: Some(true),
        tcp_snd_buf: Some(40_000),
        tcp_recv_buf: Some(50_000),
        ..TcpSocketOptions::default()
    };
    let address = ServerAddress::Tcp("127.0.0.1:0".into(), Some(options.clone()));
    let socket = bind_address(&address, &mut Fds::new()).unwrap();
    assert!(getsockopt(&socket.fd, sockopt::ReusePort).unwrap());
    let again = ServerAddress::Tcp(inet(&socket).to_string(), Some(options));
    bind_address(&again, &mut Fds::new()).expect("SO_REUSEPORT lets two listen");

    let _client = TcpStream::connect(inet(&socket)).unwrap();
    let (accepted, _) = wait_and_accept(&socket);
    assert!(getsockopt(&accepted, sockopt::TcpNoDelay).unwrap());
    assert!(getsockopt(&accepted, sockopt::KeepAlive).unwrap());
    assert_eq!(getsockopt(&accepted, sockopt::TcpKeepIdle).unwrap(), 31);
    assert_eq!(getsockopt(&accepted, sockopt::TcpKeepInterval).unwrap(), 7);
    assert_eq!(getsockopt(&accepted, sockopt::TcpKeepCount).unwrap(), 3);
    assert_eq!(
        getsockopt(&accepted, sockopt::TcpUserTimeout).unwrap(),
        4500
    );
    assert_eq!(getsockopt(&accepted, sockopt::Ipv4Tos).unwrap(), 40);
    // The kernel doubles the requested size.
    assert_eq!(getsockopt(&accepted, sockopt::SndBuf).unwrap(), 80_000);
    assert_eq!(getsockopt(&accepted, sockopt::RcvBuf).unwrap(), 100_000);
}

/// Either of the two sockets of a reuse group may get a connection; here there is only one.
fn wait_and_accept(socket: &BoundSocket) -> (std::os::fd::OwnedFd, Option<SocketAddr>) {
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    loop {
        match crate::sys::descriptor::accept(socket.fd.as_fd()) {
            Ok(accepted) => return accepted,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                assert!(std::time::Instant::now() < deadline, "no connection");
                std::thread::yield_now();
            }
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn a_unix_socket_has_the_permissions_it_was_given() {
    for (given, mode) in [(Some(0o600), 0o600), (None, 0o666)] {
        let path = fresh_path();
        let address = ServerAddress::Uds(
            path.to_str().unwrap().into(),
            given.map(Permissions::from_mode),
        );
        let socket = bind_address(&address, &mut Fds::new()).unwrap();
        let found = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode);
        UnixStream::connect(&path).unwrap();
        assert_eq!(socket.place.to_string(), path.to_str().unwrap());
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn an_abstract_socket_has_no_file_and_is_passed_on_by_its_name() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("@listeners-{}", std::process::id());
    let address = ServerAddress::Uds(name.clone(), None);
    let mut fds = Fds::new();
    let socket = bind_address(&address, &mut fds).unwrap();
    assert_eq!(
        (socket.place.to_string(), &socket.name),
        (name.clone(), &name)
    );
    let there = std::os::unix::net::SocketAddr::from_abstract_name(&name[1..]).unwrap();
    UnixStream::connect_addr(&there).unwrap();
    assert!(refusal(&address).contains("Address already in use"));
    assert!(!PathBuf::from(&name).exists());

    let (names, passed) = fds.serialize();
    let mut next = Fds::new();
    next.deserialize(names, passed);
    let taken = bind_address(&address, &mut next).unwrap();
    assert_eq!(taken.name, name);
    std::mem::forget(socket); // its descriptor belongs to `taken` now
    UnixStream::connect_addr(&there).unwrap();
}

#[test]
fn a_stale_unix_socket_is_replaced_and_nothing_else() {
    let path = fresh_path();
    let address = ServerAddress::Uds(path.to_str().unwrap().into(), None);
    drop(UnixListener::bind(&path).unwrap());
    let socket = bind_address(&address, &mut Fds::new()).expect("nobody listened on it");
    assert!(refusal(&address).contains("Address already in use"));
    drop(socket);
    std::fs::remove_file(&path).unwrap();

    std::fs::write(&path, "precious").unwrap();
    assert!(refusal(&address).contains("not a socket"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();

    let nowhere = ServerAddress::Uds("/nonexistent/directory/x.sock".into(), None);
    assert!(refusal(&nowhere).contains("No such file"));
}

#[test]
fn a_socket_that_was_passed_is_used_instead_of_a_new_one() {
    let passed = TcpListener::bind("127.0.0.1:0").unwrap();
    let real = passed.local_addr().unwrap();
    let mut fds = Fds::new();
    fds.add("127.0.0.1:80".into(), passed.into_raw_fd());
    let socket = bind_address(&tcp("127.0.0.1:80"), &mut fds).unwrap();
    assert_eq!(inet(&socket), real);
    assert_eq!(socket.name, "127.0.0.1:80");
    let status = nix::fcntl::fcntl(&socket.fd, nix::fcntl::FcntlArg::F_GETFL).unwrap();
    let status = nix::fcntl::OFlag::from_bits_retain(status);
    assert!(status.contains(nix::fcntl::OFlag::O_NONBLOCK));
}

#[test]
fn endpoints_are_collected_in_order() {
    let mut listeners = Listeners::tcp("127.0.0.1:0");
    listeners.add_uds("/tmp/x.sock", None);
    listeners.add_address(tcp("[::1]:0"));
    listeners.add_listener(
        ListenerConfig::tcp("127.0.0.1:1")
            .tcp_socket_options(TcpSocketOptions::default())
            .permissions(Permissions::from_mode(0o600))
            .l4_buffer(L4BufferSettings::unbuffered()),
    );
    listeners.add_endpoint(ServerAddress::Uds("/tmp/y.sock".into(), None), None);
    assert_eq!(
        listeners.addresses(),
        [
            "127.0.0.1:0",
            "/tmp/x.sock",
            "[::1]:0",
            "127.0.0.1:1",
            "/tmp/y.sock"
        ]
    );
}

#[derive(Debug)]
struct Moody;

#[async_trait::async_trait]
impl ConnectionFilter for Moody {
    async fn should_accept(&self, addr: Option<&SocketAddr>) -> bool {
        let port = addr.map_or(1, SocketAddr::port);
        assert_ne!(port, 666, "a filter with a fault");
        if port == 3 {
            std::future::pending::<()>().await;
        }
        port == 1
    }
}

#[tokio::test(start_paused = true)]
async fn a_filter_decides_and_may_panic_or_take_for_ever() {
    let transport = Transport {
        filter: Some(Arc::new(Moody)),
        ..Transport::plain()
    };
    let outcome = async |peer: Option<&str>| {
        let (socket, _) = std::os::unix::net::UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let accepted = AcceptedSocket {
            fd: socket.into(),
            peer: peer.map(|p| p.parse().unwrap()),
        };
        match transport
            .establish(accepted, &mut OfClient::unlimited())
            .await
        {
            Ok(_) => "let in".to_string(),
            Err(e) => e.to_string(),
        }
    };
    for (peer, expected) in [
        (Some("1.2.3.4:1"), "let in"),
        (Some("1.2.3.4:2"), "does not let it in"),
        (Some("1.2.3.4:3"), "took too long"),
        (Some("1.2.3.4:666"), "panicked"),
        (None, "let in"),
    ] {
        let outcome = outcome(peer).await;
        assert!(outcome.contains(expected), "{peer:?}: {outcome}");
    }
    let anybody = "1.2.3.4:2".parse().unwrap();
    assert!(AcceptAllFilter.should_accept(Some(&anybody)).await);
}

/// The socket's setting for holding connections back, after the endpoint was prepared.
#[cfg(target_os = "linux")]
fn holds_back(transport: &mut Transport, client_speaks_first: bool) -> bool {
    let socket = bind_address(&tcp("127.0.0.1:0"), &mut Fds::new()).unwrap();
    // The previous server may have left it like this.
    ext::defer_accept(socket.fd.as_raw_fd(), true).unwrap();
    transport.prepare(&socket, client_speaks_first);
    let fd = socket.fd.as_raw_fd();
    let option = libc::TCP_DEFER_ACCEPT;
    let seconds = crate::sys::socket::get_int(fd, libc::IPPROTO_TCP, option).unwrap();
    assert_eq!(seconds > 0, transport.is_deferred);
    seconds > 0
}

#[cfg(target_os = "linux")]
#[test]
fn connections_are_held_back_where_clients_speak_first() {
    let pre_tls = || Transport {
        pre_tls: Some(Arc::new(Endless)),
        ..Transport::plain()
    };
    assert!(holds_back(&mut Transport::plain(), true));
    assert!(!holds_back(&mut Transport::plain(), false));
    assert!(
        !holds_back(&mut pre_tls(), true),
        "it may want to speak first"
    );
    for wanted in [true, false] {
        for mut transport in [Transport::plain(), pre_tls()] {
            transport.defer_accept = Some(wanted);
            assert_eq!(holds_back(&mut transport, !wanted), wanted, "as was said");
        }
    }
    let path = fresh_path();
    let address = ServerAddress::Uds(path.display().to_string(), None);
    let socket = bind_address(&address, &mut Fds::new()).unwrap();
    let mut transport = Transport::plain();
    transport.prepare(&socket, true);
    assert!(!transport.is_deferred, "not on Unix sockets");
    std::fs::remove_file(path).unwrap();
}

/// Keeps every client waiting.
struct Endless;

#[async_trait]
impl PreTlsProcess for Endless {
    async fn process(&self, _stream: &mut L4Stream) -> Result<()> {
        std::future::pending().await
    }
}

/// Reads the first byte, like a reader of the PROXY protocol header.
struct FirstByte;

#[async_trait]
impl PreTlsProcess for FirstByte {
    async fn process(&self, stream: &mut L4Stream) -> Result<()> {
        use tokio::io::AsyncReadExt;
        let first = stream.read_u8().await;
        match first {
            Ok(b'P') => Ok(()),
            _ => pingora_error::Error::err(pingora_error::ErrorType::HandshakeError),
        }
    }
}

async fn established(callback: PreTlsCallback, says: &[u8]) -> Result<crate::protocols::Stream> {
    use std::io::Write;
    let socket = bind_address(&tcp("127.0.0.1:0"), &mut Fds::new()).unwrap();
    let mut client = TcpStream::connect(inet(&socket)).unwrap();
    client.write_all(says).unwrap();
    let (fd, peer) = wait_and_accept(&socket);
    let mut transport = Transport::plain();
    transport.pre_tls = Some(callback);
    let accepted = AcceptedSocket { fd, peer };
    transport
        .establish(accepted, &mut OfClient::unlimited())
        .await
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_a_deadline() {
    use pingora_error::{ErrorSource, ErrorType};
    let error = established(Arc::new(Endless), b"").await.unwrap_err();
    assert_eq!(error.etype(), &ErrorType::TLSHandshakeTimedout);
    assert_eq!(error.esource(), &ErrorSource::Downstream);
}

#[tokio::test]
async fn what_comes_before_the_handshake_is_read_and_may_be_refused() {
    use tokio::io::AsyncReadExt;
    let mut stream = established(Arc::new(FirstByte), b"Prest").await.unwrap();
    let mut rest = [0; 4];
    stream.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b"rest");
    assert!(established(Arc::new(FirstByte), b"Q").await.is_err());
}
