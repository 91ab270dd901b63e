//! The memory budget of an idle TLS connection.
//!
//! What OpenSSL allocates is seen by no allocator of Rust's, so the growth of a process of its own is
//! measured.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that can't go on ends by panicking"
)]

use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVersion};
use pingora_tests::{Authority, Origin, Program};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

/// What an idle connection may hold after it has carried a request, in KiB, all together.
const BUDGET: usize = 20;
/// Connections that are counted: fewer than a process may have files by default.
const CONNECTIONS: usize = 800;

/// The memory of a process that is its own and in use, in KiB.
fn resident(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let figure = line.and_then(|line| line.split_whitespace().next());
    figure.unwrap().parse().unwrap()
}

/// Opens a connection and has one request answered on it.
fn open(connector: &SslConnector, address: SocketAddr) -> SslStream<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    let mut client = connector.connect("one.example", stream).unwrap();
    let request = b"GET /length/5 HTTP/1.1\r\nHost: one.example\r\nUser-Agent: memory/1\r\n\r\n";
    client.write_all(request).unwrap();
    let mut answer = Vec::new();
    let mut buf = [0; 4096];
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") || answer.len() < 64 {
        let count = client.read(&mut buf).unwrap();
        assert!(count > 0, "the proxy closed the connection");
        answer.extend_from_slice(&buf[..count]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{answer:?}");
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_tls_connection_keeps_to_its_budget() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue(&["one.example"]);
    let origin = Origin::well_behaved().await;
    let begin = || {
        Program::start(
            Command::new(env!("CARGO_BIN_EXE_fixed_proxy"))
                .args(["--listen-tls", "127.0.0.1:0", "--certificate"])
                .arg(&certificate)
                .arg("--key")
                .arg(&key)
                .arg("--upstream")
                .arg(origin.address().to_string()),
        )
    };
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        // A fresh one: what was freed stays with the process, and would hide what comes after.
        let mut proxy = begin();
        let address = proxy.addresses()[1];
        let connector = connector(&authority, version);
        let open_all =
            |count: usize| -> Vec<_> { (0..count).map(|_| open(&connector, address)).collect() };
        // What all connections share has come to be after this one.
        drop(open_all(1));
        let before = resident(proxy.id());
        let clients = open_all(CONNECTIONS);
        let grown = resident(proxy.id()).saturating_sub(before);
        let each = grown as f64 / CONNECTIONS as f64;
        println!("{version:?}: {each:.1} KiB for each idle connection");
        assert!(
            grown <= BUDGET * CONNECTIONS,
            "an idle connection holds {each:.1} KiB instead of {BUDGET} at most"
        );
        drop(clients);
    }
}

/// A client that trusts the authority and speaks one version.
fn connector(authority: &Authority, version: SslVersion) -> SslConnector {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
    let trusted = builder.cert_store_mut().add_cert(authority.certificate());
    trusted.unwrap();
    builder.set_min_proto_version(Some(version)).unwrap();
    builder.set_max_proto_version(Some(version)).unwrap();
    builder.build()
}
