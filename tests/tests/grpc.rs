//! gRPC through a proxy, spoken by tonic on either side: all four kinds of calls, their metadata,
//! trailers, deadlines and errors.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use bytes::{Buf, BufMut};
use futures::{StreamExt, stream};
use pingora_tests::{
    PATIENCE, Refusing, TestServer, Version, VersionedUpstream, eventually, h2c_proxy, pattern,
};
use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{BoxFuture, BoxStream, Service};
use tonic::metadata::MetadataValue;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};

/// Messages as raw bytes, without a schema.
#[derive(Clone, Copy, Default)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        Ok(Some(bytes.to_vec()))
    }
}

/// Calls that have begun and are not over; also decremented when a call is dropped.
#[derive(Clone, Default)]
struct UnderWay(Arc<AtomicUsize>);

struct Call(UnderWay);

impl UnderWay {
    fn begin(&self) -> Call {
        self.0.fetch_add(1, Ordering::SeqCst);
        Call(self.clone())
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The method determines the behaviour.
#[derive(Clone, Default)]
struct Methods {
    under_way: UnderWay,
}

impl Service<http::Request<Body>> for Methods {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let call = self.under_way.begin();
        let mut server = tonic::server::Grpc::new(Bytes);
        Box::pin(async move {
            let _call = call;
            Ok(match request.uri().path() {
                "/test.Echo/Unary" => server.unary(Unary, request).await,
                "/test.Echo/Count" => server.server_streaming(Count, request).await,
                "/test.Echo/Sum" => server.client_streaming(Sum, request).await,
                "/test.Echo/Talk" => server.streaming(Talk, request).await,
                "/test.Echo/Stall" => pending().await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

/// Answers with the message, and returns the received metadata in its own metadata; a message of
/// two words `error CODE` is answered with that error.
struct Unary;

impl Service<Request<Vec<u8>>> for Unary {
    type Response = Response<Vec<u8>>;
    type Error = Status;
    type Future = BoxFuture<Response<Vec<u8>>, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Vec<u8>>) -> Self::Future {
        Box::pin(async move {
            let text = String::from_utf8_lossy(request.get_ref()).into_owned();
            if let Some(code) = text.strip_prefix("error ") {
                let code = Code::from(code.parse::<i32>().unwrap());
                let mut status = Status::with_details(code, "nö, 100 %", b"\0details"[..].into());
                let kept = MetadataValue::from_static("with the error");
                status.metadata_mut().insert("x-kept", kept);
                return Err(status);
            }
            let metadata = request.metadata().clone();
            let mut response = Response::new(request.into_inner());
            for name in ["x-text", "grpc-timeout", "te", "user-agent"] {
                if let Some(value) = metadata.get(name) {
                    let told = format!("x-told-{name}");
                    let told: tonic::metadata::AsciiMetadataKey = told.parse().unwrap();
                    response.metadata_mut().insert(told, value.clone());
                }
            }
            if let Some(value) = metadata.get_bin("x-raw-bin") {
                response
                    .metadata_mut()
                    .insert_bin("x-told-raw-bin", value.clone());
            }
            Ok(response)
        })
    }
}

/// As many messages as the message says; at 1000, followed by an error.
struct Count;

impl Service<Request<Vec<u8>>> for Count {
    type Response = Response<BoxStream<Vec<u8>>>;
    type Error = Status;
    type Future = BoxFuture<Self::Response, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Vec<u8>>) -> Self::Future {
        Box::pin(async move {
            let text = String::from_utf8_lossy(request.get_ref()).into_owned();
            let count: usize = text.parse().unwrap();
            let messages = stream::iter(0..count).map(|n| Ok(n.to_string().into_bytes()));
            let error = (count == 1000).then(|| Err(Status::data_loss("that is too far")));
            let messages = messages.chain(stream::iter(error));
            Ok(Response::new(Box::pin(messages) as BoxStream<Vec<u8>>))
        })
    }
}

/// The number and the length of all messages.
struct Sum;

impl Service<Request<Streaming<Vec<u8>>>> for Sum {
    type Response = Response<Vec<u8>>;
    type Error = Status;
    type Future = BoxFuture<Self::Response, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<Vec<u8>>>) -> Self::Future {
        Box::pin(async move {
            let mut messages = request.into_inner();
            let (mut count, mut length) = (0, 0);
            while let Some(message) = messages.message().await? {
                count += 1;
                length += message.len();
                if message == b"enough" {
                    return Err(Status::resource_exhausted("enough"));
                }
            }
            Ok(Response::new(format!("{count} {length}").into_bytes()))
        })
    }
}

/// Each message is returned before the next is awaited.
struct Talk;

impl Service<Request<Streaming<Vec<u8>>>> for Talk {
    type Response = Response<BoxStream<Vec<u8>>>;
    type Error = Status;
    type Future = BoxFuture<Self::Response, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<Vec<u8>>>) -> Self::Future {
        let messages = request.into_inner();
        Box::pin(async { Ok(Response::new(Box::pin(messages) as BoxStream<Vec<u8>>)) })
    }
}

type Client = tonic::client::Grpc<Channel>;

struct Setup {
    server: SocketAddr,
    under_way: UnderWay,
    proxy: TestServer,
}

async fn setup() -> Setup {
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let server = incoming.local_addr().unwrap();
    let methods = Methods::default();
    let under_way = methods.under_way.clone();
    tokio::spawn(Server::builder().serve_with_incoming(methods, incoming.with_nodelay(Some(true))));
    let upstream = VersionedUpstream {
        address: server,
        version: Version::H2,
    };
    Setup {
        server,
        under_way,
        proxy: h2c_proxy(upstream).await,
    }
}

impl Setup {
    /// One client that talks to the server directly, and one through the proxy: both must see the
    /// same.
    fn both(&self) -> [Client; 2] {
        [client(self.server), client(self.proxy.address())]
    }
}

fn client(address: SocketAddr) -> Client {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    Client::new(endpoint.connect_lazy())
}

fn method(name: &'static str) -> http::uri::PathAndQuery {
    format!("/test.Echo/{name}").parse().unwrap()
}

async fn unary(client: &mut Client, message: Vec<u8>) -> Result<Response<Vec<u8>>, Status> {
    client.ready().await.unwrap();
    client
        .unary(Request::new(message), method("Unary"), Bytes)
        .await
}

async fn all(messages: &mut Streaming<Vec<u8>>) -> Result<Vec<String>, (Vec<String>, Status)> {
    let mut got = Vec::new();
    loop {
        match messages.message().await {
            Ok(Some(message)) => got.push(String::from_utf8(message).unwrap()),
            Ok(None) => return Ok(got),
            Err(status) => return Err((got, status)),
        }
    }
}

#[tokio::test]
async fn a_single_message_each_way() {
    let setup = setup().await;
    for mut client in setup.both() {
        for length in [0, 1, 70_000, 3_000_000] {
            let answer = unary(&mut client, pattern(length)).await.unwrap();
            assert!(answer.get_ref() == &pattern(length), "{length}");
        }
    }
}

#[tokio::test]
async fn metadata_of_both_kinds_passes_in_both_directions() {
    let setup = setup().await;
    for mut client in setup.both() {
        let mut request = Request::new(b"x".to_vec());
        let metadata = request.metadata_mut();
        metadata.insert("x-text", "some text".parse().unwrap());
        let raw = MetadataValue::from_bytes(b"\0\xff\r\n");
        metadata.insert_bin("x-raw-bin", raw.clone());
        request.set_timeout(Duration::from_secs(7));
        client.ready().await.unwrap();
        let answer = client.unary(request, method("Unary"), Bytes).await.unwrap();
        let told = answer.metadata();
        assert_eq!(told.get("x-told-x-text").unwrap(), "some text");
        assert_eq!(told.get_bin("x-told-raw-bin"), Some(&raw));
        assert_eq!(told.get("x-told-te").unwrap(), "trailers");
        let timeout = told.get("x-told-grpc-timeout").unwrap().to_str().unwrap();
        assert!(timeout.starts_with("7000000"), "{timeout}");
    }
}

#[tokio::test]
async fn many_messages_from_the_server() {
    let setup = setup().await;
    for mut client in setup.both() {
        for count in [0, 1, 500] {
            let request = Request::new(count.to_string().into_bytes());
            client.ready().await.unwrap();
            let answer = client
                .server_streaming(request, method("Count"), Bytes)
                .await;
            let mut messages = answer.unwrap().into_inner();
            let wanted: Vec<String> = (0..count).map(|n: usize| n.to_string()).collect();
            assert_eq!(all(&mut messages).await.unwrap(), wanted);
        }
        let request = Request::new(b"1000".to_vec());
        client.ready().await.unwrap();
        let answer = client
            .server_streaming(request, method("Count"), Bytes)
            .await;
        let (got, status) = all(&mut answer.unwrap().into_inner()).await.unwrap_err();
        assert_eq!(got.len(), 1000);
        assert_eq!(
            (status.code(), status.message()),
            (Code::DataLoss, "that is too far")
        );
    }
}

#[tokio::test]
async fn many_messages_from_the_client() {
    let setup = setup().await;
    for mut client in setup.both() {
        for count in [0, 1, 300] {
            let messages = stream::iter(0..count).map(|_| pattern(1000));
            client.ready().await.unwrap();
            let answer = client.client_streaming(Request::new(messages), method("Sum"), Bytes);
            let answer = answer.await.unwrap();
            let wanted = format!("{count} {}", count * 1000);
            assert_eq!(answer.get_ref(), wanted.as_bytes());
        }
        // The server stops in the middle.
        let messages = stream::iter(0..300).map(|n| match n {
            100 => b"enough".to_vec(),
            _ => pattern(1000),
        });
        client.ready().await.unwrap();
        let answer = client.client_streaming(Request::new(messages), method("Sum"), Bytes);
        let status = answer.await.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::ResourceExhausted, "enough")
        );
    }
}

#[tokio::test]
async fn messages_to_and_fro() {
    let setup = setup().await;
    for mut client in setup.both() {
        let (say, mut said) = mpsc::channel::<Vec<u8>>(1);
        let words = stream::poll_fn(move |cx| said.poll_recv(cx));
        client.ready().await.unwrap();
        let answer = client
            .streaming(Request::new(words), method("Talk"), Bytes)
            .await;
        let mut heard = answer.unwrap().into_inner();
        for length in [0, 1, 100_000, 5] {
            say.send(pattern(length)).await.unwrap();
            let word = tokio::time::timeout(PATIENCE, heard.message()).await;
            assert!(
                word.unwrap().unwrap().unwrap() == pattern(length),
                "{length}"
            );
        }
        drop(say);
        assert_eq!(heard.message().await.unwrap(), None);
        assert!(heard.trailers().await.unwrap().is_some());
    }
}

/// Without a message, status and metadata are in a single head that ends the stream.
#[tokio::test]
async fn errors_arrive_with_all_they_say() {
    let setup = setup().await;
    for mut client in setup.both() {
        for code in 1..17 {
            let message = format!("error {code}").into_bytes();
            let status = unary(&mut client, message).await.unwrap_err();
            assert_eq!(i32::from(status.code()), code);
            assert_eq!(status.message(), "nö, 100 %");
            assert_eq!(status.details(), b"\0details");
            assert_eq!(status.metadata().get("x-kept").unwrap(), "with the error");
        }
        let request = Request::new(Vec::new());
        client.ready().await.unwrap();
        let answer: Result<Response<Vec<u8>>, Status> =
            client.unary(request, method("Missing"), Bytes).await;
        assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
    }
}

#[tokio::test]
async fn a_deadline_ends_the_call_for_both_sides() {
    let setup = setup().await;
    for mut client in setup.both() {
        let mut request = Request::new(Vec::new());
        request.set_timeout(Duration::from_millis(300));
        client.ready().await.unwrap();
        let call = client.unary(request, method("Stall"), Bytes);
        let answer = tokio::time::timeout(PATIENCE, call).await.unwrap();
        let code = answer.unwrap_err().code();
        // Whichever side's clock expired first.
        assert!(
            matches!(code, Code::DeadlineExceeded | Code::Cancelled),
            "{code}"
        );
        eventually("the server's call ends", || setup.under_way.count() == 0).await;
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_ends_at_the_server() {
    let setup = setup().await;
    for mut client in setup.both() {
        client.ready().await.unwrap();
        let call = client.unary(Request::new(Vec::new()), method("Stall"), Bytes);
        let given_up = tokio::time::timeout(Duration::from_millis(200), call).await;
        assert!(given_up.is_err());
        eventually("the server's call ends", || setup.under_way.count() == 0).await;
        assert_eq!(
            unary(&mut client, b"next".to_vec())
                .await
                .unwrap()
                .get_ref(),
            b"next"
        );
    }
}

#[tokio::test]
async fn many_calls_share_a_connection() {
    let setup = setup().await;
    for client in setup.both() {
        let calls = (0..200).map(|number: usize| {
            let mut client = client.clone();
            async move {
                let message = pattern(number * 37);
                let answer = unary(&mut client, message.clone()).await.unwrap();
                assert!(answer.get_ref() == &message, "{number}");
            }
        });
        futures::future::join_all(calls).await;
    }
}

#[tokio::test]
async fn without_a_server_the_call_is_unavailable() {
    let nobody = Refusing::new();
    let upstream = VersionedUpstream {
        address: nobody.address(),
        version: Version::H2,
    };
    let proxy = h2c_proxy(upstream).await;
    let mut client = client(proxy.address());
    let status = unary(&mut client, b"x".to_vec()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
}
