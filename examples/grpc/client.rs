//! A client that makes a call of each kind and reports the results.

use async_trait::async_trait;
use bytes::Bytes;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request};
use pingora::listeners::BoundAddresses;
use pingora::prelude::*;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use pingora_examples::grpc::{Messages, frame};
use pingora_examples::say;
use std::net::SocketAddr;
use std::sync::Mutex;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// Makes the calls, as a service that waits for the proxy to listen.
pub(super) struct Calls {
    proxy: BoundAddresses,
    finished: Mutex<Option<oneshot::Sender<()>>>,
}

impl Calls {
    /// Calls through the proxy at this address, and reports when it is finished.
    pub(super) fn through(proxy: BoundAddresses, finished: oneshot::Sender<()>) -> Self {
        Calls {
            proxy,
            finished: Mutex::new(Some(finished)),
        }
    }

    async fn make(&self) -> Result<()> {
        let addresses = self.proxy.wait().await?;
        for address in addresses.iter().take(1) {
            say(format_args!("listening on {address}"));
            make_calls(&mut Client::connect(*address).await?).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl BackgroundService for Calls {
    async fn start(&self, _shutdown: ShutdownWatch) {
        if let Err(error) = self.make().await {
            say(format_args!("a call failed: {error}"));
        }
        let finished = self.finished.lock().ok().and_then(|mut place| place.take());
        if let Some(finished) = finished {
            let _ = finished.send(());
        }
    }
}

async fn make_calls(client: &mut Client) -> Result<()> {
    let mut call = client.call("Hello", None)?;
    call.send("world", true)?;
    say(format_args!(
        "one message, one reply: {}",
        call.rest().await?
    ));

    let mut call = client.call("Countdown", None)?;
    call.send("3", true)?;
    say(format_args!(
        "one message, many replies: {}",
        call.rest().await?
    ));

    let mut call = client.call("Join", None)?;
    for word in ["these", "are"] {
        call.send(word, false)?;
    }
    call.send("words", true)?;
    say(format_args!(
        "many messages, one reply: {}",
        call.rest().await?
    ));

    // Each reply arrives before the next message is sent.
    let mut call = client.call("Shout", None)?;
    for word in ["ping", "pong"] {
        call.send(word, false)?;
        let reply = call.next().await?.unwrap_or_default();
        say(format_args!("many messages, many replies: {word}, {reply}"));
    }
    call.end()?;
    say(format_args!(
        "many messages, many replies: {}",
        call.rest().await?
    ));

    let mut call = client.call("Sleep", Some("50m"))?;
    call.end()?;
    say(format_args!("a deadline of 50 ms: {}", call.rest().await?));

    let mut call = client.call("Nothing", None)?;
    call.end()?;
    say(format_args!("no such method: {}", call.rest().await?));
    Ok(())
}

/// A connection to a gRPC server, or to a proxy in front of one.
struct Client {
    requests: SendRequest<Bytes>,
    authority: SocketAddr,
}

impl Client {
    async fn connect(authority: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(authority).await;
        let stream = stream.or_err(ConnectError, "the client")?;
        let connected = h2::client::handshake(stream).await;
        let (requests, connection) = connected.or_err(H2Error, "the client")?;
        tokio::spawn(connection);
        Ok(Client {
            requests,
            authority,
        })
    }

    /// Begins a call with this deadline.
    fn call(&mut self, method: &str, time: Option<&str>) -> Result<Call> {
        let mut request = Request::post(format!(
            "http://{}/greeter.Greeter/{method}",
            self.authority
        ))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
        if let Some(time) = time {
            request = request.header("grpc-timeout", time);
        }
        let request = request.body(()).or_err(InternalError, "a call")?;
        let sent = self.requests.send_request(request, false);
        let (response, stream) = sent.or_err(H2Error, "a call")?;
        Ok(Call {
            stream,
            response: Some(response),
            replies: None,
            status: HeaderMap::new(),
        })
    }
}

/// A call in progress. Messages and replies may alternate in any order.
struct Call {
    stream: SendStream<Bytes>,
    response: Option<ResponseFuture>,
    replies: Option<Messages>,
    /// The fields that describe the end of the call.
    status: HeaderMap,
}

impl Call {
    fn send(&mut self, text: &str, last: bool) -> Result<()> {
        self.stream
            .send_data(frame(text), last)
            .or_err(H2Error, "a message")
    }

    fn end(&mut self) -> Result<()> {
        let ended = self.stream.send_data(Bytes::new(), true);
        ended.or_err(H2Error, "the end of a call")
    }

    /// The next reply; `None` once the call is over.
    async fn next(&mut self) -> Result<Option<String>> {
        if let Some(response) = self.response.take() {
            let (head, body) = response.await.or_err(H2Error, "a reply")?.into_parts();
            self.status = head.headers;
            self.replies = Some(Messages::of(body));
        }
        let Some(replies) = &mut self.replies else {
            return Ok(None);
        };
        let reply = replies.next().await?;
        if reply.is_none() {
            self.status.extend(replies.trailers().await?);
        }
        Ok(reply)
    }

    /// The remaining replies, and the final status.
    async fn rest(&mut self) -> Result<String> {
        let mut told = String::new();
        while let Some(reply) = self.next().await? {
            told.push_str(&format!("{reply}, "));
        }
        let field = |name| {
            let value = self.status.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or("unknown").to_string()
        };
        told.push_str(&format!("status {}", field("grpc-status")));
        if self.status.contains_key("x-served-by") {
            told.push_str(&format!(", served by {}", field("x-served-by")));
        }
        Ok(told)
    }
}
