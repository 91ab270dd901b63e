//! The memory budget of an idle TLS connection.
//!
//! Rust's allocator does not see OpenSSL's allocations, so the growth of a separate process is
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

/// The total memory that an idle connection may hold after it has carried a request, in KiB.
const BUDGET: usize = 20;
/// The number of counted connections: below the default limit on a process's open files.
const CONNECTIONS: usize = 800;

/// The private memory of a process that is in use, in KiB.
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
    let begin = |library: &[&str]| {
        Program::start(
            Command::new(env!("CARGO_BIN_EXE_fixed_proxy"))
                .args(library)
                .args(["--listen-tls", "127.0.0.1:0", "--certificate"])
                .arg(&certificate)
                .arg("--key")
                .arg(&key)
                .arg("--upstream")
                .arg(origin.address().to_string()),
        )
    };
    let versions = [SslVersion::TLS1_2, SslVersion::TLS1_3];
    let libraries: &[&[&str]] = if cfg!(feature = "rustls") {
        &[&[], &["--rustls"]]
    } else {
        &[&[]]
    };
    for (library, version) in libraries
        .iter()
        .flat_map(|library| versions.map(|version| (library, version)))
    {
        // A fresh one: freed memory stays with the process, and would hide later growth.
        let mut proxy = begin(library);
        let address = proxy.addresses()[1];
        let connector = connector(&authority, version);
        let open_all =
            |count: usize| -> Vec<_> { (0..count).map(|_| open(&connector, address)).collect() };
        // Memory shared by all connections is allocated after this one.
        drop(open_all(1));
        let before = resident(proxy.id());
        let clients = open_all(CONNECTIONS);
        let grown = resident(proxy.id()).saturating_sub(before);
        let each = grown as f64 / CONNECTIONS as f64;
        println!("{library:?} {version:?}: {each:.1} KiB for each idle connection");
        assert!(
            grown <= BUDGET * CONNECTIONS,
            "an idle connection holds {each:.1} KiB instead of {BUDGET} at most"
        );
        drop(clients);
    }
}

/// A client that trusts the authority and uses only one version.
fn connector(authority: &Authority, version: SslVersion) -> SslConnector {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
    let trusted = builder.cert_store_mut().add_cert(authority.certificate());
    trusted.unwrap();
    builder.set_min_proto_version(Some(version)).unwrap();
    builder.set_max_proto_version(Some(version)).unwrap();
    builder.build()
}
