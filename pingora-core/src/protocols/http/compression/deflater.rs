//! The compressor behind gzip and deflate.
//!
//! A new one sets up 0.3 MiB, which costs more than to compress a short body with it. So each thread keeps
//! the last [`KEPT`] that it has finished with, and uses them again for bodies of the same level and format.

use flate2::{Compress, Compression, FlushCompress, Status};
use std::cell::RefCell;
use std::io;
use std::mem;

/// How many idle compressors a thread keeps: 0.6 MiB.
const KEPT: usize = 2;
/// The least room that the compressor is given: more than the mark at the end of a flush takes.
const LEAST_ROOM: usize = 256;

/// How the compressed data is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrapping {
    /// As zlib does (RFC 1950).
    Zlib,
    /// Not at all.
    None,
}

struct SpareCompressor {
    level: u32,
    wrapping: Wrapping,
    compress: Compress,
}

thread_local! {
    static SPARE: RefCell<Vec<SpareCompressor>> = const { RefCell::new(Vec::new()) };
}

/// Compresses one body.
///
/// ```text
/// new ─▶ write, flush, take, in any order ─▶ finish ─▶ take
/// ```
pub(super) struct Deflater {
    level: u32,
    wrapping: Wrapping,
    /// `None` once it is finished.
    compress: Option<Compress>,
    output: Vec<u8>,
}

impl Deflater {
    /// Its output begins with `head`.
    pub(super) fn new(level: u32, wrapping: Wrapping, head: &[u8]) -> Self {
        let compress = kept(level, wrapping).unwrap_or_else(|| {
            let level = Compression::new(level);
            Compress::new(level, wrapping == Wrapping::Zlib)
        });
        Deflater {
            level,
            wrapping,
            compress: Some(compress),
            output: head.to_vec(),
        }
    }

    /// Compresses more. Finished bytes are in the output.
    ///
    /// # Errors
    /// After the end.
    pub(super) fn write(&mut self, mut input: &[u8]) -> io::Result<()> {
        // About what text shrinks to, so that most bodies need one allocation.
        self.output.reserve(input.len() / 2 + LEAST_ROOM);
        while !input.is_empty() {
            let (read, _) = self.step(input, FlushCompress::None)?;
            input = input.get(read..).unwrap_or_default();
        }
        Ok(())
    }

    /// Makes all that was written readable.
    ///
    /// # Errors
    /// After the end.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        loop {
            self.step(&[], FlushCompress::Sync)?;
            if self.output.len() < self.output.capacity() {
                return Ok(());
            }
        }
    }

    /// Ends the body, with `tail` behind it.
    ///
    /// # Errors
    /// After the end.
    pub(super) fn finish(&mut self, tail: &[u8]) -> io::Result<()> {
        while self.step(&[], FlushCompress::Finish)?.1 != Status::StreamEnd {}
        self.output.extend_from_slice(tail);
        self.keep();
        Ok(())
    }

    /// Takes the output that is ready.
    pub(super) fn take(&mut self) -> Vec<u8> {
        mem::take(&mut self.output)
    }

    /// How much was read of the input, and where the compressor is.
    fn step(&mut self, input: &[u8], flush: FlushCompress) -> io::Result<(usize, Status)> {
        let Some(compress) = &mut self.compress else {
            return Err(io::Error::other("it has ended already"));
        };
        if self.output.capacity() - self.output.len() < LEAST_ROOM {
            self.output.reserve(LEAST_ROOM.max(self.output.len()));
        }
        let before = compress.total_in();
        let status = compress.compress_vec(input, &mut self.output, flush)?;
        Ok(((compress.total_in() - before) as usize, status))
    }

    /// Gives the compressor to the next body on this thread.
    fn keep(&mut self) {
        let Some(mut compress) = self.compress.take() else {
            return;
        };
        // A thread that ends keeps nothing.
        let _ = SPARE.try_with(|idle| {
            let mut idle = idle.borrow_mut();
            if idle.len() >= KEPT {
                // The least recently used one may have a level that is no longer used.
                idle.remove(0);
            }
            compress.reset();
            idle.push(SpareCompressor {
                level: self.level,
                wrapping: self.wrapping,
                compress,
            });
        });
    }
}

/// A body that is given up leaves its compressor as well.
impl Drop for Deflater {
    fn drop(&mut self) {
        self.keep();
    }
}

fn kept(level: u32, wrapping: Wrapping) -> Option<Compress> {
    let take = |idle: &RefCell<Vec<SpareCompressor>>| {
        let mut idle = idle.borrow_mut();
        let fits = |one: &SpareCompressor| one.level == level && one.wrapping == wrapping;
        let place = idle.iter().rposition(fits)?;
        Some(idle.remove(place).compress)
    };
    SPARE.try_with(take).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::DeflateDecoder;
    use std::io::Read;

    fn inflated(bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        let mut decoder = DeflateDecoder::new(bytes);
        decoder.read_to_end(&mut plain).unwrap();
        plain
    }

    fn idle() -> usize {
        SPARE.with(|idle| idle.borrow().len())
    }

    fn deflated(level: u32, pieces: &[&[u8]], flush: bool) -> Vec<u8> {
        let mut deflater = Deflater::new(level, Wrapping::None, &[]);
        let mut whole = Vec::new();
        for piece in pieces {
            deflater.write(piece).unwrap();
            if flush {
                deflater.flush().unwrap();
            }
            whole.extend(deflater.take());
        }
        deflater.finish(&[]).unwrap();
        assert!(deflater.write(b"more").is_err());
        whole.extend(deflater.take());
        whole
    }

    #[test]
    fn a_compressor_that_is_used_again_remembers_nothing() {
        let noise: Vec<u8> = (0..200_000_u32)
            .map(|n| (n.wrapping_mul(n) >> 7) as u8)
            .collect();
        let text = b"the same text, again and again ".repeat(1000);
        for flush in [false, true] {
            for level in [1, 6, 9] {
                // Two rounds: the second one has the compressors of the first.
                for _ in 0..2 {
                    for body in [&noise[..], &text, b"x", b""] {
                        let pieces: Vec<&[u8]> = body.chunks(7000).collect();
                        let first = deflated(level, &pieces, flush);
                        assert!(inflated(&first) == body);
                        assert!(deflated(level, &pieces, flush) == first);
                    }
                }
            }
        }
    }

    #[test]
    fn what_was_flushed_can_be_read() {
        let mut deflater = Deflater::new(6, Wrapping::None, &[]);
        let mut sent = Vec::new();
        for piece in [&b"one, "[..], b"two, ", &b"three".repeat(50_000)] {
            deflater.write(piece).unwrap();
            deflater.flush().unwrap();
            sent.extend(deflater.take());
            let mut decoder = DeflateDecoder::new(&sent[..]);
            let mut plain = vec![0; piece.len()];
            // An error says that the end is missing; nothing of what was flushed is.
            let mut all = Vec::new();
            while let Ok(read @ 1..) = decoder.read(&mut plain) {
                all.extend_from_slice(&plain[..read]);
            }
            assert!(all.ends_with(piece));
        }
    }

    #[test]
    fn no_more_are_kept_than_the_bound_and_only_like_serves_like() {
        std::thread::spawn(|| {
            let open: Vec<Deflater> = (1..=5)
                .map(|level| Deflater::new(level, Wrapping::None, &[]))
                .collect();
            assert_eq!(idle(), 0);
            drop(open);
            assert_eq!(idle(), KEPT);
            let other = Deflater::new(9, Wrapping::None, &[]);
            let zlib = Deflater::new(5, Wrapping::Zlib, &[]);
            assert_eq!(idle(), KEPT, "neither had a predecessor");
            let again = Deflater::new(5, Wrapping::None, &[]);
            assert_eq!(idle(), KEPT - 1);
            drop((other, zlib, again));
            assert_eq!(idle(), KEPT);
        })
        .join()
        .unwrap();
    }
}
