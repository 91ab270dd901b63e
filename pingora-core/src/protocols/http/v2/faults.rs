//! Turns failures of a stream, or of its connection, into errors.

use crate::protocols::http::h1::Fault;
use pingora_error::{BError, Error, ErrorSource, ErrorType};
use pingora_h2::{Failure, Reason};

/// Reading or writing a stream failed.
#[cold]
pub(crate) fn stream_failed(error: Failure, source: ErrorSource) -> BError {
    let what = match (error.reason(), error.is_go_away(), error.is_remote()) {
        (Some(reason), false, true) => return stream_reset(reason, source),
        (Some(reason), true, true) => format!("the peer ended the connection with {reason:?}"),
        (Some(reason), true, false) => format!("the connection was ended with {reason:?}"),
        (Some(reason), false, false) => format!("the stream was reset with {reason:?}"),
        (None, ..) if error.is_io() => "the connection is gone".to_string(),
        (None, ..) => "the stream can't be used".to_string(),
    };
    let etype = if error.is_io() {
        ErrorType::ConnectionClosed
    } else {
        ErrorType::H2Error
    };
    Error::create(etype, source, Some(what.into()), Some(Box::new(error)))
}

/// The peer has reset the stream.
#[cold]
pub(crate) fn stream_reset(reason: Reason, source: ErrorSource) -> BError {
    let what = format!("the peer reset the stream with {reason:?}");
    Error::create(ErrorType::H2Error, source, Some(what.into()), None)
}

/// A message body that breaks the rules.
#[cold]
pub(crate) fn bad_body(fault: Fault, source: ErrorSource) -> BError {
    let what = "the message body is refused";
    Error::create(
        ErrorType::H2Error,
        source,
        Some(what.into()),
        Some(Box::new(fault)),
    )
}
