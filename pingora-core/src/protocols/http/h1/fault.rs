//! The reasons why messages are refused.

use pingora_http::TargetRefused;
use pingora_http::grammar::{LengthRefused, Malformed};
use std::fmt;

/// The reason why a message was refused: a status code for the answer, and a text for the log.
///
/// The party at fault follows from the status: 4xx and 505 are the client's fault; 501 asks for
/// something that we don't implement; 502 is the upstream's fault; 500 is our own (a body that
/// breaks its declared length).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    status: u16,
    reason: &'static str,
}

impl Fault {
    /// The body is larger than allowed.
    pub const BODY_TOO_LARGE: Fault = Fault::new(413, "the body is too large");
    /// The message did not arrive within the time allowed.
    pub const TIMED_OUT: Fault = Fault::new(408, "the message took too long to arrive");
    /// The connection was closed before the body's end.
    pub(crate) const CUT_SHORT: Fault = Fault::new(400, "the body was cut short");

    /// There is no memory for the received data.
    pub(crate) const OUT_OF_MEMORY: Fault = Fault::new(503, "there is no memory left for it");

    /// Whether the message was cut short: the peer is gone and can't be answered.
    pub fn is_cut_short(&self) -> bool {
        self.reason == Fault::CUT_SHORT.reason
    }

    /// The message breaks the protocol.
    pub(crate) const fn bad(reason: &'static str) -> Self {
        Self::new(400, reason)
    }

    pub(crate) const fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason }
    }

    /// A `Content-Length` is refused.
    #[cold]
    pub(crate) fn of_length(refused: LengthRefused) -> Self {
        Self::bad(refused.reason())
    }

    /// A field section of HTTP/2 is malformed.
    #[cold]
    pub(crate) fn of_section(malformed: Malformed) -> Self {
        Self::bad(malformed.reason())
    }

    /// A request target that can't be stored.
    #[cold]
    pub(crate) fn of_target(refused: TargetRefused) -> Self {
        match refused {
            TargetRefused::Malformed => Self::bad("the request target is malformed"),
            TargetRefused::TooLong => Self::new(414, "the request target is too long"),
        }
    }

    /// The status code for the answer: 400, 405, 414, 431, 501 or 505 for a bad request, 502 for a
    /// bad response, 500 for a message of our own that can't be sent, 503 if there is no memory.
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The reason, in a few words. Never contains bytes of the message.
    pub const fn reason(&self) -> &'static str {
        self.reason
    }

    /// The same fault, found in a response: the status is 502.
    ///
    /// [`BodyDecoder`](super::BodyDecoder) and the default [`HeadScanner`](super::HeadScanner)
    /// don't know which side's bytes they read, and report faults as in a request.
    #[must_use]
    pub const fn of_response(self) -> Self {
        Self::new(502, self.reason)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)
    }
}

impl std::error::Error for Fault {}
