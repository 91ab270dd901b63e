//! Frames (RFC 9113 sections 4 and 6): decoded by [`Reader`], encoded by [`encode`].
//!
//! ```text
//! +-----------------------------------------------+
//! |                 Length (24)                   |
//! +---------------+---------------+---------------+
//! |   Type (8)    |   Flags (8)   |
//! +-+-------------+---------------+-------------------------------+
//! |R|                 Stream Identifier (31)                      |
//! +=+=============================================================+
//! |                   Frame Payload (0...)                      ...
//! +---------------------------------------------------------------+
//! ```
//!
//! A frame is handed over once it has arrived completely; until then at most one frame of
//! `SETTINGS_MAX_FRAME_SIZE` is held in the caller's buffer. Payloads are not copied: DATA is a
//! slice that keeps the buffer alive, everything else is borrowed until the next frame is read.
//!
//! This module checks the rules that concern a single frame, and the order of the frames of a field
//! block. It does not check the rules that depend on the state of a stream.
//!
//! # Errors by frame
//! "c" is an error of the connection, "s" an error of the stream.
//!
//! | frame | stream 0 | another stream | length | content |
//! |---|---|---|---|---|
//! | any | | | over the limit: c FRAME_SIZE | |
//! | DATA | c PROTOCOL | | no pad length: c FRAME_SIZE | padding ≥ payload: c PROTOCOL |
//! | HEADERS | c PROTOCOL | | no pad length or priority: c FRAME_SIZE | padding ≥ payload: c PROTOCOL |
//! | PRIORITY | c PROTOCOL | | ≠ 5: s FRAME_SIZE | depends on itself: s PROTOCOL |
//! | RST_STREAM | c PROTOCOL | | ≠ 4: c FRAME_SIZE | |
//! | SETTINGS | | c PROTOCOL | not 6 each, ACK ≠ 0: c FRAME_SIZE | see [`Settings`] |
//! | PUSH_PROMISE | c PROTOCOL | | no pad length or id: c FRAME_SIZE | padding: c PROTOCOL; promised 0: c PROTOCOL; from a client: c PROTOCOL |
//! | PING | | c PROTOCOL | ≠ 8: c FRAME_SIZE | |
//! | GOAWAY | | c PROTOCOL | < 8: c FRAME_SIZE | |
//! | WINDOW_UPDATE | | | ≠ 4: c FRAME_SIZE | 0: PROTOCOL, of the scope it came in |
//! | CONTINUATION | c PROTOCOL | not the one of the block: c PROTOCOL | more or longer than the bounds: c ENHANCE_YOUR_CALM | without a block: c PROTOCOL |
//! | PRIORITY_UPDATE | | c PROTOCOL | < 4: c FRAME_SIZE | for stream 0, or from a server: c PROTOCOL |
//! | unknown | | | | skipped; within a block: c PROTOCOL |

pub mod encode;

mod parse;
mod reader;
mod settings;
#[cfg(test)]
mod tests;

pub use reader::{Reader, ReaderLimits};
pub use settings::Settings;

use bytes::Bytes;
use std::fmt;

use crate::error::Reason;

/// The length of a frame's head, in bytes (section 4.1).
pub const HEAD_LENGTH: usize = 9;
/// The largest payload that every peer has to accept; the limit until the peer announces another
/// (`SETTINGS_MAX_FRAME_SIZE`, section 6.5.2).
pub const DEFAULT_MAX_FRAME_SIZE: u32 = 1 << 14;
/// The largest payload size that can be announced.
pub const LARGEST_MAX_FRAME_SIZE: u32 = (1 << 24) - 1;
/// The largest flow-control window (section 6.9.1).
pub const LARGEST_WINDOW: u32 = (1 << 31) - 1;
/// The windows of a stream and of the connection until changed (section 6.9.2).
pub const DEFAULT_WINDOW: u32 = 65_535;
/// The bytes that a client's connection begins with (section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The side that an endpoint is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Opens streams with odd identifiers; sends the preface.
    Client,
    /// Answers those streams.
    Server,
}

/// The identifier of a stream: 31 bits, 0 for the connection (section 5.1.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u32);

impl StreamId {
    /// The connection as a whole.
    pub const CONNECTION: Self = Self(0);
    /// The largest identifier there is.
    pub const MAX: Self = Self(LARGEST_WINDOW);

    /// The identifier with this number, without the reserved bit (ignored on receipt, section 4.1).
    pub const fn new(id: u32) -> Self {
        Self(id & LARGEST_WINDOW)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Whether it stands for the connection.
    pub const fn is_connection(self) -> bool {
        self.0 == 0
    }

    /// Whether the stream was opened by the client (odd).
    pub const fn is_client(self) -> bool {
        self.0 % 2 == 1
    }

    /// The next identifier of the same side. `None`: identifiers are exhausted (section 5.1.1).
    pub const fn next(self) -> Option<Self> {
        if self.0 > LARGEST_WINDOW - 2 {
            None
        } else {
            Some(Self(self.0 + 2))
        }
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamId({})", self.0)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A frame that arrived and passed the rules for its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A piece of a body (section 6.1).
    Data(Data),
    /// The beginning of a field block (section 6.2).
    Headers(Headers<'a>),
    /// The deprecated priority of a stream (section 6.3). Must be ignored.
    Priority {
        /// The stream.
        stream: StreamId,
        /// The priority that was signalled, dependency included.
        priority: Priority,
    },
    /// RST_STREAM (section 6.4).
    Reset {
        /// The stream that ends.
        stream: StreamId,
        /// The error code.
        reason: Reason,
    },
    /// SETTINGS that must be acknowledged (section 6.5).
    Settings(Settings),
    /// The peer has applied our oldest SETTINGS that were still unacknowledged.
    SettingsAck,
    /// PUSH_PROMISE (section 6.6). Only handed to a client, which has to refuse it if it turned push
    /// off.
    PushPromise(PushPromise<'a>),
    /// PING (section 6.7).
    Ping {
        /// Whether this is an answer.
        ack: bool,
        /// The payload that the answer has to repeat.
        payload: [u8; 8],
    },
    /// GOAWAY (section 6.8).
    GoAway(GoAway<'a>),
    /// WINDOW_UPDATE (section 6.9).
    WindowUpdate {
        /// The stream, or the connection.
        stream: StreamId,
        /// By how many bytes the window grows; 1 to 2³¹−1.
        increment: u32,
    },
    /// More of the field block that is open (section 6.10).
    Continuation(Continuation<'a>),
    /// PRIORITY_UPDATE (RFC 9218 section 7.1). Only handed to a server.
    PriorityUpdate {
        /// The stream whose priority changes. May be idle.
        stream: StreamId,
        /// The value, as in the field `priority`; not validated.
        value: &'a [u8],
    },
    /// A frame of unknown type (section 4.1): ignored, but counted.
    Unknown {
        /// The type.
        kind: u8,
        /// The length of its payload, in bytes.
        length: u32,
    },
}

/// A piece of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// The stream.
    pub stream: StreamId,
    /// The bytes, without padding.
    pub payload: Bytes,
    /// The number of bytes it takes from both windows, padding and pad length included (section
    /// 6.9.1).
    pub flow_length: u32,
    /// Whether this piece ends the body.
    pub end_stream: bool,
}

/// The beginning of a field block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers<'a> {
    /// The stream.
    pub stream: StreamId,
    /// The first bytes of the block, without padding. They always have to be decoded.
    pub fragment: &'a [u8],
    /// Whether the stream ends with this block.
    pub end_stream: bool,
    /// Whether the block ends with this frame.
    pub end_headers: bool,
    /// The deprecated priority, if the frame has it.
    pub priority: Option<Priority>,
}

impl Headers<'_> {
    /// Whether the stream is told to depend on itself: a PROTOCOL_ERROR of the stream (RFC 7540
    /// section 5.3.1), raised once the block has been decoded.
    pub fn depends_on_itself(&self) -> bool {
        let dependency = self.priority.map(|priority| priority.dependency);
        dependency == Some(self.stream)
    }
}

/// More of a field block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continuation<'a> {
    /// The stream.
    pub stream: StreamId,
    /// The next bytes of the block.
    pub fragment: &'a [u8],
    /// Whether the block ends with this frame.
    pub end_headers: bool,
}

/// A promised request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushPromise<'a> {
    /// The stream that the promise belongs to.
    pub stream: StreamId,
    /// The stream on which the response will be sent.
    pub promised: StreamId,
    /// The first bytes of the block, without padding.
    pub fragment: &'a [u8],
    /// Whether the block ends with this frame.
    pub end_headers: bool,
}

/// The deprecated priority of RFC 7540.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Priority {
    /// The stream to depend on; 0 for none.
    pub dependency: StreamId,
    /// Whether the stream becomes the only one that depends on `dependency`.
    pub exclusive: bool,
    /// The weight, minus one.
    pub weight: u8,
}

/// The peer accepts no more streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoAway<'a> {
    /// The last stream that it may have processed.
    pub last: StreamId,
    /// The error code.
    pub reason: Reason,
    /// Additional debug data for logs; opaque.
    pub debug: &'a [u8],
}

/// The types of frames (section 6 and RFC 9218).
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0x0;
    pub(crate) const HEADERS: u8 = 0x1;
    pub(crate) const PRIORITY: u8 = 0x2;
    pub(crate) const RST_STREAM: u8 = 0x3;
    pub(crate) const SETTINGS: u8 = 0x4;
    pub(crate) const PUSH_PROMISE: u8 = 0x5;
    pub(crate) const PING: u8 = 0x6;
    pub(crate) const GOAWAY: u8 = 0x7;
    pub(crate) const WINDOW_UPDATE: u8 = 0x8;
    pub(crate) const CONTINUATION: u8 = 0x9;
    pub(crate) const PRIORITY_UPDATE: u8 = 0x10;
}

/// The flags of frames.
pub(crate) mod flag {
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
}
