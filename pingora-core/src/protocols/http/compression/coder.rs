//! The traits of compressors and decompressors.

use bytes::Bytes;
use pingora_error::{ErrorType, Result};
use std::time::Duration;

/// The type of an error in compressing or decompressing.
pub const COMPRESSION_ERROR: ErrorType = ErrorType::Custom("CompressionError");

/// Turns the parts of one body into others: a compressor or a decompressor.
pub trait Encode {
    /// Takes `input` in and returns what is ready so far, which may be nothing; with `end`, all
    /// that is left.
    ///
    /// # Errors
    /// [`COMPRESSION_ERROR`] if `input` can't be decompressed, ends too early, or grows too large.
    fn encode(&mut self, input: &[u8], end: bool) -> Result<Bytes>;

    /// Its name, the bytes taken in, the bytes given out, and the time that it took.
    fn stat(&self) -> (&'static str, usize, usize, Duration);
}

/// One of any kind.
pub(super) type Encoder = Box<dyn Encode + Send + Sync>;
