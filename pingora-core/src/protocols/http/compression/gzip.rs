//! gzip (RFC 1952), both ways.

use super::coder::{COMPRESSION_ERROR, Encode};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, MultiGzDecoder};
use pingora_error::{BError, Error, OrErr, Result};
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// The bytes and the time of one body.
#[derive(Debug, Default)]
struct Account {
    taken: usize,
    given: usize,
    time: Duration,
}

impl Account {
    fn note(&mut self, input: &[u8], output: &[u8], begun: Instant) {
        self.taken += input.len();
        self.given += output.len();
        self.time += begun.elapsed();
    }
}

pub(super) struct Compressor {
    encoder: GzEncoder<Vec<u8>>,
    flush: bool,
    account: Account,
}

impl Compressor {
    /// The highest level that gzip knows.
    const HIGHEST: u32 = 9;

    pub(super) fn new(level: u32, flush: bool) -> Self {
        let level = Compression::new(level.min(Self::HIGHEST));
        Compressor {
            encoder: GzEncoder::new(Vec::new(), level),
            flush,
            account: Account::default(),
        }
    }
}

impl Encode for Compressor {
    fn encode(&mut self, input: &[u8], end: bool) -> Result<Bytes> {
        let begun = Instant::now();
        let context = "while compressing with gzip";
        self.encoder
            .write_all(input)
            .or_err(COMPRESSION_ERROR, context)?;
        if end {
            self.encoder
                .try_finish()
                .or_err(COMPRESSION_ERROR, context)?;
        } else if self.flush && !input.is_empty() {
            self.encoder.flush().or_err(COMPRESSION_ERROR, context)?;
        }
        let output = std::mem::take(self.encoder.get_mut());
        self.account.note(input, &output, begun);
        Ok(output.into())
    }

    fn stat(&self) -> (&'static str, usize, usize, Duration) {
        let account = &self.account;
        ("gzip", account.taken, account.given, account.time)
    }
}

pub(super) struct Decompressor {
    decoder: MultiGzDecoder<Vec<u8>>,
    account: Account,
}

impl Decompressor {
    pub(super) fn new() -> Self {
        Decompressor {
            decoder: MultiGzDecoder::new(Vec::new()),
            account: Account::default(),
        }
    }
}

/// What the upstream sent is not what it says.
#[cold]
fn undecodable(context: &'static str, error: io::Error) -> BError {
    Error::because(COMPRESSION_ERROR, context, error).into_up()
}

impl Encode for Decompressor {
    fn encode(&mut self, input: &[u8], end: bool) -> Result<Bytes> {
        let begun = Instant::now();
        self.decoder
            .write_all(input)
            .map_err(|e| undecodable("the body is not valid gzip", e))?;
        // What was decompressed so far goes out now: the client must not wait for the rest.
        self.decoder
            .flush()
            .map_err(|e| undecodable("the body is not valid gzip", e))?;
        // Nothing at all stands for an empty body: some origins name a coding nevertheless.
        let empty = self.account.taken + input.len() == 0;
        if end && !empty {
            self.decoder
                .try_finish()
                .map_err(|e| undecodable("the gzip body was cut short", e))?;
        }
        let output = std::mem::take(self.decoder.get_mut());
        self.account.note(input, &output, begun);
        Ok(output.into())
    }

    fn stat(&self) -> (&'static str, usize, usize, Duration) {
        let account = &self.account;
        ("de-gzip", account.taken, account.given, account.time)
    }
}
