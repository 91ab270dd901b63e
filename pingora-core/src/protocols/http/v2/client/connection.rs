//! A connection to a server, shared by the exchanges on it.

use super::Http2Session;
use super::activity::{Activity, Reservation};
use super::faults;
use crate::protocols::{Digest, UniqueIDType};
use bytes::Bytes;
use pingora_error::Result;
use pingora_h2::client::SendRequest;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch::Receiver;

/// The number of streams that are opened before the server's SETTINGS have arrived. The protocol
/// sets no limit; few servers accept more.
pub(crate) const MOST_BEFORE_SETTINGS: usize = 100;

/// One HTTP/2 connection to a server, shared by the exchanges on it.
///
/// It stays open as long as any reference exists; an exchange holds one too. When the last one is
/// dropped it is closed in an orderly way.
#[derive(Clone)]
pub struct ConnectionRef(Arc<Inner>);

struct Inner {
    send_request: SendRequest<Bytes>,
    closed: Receiver<bool>,
    ping_timedout: Arc<AtomicBool>,
    id: UniqueIDType,
    max_streams: usize,
    digest: Digest,
    activity: Arc<Activity>,
}

/// The outcome of a request for a stream.
#[derive(Debug)]
pub(crate) enum Reserved {
    /// There is room, and the caller now has a slot. `true`: the connection was idle.
    Slot(bool),
    /// All streams are in use.
    Full,
    /// The connection accepts no new streams any more.
    Unfit,
}

impl ConnectionRef {
    /// A connection on which `send_req` sends requests, at most `max_streams` at a time. `closed`
    /// and `ping_timeout_occurred` are the values passed to
    /// [`drive_connection`](super::drive_connection).
    pub fn new(
        send_req: SendRequest<Bytes>,
        closed: Receiver<bool>,
        ping_timeout_occurred: Arc<AtomicBool>,
        id: UniqueIDType,
        max_streams: usize,
        digest: Digest,
    ) -> Self {
        ConnectionRef(Arc::new(Inner {
            send_request: send_req,
            closed,
            ping_timedout: ping_timeout_occurred,
            id,
            max_streams,
            digest,
            activity: Arc::default(),
        }))
    }

    /// The same for a driver that uses `activity`.
    pub(crate) fn with_activity(mut self, activity: Arc<Activity>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.activity = activity;
        }
        self
    }

    pub(crate) fn activity(&self) -> &Activity {
        &self.0.activity
    }

    /// The number of streams that may be open at a time, according to our own limit and the
    /// server's SETTINGS.
    fn stream_limit(&self) -> usize {
        let server = self.0.send_request.current_max_send_streams();
        self.0.max_streams.min(server)
    }

    /// Whether another exchange may begin on this connection now.
    pub fn more_streams_allowed(&self) -> bool {
        self.can_accept_streams(1)
    }

    /// The number of exchanges that may begin now.
    pub fn free_stream_slots(&self) -> usize {
        if self.is_shutting_down() {
            return 0;
        }
        let taken = self.0.activity.streams();
        self.stream_limit().saturating_sub(taken)
    }

    /// Whether this many exchanges may begin now.
    pub fn can_accept_streams(&self, streams: usize) -> bool {
        self.free_stream_slots() >= streams
    }

    /// Whether no exchange is in progress.
    pub fn is_idle(&self) -> bool {
        self.0.activity.streams() == 0
    }

    /// Whether there has been more than one exchange on it: in that case the server may end the
    /// connection for reasons unrelated to a given exchange.
    pub fn is_shared(&self) -> bool {
        self.0.activity.is_shared()
    }

    /// Gives back the slot of a finished exchange. Sessions do so when they are dropped.
    pub fn release_stream(&self) {
        self.0.activity.release();
    }

    /// Identifies this connection among the open ones: its file descriptor, if it has one.
    pub fn id(&self) -> UniqueIDType {
        self.0.id
    }

    /// The facts about the connection.
    pub fn digest(&self) -> &Digest {
        &self.0.digest
    }

    /// The facts about the connection, mutable: `None` if there are other references to it.
    pub fn digest_mut(&mut self) -> Option<&mut Digest> {
        Arc::get_mut(&mut self.0).map(|inner| &mut inner.digest)
    }

    /// Whether the connection was abandoned because the server did not answer a PING.
    pub fn ping_timedout(&self) -> bool {
        self.0.ping_timedout.load(Ordering::Relaxed)
    }

    /// Whether the connection is closed.
    pub fn is_closed(&self) -> bool {
        *self.0.closed.borrow()
    }

    /// Whether the connection accepts no new exchanges: it is closed, the server has sent a GOAWAY,
    /// or [`mark_shutdown`](Self::mark_shutdown) was called. Exchanges in progress may still finish.
    pub fn is_shutting_down(&self) -> bool {
        self.0.activity.is_retired() || !self.is_fit()
    }

    /// Begins no more exchanges on this connection.
    pub fn mark_shutdown(&self) {
        self.0.activity.retire();
    }

    /// Begins no more exchanges on this connection if the server has not sent anything in HTTP/2 yet: for
    /// exchanges that timed out. Others would wait for the same silence.
    pub fn retire_if_silent(&self) {
        if !self.0.activity.is_settled() {
            self.mark_shutdown();
        }
    }

    /// Whether the framing layer would accept another request.
    fn is_fit(&self) -> bool {
        self.0.send_request.is_fit()
    }

    /// Reserves a slot for a stream, to be used by [`open`](Self::open) or given back by
    /// [`release_stream`](Self::release_stream).
    pub(crate) fn reserve(&self) -> Reserved {
        match self.0.activity.reserve(self.stream_limit()) {
            Reservation::Retired => Reserved::Unfit,
            Reservation::Full => Reserved::Full,
            Reservation::Taken { .. } if !self.is_fit() => {
                self.mark_shutdown();
                self.release_stream();
                Reserved::Unfit
            }
            Reservation::Taken { was_idle } => Reserved::Slot(was_idle),
        }
    }

    /// A session in a reserved slot.
    pub(crate) fn open(self) -> Http2Session {
        let send_request = self.0.send_request.clone();
        Http2Session::new(self, send_request)
    }

    /// A session for another exchange; `None` if the connection has no room for one now.
    ///
    /// Nothing is sent, and nothing is awaited.
    ///
    /// # Errors
    /// `H2Error` if the connection accepts no new exchanges at all; another one may.
    pub async fn spawn_stream(&self) -> Result<Option<Http2Session>> {
        match self.reserve() {
            Reserved::Slot(_) => Ok(Some(self.clone().open())),
            Reserved::Full => Ok(None),
            Reserved::Unfit => Err(faults::draining()),
        }
    }
}

impl fmt::Debug for ConnectionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionRef")
            .field("id", &self.0.id)
            .field("streams", &self.0.activity.streams())
            .field("max_streams", &self.0.max_streams)
            .finish_non_exhaustive()
    }
}
