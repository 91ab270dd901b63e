//! A connection to a server, shared by the exchanges on it.

use super::Http2Session;
use super::activity::{Activity, Slot};
use super::faults;
use crate::protocols::{Digest, UniqueIDType};
use bytes::Bytes;
use pingora_error::Result;
use pingora_h2::client::SendRequest;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch::Receiver;

/// How many streams are opened before the server's SETTINGS have arrived. The protocol sets no
/// limit; few servers take more.
pub(crate) const MOST_BEFORE_SETTINGS: usize = 100;

/// One HTTP/2 connection to a server, shared by the exchanges on it.
///
/// It stays open as long as anybody holds a reference, an exchange included. When the last one is
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
    /// There is room; whoever asked has a slot now. `true`: the connection was idle.
    Slot(bool),
    /// All streams are in use.
    Full,
    /// The connection takes no new streams, and never will.
    Unfit,
}

impl ConnectionRef {
    /// A connection on which `send_req` sends requests, `max_streams` at most at a time. `closed`
    /// and `ping_timeout_occurred` are what [`drive_connection`](super::drive_connection) was
    /// given.
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

    /// The same for a driver that heeds `activity`.
    pub(crate) fn with_activity(mut self, activity: Arc<Activity>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.activity = activity;
        }
        self
    }

    pub(crate) fn activity(&self) -> &Activity {
        &self.0.activity
    }

    /// How many streams may be open at a time, by our own limit and the server's SETTINGS.
    fn stream_limit(&self) -> usize {
        let server = self.0.send_request.current_max_send_streams();
        self.0.max_streams.min(server)
    }

    /// Whether another exchange may begin on this connection now.
    pub fn more_streams_allowed(&self) -> bool {
        self.can_accept_streams(1)
    }

    /// How many more exchanges may begin now.
    pub fn free_stream_slots(&self) -> usize {
        if self.is_shutting_down() {
            return 0;
        }
        let taken = self.0.activity.streams();
        self.stream_limit().saturating_sub(taken)
    }

    /// Whether so many exchanges more may begin now.
    pub fn can_accept_streams(&self, streams: usize) -> bool {
        self.free_stream_slots() >= streams
    }

    /// Whether no exchange is under way.
    pub fn is_idle(&self) -> bool {
        self.0.activity.streams() == 0
    }

    /// Whether there was ever more than one exchange on it: then the server may end the connection for
    /// reasons that have nothing to do with a given one of them.
    pub fn is_shared(&self) -> bool {
        self.0.activity.is_shared()
    }

    /// Gives back the place of an exchange that is over. Sessions do so when they are dropped.
    pub fn release_stream(&self) {
        self.0.activity.release();
    }

    /// Tells this connection from others that are open: its file descriptor, if it has one.
    pub fn id(&self) -> UniqueIDType {
        self.0.id
    }

    /// The facts about the connection.
    pub fn digest(&self) -> &Digest {
        &self.0.digest
    }

    /// The facts about the connection, to be added to: `None` if others refer to it too.
    pub fn digest_mut(&mut self) -> Option<&mut Digest> {
        Arc::get_mut(&mut self.0).map(|inner| &mut inner.digest)
    }

    /// Whether the connection was given up because the server did not answer a PING.
    pub fn ping_timedout(&self) -> bool {
        self.0.ping_timedout.load(Ordering::Relaxed)
    }

    /// Whether the connection is closed.
    pub fn is_closed(&self) -> bool {
        *self.0.closed.borrow()
    }

    /// Whether the connection takes no new exchanges: it is closed, the server has sent a GOAWAY, or
    /// [`mark_shutdown`](Self::mark_shutdown) was called. Exchanges under way may still finish.
    pub fn is_shutting_down(&self) -> bool {
        self.0.activity.is_retired() || !self.is_fit()
    }

    /// Begins no more exchanges on this connection.
    pub fn mark_shutdown(&self) {
        self.0.activity.retire();
    }

    /// Begins no more exchanges on this connection if the server has not begun to speak HTTP/2 on it: for
    /// exchanges that ran out of time. Others would wait for the same silence.
    pub fn retire_if_silent(&self) {
        if !self.0.activity.is_settled() {
            self.mark_shutdown();
        }
    }

    /// Whether the framing would take another request.
    fn is_fit(&self) -> bool {
        self.0.send_request.is_fit()
    }

    /// Takes a place for a stream, to be used by [`open`](Self::open) or given back by
    /// [`release_stream`](Self::release_stream).
    pub(crate) fn reserve(&self) -> Reserved {
        match self.0.activity.reserve(self.stream_limit()) {
            Slot::Retired => Reserved::Unfit,
            Slot::Full => Reserved::Full,
            Slot::Taken { .. } if !self.is_fit() => {
                self.mark_shutdown();
                self.release_stream();
                Reserved::Unfit
            }
            Slot::Taken { was_idle } => Reserved::Slot(was_idle),
        }
    }

    /// A session in a place that was reserved.
    pub(crate) fn open(self) -> Http2Session {
        let send_request = self.0.send_request.clone();
        Http2Session::new(self, send_request)
    }

    /// A session for another exchange; `None` where the connection has no room for one now.
    ///
    /// Nothing is sent yet, and nothing is waited for.
    ///
    /// # Errors
    /// `H2Error` if the connection takes no new exchanges at all; another one may.
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
