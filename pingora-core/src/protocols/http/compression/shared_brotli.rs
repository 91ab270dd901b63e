//! Brotli with a dictionary, to clients that have it (`dcb`, RFC 9842 section 4; the format is RFC 9841's).
//!
//! Memory of a stream: the tables of the level, as without a dictionary, and a window of 512 KiB to 4 MiB, the smallest
//! that is twice as long as the dictionary. The library copies the dictionary into that window and indexes it, for
//! each body: of one that is longer than 4 MiB, the last 4 MiB count.

use super::coder::Encoder;
use super::compressor::{Compress, Compressor};
use super::dictionary::{DCB_MAGIC, DictionaryData};
use brotli::enc::StandardAlloc;
use brotli::enc::encode::{
    BrotliEncoderDestroyInstance, BrotliEncoderOperation, BrotliEncoderParameter,
    BrotliEncoderStateStruct,
};
use std::io;
use std::mem;

/// Below it, the library does without the dictionary.
const LOWEST: u32 = 2;
const HIGHEST: u32 = 11;
/// The windows' sizes as powers of two. Clients need not take more than 16 MiB (RFC 9842 section 4).
const SMALLEST_WINDOW: u32 = 19;
const LARGEST_WINDOW: u32 = 22;
/// What is read of the output at once: bytes.
const STEP: usize = 4096;

/// `None` for a dictionary that has next to nothing in it.
pub(super) fn with_dictionary(
    level: u32,
    flush: bool,
    dictionary: &DictionaryData,
) -> Option<Encoder> {
    let content = &dictionary.bytes[..];
    if content.len() < 2 {
        return None;
    }
    let mut state = BrotliEncoderStateStruct::new(StandardAlloc::default());
    for (parameter, value) in [
        (
            BrotliEncoderParameter::BROTLI_PARAM_QUALITY,
            level.clamp(LOWEST, HIGHEST),
        ),
        (
            BrotliEncoderParameter::BROTLI_PARAM_LGWIN,
            window(content.len()),
        ),
    ] {
        if !state.set_parameter(parameter, value) {
            return None;
        }
    }
    state.set_custom_dictionary(content.len(), content);
    let block = state.input_block_size();
    let dcb = Dcb {
        state: Box::new(State(state)),
        block,
        room: block,
        ready: [&DCB_MAGIC[..], &dictionary.hash].concat(),
    };
    Some(Box::new(Compressor::new(dcb, flush)))
}

fn window(dictionary: usize) -> u32 {
    let twice = dictionary.saturating_mul(2).checked_next_power_of_two();
    let fitting = twice.map_or(LARGEST_WINDOW, usize::ilog2);
    fitting.clamp(SMALLEST_WINDOW, LARGEST_WINDOW)
}

/// Gives its memory back when it is dropped, which the library's own type doesn't.
struct State(BrotliEncoderStateStruct<StandardAlloc>);

impl Drop for State {
    fn drop(&mut self) {
        BrotliEncoderDestroyInstance(&mut self.0);
    }
}

struct Dcb {
    state: Box<State>,
    /// The most that the library takes before it looks for repetitions: bytes.
    block: usize,
    /// How much of it is not filled.
    room: usize,
    ready: Vec<u8>,
}

impl Dcb {
    fn run(&mut self, operation: BrotliEncoderOperation, mut input: &[u8]) -> io::Result<()> {
        let mut output = [0; STEP];
        loop {
            let (mut left, mut read) = (input.len(), 0);
            let (mut room, mut written) = (output.len(), 0);
            let state = &mut self.state.0;
            let went_well = state.compress_stream(
                operation,
                &mut left,
                input,
                &mut read,
                &mut room,
                &mut output,
                &mut written,
                &mut None,
                &mut |_, _, _, _| (),
            );
            if !went_well {
                return Err(io::Error::other("the compressor failed"));
            }
            self.ready
                .extend_from_slice(output.get(..written).unwrap_or_default());
            input = input.get(read..).unwrap_or_default();
            if input.is_empty() && !state.has_more_output() {
                return Ok(());
            }
        }
    }
}

impl Compress for Dcb {
    const NAME: &'static str = "brotli";

    /// Flushes whenever a block is full. Otherwise the library would extend the last copy of one block with the
    /// beginning of the next, even across the end of the dictionary, which decoders refuse (RFC 9841).
    fn write(&mut self, mut input: &[u8]) -> io::Result<()> {
        while !input.is_empty() {
            let (now, later) = input.split_at(input.len().min(self.room));
            self.run(BrotliEncoderOperation::BROTLI_OPERATION_PROCESS, now)?;
            self.room -= now.len();
            if self.room == 0 {
                self.flush()?;
            }
            input = later;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.room = self.block;
        self.run(BrotliEncoderOperation::BROTLI_OPERATION_FLUSH, &[])
    }

    fn finish(&mut self) -> io::Result<()> {
        self.run(BrotliEncoderOperation::BROTLI_OPERATION_FINISH, &[])
    }

    fn take(&mut self) -> Vec<u8> {
        mem::take(&mut self.ready)
    }
}
