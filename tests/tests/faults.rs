//! Upstreams that refuse, reset, stall or send nonsense, phases that panic, names that don't resolve:
//! the status and the log line that a proxy's user expects, and no harm to the worker.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::*;
use pingora::proxy::FailToProxy;
use pingora::upstreams::peer::Peer;
use pingora_tests::{
    Ask, Connection, Ending, Origin, PATIENCE, Program, Refusing, TestServer, Version, h2c_proxy,
    keep_log, logged, proxy,
};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

/// The timeout of every wait for an upstream.
const PATIENCE_WITH_UPSTREAMS: Duration = Duration::from_millis(300);

/// `/bad…` goes to one upstream, everything else to a good one.
struct Impatient {
    bad: SocketAddr,
    good: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Impatient {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let bad = session.req_header().uri.path().starts_with("/bad");
        let address = if bad { self.bad } else { self.good };
        let mut peer = HttpPeer::new(address, false, String::new());
        if let Some(options) = peer.get_mut_peer_options() {
            options.connection_timeout = Some(PATIENCE_WITH_UPSTREAMS);
            options.read_timeout = Some(PATIENCE_WITH_UPSTREAMS);
            options.write_timeout = Some(PATIENCE_WITH_UPSTREAMS);
        }
        Ok(Box::new(peer))
    }
}

async fn get(connection: &mut Connection, path: &str) -> pingora_tests::Message {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    connection.ask(request).await
}

/// Sends a request to a proxy with a bad upstream: the answer has this status, the log reports it,
/// and others are served, as is the same client.
async fn fails_with(status: u16, what: &str, bad: SocketAddr) {
    keep_log();
    let good = Origin::well_behaved().await;
    let server = proxy(Impatient {
        bad,
        good: good.address(),
    })
    .await;
    let path = format!("/bad/{}", what.replace(' ', "-"));
    let mut client = server.connect().await;
    let answer = get(&mut client, &path).await;
    assert_eq!(answer.status(), status, "{what}");
    assert!(
        !answer.text().contains(&bad.to_string()),
        "{what}: an address is told"
    );
    let line = logged(&path).await;
    let told = line.starts_with("ERROR") && line.contains(&status.to_string());
    assert!(told, "{what}: {line}");
    is_unharmed(&server, what).await;
    assert_eq!(get(&mut client, "/after").await.status(), 200, "{what}");
}

async fn is_unharmed(server: &TestServer, what: &str) {
    let mut other = server.connect().await;
    assert_eq!(get(&mut other, "/other").await.status(), 200, "{what}");
}

#[tokio::test]
async fn an_upstream_that_refuses_is_a_502() {
    let refusing = Refusing::new();
    fails_with(502, "refuses", refusing.address()).await;
}

#[tokio::test]
async fn an_upstream_that_does_not_accept_is_a_504() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // Its queue is full once a connection is left unanswered.
    let mut queue = Vec::new();
    while let Ok(connected) =
        tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
    {
        queue.push(connected.unwrap());
    }
    fails_with(504, "does not accept", address).await;
}

#[tokio::test]
async fn an_upstream_that_stalls_is_a_504() {
    let silent = Origin::scripted(|mut connection, _| async move {
        connection.request().await;
        connection.closed().await;
    })
    .await;
    fails_with(504, "says nothing", silent.address()).await;
    silent.wait_until_unused().await;
    let halting = Origin::scripted(|mut connection, _| async move {
        connection.request().await;
        connection.send("HTTP/1.1 200 OK\r\nContent-Len").await;
        connection.closed().await;
    })
    .await;
    fails_with(504, "stops inside its head", halting.address()).await;
    halting.wait_until_unused().await;
}

#[tokio::test]
async fn an_upstream_that_stalls_inside_its_body_is_cut_short() {
    keep_log();
    for framing in ["Content-Length: 10", "Transfer-Encoding: chunked", "A: b"] {
        for version in ["1.1", "1.0"] {
            let what = format!("{framing} HTTP/{version}");
            let bad = Origin::scripted(move |mut connection, _| async move {
                connection.request().await;
                connection
                    .send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n5\r\n12345"))
                    .await;
                connection.closed().await;
            })
            .await;
            let good = Origin::well_behaved().await;
            let server = proxy(Impatient {
                bad: bad.address(),
                good: good.address(),
            })
            .await;
            let request = format!("GET /bad HTTP/{version}\r\nHost: a\r\n\r\n");
            let answer = server.connect().await.ask(request).await;
            let cut = matches!(answer.ending, Ending::CutShort | Ending::Reset);
            assert!(cut && answer.status() == 200, "{what}: {answer:?}");
            bad.wait_until_unused().await;
            is_unharmed(&server, &what).await;
        }
    }
}

/// Data that is not an HTTP/1 response, or breaks its rules.
#[rustfmt::skip]
const NONSENSE: [(&str, &[u8]); 31] = [
    ("an SSH server", b"SSH-2.0-OpenSSH_9.2p1\r\n"),
    ("a TLS alert", b"\x15\x03\x03\x00\x02\x02\x46"),
    ("an HTTP 2 server", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80\r\n\r\n"),
    ("HTTP 0.9", b"<html>hello</html>\r\n\r\n"),
    ("HTTP 2 in words", b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("no status", b"HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
    ("two digits of status", b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
    ("four digits of status", b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
    ("letters for a status", b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n"),
    ("status below 100", b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n"),
    ("a signed status", b"HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n"),
    ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),
    ("a list of lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nabc"),
    ("a negative length", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc"),
    ("a signed length", b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc"),
    ("a hex length", b"HTTP/1.1 200 OK\r\nContent-Length: 0x3\r\n\r\nabc"),
    ("a huge length", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nabc"),
    ("an empty length", b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nabc"),
    ("an unknown coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: lzma\r\n\r\nabc"),
    ("chunked twice", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked not last", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    ("space before a colon", b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n"),
    ("a line without a colon", b"HTTP/1.1 200 OK\r\nContent-Length\r\n\r\n"),
    ("an empty name", b"HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 0\r\n\r\n"),
    ("NUL in a value", b"HTTP/1.1 200 OK\r\nA: b\0c\r\nContent-Length: 0\r\n\r\n"),
    ("CR in a value", b"HTTP/1.1 200 OK\r\nA: b\rc\r\nContent-Length: 0\r\n\r\n"),
    ("bare line feeds", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    ("switching protocols unasked", b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
    ("an empty line first", b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("nothing but an end", b""),
    ("blanks", b"      \r\n\r\n"),
];

#[tokio::test]
async fn an_upstream_that_talks_nonsense_is_a_502() {
    for (what, bytes) in NONSENSE {
        let bad = Origin::answering(bytes).await;
        fails_with(502, what, bad.address()).await;
    }
}

#[tokio::test]
async fn an_upstream_with_more_header_than_anyone_needs_is_a_502() {
    let fields = "X-Bomb: 1\r\n".repeat(100_000);
    let value = "x".repeat(1_000_000);
    for (what, head) in [
        ("many fields", format!("HTTP/1.1 200 OK\r\n{fields}\r\n")),
        (
            "a long field",
            format!("HTTP/1.1 200 OK\r\nA: {value}\r\n\r\n"),
        ),
        ("an endless reason", format!("HTTP/1.1 200 {value}\r\n\r\n")),
        ("no end at all", format!("HTTP/1.1 200 OK\r\nA: {value}")),
    ] {
        let bad = Origin::answering(head).await;
        fails_with(502, what, bad.address()).await;
    }
}

#[tokio::test]
async fn chunks_that_break_the_rules_are_cut_short() {
    let good = Origin::well_behaved().await;
    for (what, body) in [
        ("no size", "\r\nabc\r\n0\r\n\r\n"),
        ("letters for a size", "xyz\r\nabc\r\n0\r\n\r\n"),
        ("a negative size", "-3\r\nabc\r\n0\r\n\r\n"),
        ("a size beyond all", "fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
        ("a prefixed size", "0x3\r\nabc\r\n0\r\n\r\n"),
        ("more than the size", "3\r\nabcd\r\n0\r\n\r\n"),
        ("bare line feeds", "3\nabc\n0\n\n"),
        ("a bad trailer", "3\r\nabc\r\n0\r\nno colon\r\n\r\n"),
    ] {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let bad = Origin::answering(format!("{head}{body}")).await;
        let server = proxy(Impatient {
            bad: bad.address(),
            good: good.address(),
        })
        .await;
        for version in ["1.1", "1.0"] {
            let request = format!("GET /bad HTTP/{version}\r\nHost: a\r\n\r\n");
            let answer = server.connect().await.ask(request).await;
            let cut = matches!(answer.ending, Ending::CutShort | Ending::Reset);
            assert!(cut || answer.status() == 502, "{what}: {answer:?}");
        }
        is_unharmed(&server, what).await;
    }
}

#[tokio::test]
async fn transfer_encoding_wins_over_a_length_and_removes_it() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    )
    .await;
    let server = h2c_proxy(pingora_tests::FixedUpstream(origin.address())).await;
    for version in [Version::H1, Version::H2] {
        let answer = Ask::get("/").answered_over(version, server.address()).await;
        assert_eq!(answer.text(), "abc", "{version:?}");
        assert_ne!(answer.header("Content-Length"), Some("1"), "{version:?}");
    }
    // An origin that sends both is not trusted with another request.
    assert_eq!(origin.connections(), 2);
}

/// Panics in the phase that the path names.
struct Panicking(SocketAddr);

impl Panicking {
    fn panic_if(session: &Session, phase: &str) {
        assert!(
            session.req_header().uri.path() != format!("/{phase}"),
            "on purpose, in {phase}"
        );
    }
}

#[async_trait]
impl ProxyHttp for Panicking {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn early_request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<()> {
        Self::panic_if(session, "early_request_filter");
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        Self::panic_if(session, "request_filter");
        Ok(false)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        _body: &mut Option<Bytes>,
        _end: bool,
        _ctx: &mut (),
    ) -> Result<()> {
        Self::panic_if(session, "request_body_filter");
        Ok(())
    }

    async fn proxy_upstream_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        Self::panic_if(session, "proxy_upstream_filter");
        Ok(true)
    }

    async fn upstream_peer(&self, session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Self::panic_if(session, "upstream_peer");
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        _request: &mut RequestHeader,
        _ctx: &mut (),
    ) -> Result<()> {
        Self::panic_if(session, "upstream_request_filter");
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        _response: &mut ResponseHeader,
        _ctx: &mut (),
    ) -> Result<()> {
        Self::panic_if(session, "upstream_response_filter");
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        _response: &mut ResponseHeader,
        _ctx: &mut (),
    ) -> Result<()> {
        Self::panic_if(session, "response_filter");
        Ok(())
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        _body: &mut Option<Bytes>,
        _end: bool,
        _ctx: &mut (),
    ) -> Result<Option<Duration>> {
        Self::panic_if(session, "response_body_filter");
        Ok(None)
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, _ctx: &mut ()) -> FailToProxy {
        Self::panic_if(session, "fail_to_proxy");
        let code = match e.etype() {
            ErrorType::HTTPStatus(code) => *code,
            _ => 500,
        };
        let _ = session.respond_error(code).await;
        FailToProxy {
            error_code: code,
            can_reuse_downstream: true,
        }
    }

    async fn logging(&self, session: &mut Session, _e: Option<&Error>, _ctx: &mut ()) {
        Self::panic_if(session, "logging");
    }

    fn request_summary(&self, session: &Session, _ctx: &()) -> String {
        Self::panic_if(session, "request_summary");
        session.request_summary()
    }
}

#[tokio::test]
async fn a_phase_that_panics_is_a_500_and_a_line_and_others_are_served() {
    keep_log();
    let origin = Origin::well_behaved().await;
    let server = proxy(Panicking(origin.address())).await;
    for phase in [
        "early_request_filter",
        "request_filter",
        "request_body_filter",
        "proxy_upstream_filter",
        "upstream_peer",
        "upstream_request_filter",
        "upstream_response_filter",
        "response_filter",
    ] {
        let request = format!("POST /{phase} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        let mut client = server.connect().await;
        let answer = client.ask(request).await;
        assert_eq!(answer.status(), 500, "{phase}");
        assert!(!answer.text().contains("on purpose"), "{phase}");
        let line = logged(&format!("on purpose, in {phase}")).await;
        assert!(line.starts_with("ERROR"), "{phase}: {line}");
        is_unharmed(&server, phase).await;
    }
}

#[tokio::test]
async fn a_panic_after_the_head_left_cuts_the_answer_short() {
    let origin = Origin::well_behaved().await;
    let server = proxy(Panicking(origin.address())).await;
    let answer = get(&mut server.connect().await, "/response_body_filter").await;
    let cut = matches!(answer.ending, Ending::CutShort | Ending::Reset);
    assert!(cut || answer.status() == 500, "{answer:?}");
    is_unharmed(&server, "response_body_filter").await;
}

#[tokio::test]
async fn a_panic_of_the_last_phases_harms_nobody() {
    keep_log();
    let origin = Origin::well_behaved().await;
    let server = proxy(Panicking(origin.address())).await;
    assert_eq!(
        get(&mut server.connect().await, "/logging").await.status(),
        200
    );
    logged("on purpose, in logging").await;
    is_unharmed(&server, "logging").await;

    drop(origin);
    let server = proxy(Panicking(Refusing::new().address())).await;
    for phase in ["fail_to_proxy", "request_summary"] {
        let mut client = server.connect().await;
        let path = format!("/{phase}");
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        let answer = client.response().await;
        assert_eq!(answer.status(), 500, "{phase}");
        let other = get(&mut server.connect().await, "/other").await;
        assert_eq!(other.status(), 500, "{phase}");
    }
}

struct Named(&'static str);

#[async_trait]
impl ProxyHttp for Named {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let peer = match session.req_header().uri.path() {
            "/new" => HttpPeer::new(self.0, false, String::new()),
            "/try_new" => HttpPeer::try_new(self.0, false, String::new())?,
            _ => HttpPeer::resolve(self.0, false, String::new()).await?,
        };
        Ok(Box::new(peer))
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_an_error_and_the_worker_lives() {
    keep_log();
    // The label is too long, so no resolver sends a query.
    let name: &'static str = format!("{}.example:80", "a".repeat(64)).leak();
    for name in [name, "no-port", "127.0.0.1:http"] {
        let server = proxy(Named(name)).await;
        let mut client = server.connect().await;
        for path in ["/new", "/try_new", "/resolve"] {
            let answer = get(&mut client, path).await;
            let status = if path == "/new" { 502 } else { 500 };
            assert!(
                [502, status].contains(&answer.status()),
                "{name} {path}: {answer:?}"
            );
        }
    }
    logged("a".repeat(64).as_str()).await;
}

#[tokio::test]
async fn without_descriptors_it_sheds_and_recovers() {
    let origin = Origin::well_behaved().await;
    let mut program = Program::start(Command::new("sh").args([
        "-c",
        "ulimit -n 40 && exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_fixed_proxy"),
        "--upstream",
        &origin.address().to_string(),
    ]));
    let address = program.addresses()[0];
    let mut first = Connection::to(address).await;
    assert_eq!(get(&mut first, "/first").await.text(), "/first");
    // More connections than it has descriptors for.
    let mut crowd = Vec::new();
    for _ in 0..60 {
        crowd.push(Connection::to(address).await);
    }
    let line = program.wait_for_line("can't accept connections");
    assert!(line.contains("ulimit -n"), "{line}");
    // Existing connections are kept, whatever they can still do.
    let status = get(&mut first, "/again").await.status();
    assert!([200, 502].contains(&status), "{status}");
    drop(crowd);
    // Clients that were turned away meanwhile try again.
    let end = tokio::time::Instant::now() + PATIENCE;
    while !serves(address).await {
        assert!(tokio::time::Instant::now() < end, "it doesn't recover");
    }
    for _ in 0..20 {
        let mut client = Connection::to(address).await;
        assert_eq!(get(&mut client, "/after").await.text(), "/after");
    }
    assert!(!program.has_ended());
}

/// Whether a request on a new connection is answered.
async fn serves(address: SocketAddr) -> bool {
    let mut client = Connection::to(address).await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    client.try_send(request).await.is_ok() && client.rest().await.starts_with(b"HTTP/1.1 200")
}
