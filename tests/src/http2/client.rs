//! A well-behaved client.

use super::body::{ending, fields, map, read_body, send_body};
use super::tls;
use crate::PATIENCE;
use crate::ask::Ask;
use crate::authority::Authority;
use crate::message::{Ending, Message};
use bytes::Bytes;
use h2::SendStream;
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::Request;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A client's connection by the `h2` crate, which answers pings and settings and gives back windows
/// as bodies are read. It ends when this is dropped.
#[derive(Debug)]
pub struct Http2Client {
    requests: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
    scheme: &'static str,
}

impl Http2Client {
    /// Connects in cleartext with prior knowledge.
    ///
    /// # Panics
    /// If the address has no listener that speaks HTTP/2.
    pub async fn to(address: SocketAddr) -> Self {
        Self::with(address, &roomy()).await
    }

    /// Connects in cleartext with these settings.
    ///
    /// # Panics
    /// As [`to`](Self::to).
    pub async fn with(address: SocketAddr, builder: &Builder) -> Self {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await;
        let stream = stream.expect("connects in time").expect("connects");
        stream.set_nodelay(true).expect("TCP_NODELAY is settable");
        Self::over(stream, builder, "http").await
    }

    /// Connects over TLS as somebody who trusts the authority, and speaks HTTP/2 by ALPN.
    ///
    /// # Panics
    /// When the other side doesn't, or isn't who it says.
    pub async fn over_tls(address: SocketAddr, authority: &Authority, name: &str) -> Self {
        let stream = tls::connect(address, authority, name, &["h2"]).await;
        assert_eq!(tls::selected(&stream).as_deref(), Some("h2"));
        Self::over(stream, &roomy(), "https").await
    }

    /// Speaks over a connection that was made elsewhere, in cleartext with prior knowledge.
    ///
    /// # Panics
    /// When the other side does not speak HTTP/2.
    pub async fn over_stream(stream: TcpStream) -> Self {
        Self::over(stream, &roomy(), "http").await
    }

    async fn over<S>(stream: S, builder: &Builder, scheme: &'static str) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let handshake = timeout(PATIENCE, builder.handshake(stream)).await;
        let (requests, connection) = handshake
            .expect("the handshake ends in time")
            .expect("the other side speaks HTTP/2");
        Self {
            requests,
            driver: tokio::spawn(connection),
            scheme,
        }
    }

    /// The sender of requests, for tests that have more to say.
    pub async fn requests(&self) -> SendRequest<Bytes> {
        let ready = timeout(PATIENCE, self.requests.clone().ready()).await;
        ready
            .expect("a stream is free in time")
            .expect("the connection lives")
    }

    /// Sends the head of a request.
    ///
    /// # Errors
    /// When the connection is over.
    pub async fn begin(
        &self,
        ask: &Ask,
        end: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let ready = timeout(PATIENCE, self.requests.clone().ready()).await;
        let mut requests = ready.expect("a stream is free in time")?;
        requests.send_request(self.head(ask), end)
    }

    /// The head of this request.
    pub(crate) fn head(&self, ask: &Ask) -> Request<()> {
        let path = match ask.path.as_str() {
            "*" => "/".to_string(),
            path => path.to_string(),
        };
        let uri = format!("{}://{}{path}", self.scheme, ask.authority);
        let mut request = Request::builder()
            .method(ask.method.as_str())
            .uri(uri)
            .body(())
            .expect("it is a request");
        *request.headers_mut() = map(&ask.fields);
        if let Some(length) = ask.length {
            request
                .headers_mut()
                .insert("content-length", length.into());
        }
        request
    }

    /// Sends a request and reads what comes: interim answers, then the final one. Never panics over
    /// what the other side does: how it ended is in the last message, whose status is 0 where none
    /// came.
    pub async fn exchange(&self, ask: &Ask) -> Vec<Message> {
        let exchange = async {
            let no_body = ask.body.is_none() && ask.trailers.is_empty();
            let (mut answer, mut upload) = match self.begin(ask, no_body).await {
                Ok(begun) => begun,
                Err(error) => return vec![nothing(&error)],
            };
            let up = async {
                if !no_body {
                    // The answer says what became of it.
                    let _ = send(&mut upload, ask).await;
                }
            };
            // An answer may come early; then the rest of the upload goes on beside reading it.
            let down = response(&mut answer);
            let (answers, ()) = tokio::join!(down, async {
                tokio::select! {
                    () = up => {}
                    () = tokio::time::sleep(PATIENCE / 2) => {}
                }
            });
            answers
        };
        let answers = timeout(PATIENCE, exchange).await;
        answers.unwrap_or_else(|_| panic!("waited in vain for the answer to {ask:?}"))
    }

    /// Sends a request and reads the final answer.
    pub async fn ask(&self, ask: &Ask) -> Message {
        let mut answers = self.exchange(ask).await;
        answers.pop().expect("there is a last one")
    }

    /// Gets a path.
    pub async fn get(&self, path: &str) -> Message {
        self.ask(&Ask::get(path)).await
    }

    /// Whether the connection has ended.
    pub fn has_ended(&self) -> bool {
        self.driver.is_finished()
    }

    /// Waits until the connection has ended, and returns the error that did it, if any.
    ///
    /// # Panics
    /// When it lives on.
    pub async fn ended(&mut self) -> Option<h2::Error> {
        let ended = timeout(PATIENCE, &mut self.driver).await;
        let ended = ended.expect("the connection ends in time");
        ended.expect("the driver doesn't panic").err()
    }
}

impl Drop for Http2Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Windows in which a body of a test doesn't wait.
fn roomy() -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(1024 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .enable_push(false);
    builder
}

async fn send(stream: &mut SendStream<Bytes>, ask: &Ask) -> Result<(), h2::Error> {
    let trailed = !ask.trailers.is_empty();
    let body = Bytes::from(ask.body.clone().unwrap_or_default());
    if ask.piece > 0 {
        let count = body.len().div_ceil(ask.piece);
        for number in 0..count {
            let at = number * ask.piece;
            let piece = body.slice(at..body.len().min(at + ask.piece));
            let last = number + 1 == count;
            send_body(stream, piece, last && !trailed).await?;
            // Lets the other side read before the next piece joins this one.
            tokio::task::yield_now().await;
        }
        if count == 0 && !trailed {
            send_body(stream, Bytes::new(), true).await?;
        }
    } else {
        send_body(stream, body, !trailed).await?;
    }
    if trailed {
        stream.send_trailers(map(&ask.trailers))?;
    }
    Ok(())
}

/// Reads an answer with those that come ahead of it.
async fn response(answer: &mut ResponseFuture) -> Vec<Message> {
    let mut messages = Vec::new();
    loop {
        let (last, message) = next_head(answer).await;
        let Some(mut body) = last else {
            let failed = message.start_line == NOTHING;
            messages.push(message);
            if failed {
                return messages;
            }
            continue;
        };
        let mut message = message;
        read_body(&mut body, &mut message).await;
        messages.push(message);
        return messages;
    }
}

const NOTHING: &str = "HTTP/2.0 000 ";

/// The next head: of an interim answer, without a body, or of the final one.
pub(crate) async fn next_head(answer: &mut ResponseFuture) -> (Option<h2::RecvStream>, Message) {
    let head = poll_fn(|cx| {
        if let Poll::Ready(Some(Ok(interim))) = answer.poll_informational(cx) {
            return Poll::Ready(Ok(interim.map(|()| None)));
        }
        Pin::new(&mut *answer)
            .poll(cx)
            .map_ok(|response| response.map(Some))
    });
    match head.await {
        Ok(response) => {
            let (parts, body) = response.into_parts();
            (body, message(parts.status.as_u16(), &parts.headers))
        }
        Err(error) => (None, nothing(&error)),
    }
}

fn message(status: u16, headers: &http::HeaderMap) -> Message {
    let mut message = Message::empty(&format!("HTTP/2.0 {status:03} "));
    message.fields = fields(headers);
    message
}

/// No answer at all, but an error.
fn nothing(error: &h2::Error) -> Message {
    let mut message = Message::empty(NOTHING);
    message.ending = match ending(error) {
        Ending::Complete => Ending::CutShort,
        ending => ending,
    };
    message
}
