//! deflate, both ways: the format of zlib (RFC 1950), as the name means in HTTP.
//!
//! Memory of a stream: as of gzip.

use super::coder::Encoder;
use super::compressor::{Compress, Compressor};
use super::decoder::Decoder;
use super::decompressor::{Decompress, Decompressor, Sink, Step, corrupt, pump};
use super::deflater::{Deflater, Wrapping};
use super::gzip::HIGHEST;
use super::limits::DecompressionLimits;
use flate2::{FlushDecompress, Status};
use std::io;

pub(super) fn compressor(level: u32, flush: bool) -> Encoder {
    let deflate = Deflate(Deflater::new(level.min(HIGHEST), Wrapping::Zlib, &[]));
    Box::new(Compressor::new(deflate, flush))
}

struct Deflate(Deflater);

impl Compress for Deflate {
    const NAME: &'static str = "deflate";

    fn write(&mut self, input: &[u8]) -> io::Result<()> {
        self.0.write(input)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.finish(&[])
    }

    fn take(&mut self) -> Vec<u8> {
        self.0.take()
    }
}

pub(super) fn decompressor(limits: DecompressionLimits) -> Decoder {
    Box::new(Decompressor::new(Inflate::Begin(None), limits))
}

/// ```text
/// Begin ── two bytes ──► Body ── its end ──► Ended
/// ```
enum Inflate {
    /// The first byte, if it came alone. Some servers leave out zlib's head of two bytes, and clients
    /// have learned to read both.
    Begin(Option<u8>),
    Body(flate2::Decompress),
    Ended,
}

/// Whether a body begins like this with zlib's head (RFC 1950 section 2.2).
fn is_zlib(first: u8, second: u8) -> bool {
    first & 0x0f == 8 && (u16::from(first) << 8 | u16::from(second)) % 31 == 0
}

impl Inflate {
    fn body(&mut self, input: &[u8], output: &mut Sink) -> io::Result<()> {
        let Inflate::Body(inflate) = self else {
            return if input.is_empty() {
                Ok(())
            } else {
                Err(corrupt("something follows its end"))
            };
        };
        let (read, ended) = pump(input, output, |input, spare| {
            let (before, gave) = (inflate.total_in(), inflate.total_out());
            let status = inflate.decompress(input, spare, FlushDecompress::None)?;
            Ok(Step {
                read: (inflate.total_in() - before) as usize,
                written: (inflate.total_out() - gave) as usize,
                ended: status == Status::StreamEnd,
            })
        })?;
        if ended {
            *self = Inflate::Ended;
        }
        if read < input.len() {
            Err(corrupt("something follows its end"))
        } else {
            Ok(())
        }
    }
}

impl Decompress for Inflate {
    const NAME: &'static str = "de-deflate";

    fn decompress(&mut self, input: &[u8], output: &mut Sink) -> io::Result<()> {
        let Inflate::Begin(first) = self else {
            return self.body(input, output);
        };
        let (head, rest) = match (*first, input) {
            (None, [first]) => {
                *self = Inflate::Begin(Some(*first));
                return Ok(());
            }
            (None, [first, second, rest @ ..]) => ([*first, *second], rest),
            (Some(first), [second, rest @ ..]) => ([first, *second], rest),
            (_, []) => return Ok(()),
        };
        let [first, second] = head;
        *self = Inflate::Body(flate2::Decompress::new(is_zlib(first, second)));
        self.body(&head, output)?;
        self.body(rest, output)
    }

    fn finish(&mut self, _output: &mut Sink) -> io::Result<()> {
        match self {
            Inflate::Ended => Ok(()),
            _ => Err(corrupt("it was cut short")),
        }
    }
}
