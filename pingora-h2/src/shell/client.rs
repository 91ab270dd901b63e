//! The client's side.

use super::drive::Driver;
use super::failure::Failure;
use super::ping::PingPong;
use super::shared::{Held, Shared, now};
use super::stream::{RecvStream, SendStream, keep};
use crate::ext::Protocol;
use crate::frame::{Role, StreamId};
use crate::head::Head;
use crate::hpack::PseudoFields;
use crate::machine::{Config, Machine, Received};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// How a client's connections are set up.
#[derive(Debug, Clone)]
pub struct Builder {
    config: Config,
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// Creates a builder with the protocol's own windows and the bounds of [`Config`].
    pub fn new() -> Self {
        Builder {
            config: Config::new(Role::Client),
        }
    }

    /// The whole configuration, for settings without a method here.
    pub fn config(&mut self) -> &mut Config {
        &mut self.config
    }

    /// The number of bytes that the server may send ahead on each stream. 65,535 by default.
    pub fn initial_window_size(&mut self, size: u32) -> &mut Self {
        self.config.settings.initial_window_size = Some(size.min(crate::frame::LARGEST_WINDOW));
        self
    }

    /// The number of bytes that the server may send ahead on all streams together. 65,535 by
    /// default.
    pub fn initial_connection_window_size(&mut self, size: u32) -> &mut Self {
        self.config.connection_window = size.min(crate::frame::LARGEST_WINDOW);
        self
    }

    /// The largest header list that is accepted, in bytes. 64 KiB by default.
    pub fn max_header_list_size(&mut self, max: u32) -> &mut Self {
        self.config.settings.max_header_list_size = Some(max);
        self
    }

    /// The number of bytes of one request that are accepted before they are written. 64 KiB by
    /// default.
    pub fn max_send_buffer_size(&mut self, max: usize) -> &mut Self {
        self.config.send_buffer = max;
        self
    }

    /// The number of streams that are opened before the server has announced its limit. 100 by
    /// default.
    pub fn initial_max_send_streams(&mut self, max: usize) -> &mut Self {
        self.config.initial_peer_streams = u32::try_from(max).unwrap_or(u32::MAX);
        self
    }

    /// The number of streams reset here that are remembered, so that frames still in flight for
    /// them are not errors. 64 by default.
    pub fn max_concurrent_reset_streams(&mut self, max: usize) -> &mut Self {
        self.config.reset_memory = max;
        self
    }

    /// How long they are remembered. 30 s by default.
    pub fn reset_stream_duration(&mut self, duration: Duration) -> &mut Self {
        self.config.reset_lifetime = duration;
        self
    }

    /// Begins HTTP/2 on a connection. Returns without waiting for the peer.
    ///
    /// # Errors
    /// None at present.
    pub async fn handshake<T, B>(
        &self,
        io: T,
    ) -> Result<(SendRequest<B>, Connection<T, B>), Failure>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let machine = Machine::new(self.config.clone(), now());
        let shared = Shared::new(machine, true);
        shared.lock().requesters = 1;
        let requests = SendRequest {
            shared: shared.clone(),
            data: PhantomData,
        };
        let connection = Connection {
            driver: Driver::new(io, shared),
            data: PhantomData,
        };
        Ok((requests, connection))
    }
}

/// Begins HTTP/2 on a connection, with the defaults of [`Builder`].
///
/// # Errors
/// The same as [`Builder::handshake`].
pub async fn handshake<T>(io: T) -> Result<(SendRequest<Bytes>, Connection<T, Bytes>), Failure>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    Builder::new().handshake(io).await
}

/// A client's connection: a future that drives it until it ends. The connection ends in an orderly
/// way when the last [`SendRequest`] and the last stream are dropped.
#[derive(Debug)]
pub struct Connection<T, B = Bytes> {
    driver: Driver<T>,
    data: PhantomData<fn(B)>,
}

impl<T, B> Connection<T, B>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    /// PINGs on this connection.
    pub fn ping_pong(&mut self) -> Option<PingPong> {
        let shared = self.driver.shared.clone();
        Some(PingPong { shared })
    }

    /// Whether the server's first SETTINGS have arrived.
    pub fn is_settled(&self) -> bool {
        self.driver.shared.lock().machine.is_settled()
    }
}

impl<T, B> Future for Connection<T, B>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    type Output = Result<(), Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(self.driver.poll(cx));
        let state = self.driver.shared.lock();
        Poll::Ready(match state.machine.cause() {
            Some(cause) => Err(Failure::of(cause)),
            None => Ok(()),
        })
    }
}

/// Begins requests on a connection.
#[derive(Debug)]
pub struct SendRequest<B = Bytes> {
    shared: Arc<Shared>,
    data: PhantomData<fn(B)>,
}

impl<B> Clone for SendRequest<B> {
    fn clone(&self) -> Self {
        self.shared.lock().requesters += 1;
        SendRequest {
            shared: self.shared.clone(),
            data: PhantomData,
        }
    }
}

impl<B> Drop for SendRequest<B> {
    fn drop(&mut self) {
        self.shared.drop_requester();
    }
}

impl SendRequest<Bytes> {
    /// Returns itself if the connection accepts requests.
    ///
    /// # Errors
    /// The same as [`SendRequest::poll_ready`].
    pub async fn ready(mut self) -> Result<Self, Failure> {
        poll_fn(|cx| self.poll_ready(cx)).await?;
        Ok(self)
    }

    /// Whether the connection accepts requests. Never pending: a request beyond the server's limit
    /// begins when another one ends.
    ///
    /// # Errors
    /// The connection is over, or the server has sent GOAWAY.
    pub fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let state = self.shared.lock();
        Poll::Ready(if state.machine.may_open() {
            Ok(())
        } else {
            Err(refusal(&state.machine))
        })
    }

    /// Whether the connection accepts requests.
    pub fn is_fit(&self) -> bool {
        self.shared.lock().machine.may_open()
    }

    /// Begins a request; `end`: it has no body.
    ///
    /// # Errors
    /// The connection accepts no more requests. The server has not seen this request.
    pub fn send_request(
        &mut self,
        request: Request<()>,
        end: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Failure> {
        self.send_head(head(request), end)
    }

    /// [`SendRequest::send_request`] for a ready-made head.
    ///
    /// # Errors
    /// The same as [`SendRequest::send_request`].
    pub fn send_head(
        &mut self,
        head: Head,
        end: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Failure> {
        self.shared.with(|state| {
            let Some(key) = state.machine.open(head, end) else {
                return Err(refusal(&state.machine));
            };
            // Once for each half.
            state.hold(key);
            state.hold(key);
            let response = ResponseFuture {
                held: Some(Held::new(&self.shared, key)),
                stream: key.id(),
            };
            let body = SendStream::new(Held::new(&self.shared, key));
            Ok((response, body))
        })
    }

    /// The number of streams that the server accepts at once.
    pub fn current_max_send_streams(&self) -> usize {
        self.shared.lock().machine.peer_max_streams()
    }

    /// Whether the server accepts extended CONNECT (RFC 8441 section 3).
    pub fn is_extended_connect_protocol_enabled(&self) -> bool {
        self.shared.lock().machine.peer_extended_connect()
    }
}

#[cold]
fn refusal(machine: &Machine) -> Failure {
    match machine.cause() {
        Some(cause) => Failure::of(cause),
        None => Failure::user("the connection takes no more requests"),
    }
}

/// Builds the pseudo-header fields from a URI, a method and an extension.
fn head(request: Request<()>) -> Head {
    let (parts, ()) = request.into_parts();
    let text = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let protocol = parts.extensions.get::<Protocol>();
    let plain_connect = parts.method == http::Method::CONNECT && protocol.is_none();
    let path = parts.uri.path_and_query().map(|path| text(path.as_str()));
    let pseudo = PseudoFields {
        scheme: parts.uri.scheme_str().filter(|_| !plain_connect).map(text),
        authority: parts.uri.authority().map(|name| text(name.as_str())),
        path: path.filter(|_| !plain_connect),
        protocol: protocol.map(|protocol| text(protocol.as_str())),
        method: Some(parts.method),
        status: None,
    };
    Head {
        pseudo,
        fields: parts.headers,
        ..Head::default()
    }
}

/// A head of a response.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The fields.
    pub fields: HeaderMap,
    /// The body; `None`: the head is informational, and another one follows.
    pub body: Option<RecvStream>,
}

/// The pending response.
#[derive(Debug)]
pub struct ResponseFuture {
    /// Until the final head is handed out.
    held: Option<Held>,
    stream: u32,
}

impl ResponseFuture {
    /// The next head: informational ones, then the final one. Cancel-safe.
    ///
    /// # Errors
    /// The stream was reset, or its connection is gone.
    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, Failure>> {
        let Some(held) = &self.held else {
            let what = "the response was taken already";
            return Poll::Ready(Err(Failure::user(what)));
        };
        let received = held.with(|state, key| match state.machine.receive(key) {
            Received::Head(head) => Poll::Ready(Ok(head)),
            Received::Pending => {
                keep(&mut state.place(key).receiver, cx);
                Poll::Pending
            }
            _ => Poll::Ready(Err(state.failure(key))),
        });
        let head = ready!(received)?;
        let body = if head.is_informational() {
            None
        } else {
            self.held.take().map(RecvStream::new)
        };
        Poll::Ready(Ok(Answer {
            status: head.pseudo.status.unwrap_or_default(),
            fields: head.fields,
            body,
        }))
    }

    /// The number of the stream.
    pub fn stream_id(&self) -> StreamId {
        StreamId::new(self.stream)
    }
}

impl Future for ResponseFuture {
    type Output = Result<Answer, Failure>;

    /// The final head; informational ones are dropped.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let answer = ready!(self.poll_answer(cx))?;
            if answer.body.is_some() {
                return Poll::Ready(Ok(answer));
            }
        }
    }
}
