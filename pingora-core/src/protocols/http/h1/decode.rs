//! Finds the payload among the received bytes.

use http::HeaderMap;

use super::trailers::TrailerSection;
use super::{BodyLength, Fault};

/// The maximum length of one chunk-size line, extensions included.
const LONGEST_CHUNK_LINE: u32 = 4 * 1024;
/// The maximum size of the chunk extensions in one message. They are dropped, and no peer needs
/// more.
const MOST_EXTENSIONS: u32 = 16 * 1024;
/// The maximum number of hex digits of a chunk size, leading zeros included.
const MOST_DIGITS: u8 = 16;

/// Finds payload among the bytes of a body. Examines only the framing: payload is never copied.
///
/// In: [`step`](Self::step) with received bytes, [`advance`](Self::advance) with payload that was moved
/// in another way, [`end_of_input`](Self::end_of_input). Out: a [`Step`] for each call,
/// [`is_done`](Self::is_done), and the trailers once.
///
/// ```text
///  Chunked:  Size ─▶ (Padding) ─▶ (Extension) ─▶ SizeEnd ─▶ Payload ─▶ PayloadEnd ─▶ Size …
///                                                   │ size 0
///                                                   ▼
///                                  Trailers ──▶ (LastLine) ──▶ Done
///  Exact:    Exact(n) ─────────────────────────────────────▶ Done
///  any state, on a fault ──▶ Broken
/// ```
#[derive(Debug, Clone)]
pub struct BodyDecoder {
    state: State,
    /// Bytes of extensions so far.
    extensions: u32,
    trailers: Option<Box<HeaderMap>>,
    section: Option<Box<TrailerSection>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Exact(u64),
    UntilClose,
    /// In the digits of a chunk size.
    Size {
        size: u64,
        digits: u8,
    },
    /// In white space after the digits of a chunk size; `line` counts the bytes of this line.
    Padding {
        size: u64,
        line: u32,
    },
    /// In the extensions of a chunk; `line` counts the bytes of this line.
    Extension {
        size: u64,
        line: u32,
    },
    /// After the CR of a chunk-size line.
    SizeEnd {
        size: u64,
    },
    /// In the payload of a chunk, with this many bytes missing.
    Payload(u64),
    /// After the payload of a chunk.
    PayloadEnd,
    /// After the CR that follows the payload of a chunk.
    PayloadEndLf,
    /// After the last chunk: trailers, or the last line.
    Trailers,
    /// After the CR of the last line.
    LastLine,
    Done,
    Broken(Fault),
}

/// The result of a step of [`BodyDecoder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// `input[..consumed]` was framing; more input is needed.
    More {
        /// Bytes to remove from the front of the input.
        consumed: usize,
    },
    /// `input[skip..skip + len]` is payload, at least one byte; the bytes before it are framing.
    /// Remove `skip + len` bytes.
    Data {
        /// The framing in front of the payload.
        skip: usize,
        /// The payload.
        len: usize,
    },
    /// The body is over; `input[..consumed]` still belongs to it.
    End {
        /// Bytes to remove from the front of the input.
        consumed: usize,
    },
}

impl BodyDecoder {
    /// A decoder for a body delimited in this way.
    pub fn new(length: BodyLength) -> Self {
        let state = match length {
            BodyLength::Empty | BodyLength::Exact(0) => State::Done,
            BodyLength::Exact(bytes) => State::Exact(bytes),
            BodyLength::Chunked => State::start_of_chunk(),
            BodyLength::UntilClose => State::UntilClose,
        };
        Self {
            state,
            extensions: 0,
            trailers: None,
            section: None,
        }
    }

    /// Examines `input`: the bytes that arrived and were not removed by an earlier step. Each step
    /// says how many bytes to remove; framing that is split is remembered, so nothing has to be
    /// passed twice.
    ///
    /// # Errors
    /// The framing is broken: the body ends here and the connection can't be used any more. Every
    /// later step returns the same error.
    #[inline]
    pub fn step(&mut self, input: &[u8]) -> Result<Step, Fault> {
        match &mut self.state {
            State::Exact(left) if !input.is_empty() => {
                let len = clamp(*left, input.len());
                *left -= len as u64;
                if *left == 0 {
                    self.state = State::Done;
                }
                Ok(Step::Data { skip: 0, len })
            }
            State::UntilClose if !input.is_empty() => Ok(Step::Data {
                skip: 0,
                len: input.len(),
            }),
            State::Exact(_) | State::UntilClose => Ok(Step::More { consumed: 0 }),
            State::Done => Ok(Step::End { consumed: 0 }),
            _ => self.chunked_step(input).inspect_err(|fault| {
                self.state = State::Broken(*fault);
                self.section = None;
            }),
        }
    }

    fn chunked_step(&mut self, input: &[u8]) -> Result<Step, Fault> {
        let mut rest = input;
        loop {
            let consumed = input.len() - rest.len();
            match self.state {
                State::Done => return Ok(Step::End { consumed }),
                State::Broken(fault) => return Err(fault),
                State::Payload(left) if !rest.is_empty() => {
                    let len = clamp(left, rest.len());
                    self.state = match left - len as u64 {
                        0 => State::PayloadEnd,
                        left => State::Payload(left),
                    };
                    let skip = consumed;
                    return Ok(Step::Data { skip, len });
                }
                State::Trailers if !matches!(rest, [] | [b'\r', ..]) || self.section.is_some() => {
                    rest = self.read_trailers(rest)?;
                    if rest.is_empty() && self.state == State::Trailers {
                        let consumed = input.len();
                        return Ok(Step::More { consumed });
                    }
                }
                _ => {
                    let [byte, after @ ..] = rest else {
                        return Ok(Step::More { consumed });
                    };
                    self.state = self.framing_byte(*byte)?;
                    rest = after;
                }
            }
        }
    }

    /// RFC 9112 section 7.1, byte by byte.
    #[inline]
    fn framing_byte(&mut self, byte: u8) -> Result<State, Fault> {
        match (self.state, byte) {
            (State::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == MOST_DIGITS || size > (i64::MAX as u64) >> 4 {
                    return Err(Fault::bad("a chunk size is too large"));
                }
                Ok(State::Size {
                    size: size << 4 | u64::from(hex_value(byte)),
                    digits: digits + 1,
                })
            }
            (State::Size { digits: 0, .. }, _) => Err(Fault::bad("a chunk has no size")),
            (State::Size { size, .. }, b'\r') => Ok(State::SizeEnd { size }),
            (State::Size { size, digits }, b';' | b' ' | b'\t') => {
                self.behind_size(size, u32::from(digits), byte)
            }
            (State::Size { .. }, _) => Err(Fault::bad("a chunk size is not a hex number")),
            (State::Padding { size, .. } | State::Extension { size, .. }, b'\r') => {
                Ok(State::SizeEnd { size })
            }
            // A second number is refused: a reader may take either for the size.
            (State::Padding { size, line }, b';' | b' ' | b'\t') => {
                self.behind_size(size, line, byte)
            }
            (State::Padding { .. }, _) => Err(Fault::bad("a chunk size is not a hex number")),
            (State::Extension { size, line }, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extension(size, line)
            }
            (State::Extension { .. }, _) => {
                Err(Fault::bad("a chunk extension holds a control character"))
            }
            (State::SizeEnd { size: 0 }, b'\n') => Ok(State::Trailers),
            (State::SizeEnd { size }, b'\n') => Ok(State::Payload(size)),
            (State::PayloadEnd, b'\r') => Ok(State::PayloadEndLf),
            (State::PayloadEndLf, b'\n') => Ok(State::start_of_chunk()),
            (State::Trailers, b'\r') => Ok(State::LastLine),
            (State::LastLine, b'\n') => Ok(State::Done),
            _ => Err(Fault::bad(
                "a line of the chunked coding does not end with CRLF",
            )),
        }
    }

    /// A semicolon or white space after the size. RFC 9110 section 5.6.3 requires that white space is
    /// accepted where an extension may follow. It counts as part of an extension, and is tolerated even
    /// if none follows: old servers pad their sizes with it.
    fn behind_size(&mut self, size: u64, line: u32, byte: u8) -> Result<State, Fault> {
        match (self.extension(size, line)?, byte) {
            (State::Extension { size, line }, b' ' | b'\t') => Ok(State::Padding { size, line }),
            (state, _) => Ok(state),
        }
    }

    fn extension(&mut self, size: u64, line: u32) -> Result<State, Fault> {
        let line = line + 1;
        self.extensions += 1;
        if line > LONGEST_CHUNK_LINE || self.extensions > MOST_EXTENSIONS {
            return Err(Fault::bad("the chunk extensions are too long"));
        }
        Ok(State::Extension { size, line })
    }

    /// Returns the rest of the input.
    #[cold]
    fn read_trailers<'a>(&mut self, input: &'a [u8]) -> Result<&'a [u8], Fault> {
        let section = self.section.get_or_insert_default();
        let (taken, trailers) = section.read(input)?;
        if let Some(trailers) = trailers {
            self.trailers = Some(trailers).filter(|fields| !fields.is_empty());
            self.section = None;
            self.state = State::Done;
        }
        Ok(input.get(taken..).unwrap_or_default())
    }

    /// The peer closed its side. This is a clean end only for a body that the end of the connection
    /// delimits.
    ///
    /// # Errors
    /// The body was cut short.
    pub fn end_of_input(&mut self) -> Result<(), Fault> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            State::Broken(fault) => Err(fault),
            _ => {
                let fault = Fault::CUT_SHORT;
                self.state = State::Broken(fault);
                Err(fault)
            }
        }
    }

    /// Whether the body is over. True already after the step that yielded the last byte of an
    /// [`Exact`](BodyLength::Exact) body.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The number of payload bytes still to come: of the body, if its length is known; of the
    /// current chunk, if it is chunked. `None` if only the end of the connection determines it.
    #[inline]
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Exact(left) | State::Payload(left) => Some(left),
            State::UntilClose => None,
            _ => Some(0),
        }
    }

    /// Accounts for payload that was taken from the connection without being examined: `bytes` of it,
    /// at most the amount that [`remaining`](Self::remaining) returns, with nothing of the body read
    /// ahead.
    ///
    /// # Errors
    /// 500: no payload is expected here, or less than that. The state is unchanged.
    pub fn advance(&mut self, bytes: u64) -> Result<(), Fault> {
        let beyond = Fault::new(500, "payload was taken beyond the end of the body");
        let after = |left: u64, last| match left.checked_sub(bytes).ok_or(beyond)? {
            0 => Ok(last),
            left => Ok(match self.state {
                State::Exact(_) => State::Exact(left),
                _ => State::Payload(left),
            }),
        };
        self.state = match self.state {
            State::Exact(left) => after(left, State::Done)?,
            State::Payload(left) => after(left, State::PayloadEnd)?,
            State::Broken(fault) => return Err(fault),
            other if bytes == 0 || other == State::UntilClose => other,
            _ => return Err(beyond),
        };
        Ok(())
    }

    /// The trailers of a chunked body, once it is over and if it had any that are [allowed as
    /// trailers](super::may_be_trailer).
    pub fn take_trailers(&mut self) -> Option<Box<HeaderMap>> {
        self.trailers.take()
    }
}

impl Default for BodyDecoder {
    /// A decoder for a message without a body: done from the start.
    fn default() -> Self {
        Self::new(BodyLength::Empty)
    }
}

impl State {
    const fn start_of_chunk() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

/// The smaller of the missing and the available bytes.
#[inline]
fn clamp(left: u64, available: usize) -> usize {
    usize::try_from(left).map_or(available, |left| left.min(available))
}

/// The value of a hex digit.
#[inline]
const fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}
