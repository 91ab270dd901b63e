use super::{Messages, frame, timeout_of};
use async_trait::async_trait;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use pingora::prelude::*;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

// The final states of a call that are needed here.
const OK: &str = "0";
const INVALID: &str = "3";
const TOO_LATE: &str = "4";
const UNKNOWN_METHOD: &str = "12";

/// A gRPC server with a method of each kind:
///
/// | | request | response |
/// |---|---|---|
/// | `/greeter.Greeter/Hello` | a name | a greeting |
/// | `/greeter.Greeter/Countdown` | a number | that number and all below it |
/// | `/greeter.Greeter/Join` | any number of words | all of them in one |
/// | `/greeter.Greeter/Shout` | any number of words | each of them at once, louder |
/// | `/greeter.Greeter/Sleep` | nothing | nothing, and not before the deadline |
///
/// It ends every call with trailers, and observes deadlines.
pub struct Greeter {
    address: SocketAddr,
    listener: Mutex<Option<std::net::TcpListener>>,
}

impl Greeter {
    /// A greeter that listens on a port chosen by the system, and answers once it runs as a service.
    pub fn bind() -> Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0");
        let listener = listener.or_err(BindError, "the gRPC server")?;
        listener
            .set_nonblocking(true)
            .or_err(BindError, "the gRPC server")?;
        Ok(Greeter {
            address: listener.local_addr().or_err(BindError, "the gRPC server")?,
            listener: Mutex::new(Some(listener)),
        })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

#[async_trait]
impl BackgroundService for Greeter {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let listener = self.listener.lock().ok().and_then(|mut place| place.take());
        let Some(Ok(listener)) = listener.map(TcpListener::from_std) else {
            return;
        };
        loop {
            tokio::select! {
                Ok((stream, _)) = listener.accept() => drop(tokio::spawn(serve(stream))),
                _ = shutdown.changed() => return,
            }
        }
    }
}

async fn serve(stream: TcpStream) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answer(request, respond));
    }
}

async fn answer(request: Request<RecvStream>, respond: SendResponse<Bytes>) {
    let (head, body) = request.into_parts();
    let mut replies = Replies {
        respond,
        stream: None,
    };
    let call = method(head.uri.path(), Messages::of(body), &mut replies);
    let longest = Duration::from_secs(60);
    let status =
        match tokio::time::timeout(timeout_of(&head.headers).unwrap_or(longest), call).await {
            Ok(Ok(status)) => status,
            Ok(Err(_)) => INVALID,
            Err(_) => TOO_LATE,
        };
    // A client that has left needs no status.
    let _ = replies.end(status);
}

async fn method(path: &str, mut got: Messages, replies: &mut Replies) -> Result<&'static str> {
    match path {
        "/greeter.Greeter/Hello" => {
            let name = got.next().await?.unwrap_or_default();
            replies.send(&format!("hello, {name}"))?;
        }
        "/greeter.Greeter/Countdown" => {
            let from = got.next().await?.unwrap_or_default();
            let from: u8 = from.parse().or_err(ReadError, "no number")?;
            for number in (1..=from).rev() {
                replies.send(&number.to_string())?;
            }
        }
        "/greeter.Greeter/Join" => {
            let mut words = vec![];
            while let Some(word) = got.next().await? {
                words.push(word);
            }
            replies.send(&words.join(" "))?;
        }
        "/greeter.Greeter/Shout" => {
            while let Some(word) = got.next().await? {
                replies.send(&word.to_uppercase())?;
            }
        }
        "/greeter.Greeter/Sleep" => std::future::pending().await,
        _ => return Ok(UNKNOWN_METHOD),
    }
    Ok(OK)
}

/// The response of a call. Its head precedes the first message.
struct Replies {
    respond: SendResponse<Bytes>,
    stream: Option<SendStream<Bytes>>,
}

impl Replies {
    fn head() -> Response<()> {
        let mut head = Response::new(());
        let grpc = HeaderValue::from_static("application/grpc");
        head.headers_mut().insert("content-type", grpc);
        head
    }

    fn send(&mut self, text: &str) -> Result<()> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            place => {
                let stream = self.respond.send_response(Self::head(), false);
                place.insert(stream.or_err(WriteError, "the head")?)
            }
        };
        // Messages are short here: longer ones would have to wait for the receiver's window.
        let sent = stream.send_data(frame(text), false);
        sent.or_err(WriteError, "a message")
    }

    /// The status is in the trailers or, if there was no message, in the head.
    fn end(mut self, status: &'static str) -> Result<()> {
        let status = HeaderValue::from_static(status);
        match &mut self.stream {
            Some(stream) => {
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", status);
                trailers.insert("x-served-by", HeaderValue::from_static("greeter"));
                stream
                    .send_trailers(trailers)
                    .or_err(WriteError, "trailers")
            }
            None => {
                let mut head = Self::head();
                head.headers_mut().insert("grpc-status", status);
                let sent = self.respond.send_response(head, true);
                sent.or_err(WriteError, "the head").map(|_| ())
            }
        }
    }
}
