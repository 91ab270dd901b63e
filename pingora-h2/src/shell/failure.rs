//! The reasons why a stream or a connection ended.

use crate::error::Reason;
use crate::machine::{Cause, Initiator};
use bytes::Bytes;
use std::{fmt, io};

/// The reason why a stream or its connection is no longer usable.
#[derive(Debug)]
pub struct Failure(Kind);

#[derive(Debug)]
enum Kind {
    Reset(Reason, Initiator, &'static str),
    GoAway(Reason, Initiator, Bytes),
    Io(io::Error),
    User(&'static str),
}

impl Failure {
    pub(crate) fn of(cause: &Cause) -> Self {
        Failure(match cause {
            Cause::Reset(reason, by, detail) => Kind::Reset(*reason, *by, detail),
            Cause::GoAway(reason, by, debug) => Kind::GoAway(*reason, *by, debug.clone()),
            Cause::Io(kind, words) => Kind::Io(match words {
                Some(words) => io::Error::new(*kind, words.to_string()),
                None => io::Error::from(*kind),
            }),
        })
    }

    /// The program asked for something impossible.
    pub(crate) fn user(what: &'static str) -> Self {
        Failure(Kind::User(what))
    }

    /// The code that was sent or received (RFC 9113 section 7).
    pub fn reason(&self) -> Option<Reason> {
        match &self.0 {
            Kind::Reset(reason, ..) | Kind::GoAway(reason, ..) => Some(*reason),
            Kind::Io(_) | Kind::User(_) => None,
        }
    }

    /// Whether the connection is gone.
    pub fn is_io(&self) -> bool {
        matches!(self.0, Kind::Io(_))
    }

    /// The I/O error of the connection, if it is gone.
    pub fn get_io(&self) -> Option<&io::Error> {
        match &self.0 {
            Kind::Io(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the stream was reset.
    pub fn is_reset(&self) -> bool {
        matches!(self.0, Kind::Reset(..))
    }

    /// Whether the connection ended with a GOAWAY.
    pub fn is_go_away(&self) -> bool {
        matches!(self.0, Kind::GoAway(..))
    }

    fn initiator(&self) -> Option<Initiator> {
        match &self.0 {
            Kind::Reset(_, by, _) | Kind::GoAway(_, by, _) => Some(*by),
            Kind::Io(_) | Kind::User(_) => None,
        }
    }

    /// Whether the peer ended it.
    pub fn is_remote(&self) -> bool {
        self.initiator() == Some(Initiator::Remote)
    }

    /// Whether it was ended here, because the peer broke a rule or a bound.
    pub fn is_library(&self) -> bool {
        self.initiator() == Some(Initiator::Library)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match self.initiator() {
            Some(Initiator::Remote) => " by the peer",
            _ => "",
        };
        match &self.0 {
            Kind::Reset(reason, _, detail) => {
                write!(f, "the stream was reset{whose}: {reason:?}")?;
                more(f, detail.as_bytes())
            }
            Kind::GoAway(reason, _, debug) => {
                write!(f, "the connection was ended{whose}: {reason:?}")?;
                more(f, debug)
            }
            Kind::Io(error) => write!(f, "the connection is gone: {error}"),
            Kind::User(what) => f.write_str(what),
        }
    }
}

/// Text that may come from the peer.
fn more(f: &mut fmt::Formatter<'_>, words: &[u8]) -> fmt::Result {
    if words.is_empty() {
        return Ok(());
    }
    write!(f, " ({})", words.escape_ascii())
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.get_io()
            .map(|error| error as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_what_who_and_why() {
        use Initiator::*;
        let calm = Reason::ENHANCE_YOUR_CALM;
        let debug = Bytes::from_static(b"too\nmuch");
        let rows: [(Cause, &str, bool, bool); 5] = [
            (
                Cause::Reset(Reason::CANCEL, Remote, ""),
                "the stream was reset by the peer: CANCEL",
                true,
                false,
            ),
            (
                Cause::Reset(Reason::PROTOCOL_ERROR, Library, "why"),
                "the stream was reset: PROTOCOL_ERROR (why)",
                false,
                true,
            ),
            (
                Cause::GoAway(calm, Remote, debug),
                "the connection was ended by the peer: ENHANCE_YOUR_CALM (too\\nmuch)",
                true,
                false,
            ),
            (
                Cause::GoAway(Reason::NO_ERROR, User, Bytes::new()),
                "the connection was ended: NO_ERROR",
                false,
                false,
            ),
            (
                Cause::Io(io::ErrorKind::BrokenPipe, Some("gone".into())),
                "the connection is gone: gone",
                false,
                false,
            ),
        ];
        for (cause, words, remote, library) in rows {
            let failure = Failure::of(&cause);
            assert_eq!(failure.to_string(), words);
            assert_eq!(
                (failure.is_remote(), failure.is_library()),
                (remote, library)
            );
            assert_eq!(failure.is_io(), failure.reason().is_none());
        }
    }
}
