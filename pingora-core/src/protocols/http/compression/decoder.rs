//! The interface of decompressors, and the errors for bad input.

use super::coder::{COMPRESSION_ERROR, Encode};
use bytes::Bytes;
use pingora_error::{BError, Error, Result};
use std::fmt;
use std::io;
use std::time::Duration;

/// Why a body is not decompressed.
#[derive(Debug)]
pub(crate) enum DecodeError {
    /// It breaks the format, or is cut short.
    Corrupt(io::Error),
    /// It grows beyond what the limits allow.
    TooLarge,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Corrupt(error) => write!(f, "the body can't be decompressed: {error}"),
            DecodeError::TooLarge => {
                f.write_str("the body grows too large when it is decompressed")
            }
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<io::Error> for DecodeError {
    fn from(error: io::Error) -> Self {
        DecodeError::Corrupt(error)
    }
}

/// Turns the parts of one coded body into those of a plain one.
pub(crate) trait Decode {
    /// Takes `input` in and returns what it stands for; with `end`, the body has to be complete.
    fn decode(&mut self, input: &[u8], end: bool) -> std::result::Result<Bytes, DecodeError>;

    /// As [`Encode::stat`].
    fn stat(&self) -> (&'static str, usize, usize, Duration);
}

/// One of any kind.
pub(crate) type Decoder = Box<dyn Decode + Send + Sync>;

/// A decompressor of what an upstream sent.
pub(super) struct Strict(pub(super) Decoder);

/// The upstream's body does not have the coding that its head names.
#[cold]
fn blame_upstream(fault: DecodeError) -> BError {
    Error::because(COMPRESSION_ERROR, "a response is not plain", fault).into_up()
}

impl Encode for Strict {
    fn encode(&mut self, input: &[u8], end: bool) -> Result<Bytes> {
        self.0.decode(input, end).map_err(blame_upstream)
    }

    fn stat(&self) -> (&'static str, usize, usize, Duration) {
        self.0.stat()
    }
}
