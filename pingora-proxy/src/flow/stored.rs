//! The store as the half that a response comes from.

use super::hit::Part;
use crate::cache::figures::count_hit_bytes;
use crate::range::{Cut, MultiRangeInfo};
use bytes::Bytes;
use http::HeaderMap;
use pingora_cache::HitHandler;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::exchange::{FilePart, UpstreamHalf};
use pingora_error::{BError, Error, ErrorType, Result};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

type Read = (HitHandler, Result<Option<Bytes>>);

enum Reader {
    None,
    Idle(HitHandler),
    Reading(Pin<Box<dyn Future<Output = Read> + Send>>),
}

/// The part of the body that follows.
enum Plan {
    /// As it is read, to its end.
    Read,
    /// As it is read, of which this is cut out.
    Cut(Cut),
    /// Part by part, to which the storage goes.
    Seek(Box<MultiRangeInfo>, usize),
    Over,
}

/// The body of what is stored, or a part of it.
///
/// ```text
/// open ─▶ Idle ◀──▶ Reading        is polled   poll_task
///           └─ close ─▶ None
/// ```
pub(crate) struct Stored {
    part: Option<Part>,
    reader: Reader,
    plan: Plan,
    /// Made, and not handed out yet.
    ready: VecDeque<Bytes>,
    /// The storage had nothing when it was last asked.
    waits: bool,
    /// Nobody looks at the body: it may be sent from the storage's file.
    lends: bool,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored")
            .field("waits", &self.waits)
            .finish_non_exhaustive()
    }
}

impl Stored {
    pub(super) fn new(part: Part) -> Self {
        Stored {
            part: Some(part),
            reader: Reader::None,
            plan: Plan::Over,
            ready: VecDeque::new(),
            waits: false,
            lends: false,
        }
    }

    /// Sets whether the body may be sent from a file of the storage, because nobody looks at it.
    pub(super) fn set_lends(&mut self, lends: bool) {
        self.lends = lends;
    }

    /// Begins to read.
    pub(super) fn open(&mut self, reader: Option<HitHandler>) -> Result<()> {
        let Some(mut reader) = reader else {
            let context = "what was found has no body to read";
            return Error::e_explain(ErrorType::InternalError, context);
        };
        self.plan = match self.part.take() {
            None | Some(Part::Nothing) => Plan::Over,
            Some(Part::Whole) => Plan::Read,
            Some(Part::One(range)) if reader.can_seek() => {
                reader.seek(range.start, Some(range.end))?;
                Plan::Read
            }
            Some(Part::One(range)) => Plan::Cut(Cut::one(range)),
            Some(Part::Several(info)) if reader.can_seek_multipart() => {
                seek_to(&mut reader, &mut self.ready, &info, 0)?;
                Plan::Seek(info, 0)
            }
            Some(Part::Several(info)) => Plan::Cut(Cut::several(*info)),
        };
        self.reader = Reader::Idle(reader);
        Ok(())
    }

    /// Ends reading; the reader is returned unless it was in the middle of something.
    pub(super) fn close(&mut self) -> Option<HitHandler> {
        match std::mem::replace(&mut self.reader, Reader::None) {
            Reader::Idle(reader) => Some(reader),
            Reader::None | Reader::Reading(_) => None,
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if let Reader::Idle(reader) = &mut self.reader
            && let Some(read) = reader.read_at_once()
        {
            return Poll::Ready(read);
        }
        let mut reading = match std::mem::replace(&mut self.reader, Reader::None) {
            Reader::None => return Poll::Ready(Ok(None)),
            Reader::Reading(reading) => reading,
            Reader::Idle(mut reader) => Box::pin(async move {
                let read = reader.read_body().await;
                (reader, read)
            }),
        };
        match reading.as_mut().poll(cx) {
            Poll::Pending => {
                self.waits = true;
                self.reader = Reader::Reading(reading);
                Poll::Pending
            }
            Poll::Ready((reader, read)) => {
                self.waits = false;
                self.reader = Reader::Idle(reader);
                Poll::Ready(read)
            }
        }
    }

    /// Whether the body, or the part of it, is known to be over. What is at hand beyond a piece is kept for the next one.
    fn is_at_end(&mut self) -> Result<bool> {
        if let (Plan::Read, Reader::Idle(reader)) = (&self.plan, &mut self.reader)
            // What is in a file is not over, and may be sent from there.
            && reader.file_part().is_none()
            && let Some(read) = reader.read_at_once()
        {
            self.take_in(read?)?;
        }
        Ok(self.ready.is_empty() && matches!(self.plan, Plan::Over))
    }

    /// Handles a piece that was read, or the end of the part that was to be read.
    fn take_in(&mut self, read: Option<Bytes>) -> Result<()> {
        match (&mut self.plan, read) {
            (Plan::Over, _) => {}
            (Plan::Read, Some(piece)) => self.ready.push_back(piece),
            (Plan::Read, None) => self.plan = Plan::Over,
            (Plan::Cut(cut), Some(piece)) => {
                cut.push(piece, &mut self.ready);
                if cut.is_over() {
                    self.plan = Plan::Over;
                }
            }
            (Plan::Cut(_), None) => return Err(too_short()),
            (Plan::Seek(..), Some(piece)) => self.ready.push_back(piece),
            (Plan::Seek(info, index), None) => {
                *index += 1;
                if *index >= info.ranges.len() {
                    self.ready.push_back(Bytes::from(info.tail()));
                    self.plan = Plan::Over;
                } else if let Reader::Idle(reader) = &mut self.reader {
                    seek_to(reader, &mut self.ready, info, *index)?;
                }
            }
        }
        Ok(())
    }
}

/// Goes to a part, whose head comes first.
fn seek_to(
    reader: &mut HitHandler,
    ready: &mut VecDeque<Bytes>,
    info: &MultiRangeInfo,
    index: usize,
) -> Result<()> {
    if let Some(range) = info.ranges.get(index) {
        ready.push_back(Bytes::from(info.part_head(range)));
        reader.seek_multipart(range.start, Some(range.end))?;
    }
    Ok(())
}

#[cold]
fn too_short() -> BError {
    let context = "what is stored is shorter than its head says";
    Error::explain(ErrorType::InternalError, context)
}

impl UpstreamHalf for Stored {
    fn queue_body(&mut self, _data: Bytes) -> Result<()> {
        Ok(())
    }

    fn queue_end(&mut self, _trailers: Option<&HeaderMap>) -> Result<()> {
        Ok(())
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn wants_flush(&self) -> bool {
        false
    }

    fn queued(&self) -> usize {
        0
    }

    fn poll_task(&mut self, cx: &mut Context<'_>) -> Poll<Result<HttpTask>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                let is_last = self.ready.is_empty() && self.is_at_end()?;
                return Poll::Ready(Ok(HttpTask::Body(Some(piece), is_last)));
            }
            if matches!(self.plan, Plan::Over) {
                return Poll::Ready(Ok(HttpTask::Done));
            }
            let read = ready!(self.poll_read(cx))?;
            self.take_in(read)?;
        }
    }

    fn has_input(&self) -> bool {
        !self.waits && (!self.lends || self.file_part().is_none())
    }

    fn file_part(&self) -> Option<FilePart<'_>> {
        if !self.lends || !self.ready.is_empty() {
            return None;
        }
        match (&self.plan, &self.reader) {
            (Plan::Read | Plan::Seek(..), Reader::Idle(reader)) => reader.file_part(),
            _ => None,
        }
    }

    fn file_sent(&mut self, bytes: u64) {
        if let Reader::Idle(reader) = &mut self.reader {
            reader.file_sent(bytes);
        }
        count_hit_bytes(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
}
