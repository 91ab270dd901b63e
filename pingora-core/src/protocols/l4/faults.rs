//! Turns failed system calls on a connection into errors.

use pingora_error::{BError, Error, ErrorSource, ErrorType};
use std::io;

/// Reading failed.
#[cold]
pub(crate) fn read_failed(error: io::Error, source: ErrorSource) -> BError {
    let etype = match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => ErrorType::ConnectionClosed,
        _ => ErrorType::ReadError,
    };
    Error::create(
        etype,
        source,
        Some("while reading".into()),
        Some(Box::new(error)),
    )
}

/// Writing failed.
#[cold]
pub(crate) fn write_failed(error: io::Error, source: ErrorSource) -> BError {
    let context = "while writing";
    Error::create(
        ErrorType::WriteError,
        source,
        Some(context.into()),
        Some(Box::new(error)),
    )
}
