//! Splits bytes into frames, and enforces the order of the frames of a field block.

use bytes::{Buf, BytesMut};

use super::parse::{Head, parse};
use super::{DEFAULT_MAX_FRAME_SIZE, Frame, HEAD_LENGTH, Role, StreamId, flag, kind};
use crate::error::{Error, Reason};

/// The bounds of a [`Reader`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReaderLimits {
    /// The largest payload that is accepted, in bytes: our `SETTINGS_MAX_FRAME_SIZE`, in force as
    /// soon as it is announced. Default: 16,384.
    pub max_frame_size: u32,
    /// The maximum number of CONTINUATION frames in a field block. Default: 16.
    pub max_continuations: u32,
    /// The maximum length of a field block on the wire, in bytes, over all its frames. Use a small
    /// multiple of the limit on the decoded list, because a refused list has to be decoded to its
    /// end. Default: 131,072.
    pub max_block_bytes: usize,
}

impl Default for ReaderLimits {
    fn default() -> Self {
        Self {
            max_frame_size: DEFAULT_MAX_FRAME_SIZE,
            max_continuations: 16,
            max_block_bytes: 128 << 10,
        }
    }
}

/// A field block whose last frame has not arrived (section 4.3).
#[derive(Debug, Clone, Copy)]
struct OpenBlock {
    stream: StreamId,
    continuations: u32,
    bytes: usize,
}

/// Splits the bytes of a connection into frames.
///
/// The reader holds no bytes: an incomplete frame stays in the caller's buffer, at most a head and
/// `max_frame_size` bytes. The caller handles the client preface.
#[derive(Debug)]
pub struct Reader {
    /// Our own role: the frames come from the opposite one.
    role: Role,
    limits: ReaderLimits,
    block: Option<OpenBlock>,
    /// Bytes at the front of the buffer that belong to the frame that was borrowed last.
    lent: usize,
}

impl Reader {
    /// A reader for the frames that an endpoint with this role receives.
    pub fn new(role: Role, limits: ReaderLimits) -> Self {
        Self {
            role,
            limits,
            block: None,
            lent: 0,
        }
    }

    /// Changes the bounds. They apply to all frames that have not been handed over yet.
    pub fn set_limits(&mut self, limits: ReaderLimits) {
        self.limits = limits;
    }

    /// Whether a field block has begun but not ended.
    pub fn in_block(&self) -> bool {
        self.block.is_some()
    }

    /// The number of bytes at the front of `buffer` that are already used and that the next call of
    /// [`Reader::next`] removes. Zero after it returned `None`.
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// Returns the next frame if all of it is in `buffer`.
    ///
    /// The *next* call removes the frame from the buffer, because most frames borrow from it.
    /// Between two calls, bytes may only be appended.
    ///
    /// # Errors
    /// After an error of a stream, the frame has been skipped and reading continues. After an error
    /// of the connection, nothing more can be read.
    pub fn next<'a>(&mut self, buffer: &'a mut BytesMut) -> Result<Option<Frame<'a>>, Error> {
        buffer.advance(std::mem::take(&mut self.lent).min(buffer.len()));
        let Some(head) = buffer.first_chunk::<HEAD_LENGTH>().map(Head::parse) else {
            return Ok(None);
        };
        // The length is known before the payload arrives, so nothing is buffered for a frame that
        // is refused.
        if head.length > self.limits.max_frame_size {
            return Err(Error::connection(
                Reason::FRAME_SIZE_ERROR,
                "4.2",
                "a frame is longer than SETTINGS_MAX_FRAME_SIZE",
            ));
        }
        self.check_order(&head)?;
        let length = head.length as usize;
        if buffer.len() - HEAD_LENGTH < length {
            return Ok(None);
        }
        self.advance_block(&head)?;
        if head.kind == kind::DATA {
            buffer.advance(HEAD_LENGTH);
            let payload = buffer.split_to(length).freeze();
            return super::parse::data(&head, payload).map(Some);
        }
        self.lent = HEAD_LENGTH + length;
        let payload = buffer.get(HEAD_LENGTH..self.lent).unwrap_or_default();
        parse(&head, payload, self.role).map(Some)
    }

    /// In an open block only CONTINUATION may follow; elsewhere it is not allowed (sections 4.3 and
    /// 6.10).
    fn check_order(&self, head: &Head) -> Result<(), Error> {
        let continues = head.kind == kind::CONTINUATION;
        let detail = match self.block {
            None if !continues => return Ok(()),
            Some(block) if continues && head.stream == block.stream => return Ok(()),
            None => "CONTINUATION without a field block",
            Some(_) if continues => "CONTINUATION of another stream than the field block's",
            Some(_) => "a field block is interrupted by another frame",
        };
        Err(Error::connection(Reason::PROTOCOL_ERROR, "6.10", detail))
    }

    fn advance_block(&mut self, head: &Head) -> Result<(), Error> {
        let length = head.length as usize;
        let mut block = match (head.kind, self.block) {
            (kind::HEADERS | kind::PUSH_PROMISE, _) => OpenBlock {
                stream: head.stream,
                continuations: 0,
                bytes: 0,
            },
            (kind::CONTINUATION, Some(block)) => OpenBlock {
                continuations: block.continuations.saturating_add(1),
                ..block
            },
            _ => return Ok(()),
        };
        block.bytes = block.bytes.saturating_add(length);
        let within = block.bytes <= self.limits.max_block_bytes
            && block.continuations <= self.limits.max_continuations;
        if !within {
            return Err(Error::connection(
                Reason::ENHANCE_YOUR_CALM,
                "bound",
                "a field block has too many frames or bytes",
            ));
        }
        self.block = (head.flags & flag::END_HEADERS == 0).then_some(block);
        Ok(())
    }
}
