//! Tunnels through a CONNECT proxy, with valid and invalid answers.

use crate::connectors::TransportConnector;
use crate::protocols::Stream;
use crate::protocols::l4::stream::Stream as L4Stream;
use crate::protocols::raw_connect::{connect, generate_connect_header};
use crate::upstreams::peer::{BasicPeer, HttpPeer, Peer};
use pingora_error::{BError, ErrorSource, ErrorType, Result};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

/// A peer behind this proxy.
fn behind(next_hop: &str, headers: &[(&str, &str)]) -> HttpPeer {
    let headers = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect();
    HttpPeer::new_proxy(next_hop, [192, 0, 2, 1].into(), 443, false, "", headers)
}

/// Reads a head, answers it piece by piece, and then echoes what it receives.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, answer: Vec<Vec<u8>>) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap() == 0 {
            return String::from_utf8(head).unwrap();
        }
        head.push(byte[0]);
    }
    for piece in answer {
        stream.write_all(&piece).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut buf = [0; 64];
    while let Ok(n @ 1..) = stream.read(&mut buf).await {
        stream.write_all(&buf[..n]).await.unwrap();
    }
    String::from_utf8(head).unwrap()
}

/// A proxy for one connection. It returns the request that it received.
async fn tcp_proxy(answer: &[u8]) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let answer = answer.to_vec();
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, vec![answer]).await
    });
    (addr, served)
}

async fn open(peer: &HttpPeer) -> Result<Stream> {
    TransportConnector::new(None).new_stream(peer).await
}

async fn refused(peer: &HttpPeer) -> BError {
    let e = open(peer).await.unwrap_err();
    assert_eq!(e.esource, ErrorSource::Upstream, "{e}");
    assert!(e.to_string().contains("192.0.2.1:443"), "{e}");
    e
}

#[tokio::test]
async fn a_tunnel_leads_through_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("connect-proxy-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 Connection established\r\nContent-Length: 5\r\nX-Via: a\r\n\r\nbehind";
        // One byte at a time.
        serve(stream, answer.iter().map(|byte| vec![*byte]).collect()).await
    });
    let mut peer = behind(
        path.to_str().unwrap(),
        &[("Proxy-Authorization", "Basic YQ=="), ("X-A", "1")],
    );
    peer.options.extra_proxy_headers = BTreeMap::from([
        ("x-a".to_string(), b"2".to_vec()),
        ("X-B".to_string(), b"3".to_vec()),
    ]);
    peer.options.proxy_digest_user_data_hook = Some(Arc::new(|request, response| {
        let via = response.headers.get("x-via")?.to_str().ok()?.to_string();
        Some(Box::new(format!("{} {via}", request.uri)))
    }));
    let mut stream = open(&peer).await.unwrap();
    // The bytes immediately after the answer belong to the tunnel, whatever length the answer
    // declared.
    let mut first = [0; 6];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"behind");
    stream.write_all(b"x").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
    let digest = stream.get_proxy_digest().unwrap();
    assert_eq!(digest.response.status, 200);
    assert!(digest.response.headers.get("content-length").is_none());
    let user_data = digest.user_data.as_ref().unwrap().downcast_ref::<String>();
    assert_eq!(user_data.unwrap(), "192.0.2.1:443 a");
    drop(stream);
    let head = served.await.unwrap();
    let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "CONNECT 192.0.2.1:443 HTTP/1.1");
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "Host: 192.0.2.1:443",
            "Proxy-Authorization: Basic YQ==",
            "X-A: 2",
            "X-B: 3"
        ]
    );
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn a_proxy_may_listen_on_a_port() {
    for host in ["127.0.0.1", "localhost"] {
        let (addr, served) = tcp_proxy(b"HTTP/1.0 200 OK\r\n\r\n").await;
        let port = addr.rsplit_once(':').unwrap().1;
        let mut stream = open(&behind(&format!("{host}:{port}"), &[])).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        drop(stream);
        assert!(served.await.unwrap().starts_with("CONNECT 192.0.2.1:443 "));
    }
    let e = refused(&behind("no such host:1", &[])).await;
    assert_eq!(*e.root_etype(), ErrorType::ConnectNoRoute);
    let e = refused(&behind("/run/nobody-listens-here", &[])).await;
    assert_ne!(*e.root_etype(), ErrorType::ConnectProxyFailure);
}

#[tokio::test]
async fn an_ipv6_address_and_a_host_of_the_users_own() {
    let (addr, served) = tcp_proxy(b"HTTP/1.1 200 OK\r\n\r\n").await;
    let mut peer = behind(&addr, &[("Host", "one.example")]);
    peer.proxy.as_mut().unwrap().host = "2001:db8::1".to_string();
    drop(open(&peer).await.unwrap());
    assert_eq!(
        served.await.unwrap(),
        "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: one.example\r\n\r\n"
    );
}

#[tokio::test]
async fn a_refusal_tells_its_status() {
    for (answer, status) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n",
            "407",
        ),
        (
            "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
            "502",
        ),
        ("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", "302"),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", ""),
    ] {
        let (addr, _served) = tcp_proxy(answer.as_bytes()).await;
        let e = refused(&behind(&addr, &[])).await;
        assert_eq!(*e.root_etype(), ErrorType::ConnectProxyFailure);
        assert!(e.to_string().contains(status), "{e}");
        assert!(!e.to_string().contains("realm"), "{e}");
    }
}

#[tokio::test]
async fn what_is_no_sound_answer_is_a_failure_of_the_proxy() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let hints = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(9);
    for answer in [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 200 OK\n\n",
        "\r\n\r\n",
        "\x15\x03\x01\x00\x02\x02\x46",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        &long,
        &hints,
    ] {
        let (addr, _served) = tcp_proxy(answer.as_bytes()).await;
        let e = refused(&behind(&addr, &[])).await;
        assert_eq!(
            *e.root_etype(),
            ErrorType::ConnectProxyFailure,
            "{answer:?}"
        );
    }
    // Closes the connection, before an answer and in the middle of one.
    for answer in ["", "HTTP/1.1 200"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buf = [0; 1024];
            let _ = stream.read(&mut buf).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let e = refused(&behind(&addr, &[])).await;
        assert_eq!(*e.root_etype(), ErrorType::ConnectProxyFailure, "{e}");
        served.await.unwrap();
    }
}

#[tokio::test]
async fn a_silent_proxy_is_given_up_in_time() {
    let (addr, _served) = tcp_proxy(b"HTTP/1.1 200 ").await;
    let mut peer = behind(&addr, &[]);
    peer.options.connection_timeout = Some(Duration::from_millis(50));
    let e = refused(&peer).await;
    assert_eq!(*e.root_etype(), ErrorType::ConnectTimedout);
    assert!(e.to_string().contains("CONNECT"), "{e}");
}

#[tokio::test]
async fn what_would_split_the_request_is_not_sent() {
    for header in [
        ("X-A", "1\r\nX-B: 2"),
        ("X-A", "1\n"),
        ("X-A", "1\0"),
        ("X-A\r\nX-B", "1"),
        ("X A", "1"),
        ("", "1"),
        ("Content-Length", "5"),
        ("transfer-encoding", "chunked"),
    ] {
        let (addr, served) = tcp_proxy(b"HTTP/1.1 200 OK\r\n\r\n").await;
        let e = refused(&behind(&addr, &[header])).await;
        assert_eq!(*e.root_etype(), ErrorType::InvalidHTTPHeader, "{header:?}");
        assert!(!e.to_string().contains("X-B: 2"), "{e}");
        assert_eq!(served.await.unwrap(), "", "{header:?}");
    }
    for host in [
        "",
        "a b",
        "one.example:80",
        "one.example\r\n",
        "u@one.example",
        "a,b",
        "[::1",
    ] {
        let (addr, served) = tcp_proxy(b"HTTP/1.1 200 OK\r\n\r\n").await;
        let mut peer = behind(&addr, &[]);
        peer.proxy.as_mut().unwrap().host = host.to_string();
        let e = refused(&peer).await;
        assert_eq!(*e.root_etype(), ErrorType::InvalidHTTPHeader, "{host:?}");
        assert_eq!(served.await.unwrap(), "", "{host:?}");
    }
}

#[test]
fn connections_are_told_apart_by_proxy_and_fields() {
    let one = behind("127.0.0.1:1", &[("Proxy-Authorization", "a")]);
    let mut others = vec![
        behind("127.0.0.1:2", &[("Proxy-Authorization", "a")]),
        behind("127.0.0.1:1", &[("Proxy-Authorization", "b")]),
        HttpPeer::new(
            (IpAddr::from(Ipv4Addr::new(192, 0, 2, 1)), 443),
            false,
            String::new(),
        ),
    ];
    let mut extra = one.clone();
    let field = ("Proxy-Authorization".to_string(), b"b".to_vec());
    extra.options.extra_proxy_headers = BTreeMap::from([field]);
    others.push(extra);
    for other in others {
        assert_ne!(one.reuse_hash(), other.reuse_hash(), "{other:?}");
    }
}

#[tokio::test]
async fn the_descriptor_is_the_proxys() {
    let (addr, _served) = tcp_proxy(b"HTTP/1.1 200 OK\r\n\r\n").await;
    let peer = behind(&addr, &[]);
    let stream = open(&peer).await.unwrap();
    assert!(peer.matches_fd(stream.id()));
    assert!(!behind("127.0.0.1:1", &[]).matches_fd(stream.id()));
    assert!(!behind("/run/proxy.sock", &[]).matches_fd(stream.id()));
}

#[tokio::test]
async fn a_stream_that_somebody_else_connected_becomes_a_tunnel() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let proxy = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buf = [0; 1024];
        let n = stream.read(&mut buf).await.unwrap();
        let answer = b"HTTP/1.1 204 No Content\r\n\r\nmore";
        stream.write_all(answer).await.unwrap();
        String::from_utf8(buf[..n].to_vec()).unwrap()
    });
    let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let stream: Stream = Box::new(L4Stream::from(stream));
    let none: [(&str, &Vec<u8>); 0] = [];
    let request = generate_connect_header("one.example", 443, none.into_iter()).unwrap();
    let peer = BasicPeer::new(&addr.to_string());
    let (mut stream, digest) = connect(stream, &request, &peer).await.unwrap();
    assert_eq!(digest.response.status, 204);
    assert!(digest.user_data.is_none());
    let mut more = [0; 4];
    stream.read_exact(&mut more).await.unwrap();
    assert_eq!(&more, b"more");
    assert_eq!(
        proxy.await.unwrap(),
        "CONNECT one.example:443 HTTP/1.1\r\nHost: one.example:443\r\n\r\n"
    );
}
