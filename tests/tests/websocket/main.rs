//! Websockets through a proxy, spoken by tungstenite on either side: over an upgrade of HTTP/1.1
//! (RFC 6455) and over extended CONNECT of HTTP/2 (RFC 8441), and from each to the other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

mod many;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{Method, Request, Response};
use pingora_tests::http2::{Http2Client, Tunnel};
use pingora_tests::{
    Ask, PATIENCE, TestServer, Version, VersionedUpstream, eventually, h2c_proxy, pattern,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

const PAIRS: [(Version, Version); 4] = [
    (Version::H1, Version::H1),
    (Version::H2, Version::H1),
    (Version::H1, Version::H2),
    (Version::H2, Version::H2),
];

/// A server of websockets, over one version of HTTP; each sends back what it gets.
struct Echo {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
}

impl Echo {
    async fn new(version: Version) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(AtomicUsize::new(0));
        let counter = open.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                match version {
                    Version::H1 => tokio::spawn(accept_http1(stream, counter.clone())),
                    Version::H2 => tokio::spawn(accept_http2(stream, counter.clone())),
                };
            }
        });
        Self { address, open }
    }

    async fn behind_a_proxy(version: Version) -> (Self, TestServer) {
        let echo = Self::new(version).await;
        let upstream = VersionedUpstream {
            address: echo.address,
            version,
        };
        (echo, h2c_proxy(upstream).await)
    }

    async fn is_left(&self) {
        eventually("the server's websockets end", || {
            self.open.load(Ordering::SeqCst) == 0
        })
        .await;
    }
}

#[expect(clippy::result_large_err, reason = "the callback's signature is given")]
async fn accept_http1(stream: TcpStream, open: Arc<AtomicUsize>) {
    let answer = |request: &server::Request, mut response: server::Response| {
        assert_eq!(request.uri().path(), "/chat");
        if request.uri().query() == Some("refuse") {
            let refusal = Response::builder().status(403).body(Some("no".to_string()));
            return Err(refusal.unwrap());
        }
        if let Some(protocol) = request.headers().get("sec-websocket-protocol") {
            let headers = response.headers_mut();
            headers.insert("sec-websocket-protocol", protocol.clone());
        }
        Ok(response)
    };
    if let Ok(socket) = accept_hdr_async(stream, answer).await {
        echo(socket, open).await;
    }
}

async fn accept_http2(stream: TcpStream, open: Arc<AtomicUsize>) {
    let mut builder = h2::server::Builder::new();
    builder.enable_connect_protocol();
    let mut connection = builder.handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (parts, body) = request.into_parts();
        let protocol = parts.extensions.get::<h2::ext::Protocol>();
        assert_eq!(parts.method, Method::CONNECT);
        assert_eq!(protocol.map(h2::ext::Protocol::as_str), Some("websocket"));
        assert_eq!(parts.uri.path(), "/chat");
        assert!(
            parts.headers.get("sec-websocket-key").is_none(),
            "{parts:?}"
        );
        assert_eq!(parts.headers["sec-websocket-version"], "13");
        if parts.uri.query() == Some("refuse") {
            let refusal = Response::builder().status(403).body(()).unwrap();
            respond.send_response(refusal, true).unwrap();
            continue;
        }
        let mut response: Response<()> = Response::default();
        if let Some(protocol) = parts.headers.get("sec-websocket-protocol") {
            let headers = response.headers_mut();
            headers.insert("sec-websocket-protocol", protocol.clone());
        }
        let send = respond.send_response(response, false).unwrap();
        let tunnel = Tunnel::new(send, body);
        let open = open.clone();
        tokio::spawn(async move {
            let socket = WebSocketStream::from_raw_socket(tunnel, Role::Server, None).await;
            echo(socket, open).await;
        });
    }
}

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: WebSocketStream<S>,
    open: Arc<AtomicUsize>,
) {
    open.fetch_add(1, Ordering::SeqCst);
    let mut orderly = true;
    while let Some(Ok(message)) = socket.next().await {
        let told = match &message {
            // The server hangs up on request, orderly or not.
            Message::Text(text) if text.as_str() == "close" => {
                let frame = CloseFrame {
                    code: CloseCode::Away,
                    reason: "as you wish".into(),
                };
                socket.close(Some(frame)).await
            }
            Message::Text(text) if text.as_str() == "drop" => {
                orderly = false;
                break;
            }
            Message::Text(_) | Message::Binary(_) => socket.send(message).await,
            _ => Ok(()),
        };
        if told.is_err() {
            break;
        }
    }
    if orderly {
        // Without that, a stream of HTTP/2 would be reset, and what is not written yet lost.
        let _ = socket.get_mut().shutdown().await;
    }
    open.fetch_sub(1, Ordering::SeqCst);
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type Socket = WebSocketStream<Box<dyn Stream>>;

/// A client's websocket, and what the server said about the protocol; `Err`: the status instead.
struct Opened {
    socket: Socket,
    protocol: Option<String>,
    /// Its connection, which ends when this is dropped.
    connection: Option<Http2Client>,
}

async fn open(version: Version, proxy: SocketAddr, path: &str) -> Result<Opened, u16> {
    match version {
        Version::H1 => open_http1(proxy, path).await,
        Version::H2 => {
            let client = Http2Client::to(proxy).await;
            let mut opened = open_http2(&client, path).await?;
            opened.connection = Some(client);
            Ok(opened)
        }
    }
}

fn named(headers: &http::HeaderMap) -> Option<String> {
    let value = headers.get("sec-websocket-protocol")?;
    Some(value.to_str().unwrap().to_string())
}

async fn open_http1(proxy: SocketAddr, path: &str) -> Result<Opened, u16> {
    let mut request = format!("ws://{proxy}{path}").into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", "chat.example".parse().unwrap());
    let stream = TcpStream::connect(proxy).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let stream: Box<dyn Stream> = Box::new(stream);
    let opening = timeout(PATIENCE, client_async(request, stream)).await;
    match opening.expect("an answer comes in time") {
        Ok((socket, response)) => Ok(Opened {
            socket,
            protocol: named(response.headers()),
            connection: None,
        }),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("no websocket: {error}"),
    }
}

async fn open_http2(client: &Http2Client, path: &str) -> Result<Opened, u16> {
    let mut requests = client.requests().await;
    eventually("the server speaks extended CONNECT", || {
        requests.is_extended_connect_protocol_enabled()
    })
    .await;
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://test.example{path}"))
        .extension(h2::ext::Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat.example")
        .header("origin", "http://test.example")
        .body(())
        .unwrap();
    let (answer, send) = requests.send_request(request, false).unwrap();
    let response = timeout(PATIENCE, answer)
        .await
        .expect("an answer comes in time");
    let (parts, body) = response.unwrap().into_parts();
    if parts.status != 200 {
        return Err(parts.status.as_u16());
    }
    // What the key proves over HTTP/1.1 is no question here (RFC 8441 section 5).
    assert!(
        parts.headers.get("sec-websocket-accept").is_none(),
        "{parts:?}"
    );
    let tunnel: Box<dyn Stream> = Box::new(Tunnel::new(send, body));
    Ok(Opened {
        socket: WebSocketStream::from_raw_socket(tunnel, Role::Client, None).await,
        protocol: named(&parts.headers),
        connection: None,
    })
}

async fn hear(socket: &mut Socket) -> Option<Result<Message, Error>> {
    let heard = timeout(PATIENCE, socket.next()).await;
    heard.expect("something comes in time")
}

async fn talks(down: Version, up: Version) {
    let what = format!("{down:?} to {up:?}");
    let (echo, proxy) = Echo::behind_a_proxy(up).await;
    let Ok(mut opened) = open(down, proxy.address(), "/chat").await else {
        panic!("{what}: refused");
    };
    assert_eq!(opened.protocol.as_deref(), Some("chat.example"), "{what}");
    let socket = &mut opened.socket;
    for message in [
        Message::text("hello"),
        Message::text(""),
        Message::binary(pattern(1)),
        Message::binary(pattern(300_000)),
    ] {
        socket.send(message.clone()).await.unwrap();
        assert!(hear(socket).await.unwrap().unwrap() == message, "{what}");
    }
    socket
        .send(Message::Ping(Bytes::from_static(b"there?")))
        .await
        .unwrap();
    let pong = hear(socket).await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong(Bytes::from_static(b"there?")), "{what}");
    // Many of them, unanswered in between.
    for number in 0..500 {
        socket
            .feed(Message::text(number.to_string()))
            .await
            .unwrap();
    }
    socket.flush().await.unwrap();
    for number in 0..500 {
        let message = hear(socket).await.unwrap().unwrap();
        assert_eq!(message, Message::text(number.to_string()), "{what}");
    }
    socket.close(None).await.unwrap();
    assert!(
        matches!(hear(socket).await, Some(Ok(Message::Close(None)))),
        "{what}"
    );
    assert!(hear(socket).await.is_none(), "{what}");
    echo.is_left().await;
}

async fn ends(down: Version, up: Version) {
    let what = format!("{down:?} to {up:?}");
    let (echo, proxy) = Echo::behind_a_proxy(up).await;
    // The server says goodbye.
    let Ok(mut opened) = open(down, proxy.address(), "/chat").await else {
        panic!("{what}: refused");
    };
    opened.socket.send(Message::text("close")).await.unwrap();
    let Some(Ok(Message::Close(Some(frame)))) = hear(&mut opened.socket).await else {
        panic!("{what}: no goodbye");
    };
    assert_eq!(
        (frame.code, frame.reason.as_str()),
        (CloseCode::Away, "as you wish")
    );
    assert!(hear(&mut opened.socket).await.is_none(), "{what}");
    echo.is_left().await;
    // The server goes without a word.
    let Ok(mut opened) = open(down, proxy.address(), "/chat").await else {
        panic!("{what}: refused");
    };
    opened.socket.send(Message::text("drop")).await.unwrap();
    let end = hear(&mut opened.socket).await;
    assert!(matches!(end, None | Some(Err(_))), "{what}: {end:?}");
    echo.is_left().await;
    if let Some(client) = &opened.connection {
        assert!(!client.has_ended(), "{what}: the stream alone ends");
    }
    // The client goes without a word.
    let Ok(mut opened) = open(down, proxy.address(), "/chat").await else {
        panic!("{what}: refused");
    };
    opened.socket.send(Message::text("there?")).await.unwrap();
    assert!(hear(&mut opened.socket).await.is_some(), "{what}");
    drop(opened.socket);
    echo.is_left().await;
    drop(opened.connection);
}

async fn refuses(down: Version, up: Version) {
    let what = format!("{down:?} to {up:?}");
    let (echo, proxy) = Echo::behind_a_proxy(up).await;
    let refusal = open(down, proxy.address(), "/chat?refuse").await;
    assert_eq!(refusal.err(), Some(403), "{what}");
    let Ok(opened) = open(down, proxy.address(), "/chat").await else {
        panic!("{what}: refused");
    };
    drop(opened);
    echo.is_left().await;
}

#[tokio::test]
async fn messages_pass_whatever_the_versions() {
    for (down, up) in PAIRS {
        talks(down, up).await;
    }
}

#[tokio::test]
async fn an_end_is_one_for_both_sides() {
    for (down, up) in PAIRS {
        ends(down, up).await;
    }
}

#[tokio::test]
async fn a_refusal_is_the_servers_answer() {
    for (down, up) in PAIRS {
        refuses(down, up).await;
    }
}

#[tokio::test]
async fn many_websockets_share_a_connection_with_requests() {
    let (echo, proxy) = Echo::behind_a_proxy(Version::H1).await;
    let client = Http2Client::to(proxy.address()).await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        let Ok(opened) = open_http2(&client, "/chat").await else {
            panic!("refused");
        };
        sockets.push(opened.socket);
    }
    for (number, socket) in sockets.iter_mut().enumerate() {
        socket
            .send(Message::text(number.to_string()))
            .await
            .unwrap();
    }
    for (number, socket) in sockets.iter_mut().enumerate() {
        let heard = hear(socket).await.unwrap().unwrap();
        assert_eq!(heard, Message::text(number.to_string()));
    }
    // A CONNECT of another kind is none of these.
    let plain = client.ask(&Ask::by("CONNECT", "/chat")).await;
    assert!(!(200..300).contains(&plain.status()), "{plain:?}");
    drop(sockets);
    echo.is_left().await;
}
