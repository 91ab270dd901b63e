//! The states of a stream and of a connection.

use crate::error::Reason;
use bytes::Bytes;
use std::io;
use std::sync::Arc;

/// What the peer sends on a stream (RFC 9113 section 5.1, the receiving half).
///
/// ```text
///   Head ──final head──▶ Body ──END_STREAM──▶ Ended
///    │ └─head with END_STREAM──────────────────▲
///    │                    │
///    └────────────────────┴──reset by either side, connection gone──▶ Closed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receiving {
    /// The final head is awaited. Informational ones may come.
    Head,
    /// Data, and perhaps trailers, are awaited.
    Body,
    /// The peer has ended its message.
    Ended,
    /// Nothing that comes counts any more.
    Closed,
}

/// What we send on a stream (RFC 9113 section 5.1, the sending half).
///
/// ```text
///   Head ──final head written──▶ Body ──END_STREAM written──▶ Ended
///    │ └─head with END_STREAM written────────────────────────────▲
///    └────────────────────────────┴──reset by either side, connection gone──▶ Closed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sending {
    /// The final head was not written yet.
    Head,
    /// Data may be written.
    Body,
    /// The end was written.
    Ended,
    /// Nothing will be written any more.
    Closed,
}

/// The life of a connection.
///
/// ```text
///   Open ──shut_down──▶ Warned ──the ping came back, or took too long──▶ Draining
///    │                     │ GOAWAY(2³¹−1) and a PING are out               │ GOAWAY(last) is out
///    │                     │                                                │
///    ├─────────────────────┴──an error of the connection, abrupt──┐         │ the last stream ended
///    │                                                            ▼         ▼
///    └──the peer is gone──▶ Over ◀──all that is queued was written── Closing
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Life {
    /// Streams come and go.
    Open,
    /// A server has said that it will stop; streams that are on their way are still taken.
    Warned,
    /// No new streams; those under way go on.
    Draining,
    /// The last frames are being written; nothing is read any more.
    Closing,
    /// Nothing is read or written any more.
    Over,
}

/// Whose doing something was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Initiator {
    /// The program that uses this crate.
    User,
    /// This crate, because the peer broke a rule.
    Library,
    /// The peer.
    Remote,
}

/// Why a stream, or the connection, ended before its time.
#[derive(Debug, Clone)]
pub(crate) enum Cause {
    /// The stream was reset. Why, in words, where we did it.
    Reset(Reason, Initiator, &'static str),
    /// The connection ended with a GOAWAY, and its debug data.
    GoAway(Reason, Initiator, Bytes),
    /// The connection is gone.
    Io(io::ErrorKind, Option<Arc<str>>),
}
