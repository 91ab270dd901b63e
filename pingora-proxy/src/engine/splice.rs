//! Moving a body from one half to the other without looking at it.

use super::turn::BYTES_PER_TURN;
use pingora_core::protocols::http::exchange::{
    DownstreamHalf, SpliceSink, SpliceSource, UpstreamHalf,
};
use pingora_core::protocols::l4::splice::SplicePipe;
use pingora_error::{BError, Error, ErrorType};
use std::task::{Context, Poll};

/// Bodies with fewer bytes left than this are copied, which is no slower than splicing. If the length is
/// unknown, the previous piece must have been at least this large: a tunnel that carries small messages
/// is better copied.
const WORTH_IT: u64 = 32 * 1024;

/// Other tasks get their turn after this many bytes of a file, which take a tenth of a millisecond or so.
const FILE_BYTES_PER_TURN: usize = 1024 * 1024;

/// The facts about a body that decide whether its payload may be spliced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payload {
    /// Some of it has already been spliced.
    pub(crate) under_way: bool,
    /// Payload still to be received, if known.
    pub(crate) remaining: Option<u64>,
    /// Payload that may still be sent unframed; `None`: any amount.
    pub(crate) room: Option<u64>,
    /// The size of the last received piece.
    pub(crate) last_piece: usize,
}

impl Payload {
    /// Whether splicing the next piece is possible and worthwhile.
    pub(crate) fn may_be_spliced(&self) -> bool {
        let known = self
            .remaining
            .map(|remaining| remaining.min(self.room.unwrap_or(u64::MAX)));
        match (known, self.room) {
            (Some(0), _) | (None, Some(0)) => false,
            (Some(next), _) => self.under_way || next >= WORTH_IT,
            (None, _) => self.last_piece as u64 >= WORTH_IT,
        }
    }
}

/// How a relay's step ended.
#[derive(Debug)]
pub(crate) enum Relayed {
    /// The next bytes have to be read in the ordinary way.
    Copy,
    /// Other tasks should run first.
    Yield,
    /// The body can't be read any further.
    SourceFailed(BError),
    /// The other half takes nothing more.
    SinkFailed(BError),
}

/// One direction of an exchange whose bytes no filter needs to see.
///
/// It fills a pipe only when the pipe is empty, so that it is always clear which of the two sockets would
/// block, and holds one only while there is data in it.
#[derive(Debug, Default)]
pub(crate) struct Relay {
    /// No filter on the way needs to see the bytes.
    unseen: bool,
    /// No pipe was available.
    given_up: bool,
    under_way: bool,
    /// Queued data has to leave before the next piece is taken.
    waits: bool,
    last_piece: usize,
    pipe: Option<SplicePipe>,
    /// Bytes of a file that the sink has no room for at present.
    offered: usize,
    /// The bytes that a step has received and sent.
    pub(crate) received: usize,
    pub(crate) sent: usize,
}

impl Relay {
    /// Sets whether the bytes may pass unseen, because no filter on the way needs them.
    pub(crate) fn set_unseen(&mut self, unseen: bool) {
        self.unseen = unseen;
    }

    /// Records the size of a piece that was received in the ordinary way.
    pub(crate) fn note_piece(&mut self, bytes: usize) {
        self.last_piece = bytes;
    }

    /// Bytes that were received, or are at hand in a file, and not yet sent.
    pub(crate) fn held(&self) -> usize {
        self.offered + self.pipe.as_ref().map_or(0, SplicePipe::held)
    }

    /// Whether data has to leave before more is received.
    pub(crate) fn is_blocked(&self) -> bool {
        self.held() > 0 || self.waits && self.takes_more()
    }

    /// Whether the bytes may pass unseen.
    #[inline]
    pub(crate) fn is_unseen(&self) -> bool {
        self.unseen
    }

    /// Whether [`Relay::poll`] may have something to do; the last piece decides in a tunnel.
    #[inline]
    pub(crate) fn is_open(&self, tunnel: bool) -> bool {
        let is_large = !tunnel || self.last_piece as u64 >= WORTH_IT;
        self.held() > 0 || is_large && self.takes_more()
    }

    fn takes_more(&self) -> bool {
        self.unseen && !self.given_up
    }

    /// Moves the bytes of a response that the server's half has and the client's accepts: from a file, if they are in
    /// one, or from a socket. Cancel-safe.
    pub(crate) fn poll_response<D: DownstreamHalf, U: UpstreamHalf>(
        &mut self,
        cx: &mut Context<'_>,
        up: &mut U,
        down: &mut D,
    ) -> Poll<Relayed> {
        if up.file_part().is_some() {
            self.poll_file(cx, up, down.splice_sink())
        } else {
            self.poll(cx, up.splice_source(), down.splice_sink())
        }
    }

    /// Sends from a file what is in memory and the sink accepts. What is not in memory is read in the ordinary way, off
    /// the worker.
    fn poll_file<U: UpstreamHalf>(
        &mut self,
        cx: &mut Context<'_>,
        up: &mut U,
        sink: Option<SpliceSink<'_>>,
    ) -> Poll<Relayed> {
        (self.received, self.sent, self.waits, self.offered) = (0, 0, false, 0);
        let Some(mut sink) = sink else {
            return Poll::Ready(Relayed::Copy);
        };
        // Bytes of the part that are known to be in memory.
        let mut known = 0;
        while let Some(part) = up.file_part() {
            let room = sink.room().unwrap_or(u64::MAX);
            let left = part.length().min(room);
            if self.sent >= FILE_BYTES_PER_TURN && left > 0 {
                return Poll::Ready(Relayed::Yield);
            }
            let most = left.min((FILE_BYTES_PER_TURN - self.sent) as u64);
            let is_worth_it = most >= WORTH_IT || self.under_way && most > 0;
            if !is_worth_it || known < most && part.is_in_memory(most) != Some(true) {
                break;
            }
            known = most;
            if !sink.is_clear() {
                self.waits = true;
                return Poll::Pending;
            }
            match sink.poll_send_file(cx, &part, most) {
                Poll::Ready(Ok(0)) => {
                    self.given_up = true;
                    break;
                }
                Poll::Ready(Ok(sent)) => {
                    #[cfg(test)]
                    tests::SPLICED.set(tests::SPLICED.get() + sent);
                    self.under_way = true;
                    self.received += sent;
                    self.sent += sent;
                    known = known.saturating_sub(sent as u64);
                    up.file_sent(sent as u64);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(self.fail(error)),
                Poll::Pending => {
                    self.offered = usize::try_from(most).unwrap_or(usize::MAX);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Relayed::Copy)
    }

    /// Moves the bytes that the source has and the sink accepts; counts them in `received` and `sent`.
    /// Cancel-safe.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: Option<SpliceSource<'_>>,
        sink: Option<SpliceSink<'_>>,
    ) -> Poll<Relayed> {
        (self.received, self.sent, self.waits) = (0, 0, false);
        let (Some(mut source), Some(mut sink)) = (source, sink) else {
            return Poll::Ready(self.interrupted());
        };
        if !sink.is_clear() {
            self.waits = self.held() == 0 && self.may_splice(&source, &sink);
            return if self.waits {
                Poll::Pending
            } else {
                Poll::Ready(self.interrupted())
            };
        }
        loop {
            if let Some(pipe) = self.pipe.as_mut().filter(|pipe| pipe.held() > 0) {
                match sink.poll_drain(cx, pipe) {
                    Poll::Ready(Ok(sent)) => self.sent += sent,
                    Poll::Ready(Err(error)) => return Poll::Ready(self.fail(error)),
                    Poll::Pending => return Poll::Pending,
                }
                continue;
            }
            if self.received >= BYTES_PER_TURN {
                return Poll::Ready(Relayed::Yield);
            }
            match self.poll_fill(cx, &mut source, &sink) {
                Poll::Ready(None) => {}
                Poll::Ready(Some(other)) => {
                    self.pipe = None;
                    return Poll::Ready(other);
                }
                Poll::Pending => {
                    // A peer that stalls in the middle of a body holds no pipe in the meantime.
                    self.pipe = None;
                    return Poll::Pending;
                }
            }
        }
    }

    fn may_splice(&self, source: &SpliceSource<'_>, sink: &SpliceSink<'_>) -> bool {
        let payload = Payload {
            under_way: self.under_way,
            remaining: source.remaining(),
            room: sink.room(),
            last_piece: self.last_piece,
        };
        self.takes_more() && payload.may_be_spliced()
    }

    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut SpliceSource<'_>,
        sink: &SpliceSink<'_>,
    ) -> Poll<Option<Relayed>> {
        if !self.may_splice(source, sink) {
            return Poll::Ready(Some(Relayed::Copy));
        }
        let Some(pipe) = self.pipe.take().or_else(take_pipe) else {
            self.given_up = true;
            return Poll::Ready(Some(Relayed::Copy));
        };
        let pipe = self.pipe.insert(pipe);
        source
            .poll_fill(cx, pipe, sink.room().unwrap_or(u64::MAX))
            .map(|filled| match filled {
                // Usually the end of the connection; the session will detect it.
                Ok(0) => {
                    self.given_up = true;
                    Some(Relayed::Copy)
                }
                Ok(received) => {
                    self.under_way = true;
                    #[cfg(test)]
                    tests::SPLICED.set(tests::SPLICED.get() + received);
                    self.last_piece = received;
                    self.received += received;
                    None
                }
                Err(error) => Some(Relayed::SourceFailed(error)),
            })
    }

    /// One of the halves requires its bytes to pass through its own buffers.
    fn interrupted(&mut self) -> Relayed {
        match self.held() {
            0 => Relayed::Copy,
            _ => {
                let context = "a body can't be copied while pieces of it are in a pipe";
                self.fail(Error::explain(ErrorType::InternalError, context).into_in())
            }
        }
    }

    #[cold]
    fn fail(&mut self, error: BError) -> Relayed {
        // The bytes in the pipe will never be sent.
        (self.pipe, self.offered) = (None, 0);
        self.given_up = true;
        Relayed::SinkFailed(error)
    }
}

fn take_pipe() -> Option<SplicePipe> {
    #[cfg(test)]
    if tests::NO_PIPES.get() {
        return None;
    }
    SplicePipe::take()
}

#[cfg(test)]
mod tests;
