//! The server's side.

use super::drive::Driver;
pub use super::drive::Goodbye;
use super::failure::Failure;
use super::ping::PingPong;
use super::shared::{Held, Shared, now};
use super::stream::{RecvStream, SendStream, poll_reset};
use crate::error::Reason;
use crate::frame::{Role, StreamId};
use crate::head::Head;
use crate::machine::{Config, Machine, Offence};
use crate::spare::boxed_head;
use bytes::Bytes;
use http::Response;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// How a server's connections are set up: the settings announced to clients, and the bounds.
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
    /// Creates a builder with the protocol's own windows, no limit on streams, and the bounds of
    /// [`Config`].
    pub fn new() -> Self {
        let mut config = Config::new(Role::Server);
        config.settings.enable_connect_protocol = None;
        Builder { config }
    }

    /// The whole configuration, for settings without a method here.
    pub fn config(&mut self) -> &mut Config {
        &mut self.config
    }

    /// The number of bytes that a client may send ahead on each stream
    /// (SETTINGS_INITIAL_WINDOW_SIZE). 65,535 by default.
    pub fn initial_window_size(&mut self, size: u32) -> &mut Self {
        self.config.settings.initial_window_size = Some(size.min(crate::frame::LARGEST_WINDOW));
        self
    }

    /// The number of bytes that a client may send ahead on all streams together. 65,535 by default.
    pub fn initial_connection_window_size(&mut self, size: u32) -> &mut Self {
        self.config.connection_window = size.min(crate::frame::LARGEST_WINDOW);
        self
    }

    /// The largest frame that is accepted (SETTINGS_MAX_FRAME_SIZE), in bytes: 16,384, the default, to
    /// 16,777,215. Values out of range are clamped.
    pub fn max_frame_size(&mut self, max: u32) -> &mut Self {
        let least = crate::frame::DEFAULT_MAX_FRAME_SIZE;
        let most = crate::frame::LARGEST_MAX_FRAME_SIZE;
        self.config.settings.max_frame_size = Some(max.clamp(least, most));
        self
    }

    /// The largest header list that is accepted (SETTINGS_MAX_HEADER_LIST_SIZE), in bytes. 64 KiB by
    /// default.
    pub fn max_header_list_size(&mut self, max: u32) -> &mut Self {
        self.config.settings.max_header_list_size = Some(max);
        self
    }

    /// The number of concurrent streams (SETTINGS_MAX_CONCURRENT_STREAMS). No limit by default.
    pub fn max_concurrent_streams(&mut self, max: u32) -> &mut Self {
        self.config.settings.max_concurrent_streams = Some(max);
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

    /// The number of bytes of one response that are accepted before they are written. 64 KiB by
    /// default.
    pub fn max_send_buffer_size(&mut self, max: usize) -> &mut Self {
        self.config.send_buffer = max;
        self
    }

    /// The number of streams that a client may reset before they are answered: see
    /// [`Config::resets`], which this lowers.
    pub fn max_pending_accept_reset_streams(&mut self, max: usize) -> &mut Self {
        self.limit_resets(max)
    }

    /// The number of streams that may be reset because of the client's faults: see
    /// [`Config::resets`], which this lowers.
    pub fn max_local_error_reset_streams(&mut self, max: Option<usize>) -> &mut Self {
        match max {
            Some(max) => self.limit_resets(max),
            None => self,
        }
    }

    fn limit_resets(&mut self, max: usize) -> &mut Self {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        self.config.resets = self.config.resets.min(max);
        self
    }

    /// The size of the table that clients compress fields with (SETTINGS_HEADER_TABLE_SIZE), in bytes.
    /// 4,096 by default.
    pub fn header_table_size(&mut self, size: u32) -> &mut Self {
        self.config.settings.header_table_size = Some(size);
        self
    }

    /// The budget for unread data frames. Has no effect here: however a body is split, the memory held
    /// for it is bounded by its size.
    pub fn data_frame_budget(&mut self, _budget: usize) -> &mut Self {
        self
    }

    /// Allows clients to request tunnels with a `:protocol` (RFC 8441).
    pub fn enable_connect_protocol(&mut self) -> &mut Self {
        self.config.settings.enable_connect_protocol = Some(true);
        self
    }

    /// Begins HTTP/2 on a connection. Returns when the client's preface has arrived.
    ///
    /// # Errors
    /// The client speaks another protocol, or is gone.
    pub async fn handshake<T, B>(&self, io: T) -> Result<Connection<T, B>, Failure>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        self.handshake_ahead(io, &[]).await
    }

    /// [`Builder::handshake`] on a connection from which `ahead` has already been read.
    ///
    /// # Errors
    /// The same as [`Builder::handshake`].
    pub async fn handshake_ahead<T, B>(
        &self,
        io: T,
        ahead: &[u8],
    ) -> Result<Connection<T, B>, Failure>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let machine = Machine::new(self.config.clone(), now());
        let mut driver = Driver::new(io, Shared::new(machine, false));
        driver.take_ahead(ahead);
        poll_fn(|cx| {
            let over = driver.poll(cx).is_ready();
            if over || driver.has_begun() {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
        let begun = driver.has_begun();
        if !begun {
            return Err(driver.failure());
        }
        Ok(Connection {
            driver,
            failed: false,
            data: PhantomData,
        })
    }
}

/// Begins HTTP/2 on a connection, with the defaults of [`Builder`].
///
/// # Errors
/// The same as [`Builder::handshake`].
pub async fn handshake<T>(io: T) -> Result<Connection<T, Bytes>, Failure>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    Builder::new().handshake(io).await
}

/// A received request.
#[derive(Debug)]
pub struct Incoming {
    /// Its head. If [`Head::fault`] is set, the stream is reset once it has been answered.
    pub head: Box<Head>,
    /// Its body.
    pub body: RecvStream,
}

/// A server's connection. Polling it drives it.
#[derive(Debug)]
pub struct Connection<T, B = Bytes> {
    driver: Driver<T>,
    failed: bool,
    data: PhantomData<fn(B)>,
}

impl<T, B> Connection<T, B>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    /// The next request, and the handle for its response; `None` when no more will come. Cancel-safe.
    pub async fn accept(&mut self) -> Option<Result<(Incoming, SendResponse<Bytes>), Failure>> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// [`Connection::accept`], to be polled.
    #[expect(
        clippy::type_complexity,
        reason = "a poll of an optional result of a pair"
    )]
    pub fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(Incoming, SendResponse<Bytes>), Failure>>> {
        if let Some(request) = self.take_request() {
            return Poll::Ready(Some(Ok(request)));
        }
        let over = self.driver.poll(cx);
        if let Some(request) = self.take_request() {
            return Poll::Ready(Some(Ok(request)));
        }
        ready!(over);
        Poll::Ready(self.take_failure().map(Err))
    }

    /// Until the next poll, what streams do does not wake the task that polls this connection: for a task that polls the
    /// streams as well, and the connection after them.
    pub fn mute(&mut self) {
        self.driver.shared.lock().mute();
    }

    fn take_request(&mut self) -> Option<(Incoming, SendResponse<Bytes>)> {
        let shared = &self.driver.shared;
        let mut state = shared.lock();
        let (key, head) = state.machine.poll_request()?;
        // Once for each half.
        state.hold(key);
        state.hold(key);
        drop(state);
        let body = RecvStream::new(Held::new(shared, key));
        let respond = SendResponse {
            held: Held::new(shared, key),
            data: PhantomData,
        };
        Some((Incoming { head, body }, respond))
    }

    /// The reason why the connection ended, if not in an orderly way; returned once.
    fn take_failure(&mut self) -> Option<Failure> {
        if std::mem::replace(&mut self.failed, true) {
            return None;
        }
        let state = self.driver.shared.lock();
        state.machine.cause().map(Failure::of)
    }

    /// Ready when the connection is closed. Cancel-safe.
    ///
    /// # Errors
    /// The reason why the connection ended, if not in an orderly way.
    pub fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        ready!(self.driver.poll(cx));
        Poll::Ready(match self.take_failure() {
            Some(failure) => Err(failure),
            None => Ok(()),
        })
    }

    /// Tells the client to open no more streams here; active streams, and those already in flight,
    /// continue. Then the connection ends (RFC 9113 section 6.8).
    pub fn graceful_shutdown(&mut self) {
        self.driver
            .shared
            .with(|state| state.machine.shut_down(now()));
    }

    /// Ends the connection and all of its streams at once.
    pub fn abrupt_shutdown(&mut self, reason: Reason) {
        self.driver.shared.with(|state| state.machine.abort(reason));
    }

    /// Allows clients to send this many bytes ahead on all streams together, from now on.
    pub fn set_target_window_size(&mut self, size: u32) {
        let set = |state: &mut super::shared::State| state.machine.set_connection_window(size);
        self.driver.shared.with(set);
    }

    /// PINGs on this connection.
    pub fn ping_pong(&mut self) -> Option<PingPong> {
        let shared = self.driver.shared.clone();
        Some(PingPong { shared })
    }

    /// The kind of abuse that ended the connection, if any.
    pub fn offence(&self) -> Option<Offence> {
        self.driver.shared.lock().machine.offence()
    }

    /// How long to keep reading from a client after GOAWAY. Not at all by default.
    pub fn set_goodbye(&mut self, goodbye: Goodbye) {
        self.driver.goodbye = Some(goodbye);
    }

    /// Whether all of our output has been produced: it only remains to let the client read it.
    pub fn is_closing(&self) -> bool {
        self.driver.is_closing()
    }

    /// Bytes that were read from the connection so far.
    pub fn received(&self) -> u64 {
        self.driver.shared.lock().received
    }

    /// The write progress of this connection's responses.
    pub fn progress(&self) -> Progress {
        let state = self.driver.shared.lock();
        let blocked = self.driver.unwritten();
        Progress {
            unwritten: state.machine.sending() + blocked,
            sent: state.machine.sent(),
            blocked: blocked > 0,
        }
    }

    /// Bytes of bodies that are held for this connection, in both directions.
    pub fn held(&self) -> usize {
        self.driver.shared.lock().machine.held()
    }
}

/// The write progress of a connection's responses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that were handed to the connection but are held back by the client's windows or the
    /// transport.
    pub unwritten: usize,
    /// Bytes of bodies that went into frames so far.
    pub sent: u64,
    /// The transport accepted nothing at the last attempt.
    pub blocked: bool,
}

/// The handle for sending the response to a request.
#[derive(Debug)]
pub struct SendResponse<B = Bytes> {
    held: Held,
    data: PhantomData<fn(B)>,
}

impl SendResponse<Bytes> {
    /// Sends an informational response.
    ///
    /// # Errors
    /// The stream was reset, or the final response was sent.
    pub fn send_informational(&mut self, response: Response<()>) -> Result<(), Failure> {
        let head = head(response);
        self.held.with(|state, key| {
            if !state.machine.is_open_to_send(key) {
                return Err(state.failure(key));
            }
            state.machine.inform(key, head);
            Ok(())
        })
    }

    /// Sends the head of the final response; `end`: nothing follows.
    ///
    /// # Errors
    /// The stream was reset, or a response was sent.
    pub fn send_response(
        &mut self,
        response: Response<()>,
        end: bool,
    ) -> Result<SendStream<Bytes>, Failure> {
        self.send_head(boxed_head(head(response)), end)
    }

    /// [`SendResponse::send_response`] with a head as it is sent: its pseudo-header fields must be those of a final
    /// response. Its memory is [kept](crate::take_head) for later heads.
    ///
    /// # Errors
    /// The stream was reset, or a response was sent.
    pub fn send_head(&mut self, head: Box<Head>, end: bool) -> Result<SendStream<Bytes>, Failure> {
        self.held.with(|state, key| {
            if !state.machine.is_open_to_send(key) {
                return Err(state.failure(key));
            }
            state.machine.respond_boxed(key, head, end);
            Ok(SendStream::new(self.held.another(state)))
        })
    }

    /// Resets the stream.
    pub fn send_reset(&mut self, reason: Reason) {
        self.held
            .with(|state, key| state.machine.reset(key, reason, &now));
    }

    /// Ready when the stream was reset, by either side. Cancel-safe.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reason, Failure>> {
        poll_reset(&self.held, cx)
    }

    /// The number of the stream.
    pub fn stream_id(&self) -> StreamId {
        StreamId::new(self.held.key.id())
    }
}

fn head(response: Response<()>) -> Head {
    let (parts, ()) = response.into_parts();
    Head::response(parts.status, parts.headers)
}
