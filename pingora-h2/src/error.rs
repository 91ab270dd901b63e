//! Error codes, and errors with their scope.

use std::fmt;

use crate::frame::StreamId;

/// The reasons for which a stream or a connection ends: the error codes of RFC 9113 section 7.
///
/// Any 32-bit number is a valid code. A receiver that has to understand a code without a name here
/// treats it like [`Reason::INTERNAL_ERROR`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reason(u32);

macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident = $code:literal, $description:literal;)+) => {
        impl Reason {
            $($(#[$doc])+ pub const $name: Self = Self($code);)+

            /// The meaning of the code, in a few words. An unknown code has a description that says
            /// so.
            pub const fn description(&self) -> &'static str {
                match self.0 {
                    $($code => $description,)+
                    _ => "unknown reason",
                }
            }

            const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(stringify!($name)),)+
                    _ => None,
                }
            }
        }
    };
}

reasons! {
    /// No error: the connection ends normally, or the stream is no longer needed.
    NO_ERROR = 0x0, "not a result of an error";
    /// A rule of the protocol was broken, and no other code fits better.
    PROTOCOL_ERROR = 0x1, "unspecific protocol error detected";
    /// An internal failure that the other side has no part in.
    INTERNAL_ERROR = 0x2, "unexpected internal error encountered";
    /// More bytes than the window allowed, or a window that overflowed.
    FLOW_CONTROL_ERROR = 0x3, "flow-control protocol violated";
    /// SETTINGS were not acknowledged in time.
    SETTINGS_TIMEOUT = 0x4, "settings ACK not received in timely manner";
    /// A frame for a stream that is closed, or half closed.
    STREAM_CLOSED = 0x5, "received frame when stream half-closed";
    /// A frame whose length is invalid for its type.
    FRAME_SIZE_ERROR = 0x6, "frame with invalid size";
    /// The stream was refused before any of it was processed, so it can be retried.
    REFUSED_STREAM = 0x7, "refused stream before processing any application logic";
    /// The stream is no longer needed.
    CANCEL = 0x8, "stream no longer needed";
    /// The state of the field compression is lost.
    COMPRESSION_ERROR = 0x9, "unable to maintain the header compression context";
    /// The connection behind a CONNECT request was reset or closed abnormally.
    CONNECT_ERROR = 0xa, "connection established in response to a CONNECT request was reset or abnormally closed";
    /// The peer causes more work than it is allowed to.
    ENHANCE_YOUR_CALM = 0xb, "detected excessive load generating behavior";
    /// TLS below the minimum of RFC 9113 section 9.2.
    INADEQUATE_SECURITY = 0xc, "security properties do not meet minimum requirements";
    /// The request has to be made over HTTP/1.1.
    HTTP_1_1_REQUIRED = 0xd, "endpoint requires HTTP/1.1";
}

impl From<u32> for Reason {
    fn from(code: u32) -> Self {
        Self(code)
    }
}

impl From<Reason> for u32 {
    fn from(reason: Reason) -> Self {
        reason.0
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Reason({:#x})", self.0),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description())
    }
}

/// How far an error reaches (RFC 9113 section 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The connection and all of its streams: GOAWAY, then the end.
    Connection,
    /// One stream: RST_STREAM. The other streams continue.
    Stream(StreamId),
}

/// The party at fault for an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The peer broke a rule or a bound.
    Peer,
    /// This crate failed internally.
    Us,
    /// The program that uses this crate asked for something impossible.
    User,
}

/// An error of a stream or of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    /// How far the error reaches.
    pub scope: Scope,
    /// The party at fault.
    pub fault: Fault,
    /// The error code sent to the peer.
    pub reason: Reason,
    /// The source of the rule: a section of RFC 9113 ("6.9.1") unless it names another RFC ("RFC
    /// 7541 5.2"), or "bound" for a limit of ours.
    pub section: &'static str,
    /// The detail for logs. Never contains anything that the peer sent.
    pub detail: &'static str,
}

impl Error {
    /// The peer broke a rule, and the connection can't continue.
    pub const fn connection(reason: Reason, section: &'static str, detail: &'static str) -> Self {
        Self {
            scope: Scope::Connection,
            fault: Fault::Peer,
            reason,
            section,
            detail,
        }
    }

    /// The peer broke a rule that concerns `stream` only.
    pub const fn stream(
        stream: StreamId,
        reason: Reason,
        section: &'static str,
        detail: &'static str,
    ) -> Self {
        Self {
            scope: Scope::Stream(stream),
            fault: Fault::Peer,
            reason,
            section,
            detail,
        }
    }

    /// The same error, with the fault assigned to another party.
    #[must_use]
    pub const fn by(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }

    /// Whether this error ends the connection.
    pub const fn is_connection(&self) -> bool {
        matches!(self.scope, Scope::Connection)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope {
            Scope::Connection => f.write_str("connection error")?,
            Scope::Stream(id) => write!(f, "error of stream {id}")?,
        }
        write!(f, " {:?}: {} ({})", self.reason, self.detail, self.section)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_the_codes_names_and_descriptions_of_the_rfc() {
        for code in 0..=0xd {
            let (ours, theirs) = (Reason::from(code), h2::Reason::from(code));
            assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
            assert_eq!(ours.description(), theirs.description());
            assert_eq!(u32::from(ours), code);
        }
        assert_eq!(format!("{:?}", Reason::from(0x99)), "Reason(0x99)");
        assert_eq!(Reason::from(0x99).to_string(), "unknown reason");
    }

    #[test]
    fn an_error_says_its_scope_code_and_section() {
        let error = Error::stream(
            StreamId::new(5),
            Reason::PROTOCOL_ERROR,
            "6.9",
            "no increment",
        );
        assert_eq!(
            error.to_string(),
            "error of stream 5 PROTOCOL_ERROR: no increment (6.9)"
        );
        assert!(!error.is_connection());
        assert_eq!(error.by(Fault::Us).fault, Fault::Us);
    }
}
