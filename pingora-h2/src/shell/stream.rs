//! The two halves of a stream.

use super::failure::Failure;
use super::shared::{Held, now};
use crate::error::Reason;
use crate::frame::StreamId;
use crate::machine::{Cause, Received};
use bytes::Bytes;
use http::HeaderMap;
use std::marker::PhantomData;
use std::task::{Context, Poll, Waker};

/// Stores the waker of the current task, unless it is already known.
pub(super) fn keep(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(known) if known.will_wake(cx.waker()) => {}
        _ => *place = Some(cx.waker().clone()),
    }
}

/// Ready when the stream was reset, or its connection is gone.
pub(super) fn poll_reset(held: &Held, cx: &Context<'_>) -> Poll<Result<Reason, Failure>> {
    held.with(|state, key| {
        let cause = state.machine.reset_cause(key);
        match cause {
            Some(Cause::Reset(reason, ..) | Cause::GoAway(reason, ..)) => Poll::Ready(Ok(*reason)),
            Some(cause) => Poll::Ready(Err(Failure::of(cause))),
            None => {
                keep(&mut state.place(key).reset, cx);
                Poll::Pending
            }
        }
    })
}

/// The half of a stream that sends a body.
///
/// Dropping the last handle of a stream whose message has no end resets the stream (CANCEL).
#[derive(Debug)]
pub struct SendStream<B = Bytes> {
    pub(super) held: Held,
    pub(super) data: PhantomData<fn(B)>,
}

impl SendStream<Bytes> {
    pub(super) fn new(held: Held) -> Self {
        SendStream {
            held,
            data: PhantomData,
        }
    }

    /// The number of bytes that may be sent now: limited by the peer's windows and the bounds on
    /// data queued here. 0 if the stream accepts nothing any more.
    pub fn capacity(&self) -> usize {
        let capacity = self.held.with(|state, key| state.machine.capacity(key));
        capacity.unwrap_or(0)
    }

    /// Ready with the value of [`SendStream::capacity`] once it is more than 0; `None`: the stream
    /// accepts nothing any more. Cancel-safe.
    pub fn poll_capacity(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        self.held
            .with(|state, key| match state.machine.capacity(key) {
                Some(0) => {
                    state.machine.want_capacity(key);
                    keep(&mut state.place(key).sender, cx);
                    Poll::Pending
                }
                capacity => Poll::Ready(capacity),
            })
    }

    /// Queues a piece of the body; `end`: it is the last. More than [`SendStream::capacity`] is
    /// accepted too, and queued without a bound.
    ///
    /// # Errors
    /// The stream accepts nothing any more.
    pub fn send_data(&mut self, data: Bytes, end: bool) -> Result<(), Failure> {
        self.held.with(|state, key| {
            if !state.machine.is_open_to_send(key) {
                return Err(state.failure(key));
            }
            state.machine.send_data(key, data, end);
            Ok(())
        })
    }

    /// Ends the message with these trailers.
    ///
    /// # Errors
    /// The stream accepts nothing any more.
    pub fn send_trailers(&mut self, trailers: HeaderMap) -> Result<(), Failure> {
        self.held.with(|state, key| {
            if !state.machine.is_open_to_send(key) {
                return Err(state.failure(key));
            }
            state.machine.send_trailers(key, trailers);
            Ok(())
        })
    }

    /// Resets the stream. Unwritten data is lost.
    pub fn send_reset(&mut self, reason: Reason) {
        self.held
            .with(|state, key| state.machine.reset(key, reason, &now));
    }

    /// Ready when the stream was reset, by either side. Cancel-safe.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reason, Failure>> {
        poll_reset(&self.held, cx)
    }

    /// The number of the stream.
    pub fn stream_id(&self) -> StreamId {
        StreamId::new(self.held.key.id())
    }
}

/// The half of a stream that receives a body.
///
/// Data that was handed out counts against the peer's window until it is released. Dropping this
/// gives everything back to the connection; data that still arrives is discarded.
#[derive(Debug)]
pub struct RecvStream {
    held: Held,
    /// Bytes that were handed out and not released.
    unreleased: usize,
    trailers: Option<HeaderMap>,
}

impl RecvStream {
    pub(super) fn new(held: Held) -> Self {
        RecvStream {
            held,
            unreleased: 0,
            trailers: None,
        }
    }

    /// The next piece of the body; `None` at its end. Cancel-safe.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        if self.trailers.is_some() {
            return Poll::Ready(None);
        }
        let received = self
            .held
            .with(|state, key| match state.machine.receive(key) {
                Received::Data(data) => Poll::Ready(Some(Ok(Piece::Data(data)))),
                Received::Trailers(trailers) => Poll::Ready(Some(Ok(Piece::Trailers(trailers)))),
                Received::End | Received::Head(_) => Poll::Ready(None),
                Received::Broken => Poll::Ready(Some(Err(state.failure(key)))),
                Received::Pending => {
                    keep(&mut state.place(key).receiver, cx);
                    Poll::Pending
                }
            });
        received.map(|received| match received? {
            Ok(Piece::Data(data)) => {
                self.unreleased += data.len();
                Some(Ok(data))
            }
            Ok(Piece::Trailers(trailers)) => {
                self.trailers = Some(*trailers);
                None
            }
            Err(failure) => Some(Err(failure)),
        })
    }

    /// The trailers, once the body was read to its end. Cancel-safe.
    ///
    /// # Errors
    /// The message has no end, or its body has not been read.
    pub fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<HeaderMap>, Failure>> {
        if self.trailers.is_none() {
            match self.poll_data(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {}
                Poll::Ready(Some(Err(failure))) => return Poll::Ready(Err(failure)),
                Poll::Ready(Some(Ok(_))) => {
                    let what = "the body was not read to its end";
                    return Poll::Ready(Err(Failure::user(what)));
                }
            }
        }
        Poll::Ready(Ok(self.trailers.take()))
    }

    /// Whether the message has ended and all of it was read.
    pub fn is_end_stream(&self) -> bool {
        self.trailers.is_none() && self.held.with(|state, key| state.machine.is_received(key))
    }

    /// The number of bytes that have arrived but were not handed out, and the number that the peer may
    /// still send within the current window.
    pub fn arriving(&self) -> (usize, usize) {
        self.held.with(|state, key| state.machine.arriving(key))
    }

    /// Allows the peer to send this many more bytes: as many as were consumed.
    pub fn release(&mut self, bytes: usize) {
        let bytes = bytes.min(self.unreleased);
        self.unreleased -= bytes;
        if bytes > 0 {
            self.held
                .with(|state, key| state.machine.release(key, bytes));
        }
    }

    /// The number of the stream.
    pub fn stream_id(&self) -> StreamId {
        StreamId::new(self.held.key.id())
    }
}

enum Piece {
    Data(Bytes),
    Trailers(Box<HeaderMap>),
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        let unreleased = std::mem::take(&mut self.unreleased);
        self.held.with(|state, key| {
            state.machine.release(key, unreleased);
            state.machine.ignore(key);
        });
    }
}
