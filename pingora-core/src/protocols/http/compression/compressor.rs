//! The part that all compressors share.

use super::coder::{COMPRESSION_ERROR, Encode};
use bytes::Bytes;
use pingora_error::{OrErr, Result};
use std::io;
use std::time::{Duration, Instant};

/// The bytes and the time of one body.
#[derive(Debug, Default)]
pub(super) struct CodecUsage {
    pub(super) taken: usize,
    pub(super) given: usize,
    pub(super) time: Duration,
}

impl CodecUsage {
    pub(super) fn note(&mut self, taken: usize, given: usize, begun: Instant) {
        self.taken += taken;
        self.given += given;
        self.time += begun.elapsed();
    }
}

/// One algorithm's compressor, which writes to memory.
pub(super) trait Compress {
    /// As [`Encode::stat`] tells it.
    const NAME: &'static str;

    fn write(&mut self, input: &[u8]) -> io::Result<()>;

    /// Makes all that was written readable to the other side.
    fn flush(&mut self) -> io::Result<()>;

    /// Writes the end. Nothing is written after it.
    fn finish(&mut self) -> io::Result<()>;

    /// Takes the output that is ready.
    fn take(&mut self) -> Vec<u8>;
}

/// ```text
/// Open ── end ──► over
/// ```
pub(super) struct Compressor<C> {
    inner: C,
    flush: bool,
    over: bool,
    account: CodecUsage,
}

impl<C: Compress> Compressor<C> {
    pub(super) fn new(inner: C, flush: bool) -> Self {
        Compressor {
            inner,
            flush,
            over: false,
            account: CodecUsage::default(),
        }
    }

    fn step(&mut self, input: &[u8], end: bool) -> io::Result<()> {
        if !input.is_empty() {
            self.inner.write(input)?;
        }
        if end {
            self.over = true;
            self.inner.finish()
        } else if self.flush && !input.is_empty() {
            self.inner.flush()
        } else {
            Ok(())
        }
    }
}

impl<C: Compress> Encode for Compressor<C> {
    fn encode(&mut self, input: &[u8], end: bool) -> Result<Bytes> {
        if self.over {
            return Ok(Bytes::new());
        }
        let begun = Instant::now();
        self.step(input, end)
            .or_err(COMPRESSION_ERROR, "while compressing")?;
        let output = self.inner.take();
        self.account.note(input.len(), output.len(), begun);
        Ok(output.into())
    }

    fn stat(&self) -> (&'static str, usize, usize, Duration) {
        let account = &self.account;
        (C::NAME, account.taken, account.given, account.time)
    }
}
