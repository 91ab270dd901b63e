//! Brotli (RFC 7932), both ways.
//!
//! Memory of a stream: a compressor has a window of 512 KiB and takes 0.3 MiB in all at level 1, 5 MiB at
//! level 6, and up to 37 MiB at level 9; a decompressor's window is up to 16 MiB, as the format allows, and
//! no larger than the body.

use super::coder::Encoder;
use super::compressor::{Compress, Compressor};
use super::decoder::Decoder;
use super::decompressor::{Decompress, Decompressor, Sink, Step, corrupt, pump};
use super::limits::DecompressionLimits;
use brotli::enc::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState, CompressorWriter};
use std::io::{self, Write};
use std::mem;

const HIGHEST: u32 = 11;
/// The window's size as a power of two.
const WINDOW: u32 = 19;
const BUFFER: usize = 4096;

pub(super) fn compressor(level: u32, flush: bool) -> Encoder {
    let writer = CompressorWriter::new(Vec::new(), BUFFER, level.min(HIGHEST), WINDOW);
    Box::new(Compressor::new(Brotli::Open(Box::new(writer)), flush))
}

enum Brotli {
    Open(Box<CompressorWriter<Vec<u8>>>),
    Ended(Vec<u8>),
}

impl Compress for Brotli {
    const NAME: &'static str = "brotli";

    fn write(&mut self, input: &[u8]) -> io::Result<()> {
        match self {
            Brotli::Open(writer) => writer.write_all(input),
            Brotli::Ended(_) => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Brotli::Open(writer) => writer.flush(),
            Brotli::Ended(_) => Ok(()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        if let Brotli::Open(writer) = mem::replace(self, Brotli::Ended(Vec::new())) {
            // Writing to memory does not fail.
            *self = Brotli::Ended(writer.into_inner());
        }
        Ok(())
    }

    fn take(&mut self) -> Vec<u8> {
        match self {
            Brotli::Open(writer) => mem::take(writer.get_mut()),
            Brotli::Ended(rest) => mem::take(rest),
        }
    }
}

pub(super) fn decompressor(limits: DecompressionLimits) -> Decoder {
    let [u8s, u32s, codes] = [StandardAlloc::default(); 3];
    // Without "large windows", which are no part of the format: those have up to a gigabyte.
    let state = BrotliState::new_strict(u8s, u32s, codes);
    let unbrotli = Unbrotli {
        state: Box::new(state),
        ended: false,
    };
    Box::new(Decompressor::new(unbrotli, limits))
}

type State = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

struct Unbrotli {
    state: Box<State>,
    ended: bool,
}

impl Decompress for Unbrotli {
    const NAME: &'static str = "de-brotli";

    fn decompress(&mut self, input: &[u8], output: &mut Sink) -> io::Result<()> {
        if self.ended {
            return Err(corrupt("something follows its end"));
        }
        let state = &mut *self.state;
        let mut total = 0;
        let (read, ended) = pump(input, output, |input, spare| {
            let (mut available, mut read) = (input.len(), 0);
            let (mut room, mut written) = (spare.len(), 0);
            let result = BrotliDecompressStream(
                &mut available,
                &mut read,
                input,
                &mut room,
                &mut written,
                spare,
                &mut total,
                state,
            );
            match result {
                BrotliResult::ResultFailure => Err(corrupt("it is no Brotli")),
                result => Ok(Step {
                    read,
                    written,
                    ended: matches!(result, BrotliResult::ResultSuccess),
                }),
            }
        })?;
        self.ended = ended;
        if read < input.len() {
            Err(corrupt("something follows its end"))
        } else {
            Ok(())
        }
    }

    fn finish(&mut self, _output: &mut Sink) -> io::Result<()> {
        if self.ended {
            Ok(())
        } else {
            Err(corrupt("it was cut short"))
        }
    }
}
