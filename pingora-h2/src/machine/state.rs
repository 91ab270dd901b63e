//! The states of a stream and of a connection.

use crate::error::Reason;
use bytes::Bytes;
use std::io;
use std::sync::Arc;

/// The receiving half of a stream (RFC 9113 section 5.1).
///
/// ```text
///   Head ──final head──▶ Body ──END_STREAM──▶ Ended
///    │ └─head with END_STREAM──────────────────▲
///    │                    │
///    └────────────────────┴──reset by either side, connection gone──▶ Closed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receiving {
    /// The final head is awaited. Informational ones may come first.
    Head,
    /// Data, and perhaps trailers, are awaited.
    Body,
    /// The peer has ended its message.
    Ended,
    /// Frames that arrive are ignored.
    Closed,
}

/// The sending half of a stream (RFC 9113 section 5.1).
///
/// ```text
///   Head ──final head written──▶ Body ──END_STREAM written──▶ Ended
///    │ └─head with END_STREAM written────────────────────────────▲
///    └────────────────────────────┴──reset by either side, connection gone──▶ Closed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sending {
    /// The final head has not been written yet.
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
    /// Streams are opened and closed.
    Open,
    /// A server has warned that it will stop; streams in flight are still accepted.
    Warned,
    /// No new streams; active ones continue.
    Draining,
    /// The last frames are being written; nothing more is read.
    Closing,
    /// Nothing more is read or written.
    Over,
}

/// The party that caused an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Initiator {
    /// The program that uses this crate.
    User,
    /// This crate, because the peer broke a rule.
    Library,
    /// The peer.
    Remote,
}

/// The cause of a stream's or connection's early end.
#[derive(Debug, Clone)]
pub(crate) enum Cause {
    /// The stream was reset. If we did it, with the reason in words.
    Reset(Reason, Initiator, &'static str),
    /// The connection ended with a GOAWAY; with its debug data.
    GoAway(Reason, Initiator, Bytes),
    /// The connection is gone.
    Io(io::ErrorKind, Option<Arc<str>>),
}
