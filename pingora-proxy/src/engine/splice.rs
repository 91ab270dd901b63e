//! Moving a body from one half to the other without looking at it.

use super::turn::BYTES_PER_TURN;
use pingora_core::protocols::http::exchange::{SpliceSink, SpliceSource};
use pingora_core::protocols::l4::splice::SplicePipe;
use pingora_error::{BError, Error, ErrorType};
use std::task::{Context, Poll};

/// A body of which less is still to come is copied: to copy so little costs no more than to hand its
/// pages around. Where nobody knows how much is still to come, the last piece has to be as large: a
/// tunnel that carries small messages is better copied.
const WORTH_IT: u64 = 32 * 1024;

/// What there is to know about a body before its payload may be spliced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payload {
    /// Some of it was spliced already.
    pub(crate) under_way: bool,
    /// Payload that is still to be received, if that is known.
    pub(crate) remaining: Option<u64>,
    /// Payload that may still be sent as it is; `None`: any amount.
    pub(crate) room: Option<u64>,
    /// The size of the last piece that was received.
    pub(crate) last_piece: usize,
}

impl Payload {
    /// Whether splicing its next piece is possible and worth it.
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
    /// What comes next is to be read in the ordinary way.
    Copy,
    /// Other tasks get their turn first.
    Yield,
    /// The body can't be read any further.
    SourceFailed(BError),
    /// The other half takes nothing more.
    SinkFailed(BError),
}

/// One direction of an exchange whose bytes nobody wants to see.
///
/// It fills a pipe only when it is empty, so that it is always clear which of the two sockets would
/// block; and holds one only while there is something in it.
#[derive(Debug, Default)]
pub(crate) struct Relay {
    /// Whether nobody on the way wants to see the bytes.
    unseen: bool,
    /// No pipe was to be had.
    given_up: bool,
    under_way: bool,
    /// What is queued has to leave before the next piece is taken.
    waits: bool,
    last_piece: usize,
    pipe: Option<SplicePipe>,
    /// What a step has received and sent.
    pub(crate) received: usize,
    pub(crate) sent: usize,
}

impl Relay {
    /// Says whether nobody on the way wants to see the bytes.
    pub(crate) fn set_unseen(&mut self, unseen: bool) {
        self.unseen = unseen;
    }

    /// Notes the size of a piece that was received in the ordinary way.
    pub(crate) fn note_piece(&mut self, bytes: usize) {
        self.last_piece = bytes;
    }

    /// Bytes that were received and not yet sent.
    pub(crate) fn held(&self) -> usize {
        self.pipe.as_ref().map_or(0, SplicePipe::held)
    }

    /// Whether something has to leave before more is received.
    pub(crate) fn is_blocked(&self) -> bool {
        self.held() > 0 || self.waits && self.takes_more()
    }

    /// Whether [`Relay::poll`] may have something to do.
    pub(crate) fn is_open(&self) -> bool {
        self.held() > 0 || self.takes_more()
    }

    fn takes_more(&self) -> bool {
        self.unseen && !self.given_up
    }

    /// Moves what the source has and the sink takes. What was moved stands in `received` and `sent`.
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
            return match self.waits {
                true => Poll::Pending,
                false => Poll::Ready(self.interrupted()),
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
                    // A peer that stalls in the middle of a body holds no pipe meanwhile.
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
                // Mostly the end of the connection: the session will find out.
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

    /// One of the halves wants its bytes to pass through its own hands.
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
        // What is in the pipe will never be sent.
        self.pipe = None;
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
