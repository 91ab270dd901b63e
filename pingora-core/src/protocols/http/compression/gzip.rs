//! gzip (RFC 1952), both ways.
//!
//! Memory of a stream: about 320 KiB for a compressor, which is used again, 64 KiB for a decompressor.

use super::coder::Encoder;
use super::compressor::{Compress, Compressor};
use super::decoder::Decoder;
use super::decompressor::{Decompress, Decompressor, Sink};
use super::deflater::{Deflater, Wrapping};
use super::limits::DecompressionLimits;
use flate2::Crc;
use flate2::write::MultiGzDecoder;
use std::io::{self, Write};
use std::mem;

/// The highest level that gzip and deflate know.
pub(super) const HIGHEST: u32 = 9;

pub(super) fn compressor(level: u32, flush: bool) -> Encoder {
    let level = level.min(HIGHEST);
    let gzip = Gzip {
        deflater: Deflater::new(level, Wrapping::None, &head(level)),
        checksum: Crc::new(),
    };
    Box::new(Compressor::new(gzip, flush))
}

/// The head of a member (RFC 1952 section 2.3): no name, no time, an unknown system.
fn head(level: u32) -> [u8; 10] {
    let effort = match level {
        HIGHEST => 2,
        0 | 1 => 4,
        _ => 0,
    };
    [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, effort, 0xff]
}

struct Gzip {
    deflater: Deflater,
    checksum: Crc,
}

impl Compress for Gzip {
    const NAME: &'static str = "gzip";

    fn write(&mut self, input: &[u8]) -> io::Result<()> {
        self.checksum.update(input);
        self.deflater.write(input)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.deflater.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        let mut tail = [0; 8];
        let (sum, length) = tail.split_at_mut(4);
        sum.copy_from_slice(&self.checksum.sum().to_le_bytes());
        // Modulo 2³², as the format has it.
        length.copy_from_slice(&self.checksum.amount().to_le_bytes());
        self.deflater.finish(&tail)
    }

    fn take(&mut self) -> Vec<u8> {
        self.deflater.take()
    }
}

pub(super) fn decompressor(limits: DecompressionLimits) -> Decoder {
    let gunzip = Gunzip(MultiGzDecoder::new(Sink::default()));
    Box::new(Decompressor::new(gunzip, limits))
}

/// Several members are one body.
struct Gunzip(MultiGzDecoder<Sink>);

impl Gunzip {
    fn with(
        &mut self,
        sink: &mut Sink,
        work: impl FnOnce(&mut MultiGzDecoder<Sink>) -> io::Result<()>,
    ) -> io::Result<()> {
        mem::swap(self.0.get_mut(), sink);
        let worked = work(&mut self.0);
        mem::swap(self.0.get_mut(), sink);
        worked
    }
}

impl Decompress for Gunzip {
    const NAME: &'static str = "de-gzip";

    fn decompress(&mut self, input: &[u8], output: &mut Sink) -> io::Result<()> {
        self.with(output, |gunzip| {
            gunzip.write_all(input)?;
            // The bytes that were decompressed so far go out now: the other side must not wait for the rest.
            gunzip.flush()
        })
    }

    fn finish(&mut self, output: &mut Sink) -> io::Result<()> {
        self.with(output, |gunzip| gunzip.try_finish())
    }
}
