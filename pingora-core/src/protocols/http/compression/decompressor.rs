//! The part that all decompressors share: how input is taken in, and how much may come out.

use super::compressor::CodecUsage;
use super::decoder::{Decode, DecodeError};
use super::limits::DecompressionLimits;
use bytes::Bytes;
use std::io;
use std::time::{Duration, Instant};

/// Memory that takes no more than it has room for.
#[derive(Debug, Default)]
pub(super) struct Sink {
    bytes: Vec<u8>,
    room: usize,
    overflown: bool,
}

/// The bytes that are made in one step.
const STEP: usize = 16 * 1024;

impl Sink {
    fn with_room(room: u64) -> Self {
        Sink {
            bytes: Vec::new(),
            room: usize::try_from(room).unwrap_or(usize::MAX),
            overflown: false,
        }
    }

    /// Has `fill` write into spare memory; it returns how much it wrote, and something else.
    pub(super) fn fill<T>(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> io::Result<(usize, T)>,
    ) -> io::Result<(usize, T)> {
        let used = self.bytes.len();
        // One more byte than fits tells that it doesn't.
        let spare = STEP.min(self.room.saturating_sub(used).saturating_add(1));
        self.bytes.resize(used + spare, 0);
        let filled = fill(self.bytes.get_mut(used..).unwrap_or_default());
        let written = filled
            .as_ref()
            .map_or(0, |(written, _)| *written)
            .min(spare);
        self.bytes.truncate(used + written);
        if self.bytes.len() > self.room {
            self.overflown = true;
            return Err(io::Error::other("no room"));
        }
        filled
    }
}

impl io::Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.len() > self.room.saturating_sub(self.bytes.len()) {
            self.overflown = true;
            return Err(io::Error::other("no room"));
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where one step of a decompressor has led to.
pub(super) struct Step {
    pub(super) read: usize,
    pub(super) written: usize,
    /// The coded body is complete.
    pub(super) ended: bool,
}

/// Has `step` take in all of `input`, in as many steps as that takes. Returns how much was read, less
/// than all where the body ended before, and whether it ended.
pub(super) fn pump(
    input: &[u8],
    sink: &mut Sink,
    mut step: impl FnMut(&[u8], &mut [u8]) -> io::Result<Step>,
) -> io::Result<(usize, bool)> {
    let mut read = 0;
    loop {
        let rest = input.get(read..).unwrap_or_default();
        let (written, (more, ended, full)) = sink.fill(|spare| {
            let step = step(rest, spare)?;
            let full = step.written == spare.len();
            Ok((step.written, (step.read, step.ended, full)))
        })?;
        read += more;
        if ended || (!full && read >= input.len()) {
            return Ok((read, ended));
        }
        if written == 0 && more == 0 {
            return Err(corrupt("it can't be read on"));
        }
    }
}

#[cold]
pub(super) fn corrupt(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// One algorithm's decompressor.
pub(super) trait Decompress {
    /// As [`Encode::stat`] tells it.
    const NAME: &'static str;

    /// Writes what `input` stands for.
    fn decompress(&mut self, input: &[u8], output: &mut Sink) -> io::Result<()>;

    /// Whether the body may end here.
    fn finish(&mut self, output: &mut Sink) -> io::Result<()>;
}

/// ```text
/// Open ── end ──► over
///   └── bad, or too large ──► over
/// ```
pub(super) struct Decompressor<D> {
    inner: D,
    limits: DecompressionLimits,
    over: bool,
    account: CodecUsage,
}

impl<D: Decompress> Decompressor<D> {
    pub(super) fn new(inner: D, limits: DecompressionLimits) -> Self {
        Decompressor {
            inner,
            limits,
            over: false,
            account: CodecUsage::default(),
        }
    }

    fn step(&mut self, input: &[u8], end: bool, sink: &mut Sink) -> io::Result<()> {
        if !input.is_empty() {
            self.inner.decompress(input, sink)?;
        }
        // Nothing at all stands for an empty body: some origins name a coding nevertheless.
        let empty = self.account.taken + input.len() == 0;
        if end && !empty {
            self.inner.finish(sink)?;
        }
        Ok(())
    }
}

impl<D: Decompress> Decode for Decompressor<D> {
    fn decode(&mut self, input: &[u8], end: bool) -> std::result::Result<Bytes, DecodeError> {
        if self.over {
            return Ok(Bytes::new());
        }
        let begun = Instant::now();
        let taken = (self.account.taken + input.len()) as u64;
        let mut sink = Sink::with_room(self.limits.room(taken, self.account.given as u64));
        let stepped = self.step(input, end, &mut sink);
        self.over = end || stepped.is_err();
        if sink.overflown {
            return Err(DecodeError::TooLarge);
        }
        stepped?;
        self.account.note(input.len(), sink.bytes.len(), begun);
        Ok(sink.bytes.into())
    }

    fn stat(&self) -> (&'static str, usize, usize, Duration) {
        let account = &self.account;
        (D::NAME, account.taken, account.given, account.time)
    }
}
