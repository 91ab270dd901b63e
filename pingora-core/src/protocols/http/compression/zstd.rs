//! Zstandard (RFC 8878), both ways, and with a dictionary to clients (RFC 9842).
//!
//! Memory of a stream: a compressor has a window of 1 MiB and takes 1.5 to 6.2 MiB in all, depending on its
//! level; a decompressor's window is up to 8 MiB (RFC 9659).

use super::coder::Encoder;
use super::compressor::{Compress, Compressor};
use super::decoder::Decoder;
use super::decompressor::{Decompress, Decompressor, Sink, Step, corrupt, pump};
use super::dictionary::{DCZ_MAGIC, DictionaryData};
use super::limits::DecompressionLimits;
use std::io::{self, Write};
use std::mem;
use zstd::stream::raw::{self, CParameter, Operation};
use zstd::stream::write;

/// Those above take windows that decoders in HTTP need not have.
const HIGHEST: u32 = 19;
/// The windows' sizes as powers of two.
const WINDOW: u32 = 20;
const LARGEST_WINDOW: u32 = 23;
/// Above this level, the compressor's tables would grow to tens of megabytes.
const LAST_WITH_OWN_TABLES: i32 = 6;
/// How many entries its tables have then, as a power of two.
const TABLE: u32 = 19;

/// The beginning of a dictionary that is more than content, a form that RFC 9842 doesn't mention.
const FORMATTED: [u8; 4] = [0x37, 0xa4, 0x30, 0xec];

pub(super) fn compressor(level: u32, flush: bool) -> Option<Encoder> {
    encoder(level, flush, &[], Vec::new())
}

pub(super) fn with_dictionary(
    level: u32,
    flush: bool,
    dictionary: &DictionaryData,
) -> Option<Encoder> {
    if dictionary.bytes.is_empty() || dictionary.bytes.starts_with(&FORMATTED) {
        return None;
    }
    let head = [&DCZ_MAGIC[..], &dictionary.hash].concat();
    encoder(level, flush, &dictionary.bytes, head)
}

fn encoder(level: u32, flush: bool, dictionary: &[u8], head: Vec<u8>) -> Option<Encoder> {
    let level = i32::try_from(level.min(HIGHEST)).ok()?;
    // Fails where memory is short; the body is sent as it is then.
    let mut writer = write::Encoder::with_dictionary(head, level, dictionary).ok()?;
    writer.window_log(WINDOW).ok()?;
    if level > LAST_WITH_OWN_TABLES {
        writer.set_parameter(CParameter::HashLog(TABLE)).ok()?;
        writer.set_parameter(CParameter::ChainLog(TABLE)).ok()?;
    }
    Some(Box::new(Compressor::new(Zstd(writer), flush)))
}

struct Zstd(write::Encoder<'static, Vec<u8>>);

impl Compress for Zstd {
    const NAME: &'static str = "zstd";

    fn write(&mut self, input: &[u8]) -> io::Result<()> {
        self.0.write_all(input)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.do_finish()
    }

    fn take(&mut self) -> Vec<u8> {
        mem::take(self.0.get_mut())
    }
}

pub(super) fn decompressor(limits: DecompressionLimits) -> Option<Decoder> {
    let mut decoder = raw::Decoder::new().ok()?;
    let parameter = raw::DParameter::WindowLogMax(LARGEST_WINDOW);
    decoder.set_parameter(parameter).ok()?;
    let unzstd = Unzstd {
        decoder,
        within_frame: false,
    };
    Some(Box::new(Decompressor::new(unzstd, limits)))
}

/// Several frames are one body.
struct Unzstd {
    decoder: raw::Decoder<'static>,
    within_frame: bool,
}

impl Decompress for Unzstd {
    const NAME: &'static str = "de-zstd";

    fn decompress(&mut self, input: &[u8], output: &mut Sink) -> io::Result<()> {
        let (decoder, within) = (&mut self.decoder, &mut self.within_frame);
        let (_, _) = pump(input, output, |input, spare| {
            let status = decoder.run_on_buffers(input, spare)?;
            // The rest of a frame; a step that had nothing to do says nothing about it.
            if status.bytes_read > 0 || status.bytes_written > 0 {
                *within = status.remaining > 0;
            }
            Ok(Step {
                read: status.bytes_read,
                written: status.bytes_written,
                ended: false,
            })
        })?;
        Ok(())
    }

    fn finish(&mut self, _output: &mut Sink) -> io::Result<()> {
        if self.within_frame {
            Err(corrupt("it was cut short"))
        } else {
            Ok(())
        }
    }
}
