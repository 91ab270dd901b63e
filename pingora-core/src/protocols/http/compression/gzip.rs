//! gzip (RFC 1952), both ways.
//!
//! Memory of a stream: about 320 KiB for a compressor, 64 KiB for a decompressor.

use super::coder::Encoder;
use super::compressor::{Compress, Compressor};
use super::decoder::Decoder;
use super::decompressor::{Decompress, Decompressor, Sink};
use super::limits::DecompressionLimits;
use flate2::Compression;
use flate2::write::{GzEncoder, MultiGzDecoder};
use std::io::{self, Write};
use std::mem;

/// The highest level that gzip and deflate know.
pub(super) const HIGHEST: u32 = 9;

pub(super) fn compressor(level: u32, flush: bool) -> Encoder {
    let level = Compression::new(level.min(HIGHEST));
    let gzip = Gzip(GzEncoder::new(Vec::new(), level));
    Box::new(Compressor::new(gzip, flush))
}

struct Gzip(GzEncoder<Vec<u8>>);

impl Compress for Gzip {
    const NAME: &'static str = "gzip";

    fn write(&mut self, input: &[u8]) -> io::Result<()> {
        self.0.write_all(input)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.try_finish()
    }

    fn take(&mut self) -> Vec<u8> {
        mem::take(self.0.get_mut())
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
