//! One stream: its received data that was not read yet, and its data to send.

use super::flow::{ReceiveWindow, SendWindow};
use super::state::{Cause, Receiving, Sending};
use crate::error::Reason;
use crate::head::Head;
use crate::pieces::Pieces;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use std::collections::VecDeque;

/// A piece of a body that is shorter than this is joined with the one before it, so that the memory
/// held for a body is bounded by its size, however it was split.
const SHORT: usize = 1024;
/// A piece of at least this size is kept as it was read; shorter ones are copied.
const LONG: usize = 8 * 1024;

/// Identifies a stream: its slot in the slab, and its number. Slots are reused; the number tells
/// streams apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    pub(crate) slot: u32,
    pub(crate) id: u32,
}

impl Key {
    /// The number of the stream (RFC 9113 section 5.1.1).
    pub fn id(self) -> u32 {
        self.id
    }

    /// The slot of the stream among the existing ones: low numbers, reused.
    pub fn slot(self) -> usize {
        self.slot as usize
    }
}

/// The owners of a stream that have something to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Woken {
    /// A head, data, trailers, the end, or an error is ready to be read.
    pub receiver: bool,
    /// There is room for data, or there will never be any.
    pub sender: bool,
    /// The stream was reset, or the connection is gone.
    pub reset: bool,
}

impl Woken {
    pub(crate) const ALL: Woken = Woken {
        receiver: true,
        sender: true,
        reset: true,
    };

    pub(crate) fn is_empty(self) -> bool {
        self == Woken::default()
    }
}

/// The end of the message that we send.
#[derive(Debug, Default)]
pub(crate) enum End {
    /// Not known yet.
    #[default]
    Open,
    /// To be written after the queued data.
    Due(Option<Box<HeaderMap>>),
    /// Was written.
    Written,
}

/// The payload that a message has to have (RFC 9113 section 8.1.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Any amount.
    #[default]
    Any,
    /// Exactly this many more bytes.
    Exact(u64),
}

impl Expected {
    /// `false`: more than was declared.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        match self {
            Expected::Any => true,
            Expected::Exact(left) => match left.checked_sub(bytes as u64) {
                Some(rest) => {
                    *left = rest;
                    true
                }
                None => false,
            },
        }
    }

    /// Whether the message may end here.
    pub(crate) fn may_end(self) -> bool {
        !matches!(self, Expected::Exact(1..))
    }
}

/// Received data of a stream that was not read yet. Bounded by the stream's window, and by the
/// number of heads.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// Informational heads of a response.
    pub(crate) informational: VecDeque<Head>,
    /// The final head of a response.
    pub(crate) head: Option<Box<Head>>,
    pieces: Pieces,
    /// Short pieces after those, joined.
    tail: BytesMut,
    pub(crate) bytes: usize,
    pub(crate) trailers: Option<Box<HeaderMap>>,
}

impl Inbox {
    pub(crate) fn push(&mut self, data: Bytes) {
        self.bytes += data.len();
        if data.len() < LONG {
            // A slice would keep the whole read buffer alive.
            self.tail.extend_from_slice(&data);
            if self.tail.len() < SHORT {
                return;
            }
        }
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
            self.tail = BytesMut::new();
        }
        if data.len() >= LONG {
            self.pieces.push_back(data);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let piece = match self.pieces.pop_front() {
            Some(piece) => piece,
            None if self.tail.is_empty() => return None,
            None => std::mem::take(&mut self.tail).freeze(),
        };
        self.bytes -= piece.len();
        Some(piece)
    }

    /// Drops everything. Returns the number of data bytes dropped.
    pub(crate) fn clear(&mut self) -> usize {
        let bytes = self.bytes;
        *self = Inbox::default();
        bytes
    }
}

/// Data to send on a stream. Bounded by the capacity that [`super::Machine::capacity`] grants.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Informational responses.
    pub(crate) informational: VecDeque<Head>,
    pub(crate) head: Option<Box<Head>>,
    pub(crate) pieces: Pieces,
    /// Bytes in `pieces`.
    pub(crate) bytes: usize,
    pub(crate) end: End,
}

impl Outbox {
    pub(crate) fn push(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.bytes += data.len();
            self.pieces.push_back(data);
        }
    }

    /// Drops everything. Returns the number of data bytes dropped.
    pub(crate) fn clear(&mut self) -> usize {
        let bytes = self.bytes;
        *self = Outbox {
            end: End::Written,
            ..Outbox::default()
        };
        bytes
    }
}

/// A stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: u32,
    pub(crate) receiving: Receiving,
    pub(crate) sending: Sending,
    pub(crate) inbox: Inbox,
    pub(crate) outbox: Outbox,
    pub(crate) receive_window: ReceiveWindow,
    pub(crate) send_window: SendWindow,
    pub(crate) expected: Expected,
    /// The cause of an early end.
    pub(crate) cause: Option<Cause>,
    /// RST_STREAM is to be written with this reason after the queued data.
    pub(crate) reset_due: Option<Reason>,
    /// The request broke a rule: the stream is reset once it has been answered.
    pub(crate) condemned: bool,
    /// Whether the owner still exists.
    pub(crate) owned: bool,
    /// The peer knows about the stream.
    pub(crate) begun: bool,
    /// Counts towards the limit on open streams.
    pub(crate) counted: bool,
    /// Received data will not be read: its window space is given back at once.
    pub(crate) unread: bool,
    /// The number of informational heads of the response so far.
    pub(crate) informed: u8,
    /// The request method is HEAD: a length in the answer does not announce a body.
    pub(crate) head_request: bool,
    /// The request method is CONNECT: the payload belongs to a tunnel.
    pub(crate) connect_request: bool,
    /// The urgency of the data that we send (RFC 9218); 0 is first.
    pub(crate) urgency: u8,
    /// In the list of streams that have something to write.
    pub(crate) is_ready: bool,
    /// In the list of streams that wait for the connection's window.
    pub(crate) is_waiting: bool,
    /// In the list of streams with a WINDOW_UPDATE due.
    pub(crate) update_due: bool,
    /// The owner waits for room to send.
    pub(crate) wants_capacity: bool,
    pub(crate) woken: Woken,
}

impl Stream {
    pub(crate) fn new(id: u32, receive: ReceiveWindow, send: SendWindow) -> Self {
        Stream {
            id,
            receiving: Receiving::Head,
            sending: Sending::Head,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            receive_window: receive,
            send_window: send,
            expected: Expected::Any,
            cause: None,
            reset_due: None,
            condemned: false,
            owned: true,
            begun: false,
            counted: true,
            unread: false,
            informed: 0,
            head_request: false,
            connect_request: false,
            urgency: super::ready::DEFAULT_URGENCY,
            is_ready: false,
            is_waiting: false,
            update_due: false,
            wants_capacity: false,
            woken: Woken::default(),
        }
    }

    /// Whether both halves are over.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.receiving, Receiving::Ended | Receiving::Closed)
            && matches!(self.sending, Sending::Ended | Sending::Closed)
    }

    /// Whether the peer may still send.
    pub(crate) fn is_receiving(&self) -> bool {
        matches!(self.receiving, Receiving::Head | Receiving::Body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_pieces_are_joined_and_counted() {
        let mut inbox = Inbox::default();
        for _ in 0..3000 {
            inbox.push(Bytes::from_static(b"x"));
        }
        inbox.push(Bytes::from_static(&[1; LONG]));
        assert_eq!(inbox.bytes, 3000 + LONG);
        let mut lengths = vec![];
        while let Some(piece) = inbox.pop() {
            lengths.push(piece.len());
        }
        assert_eq!(lengths, [SHORT, SHORT, 3000 - 2 * SHORT, LONG]);
        assert_eq!(inbox.bytes, 0);
    }

    /// RFC 9113 section 8.1.1.
    #[test]
    fn a_payload_is_as_long_as_declared() {
        let rows: &[(Expected, &[usize], bool)] = &[
            (Expected::Any, &[], true),
            (Expected::Any, &[1, 2], true),
            (Expected::Exact(0), &[], true),
            (Expected::Exact(0), &[0], true),
            (Expected::Exact(0), &[1], false),
            (Expected::Exact(3), &[1, 2], true),
            (Expected::Exact(3), &[1, 1], false),
            (Expected::Exact(3), &[4], false),
        ];
        for (expected, pieces, sound) in rows {
            let mut left = *expected;
            let taken = pieces.iter().all(|n| left.take(*n));
            assert_eq!(taken && left.may_end(), *sound, "{expected:?} {pieces:?}");
        }
    }
}
