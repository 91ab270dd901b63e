//! Bounds on connections, observed from outside.

use pingora::listeners::ListenerConfig;
use pingora::server::configuration::ServerConf;
use pingora_tests::{Connection, FixedUpstream, Origin, PATIENCE, Program, proxy_with};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

const REQUEST: &[u8] = b"GET /length/5 HTTP/1.1\r\nHost: a\r\n\r\n";

/// A connection from this address of this machine.
async fn connect(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let connecting = socket.connect(to);
    timeout(PATIENCE, connecting).await.unwrap().unwrap()
}

/// Whether a request is answered; if not, the connection was closed without a byte.
async fn is_served(stream: &mut TcpStream) -> bool {
    // Either call may report that the client is turned away.
    let _ = stream.write_all(REQUEST).await;
    let mut answer = Vec::new();
    // A head, and a body of five bytes.
    let is_whole = |answer: &[u8]| {
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        end.is_some_and(|end| answer.len() >= end + 4 + 5)
    };
    while !is_whole(&answer) {
        let read = timeout(PATIENCE, stream.read_buf(&mut answer));
        let read = read.await.expect("it is answered or closed in time");
        if !read.is_ok_and(|count| count > 0) {
            assert_eq!(answer, b"", "it is closed without a byte");
            return false;
        }
    }
    answer.starts_with(b"HTTP/1.1 200")
}

/// Retries until a connection is served: the end of an earlier one takes a moment to be noticed.
async fn served_at_last(from: IpAddr, to: SocketAddr) -> TcpStream {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut stream = connect(from, to).await;
        if is_served(&mut stream).await {
            return stream;
        }
        assert!(Instant::now() < end, "nobody is served any more");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

#[tokio::test]
async fn an_endpoint_has_so_many_connections_and_each_client_its_share() {
    let origin = Origin::well_behaved().await;
    let proxy = proxy_with(
        ServerConf::default(),
        FixedUpstream(origin.address()),
        |service| {
            let endpoint = ListenerConfig::tcp("127.0.0.1:0");
            service.add_listener(endpoint.connections(3).connections_per_client(2));
        },
    )
    .await;
    let (free, bound) = (proxy.addresses()[0], proxy.addresses()[1]);
    let mut first = served_at_last(ONE, bound).await;
    let second = served_at_last(ONE, bound).await;
    let mut third = connect(ONE, bound).await;
    assert!(!is_served(&mut third).await, "the client's share is two");
    let _of_another = served_at_last(OTHER, bound).await;
    let mut fifth = connect(OTHER, bound).await;
    assert!(
        !is_served(&mut fifth).await,
        "the endpoint's share is three"
    );
    // Neither other clients nor other endpoints are affected.
    assert!(is_served(&mut first).await);
    assert!(is_served(&mut connect(ONE, free).await).await);
    drop(second);
    let _again = served_at_last(OTHER, bound).await;
}

/// A proxy as a separate process, with these lines in its configuration.
fn configured(lines: &str, upstream: SocketAddr, folder: &tempfile::TempDir) -> Program {
    let file = folder.path().join("conf.yaml");
    std::fs::write(&file, lines).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fixed_proxy"));
    command.args(["--upstream", &upstream.to_string()]);
    Program::start(command.arg("--conf").arg(&file))
}

#[tokio::test]
async fn a_process_has_so_many_connections() {
    let origin = Origin::well_behaved().await;
    let folder = tempfile::tempdir().unwrap();
    let mut program = configured("threads: 1\nconnections: 2\n", origin.address(), &folder);
    let address = program.addresses()[0];
    let mut first = served_at_last(ONE, address).await;
    let second = served_at_last(OTHER, address).await;
    for _ in 0..5 {
        assert!(!is_served(&mut connect(ONE, address).await).await);
    }
    assert!(is_served(&mut first).await);
    drop(second);
    let _again = served_at_last(ONE, address).await;
    program.has_not_panicked();
}

/// An address of this machine that is not a loopback address. Nothing is sent.
fn address_of_this_machine() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[tokio::test]
async fn a_client_has_so_many_connections_to_a_process() {
    let Some(foreign) = address_of_this_machine() else {
        eprintln!("this machine has loopback addresses only: nobody is counted");
        return;
    };
    let origin = Origin::well_behaved().await;
    let folder = tempfile::tempdir().unwrap();
    let lines = "threads: 1\nconnections_per_client: 2\n";
    let mut program = configured(lines, origin.address(), &folder);
    let address = program.addresses()[0];
    let mut first = served_at_last(foreign, address).await;
    let second = served_at_last(foreign, address).await;
    for _ in 0..5 {
        assert!(!is_served(&mut connect(foreign, address).await).await);
    }
    assert!(is_served(&mut first).await);
    // Connections from this machine are not counted.
    let mut own = Vec::new();
    for _ in 0..5 {
        own.push(Connection::to(address).await);
    }
    for connection in &mut own {
        assert_eq!(connection.ask(REQUEST).await.status(), 200);
    }
    drop(second);
    let _again = served_at_last(foreign, address).await;
    program.has_not_panicked();
}
