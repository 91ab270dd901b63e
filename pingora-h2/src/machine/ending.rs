//! Errors, GOAWAY and the end of the connection (RFC 9113 sections 5.4 and 6.8).

use super::input::DRAIN_PAYLOAD;
use super::state::{Cause, Initiator, Life, Receiving, Sending};
use super::stream::{Key, Woken};
use super::{Clock, Machine, Offence, ResetFrame};
use crate::error::{Error, Fault, Reason};
use crate::frame::{StreamId, encode};
use bytes::Bytes;
use std::io;
use std::sync::Arc;
use std::time::Instant;

impl Machine {
    /// The peer has closed its direction: nothing more will arrive.
    pub fn handle_eof(&mut self) {
        self.lose(io::ErrorKind::UnexpectedEof, None);
    }

    /// Reading or writing failed.
    pub fn handle_io_error(&mut self, error: &io::Error) {
        let words = Arc::<str>::from(error.to_string());
        // A connection that only had to be closed counts as closed.
        let expected = self.life >= Life::Closing;
        self.lose(error.kind(), Some(words));
        if self.cause.is_none() && !expected {
            let words = Arc::<str>::from(error.to_string());
            self.cause = Some(Cause::Io(error.kind(), Some(words)));
        }
    }

    fn lose(&mut self, kind: io::ErrorKind, words: Option<Arc<str>>) {
        let cause = match &self.cause {
            Some(cause) => cause.clone(),
            None => Cause::Io(kind, words),
        };
        for key in self.streams.keys() {
            self.end_stream(key, cause.clone());
        }
        self.end_life(Life::Over);
        self.control = Vec::new();
    }

    /// Call this when the deadline has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let is_due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if is_due(self.settings_deadline) {
            let detail = "the SETTINGS were not acknowledged in time";
            let reason = Reason::SETTINGS_TIMEOUT;
            return self.fail(Error::connection(reason, "6.5.3", detail));
        }
        if is_due(self.drain_deadline) {
            self.drain();
        }
    }

    /// Clears all deadlines.
    fn end_life(&mut self, life: Life) {
        self.life = life;
        self.drain_deadline = None;
        self.settings_deadline = None;
    }

    /// Ends the connection once all active streams have ended. A server sends a warning first, so
    /// that requests already in flight are still served (RFC 9113 section 6.8).
    pub fn shut_down(&mut self, now: Instant) {
        if self.life != Life::Open {
            return;
        }
        if !self.is_server() {
            return self.drain();
        }
        self.life = Life::Warned;
        encode::go_away(&mut self.control, StreamId::MAX, Reason::NO_ERROR, b"");
        encode::ping(&mut self.control, false, DRAIN_PAYLOAD);
        self.drain_deadline = now.checked_add(self.config.drain_timeout);
    }

    /// Accepts no more streams.
    pub(super) fn drain(&mut self) {
        self.drain_deadline = None;
        if self.life >= Life::Draining {
            return;
        }
        self.life = Life::Draining;
        self.say_goodbye(Reason::NO_ERROR, b"");
        self.close_if_drained();
    }

    fn say_goodbye(&mut self, reason: Reason, debug: &[u8]) {
        let last = StreamId::new(self.last_processed);
        encode::go_away(&mut self.control, last, reason, debug);
    }

    /// Ends the connection and its streams at once.
    pub fn abort(&mut self, reason: Reason) {
        self.break_off(reason, Initiator::User, "");
    }

    /// Ends the connection because of an error.
    pub(super) fn fail(&mut self, error: Error) {
        if error.reason == Reason::ENHANCE_YOUR_CALM && self.offence.is_none() {
            self.offence = Some(Offence::HeaderBlock);
        }
        let by = match error.fault {
            Fault::User => Initiator::User,
            Fault::Peer | Fault::Us => Initiator::Library,
        };
        self.break_off(error.reason, by, error.detail);
    }

    fn break_off(&mut self, reason: Reason, by: Initiator, detail: &'static str) {
        if self.life >= Life::Closing {
            return;
        }
        let debug = Bytes::from_static(detail.as_bytes());
        let cause = Cause::GoAway(reason, by, debug);
        for key in self.streams.keys() {
            self.end_stream(key, cause.clone());
        }
        self.cause = Some(cause);
        self.say_goodbye(reason, detail.as_bytes());
        self.end_life(Life::Closing);
    }

    /// A draining connection ends with its last stream.
    pub(super) fn close_if_drained(&mut self) {
        let drains =
            self.life == Life::Draining || self.peer_last.is_some() && self.life < Life::Draining;
        if !drains || self.has_work() {
            return;
        }
        if self.life < Life::Draining {
            // The peer has sent GOAWAY first.
            self.say_goodbye(Reason::NO_ERROR, b"");
        }
        self.end_life(Life::Closing);
    }

    /// Whether a stream is active, or still has something to write.
    fn has_work(&self) -> bool {
        let under_way = |key: &Key| {
            let stream = self.streams.get(*key);
            stream.is_some_and(|stream| !stream.is_over())
        };
        !self.streams.is_empty() && self.streams.keys().iter().any(under_way)
    }

    /// Ends a stream with an error that is the peer's fault.
    pub(super) fn stream_error(&mut self, id: u32, error: Error, clock: Clock<'_>) {
        if let Err(offence) = self.count_reset(clock) {
            return self.fail(offence);
        }
        let key = self.streams.find(id);
        let lives = |key: &Key| self.streams.get(*key).is_some_and(|s| !s.is_over());
        if let Some(key) = key.filter(lives) {
            let cause = Cause::Reset(error.reason, Initiator::Library, error.detail);
            return self.reset_stream(key, error.reason, cause, clock);
        }
        if self.is_idle(id) {
            // The stream is idle, so it can't be reset (RFC 9113 section 6.4).
            return self.fail(Error::connection(error.reason, error.section, error.detail));
        }
        self.forgotten.remember(id, clock);
        self.write_reset(id, error.reason);
    }

    /// Every RST_STREAM that is sent is written here.
    pub(super) fn write_reset(&mut self, id: u32, reason: Reason) {
        encode::reset(&mut self.control, StreamId::new(id), reason);
        self.note_reset(false, reason);
    }

    #[cold]
    pub(super) fn note_reset(&self, received: bool, reason: Reason) {
        if let Some(told) = self.config.on_reset {
            told(ResetFrame { received, reason });
        }
    }

    /// Resets a stream, unless it is over.
    pub(super) fn reset_stream(
        &mut self,
        key: Key,
        reason: Reason,
        cause: Cause,
        clock: Clock<'_>,
    ) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        let over = stream.is_over();
        let begun = stream.begun;
        let awaited = stream.is_receiving();
        let condemned = std::mem::take(&mut stream.condemned);
        let reason = if condemned {
            Reason::PROTOCOL_ERROR
        } else {
            reason
        };
        if matches!(cause, Cause::Reset(_, Initiator::User, _)) {
            // If the peer is at fault, the data received before may still be read.
            self.drop_inbox(key);
        }
        self.end_stream(key, cause);
        if over || !begun {
            // To the peer, a client's stream that has not begun is idle.
            return;
        }
        if awaited {
            self.forgotten.remember(key.id, clock);
        }
        self.write_reset(key.id, reason);
        if condemned && let Err(offence) = self.count_reset(clock) {
            self.fail(offence);
        }
    }

    /// Ends a stream early: nothing more is sent or received. The received part of a complete
    /// message may still be read.
    pub(super) fn end_stream(&mut self, key: Key, cause: Cause) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        let over = stream.is_over();
        if stream.receiving != Receiving::Ended {
            stream.receiving = Receiving::Closed;
        }
        if stream.sending != Sending::Ended {
            stream.sending = Sending::Closed;
        }
        let dropped = stream.outbox.clear();
        self.sending -= dropped;
        stream.reset_due = None;
        if std::mem::take(&mut stream.is_waiting) {
            // The window may stay closed for as long as the peer likes.
            self.waiting.retain(|other| *other != key);
        }
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if stream.cause.is_none() && !over {
            stream.cause = Some(cause);
            self.wake(key, |woken| *woken = Woken::ALL);
        }
        if dropped > 0 {
            // Other streams may now use the buffer space that it held.
            self.note_all_capacity();
        }
        self.settle(key);
    }

    /// Drops received data that will not be read.
    pub(super) fn drop_inbox(&mut self, key: Key) {
        if let Some(stream) = self.streams.get_mut(key) {
            let dropped = stream.inbox.clear();
            self.holding -= dropped;
            self.receive_window.give_back(dropped);
        }
    }

    /// Follow-up steps if a stream may have ended.
    pub(super) fn settle(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if !stream.is_over() {
            return;
        }
        if std::mem::take(&mut stream.counted) {
            self.open -= 1;
            if stream.begun && self.begun > 0 {
                self.begun -= 1;
            }
        }
        if !stream.owned {
            self.drop_inbox(key);
            self.streams.remove(key);
            self.shrink();
        }
        if self.life >= Life::Draining || self.peer_last.is_some() {
            self.close_if_drained();
        }
    }
}
