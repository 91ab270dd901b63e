//! The actions of a program on a stream.

use super::flow::SendWindow;
use super::state::{Cause, Initiator, Life, Receiving, Sending};
use super::stream::{End, Key, Stream};
use super::{Clock, Machine, ReceiveWindow};
use crate::error::Reason;
use crate::head::Head;
use crate::spare::boxed_head;
use bytes::Bytes;
use http::{HeaderMap, Method};

/// The number of informational responses of one stream that may wait to be written; more are
/// dropped.
const MOST_INFORMATIONAL: usize = 16;

/// The next part of a message that a stream has received.
#[derive(Debug)]
pub enum Received {
    /// A head of the response: informational ones, then the final one. Clients only.
    Head(Box<Head>),
    /// A piece of the body. [`Machine::release`] gives its part of the windows back.
    Data(Bytes),
    /// The trailers. The end follows.
    Trailers(Box<HeaderMap>),
    /// The end of the message.
    End,
    /// Nothing yet.
    Pending,
    /// Nothing more will come: the stream was reset, or the connection ended.
    Broken,
}

impl Machine {
    /// Whether a client may open another stream: identifiers are left, and the server has not sent
    /// GOAWAY. A stream beyond the server's limit begins when another one ends.
    pub fn may_open(&self) -> bool {
        let id = crate::frame::StreamId::MAX.get();
        self.life == Life::Open && self.peer_last.is_none() && self.next_id <= id
    }

    /// Begins a request. `None`: the connection accepts no more.
    pub fn open(&mut self, head: Head, end: bool) -> Option<Key> {
        if !self.may_open() {
            return None;
        }
        let id = self.take_id()?;
        let receive = ReceiveWindow::new(self.stream_window);
        let send = SendWindow::new(self.peer.initial_window);
        let mut stream = Stream::new(id, receive, send);
        stream.head_request = head.pseudo.method == Some(Method::HEAD);
        stream.connect_request = head.is_connect();
        stream.outbox.head = Some(boxed_head(head));
        if end {
            stream.outbox.end = End::Due(None);
        }
        self.open += 1;
        let key = self.streams.insert(stream);
        self.opening.push_back(key);
        Some(key)
    }

    /// Queues the final head of a response; `end`: nothing follows. Does nothing if a final head is
    /// already queued, or the stream was reset.
    pub fn respond(&mut self, key: Key, head: Head, end: bool) {
        self.respond_boxed(key, boxed_head(head), end);
    }

    /// [`Machine::respond`] with a head in a box, which is kept for later heads.
    pub fn respond_boxed(&mut self, key: Key, head: Box<Head>, end: bool) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if stream.sending != Sending::Head || stream.outbox.head.is_some() {
            return;
        }
        stream.outbox.head = Some(head);
        if end {
            stream.outbox.end = End::Due(None);
        }
        self.schedule(key);
    }

    /// Queues an informational response; the final one follows later.
    pub fn inform(&mut self, key: Key, head: Head) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        let waiting = stream.outbox.informational.len();
        if stream.sending == Sending::Head
            && stream.outbox.head.is_none()
            && waiting < MOST_INFORMATIONAL
        {
            stream.outbox.informational.push_back(head);
            self.schedule(key);
        }
    }

    /// Whether data can still be sent on a stream.
    pub fn is_open_to_send(&self, key: Key) -> bool {
        let open = |stream: &Stream| {
            matches!(stream.sending, Sending::Head | Sending::Body)
                && matches!(stream.outbox.end, End::Open)
        };
        self.streams.get(key).is_some_and(open)
    }

    /// Queues a piece of the body; `end`: it is the last. Any amount is accepted, but only the
    /// amount that [`Machine::capacity`] grants is bounded.
    pub fn send_data(&mut self, key: Key, data: Bytes, end: bool) {
        if !self.is_open_to_send(key) {
            return;
        }
        if let Some(stream) = self.streams.get_mut(key) {
            self.sending += data.len();
            stream.outbox.push(data);
            if end {
                stream.outbox.end = End::Due(None);
            }
        }
        self.schedule(key);
    }

    /// Ends the sent message with these trailers.
    pub fn send_trailers(&mut self, key: Key, trailers: HeaderMap) {
        if !self.is_open_to_send(key) {
            return;
        }
        if let Some(stream) = self.streams.get_mut(key) {
            stream.outbox.end = End::Due(Some(Box::new(trailers)));
        }
        self.schedule(key);
    }

    /// The number of bytes that [`Machine::send_data`] may be given now: limited by the windows and by
    /// the bounds on queued data. `None`: none, and never again.
    pub fn capacity(&self, key: Key) -> Option<usize> {
        let stream = self.streams.get(key)?;
        if !matches!(stream.sending, Sending::Head | Sending::Body) {
            return None;
        }
        if !stream.begun && !self.may_all_begin() {
            // The bytes that it held would be missing for streams that the server allows to send.
            return Some(0);
        }
        let buffered = stream.outbox.bytes;
        let own = stream
            .send_window
            .available()
            .min(self.config.send_buffer)
            .saturating_sub(buffered);
        // More than the connection's window: data that waits for its own stream's window does not
        // keep other streams from using the connection's.
        let shared = self
            .send_window
            .available()
            .saturating_mul(2)
            .min(self.config.connection_send_buffer)
            .saturating_sub(self.sending);
        Some(own.min(shared))
    }

    /// Requests a wake-up of the stream's owner once there is room.
    pub fn want_capacity(&mut self, key: Key) {
        if let Some(stream) = self.streams.get_mut(key)
            && !stream.wants_capacity
        {
            stream.wants_capacity = true;
            self.wanting.push_back(key);
        }
    }

    /// Wakes an owner that waits for room, if there is some.
    pub(super) fn note_capacity(&mut self, key: Key) {
        let waits = |stream: &Stream| stream.wants_capacity;
        if self.streams.get(key).is_some_and(waits)
            && self.capacity(key).is_some_and(|room| room > 0)
        {
            if let Some(stream) = self.streams.get_mut(key) {
                stream.wants_capacity = false;
            }
            self.wanting.retain(|other| *other != key);
            self.wake(key, |woken| woken.sender = true);
        }
    }

    /// Wakes all owners that wait for room and have some, longest-waiting first.
    pub(super) fn note_all_capacity(&mut self) {
        for _ in 0..self.wanting.len() {
            let Some(key) = self.wanting.pop_front() else {
                return;
            };
            let room = self.capacity(key);
            let Some(stream) = self.streams.get_mut(key) else {
                continue;
            };
            if room == Some(0) {
                self.wanting.push_back(key);
            } else {
                stream.wants_capacity = false;
                self.wake(key, |woken| woken.sender = true);
            }
        }
    }

    /// Returns the received parts of the message, in order.
    pub fn receive(&mut self, key: Key) -> Received {
        let Some(stream) = self.streams.get_mut(key) else {
            return Received::Broken;
        };
        let inbox = &mut stream.inbox;
        if let Some(head) = inbox.informational.pop_front() {
            return Received::Head(boxed_head(head));
        }
        if let Some(head) = inbox.head.take() {
            return Received::Head(head);
        }
        if let Some(piece) = inbox.pop() {
            self.holding -= piece.len();
            return Received::Data(piece);
        }
        if let Some(trailers) = inbox.trailers.take() {
            return Received::Trailers(trailers);
        }
        match stream.receiving {
            Receiving::Ended => Received::End,
            Receiving::Closed => Received::Broken,
            Receiving::Head | Receiving::Body => Received::Pending,
        }
    }

    /// Whether the message has ended and all of it was read.
    pub fn is_received(&self, key: Key) -> bool {
        let done = |stream: &Stream| {
            stream.receiving == Receiving::Ended
                && stream.inbox.bytes == 0
                && stream.inbox.trailers.is_none()
                && stream.inbox.head.is_none()
        };
        self.streams.get(key).is_some_and(done)
    }

    /// The number of bytes that have arrived on a stream but were not read, and the number that the peer
    /// may still send on it within the current window.
    pub fn arriving(&self, key: Key) -> (usize, usize) {
        self.streams.get(key).map_or((0, 0), |stream| {
            (stream.inbox.bytes, stream.receive_window.may_come())
        })
    }

    /// This many bytes returned by [`Machine::receive`] were consumed: the peer may send as many
    /// again.
    pub fn release(&mut self, key: Key, bytes: usize) {
        self.receive_window.give_back(bytes);
        if let Some(stream) = self.streams.get_mut(key) {
            stream.receive_window.give_back(bytes);
            self.note_update(key);
        }
    }

    /// Sets the connection's window to this many bytes from now on.
    pub fn set_connection_window(&mut self, bytes: u32) {
        self.receive_window.set_target(bytes);
    }

    /// The cause of a stream's early end, if it ended early.
    pub(crate) fn reset_cause(&self, key: Key) -> Option<&Cause> {
        self.streams.get(key)?.cause.as_ref()
    }

    /// Resets a stream. Unwritten data is lost. Does nothing if the stream is over.
    pub fn reset(&mut self, key: Key, reason: Reason, clock: Clock<'_>) {
        let cause = Cause::Reset(reason, Initiator::User, "");
        self.reset_stream(key, reason, cause, clock);
    }

    /// Data that arrives on this stream will no longer be read.
    pub fn ignore(&mut self, key: Key) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.unread = true;
            self.drop_inbox(key);
        }
    }

    /// The stream's last owner is gone. Queued data is still sent if its end was queued as well, and
    /// the rest of the peer's message is then refused with `NO_ERROR` (RFC 9113 section 8.1);
    /// otherwise the stream is reset with `CANCEL`. The clock may be omitted only if the stream is
    /// over.
    pub fn abandon(&mut self, key: Key, clock: Option<Clock<'_>>) {
        let is_server = self.is_server();
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        stream.owned = false;
        stream.unread = true;
        self.drop_inbox(key);
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if stream.is_over() {
            return self.settle(key);
        }
        let complete = is_server && !matches!(stream.outbox.end, End::Open);
        match (complete, stream.sending, clock) {
            (true, Sending::Ended, Some(clock)) => {
                let cause = Cause::Reset(Reason::NO_ERROR, Initiator::User, "");
                self.reset_stream(key, Reason::NO_ERROR, cause, clock);
            }
            (true, ..) => stream.reset_due = Some(Reason::NO_ERROR),
            (false, _, Some(clock)) => {
                let cause = Cause::Reset(Reason::CANCEL, Initiator::User, "");
                self.reset_stream(key, Reason::CANCEL, cause, clock);
            }
            (false, _, None) => {}
        }
    }
}
