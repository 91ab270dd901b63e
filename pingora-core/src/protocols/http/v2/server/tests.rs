//! The session over a real connection, against slow, greedy, faulty or absent clients.

mod bodies;
mod ends;
mod limits;
mod responses;

use super::*;
use crate::protocols::http::{HttpTask, ServerSession};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, StatusCode};
use pingora_error::{ErrorType, Result};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::io::duplex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A client, and the sessions for its requests.
struct Pair {
    requests: SendRequest<Bytes>,
    sessions: mpsc::UnboundedReceiver<HttpSession>,
    client: JoinHandle<()>,
    server: JoinHandle<()>,
}

impl Pair {
    async fn new() -> Self {
        Self::with(h2::client::Builder::new()).await
    }

    /// A client whose windows for the response have this size in bytes.
    async fn with_window(window: u32) -> Self {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window);
        Self::with(builder).await
    }

    async fn with(builder: h2::client::Builder) -> Self {
        let (client_io, server_io) = duplex(64 * 1024);
        let (accepted, sessions) = mpsc::unbounded_channel();
        let server = tokio::spawn(async move {
            let mut connection = handshake(Box::new(server_io), None).await.unwrap();
            let rules = RequestRules {
                allow_connect: true,
                ..RequestRules::default()
            };
            while let Ok(Some((request, respond))) = poll_fn(|cx| accept(&mut connection, cx)).await
            {
                let session = HttpSession::new(request, respond, Arc::default(), &rules, None);
                let _ = accepted.send(session);
            }
        });
        let (requests, connection) = builder.handshake(client_io).await.unwrap();
        let client = tokio::spawn(async move {
            let _ = connection.await;
        });
        Pair {
            requests,
            sessions,
            client,
            server,
        }
    }

    /// Begins a request; returns both sides of it.
    async fn begin(&mut self, request: Request<()>, end: bool) -> Exchange {
        let mut ready = self.requests.clone().ready().await.unwrap();
        let (response, upload) = ready.send_request(request, end).unwrap();
        let mut session = self.sessions.recv().await.unwrap();
        session.read_request().unwrap();
        Exchange {
            response,
            upload,
            session,
        }
    }

    async fn get(&mut self) -> Exchange {
        self.begin(request(Method::GET, &[]), true).await
    }

    async fn post(&mut self) -> Exchange {
        self.begin(request(Method::POST, &[]), false).await
    }
}

struct Exchange {
    response: ResponseFuture,
    upload: SendStream<Bytes>,
    session: HttpSession,
}

fn request(method: Method, fields: &[(&str, &str)]) -> Request<()> {
    let uri = match method {
        Method::CONNECT => "example.com:443",
        _ => "https://example.com/x?y",
    };
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

fn header(status: u16, fields: &[(&'static str, &str)]) -> Box<ResponseHeader> {
    let mut header = ResponseHeader::build(status, None).unwrap();
    for (name, value) in fields {
        header.append_header(*name, *value).unwrap();
    }
    Box::new(header)
}

fn body(data: &'static str) -> HttpTask {
    HttpTask::Body(Some(Bytes::from_static(data.as_bytes())), false)
}

/// The part of a response's body that a client received.
#[derive(Debug, Default, PartialEq)]
struct Received {
    pieces: Vec<String>,
    trailers: Option<HeaderMap>,
    /// The reason why it stopped early.
    reset: Option<Reason>,
}

async fn receive(mut stream: RecvStream) -> Received {
    let mut received = Received::default();
    loop {
        match stream.data().await {
            Some(Ok(data)) => {
                let _ = stream.flow_control().release_capacity(data.len());
                let text = String::from_utf8(data.to_vec()).unwrap();
                received.pieces.push(text);
            }
            Some(Err(error)) => {
                received.reset = error.reason();
                return received;
            }
            None => break,
        }
    }
    match stream.trailers().await {
        Ok(trailers) => received.trailers = trailers,
        Err(error) => received.reset = error.reason(),
    }
    received
}

async fn answered(response: ResponseFuture) -> (StatusCode, Received) {
    let (head, stream) = response.await.unwrap().into_parts();
    (head.status, receive(stream).await)
}

async fn read_body(session: &mut HttpSession) -> Result<Vec<u8>> {
    let mut whole = Vec::new();
    while let Some(piece) = session.read_body_bytes().await? {
        assert!(
            !piece.is_empty(),
            "an empty piece looks like nothing happened"
        );
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

/// Polls once.
async fn once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        })
    })
    .await
}

/// Lets the tasks of both connections run until they are idle.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}
