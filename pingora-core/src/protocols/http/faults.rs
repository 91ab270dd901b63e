//! Turns a broken rule into an error: where it happened, whose fault it is, and the reason.

use crate::protocols::http::h1::Fault;
pub(crate) use crate::protocols::l4::faults::{read_failed, write_failed};
use pingora_error::{BError, Error, ErrorSource, ErrorType};

/// A message head that breaks the rules.
#[cold]
pub(crate) fn bad_head(fault: Fault, source: ErrorSource) -> BError {
    Error::create(
        ErrorType::InvalidHTTPHeader,
        source,
        Some("the message head is refused".into()),
        Some(Box::new(fault)),
    )
}

/// A message body that breaks the rules, or ends too early.
#[cold]
pub(crate) fn bad_body(fault: Fault, source: ErrorSource) -> BError {
    let etype = if fault.is_cut_short() {
        ErrorType::ConnectionClosed
    } else {
        ErrorType::H1Error
    };
    let context = "the message body is refused";
    Error::create(etype, source, Some(context.into()), Some(Box::new(fault)))
}

/// A message of ours that breaks the rules and can't be sent.
#[cold]
pub(crate) fn bad_outgoing(fault: Fault) -> BError {
    let context = "this message can't be sent";
    Error::create(
        ErrorType::InternalError,
        ErrorSource::Internal,
        Some(context.into()),
        Some(Box::new(fault)),
    )
}

/// A time limit was reached.
#[cold]
pub(crate) fn timed_out(etype: ErrorType, source: ErrorSource, what: &'static str) -> BError {
    Error::create(etype, source, Some(what.into()), None)
}

/// Memory is scarce, and this connection is closed because it holds most of it.
#[cold]
pub(crate) fn given_up(source: ErrorSource) -> BError {
    let what = "memory is scarce, and what waits here is the most of all";
    Error::create(ErrorType::WriteError, source, Some(what.into()), None)
}
