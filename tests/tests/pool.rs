//! Connections to upstreams that are kept for later requests, observed through a proxy.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use pingora::prelude::*;
use pingora::protocols::ALPN;
use pingora::server::configuration::ServerConf;
use pingora::tls::x509::X509;
use pingora::upstreams::peer::Peer;
use pingora_tests::{
    Authority, Connection, FixedUpstream, Message, Nginx, Origin, TestServer, eventually, proxy,
    proxy_with,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

async fn get(connection: &mut Connection, fields: &str) -> Message {
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    connection.ask(request).await
}

/// Sends this many requests, over as many connections as `clients`.
async fn ask(server: &TestServer, path: &str, times: usize, clients: usize) {
    let mut tasks = Vec::new();
    for _ in 0..clients {
        let address = server.address();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        tasks.push(tokio::spawn(async move {
            let mut connection = Connection::to(address).await;
            for _ in 0..times / clients {
                assert_eq!(connection.ask(&request).await.status(), 200);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn clients_share_the_connections_that_are_kept() {
    for (work_stealing, threads) in [(true, 2), (false, 1)] {
        let origin = Origin::well_behaved().await;
        let conf = ServerConf {
            work_stealing,
            threads,
            ..ServerConf::default()
        };
        let server = proxy_with(conf, FixedUpstream(origin.address()), |_| {}).await;
        for _ in 0..50 {
            let mut client = server.connect().await;
            get(&mut client, "Connection: close\r\n").await;
            // By then, the connection to the origin has been given back.
            client.closed().await;
        }
        assert_eq!(origin.connections(), 1, "work_stealing: {work_stealing}");
        ask(&server, "/", 400, 4).await;
        // As many as are busy at a time. A worker does not wait for the lock of another one, and connects if it
        // is taken at that moment: seldom, but it happens.
        let most = if threads == 1 { 4 } else { 20 };
        assert!(
            origin.connections() <= most,
            "{} connections, work_stealing: {work_stealing}",
            origin.connections()
        );
    }
}

/// The request determines its destination, and the options.
struct Demanding {
    addresses: Vec<SocketAddr>,
    tls: bool,
    authority: Option<Authority>,
}

#[async_trait]
impl ProxyHttp for Demanding {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let text =
            |name: &str| String::from_utf8_lossy(session.get_header_bytes(name)).into_owned();
        let index: usize = text("X-Index").parse().unwrap_or(0);
        let mut peer = HttpPeer::new(self.addresses[index], self.tls, text("X-Sni"));
        peer.group_key = text("X-Group").parse().unwrap_or(0);
        if let Some(options) = peer.get_mut_peer_options() {
            let ca = self.authority.as_ref().filter(|_| text("X-Ca").is_empty());
            options.ca = ca.map(|ca| Arc::new(vec![ca.certificate()].into_boxed_slice()));
            options.verify_cert = text("X-Verify") != "no";
            options.verify_hostname = text("X-Verify") != "chain";
        }
        Ok(Box::new(peer))
    }
}

#[tokio::test]
async fn connections_to_other_addresses_or_of_other_groups_are_never_shared() {
    let (one, two) = (Origin::well_behaved().await, Origin::well_behaved().await);
    let server = proxy(Demanding {
        addresses: vec![one.address(), two.address()],
        tls: false,
        authority: None,
    })
    .await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        for fields in [
            "X-Index: 0\r\n",
            "X-Index: 1\r\n",
            "X-Index: 0\r\nX-Group: 7\r\n",
        ] {
            assert_eq!(get(&mut client, fields).await.status(), 200);
        }
    }
    assert_eq!((one.connections(), two.connections()), (2, 1));
}

#[tokio::test]
async fn tls_connections_are_shared_only_where_name_and_verification_are_the_same() {
    let authority = Authority::new();
    let files = authority.issue(&["one.example", "two.example"]);
    // nginx identifies connections by their number.
    let nginx = Nginx::with_tls(&files, "location / { return 200 \"$connection\"; }");
    let server = proxy(Demanding {
        addresses: vec![nginx.address()],
        tls: true,
        authority: Some(authority),
    })
    .await;
    let mut client = server.connect().await;
    let wishes = [
        "X-Sni: one.example\r\n",
        "X-Sni: two.example\r\n",
        "X-Sni: one.example\r\nX-Verify: no\r\n",
        "X-Sni: one.example\r\nX-Verify: chain\r\n",
        "X-Sni: one.example\r\nX-Group: 1\r\n",
    ];
    let mut connections = Vec::new();
    for fields in wishes {
        let answer = get(&mut client, fields).await;
        assert_eq!(answer.status(), 200, "{fields}");
        connections.push(answer.text().to_string());
    }
    for (index, connection) in connections.iter().enumerate() {
        assert!(
            !connections[..index].contains(connection),
            "shared: {connections:?}"
        );
    }
    // And each request finds its own connection again.
    for (fields, connection) in wishes.iter().zip(&connections) {
        assert_eq!(get(&mut client, fields).await.text(), connection);
    }
    // A connection whose peer was not verified must not be used by requests that verify.
    for fields in [
        "X-Sni: one.example\r\nX-Ca: none\r\n",
        "X-Sni: three.example\r\n",
    ] {
        let unverified = format!("{fields}X-Verify: no\r\n");
        assert_eq!(get(&mut client, &unverified).await.status(), 200);
        assert_eq!(get(&mut client, fields).await.status(), 502, "{fields}");
    }
}

/// Trusts one of two authorities, as the path says.
struct Trusting {
    origin: SocketAddr,
    alpn: ALPN,
    authorities: [Arc<Box<[X509]>>; 2],
}

#[async_trait]
impl ProxyHttp for Trusting {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let is_other = session.req_header().uri.path() == "/other";
        let mut peer = HttpPeer::new(self.origin, true, "back.example".to_string());
        peer.options.ca = Some(self.authorities[usize::from(is_other)].clone());
        peer.options.alpn = self.alpn.clone();
        peer.options.max_h2_streams = 100;
        Ok(Box::new(peer))
    }
}

/// A connection that is kept, or that streams share, is for those who trust whom it was made under.
#[tokio::test]
async fn a_connection_is_not_used_by_those_who_trust_others() {
    let (authority, other) = (Authority::new(), Authority::named("Other"));
    let origin = Origin::over_tls(&authority, "back.example", &["h2", "http/1.1"]).await;
    for alpn in [ALPN::H1, ALPN::H2] {
        let trusted = |one: &Authority| Arc::new(vec![one.certificate()].into_boxed_slice());
        let server = proxy(Trusting {
            origin: origin.address(),
            alpn: alpn.clone(),
            authorities: [trusted(&authority), trusted(&other)],
        })
        .await;
        let before = origin.connections();
        let mut client = server.connect().await;
        for (path, status) in [("/", 200), ("/other", 502), ("/", 200), ("/other", 502)] {
            let answer = client
                .ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
                .await;
            assert_eq!(answer.status(), status, "{path} {alpn:?}");
        }
        // One that is used, and two handshakes that failed.
        assert_eq!(origin.connections(), before + 3, "{alpn:?}");
        assert!(origin.requests().iter().all(|it| it.target() == "/"));
    }
}

/// Keeps idle connections for this time.
struct Forgetful(SocketAddr, Option<Duration>);

#[async_trait]
impl ProxyHttp for Forgetful {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(self.0, false, String::new());
        if let Some(options) = peer.get_mut_peer_options() {
            options.idle_timeout = self.1;
        }
        Ok(Box::new(peer))
    }
}

#[tokio::test]
async fn idle_connections_are_closed_in_their_time() {
    const IDLE: Duration = Duration::from_millis(300);
    let origin = Origin::well_behaved().await;
    let server = proxy(Forgetful(origin.address(), Some(IDLE))).await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        get(&mut client, "").await;
    }
    let begun = Instant::now();
    assert_eq!((origin.connections(), origin.open_connections()), (1, 1));
    origin.wait_until_unused().await;
    let took = begun.elapsed();
    assert!(took >= IDLE / 2, "closed after {took:?}");
    assert!(
        took < IDLE + Duration::from_secs(3),
        "closed after {took:?}"
    );
    assert_eq!(get(&mut client, "").await.status(), 200);

    // Zero: no connection is kept.
    let origin = Origin::well_behaved().await;
    let server = proxy(Forgetful(origin.address(), Some(Duration::ZERO))).await;
    ask(&server, "/", 3, 1).await;
    assert_eq!(origin.connections(), 3);
    origin.wait_until_unused().await;
}

#[tokio::test]
async fn no_more_are_kept_than_the_configuration_says() {
    for (capacity, work_stealing) in [(0, true), (2, true), (2, false), (100, true)] {
        let origin = Origin::well_behaved().await;
        let conf = ServerConf {
            upstream_keepalive_pool_size: capacity,
            work_stealing,
            threads: 2,
            ..ServerConf::default()
        };
        let server = proxy_with(conf, FixedUpstream(origin.address()), |_| {}).await;
        // As many concurrent connections as clients.
        ask(&server, "/slow/10", 8, 8).await;
        let busy = origin.connections();
        let kept = capacity.min(busy);
        eventually(&format!("{kept} of {busy} are kept"), || {
            origin.open_connections() == kept
        })
        .await;
        ask(&server, "/", 20, 1).await;
        eventually("no more are kept later", || {
            origin.open_connections() <= capacity
        })
        .await;
    }
}

/// Closes connections at random, but never one on which it has not answered.
async fn moody_origin(closed: Arc<AtomicUsize>) -> Origin {
    Origin::scripted(move |mut connection, index| {
        let closed = closed.clone();
        async move {
            let mut mood = index;
            while connection.request().await.is_some() {
                let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                if connection.try_send(answer).await.is_err() {
                    return;
                }
                mood = mood
                    .wrapping_mul(2_862_933_555_777_941_757)
                    .wrapping_add(3_037_000_493);
                match mood >> 60 {
                    // At once, a moment later, or with a reset.
                    0..=3 => break,
                    4..=5 => {
                        tokio::time::sleep(Duration::from_micros(mood as u64 % 2000)).await;
                        break;
                    }
                    6 => {
                        closed.fetch_add(1, Ordering::SeqCst);
                        return connection.reset();
                    }
                    _ => {}
                }
            }
            closed.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_closes_idle_connections_costs_no_request() {
    let closed = Arc::new(AtomicUsize::new(0));
    let origin = moody_origin(closed.clone()).await;
    let server = proxy(FixedUpstream(origin.address())).await;
    ask(&server, "/", 1000, 4).await;
    let closed = closed.load(Ordering::SeqCst);
    assert!(closed > 100, "only {closed} were closed");
}

#[tokio::test]
async fn a_connection_that_says_something_unasked_is_not_used_again_and_counted() {
    // Immediately after the answer, or once it is idle.
    for late in [false, true] {
        let (told, tell) = (
            Arc::new(tokio::sync::Notify::new()),
            Arc::new(AtomicUsize::new(0)),
        );
        let (gate, said) = (told.clone(), tell.clone());
        let origin = Origin::scripted(move |mut connection, index| {
            let (gate, said) = (gate.clone(), said.clone());
            async move {
                while connection.request().await.is_some() {
                    let extra = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
                    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";
                    if late || index > 0 {
                        connection.send(answer).await;
                    } else {
                        connection.send(format!("{answer}{extra}")).await;
                    }
                    if late && index == 0 {
                        gate.notified().await;
                        connection.send(extra).await;
                        said.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
        })
        .await;
        let mut counter = None;
        let conf = ServerConf::default();
        let server = proxy_with(conf, FixedUpstream(origin.address()), |service| {
            counter = service
                .app_logic()
                .map(|proxy| proxy.unexpected_data_connection_counter());
        })
        .await;
        let mut client = server.connect().await;
        assert_eq!(get(&mut client, "").await.text(), "good");
        if late {
            told.notify_one();
            eventually("it is said", || tell.load(Ordering::SeqCst) == 1).await;
        }
        for _ in 0..3 {
            assert_eq!(get(&mut client, "").await.text(), "good", "late: {late}");
        }
        assert_eq!(origin.connections(), 2, "late: {late}");
        if late {
            let counter = counter.expect("the service has its application");
            eventually("it is counted", || counter.load(Ordering::SeqCst) == 1).await;
        }
    }
}
