//! Turns failures of a stream, or of its connection, into errors.

use super::PING_TIMEDOUT;
use pingora_error::{BError, Error, ErrorSource, ErrorType, RetryType};
use pingora_h2::{Failure, Reason};
use std::io;

/// How far an exchange got before it failed, which determines whether it may be retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExchangeStage {
    /// Nothing of the request was sent.
    Unsent,
    /// The request was sent, completely or in part, and not a single byte of an answer was
    /// received.
    Unanswered,
    /// Part of an answer was received: the server has seen the request and may have acted on it.
    Answered,
}

/// A stream, or its connection, failed. `unanswered_ping`: the server did not answer a PING.
#[cold]
pub(super) fn stream_failed(
    error: Failure,
    unanswered_ping: bool,
    progress: ExchangeStage,
) -> BError {
    let unanswered = progress != ExchangeStage::Answered;
    let (etype, retry, context) = if let Some(io) = error.get_io() {
        io_failed(io, unanswered_ping, progress)
    } else {
        let reason = error.reason();
        match (reason, error.is_remote()) {
            (Some(reason), true) if error.is_go_away() => (
                ErrorType::H2Error,
                unanswered.into(),
                format!("the server goes away ({reason:?}) and has not processed the request"),
            ),
            (Some(reason), true) => of_reset(reason, unanswered),
            (Some(reason), false) if error.is_library() => (
                ErrorType::InvalidH2,
                RetryType::Decided(false),
                format!("the server broke the protocol ({reason:?})"),
            ),
            _ => (
                ErrorType::H2Error,
                RetryType::Decided(false),
                "the stream can't be used".to_string(),
            ),
        }
    };
    let mut failed = Error::create(
        etype,
        ErrorSource::Upstream,
        Some(context.into()),
        Some(Box::new(error)),
    );
    failed.retry = match progress {
        ExchangeStage::Unsent => true.into(),
        _ => retry,
    };
    failed
}

fn io_failed(
    error: &io::Error,
    unanswered_ping: bool,
    progress: ExchangeStage,
) -> (ErrorType, RetryType, String) {
    // The server may have closed an idle connection just when the request was sent.
    let retry = match progress {
        ExchangeStage::Answered => RetryType::Decided(false),
        _ => RetryType::ReusedOnly,
    };
    if unanswered_ping {
        let context = "the server did not answer a PING".to_string();
        return (PING_TIMEDOUT, retry, context);
    }
    let etype = match error.kind() {
        io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::UnexpectedEof => ErrorType::ConnectionClosed,
        _ => ErrorType::ReadError,
    };
    let context = "the server closed the connection before its response was complete";
    (etype, retry, context.to_string())
}

/// Classifies a reset from the server (RFC 9113 section 7).
fn of_reset(reason: Reason, unanswered: bool) -> (ErrorType, RetryType, String) {
    let context = format!("the server reset the stream ({reason:?})");
    match reason {
        Reason::REFUSED_STREAM => (ErrorType::H2Error, unanswered.into(), context),
        Reason::HTTP_1_1_REQUIRED => (ErrorType::H2Downgrade, unanswered.into(), context),
        _ => (ErrorType::H2Error, false.into(), context),
    }
}

/// The server accepts no more of the request.
#[cold]
pub(super) fn upload_refused(reason: Reason, progress: ExchangeStage) -> BError {
    let (etype, retry, context) = of_reset(reason, progress != ExchangeStage::Answered);
    let mut refused = Error::create(etype, ErrorSource::Upstream, Some(context.into()), None);
    refused.retry = retry;
    refused
}

/// The connection accepts no new streams.
#[cold]
pub(super) fn draining() -> BError {
    let context = "the connection takes no new streams";
    let mut error = Error::explain(ErrorType::H2Error, context).into_up();
    error.set_retry(true);
    error
}

/// The server's answer breaks the rules of messages.
#[cold]
pub(super) fn malformed(why: &'static str) -> BError {
    Error::explain(ErrorType::InvalidHTTPHeader, why).into_up()
}

/// The server breaks the protocol in another way.
#[cold]
pub(super) fn broken(why: &'static str) -> BError {
    Error::explain(ErrorType::InvalidH2, why).into_up()
}

/// The server does not support the protocol that a tunnel asks for (RFC 8441 section 3).
#[cold]
pub(super) fn no_extended_connect() -> BError {
    let context = "the server takes no extended CONNECT: it can't carry a WebSocket over HTTP/2";
    Error::explain(ErrorType::H2Error, context).into_up()
}

/// A message of ours that can't be sent.
#[cold]
pub(super) fn unsendable(why: &'static str) -> BError {
    let context = format!("this message can't be sent over HTTP/2: {why}");
    Error::explain(ErrorType::InternalError, context).into_in()
}

/// A time limit was reached.
#[cold]
pub(super) fn timed_out(etype: ErrorType, what: &'static str) -> BError {
    Error::explain(etype, what).into_up()
}
