//! The memory budget of a connection, checked by counting allocations.
//!
//! A separate program with a single test: anything else that runs in the process would be counted
//! too.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on ends by panicking"
)]

mod allocator;

use allocator::InUse;
use pingora_tests::{FixedUpstream, PATIENCE, TestServer, proxy};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// The heap memory that an idle plain connection to a client may hold, in bytes, after it has carried a
/// request: its task, its session and the runtime's state for its socket. (2,146 measured; bounds of
/// endpoints, the PROXY protocol and the cells of `SocketDigest` take about a hundred.)
const BUDGET: isize = 2176;
/// The amount that may remain after they were closed, per connection: a few buffers shared by all
/// of them that were allocated meanwhile.
const LEFT_OVER: isize = 48;
/// Connections that are counted.
const CONNECTIONS: usize = 400;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Type: text/plain\r\n\
    Content-Length: 5\r\n\r\nhello";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: memory/1\r\n\
    Accept: */*\r\nAccept-Encoding: gzip, deflate, br\r\nCookie: session=0123456789abcdef\r\n\r\n";

/// An origin that allocates nothing per request.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = |mut stream: TcpStream| {
        let mut buf = [0; 4096];
        while stream.read(&mut buf).is_ok_and(|n| n > 0) {
            stream.write_all(ANSWER).unwrap();
        }
    };
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Opens a connection and has one request answered on it.
fn open(proxy: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(proxy).unwrap();
    client.write_all(REQUEST).unwrap();
    let mut buf = [0; 4096];
    let mut got = 0;
    while !buf[..got].ends_with(b"hello") {
        let n = client.read(&mut buf[got..]).unwrap();
        assert!(n > 0, "the proxy closed the connection");
        got += n;
    }
    client
}

fn open_all(proxy: &TestServer, clients: &mut Vec<TcpStream>) {
    clients.extend((0..CONNECTIONS).map(|_| open(proxy.address())));
}

/// Polls until at most `bytes` per connection are in use that were not in use `before`, or the time
/// is up; returns the amount.
async fn settle(before: &InUse, bytes: isize) -> (isize, InUse) {
    let end = Instant::now() + PATIENCE;
    loop {
        let now = InUse::now();
        let each = (now.bytes - before.bytes) / CONNECTIONS as isize;
        if each <= bytes || Instant::now() > end {
            return (each, now);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_idle_connection_keeps_to_its_budget_and_a_closed_one_leaves_nothing() {
    let proxy = proxy(FixedUpstream(origin())).await;
    let mut clients = Vec::with_capacity(CONNECTIONS);
    let fresh = InUse::now();
    // Memory that grows with the maximum number of connections has grown after this.
    for _ in 0..3 {
        open_all(&proxy, &mut clients);
        clients.clear();
        settle(&fresh, BUDGET / 4).await;
    }
    let before = InUse::now();

    open_all(&proxy, &mut clients);
    let (each, idle) = settle(&before, BUDGET).await;
    let sizes = idle.by_size(&before, CONNECTIONS);
    println!("{each} bytes for each idle connection:\n{sizes}");
    assert!(
        each <= BUDGET,
        "an idle connection holds {each} bytes instead of {BUDGET} at most:\n{sizes}"
    );

    clients.clear();
    let (each, closed) = settle(&before, LEFT_OVER).await;
    let sizes = closed.by_size(&before, CONNECTIONS);
    assert!(
        each <= LEFT_OVER,
        "a closed connection leaves {each} bytes behind:\n{sizes}"
    );
}
