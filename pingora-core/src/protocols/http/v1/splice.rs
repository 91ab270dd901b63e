use super::faults;
use crate::protocols::Stream;
use crate::protocols::http::h1::{BodyDecoder, BodyEncoder};
use crate::protocols::l4::splice::SplicePipe;
use crate::protocols::l4::stream::Stream as PlainStream;
use pingora_error::{ErrorSource, Result};
use std::io;
use std::task::{Context, Poll, ready};

/// The socket itself, where a connection is nothing more than one and holds back no bytes.
pub(super) fn plain(io: &mut Stream) -> Option<&mut PlainStream> {
    io.as_any_mut()
        .downcast_mut::<PlainStream>()
        .filter(|stream| stream.is_plain())
}

/// Whether it is the system that does not know, or not allow, splicing between these two.
fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported)
}

/// Where the payload of a body comes from, if it is not to be looked at.
///
/// Lent by a session for one poll; what is moved is accounted for in the session.
#[derive(Debug)]
pub struct SpliceSource<'a> {
    pub(super) stream: &'a mut PlainStream,
    pub(super) decoder: &'a mut BodyDecoder,
    pub(super) received: &'a mut usize,
    pub(super) broken: &'a mut bool,
    pub(super) side: ErrorSource,
}

impl SpliceSource<'_> {
    /// Payload that may be moved, in bytes. `None`: any amount, up to the end of the connection.
    pub fn remaining(&self) -> Option<u64> {
        self.decoder.remaining()
    }

    /// Takes up to `most` bytes into a pipe, which must be empty. 0: there is nothing to be had in
    /// this way, mostly because the peer has closed its side; the session's own reading will tell.
    /// Cancel-safe.
    ///
    /// # Errors
    /// Those of reading a body.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut SplicePipe,
        most: u64,
    ) -> Poll<Result<usize>> {
        let most = self.remaining().map_or(most, |left| most.min(left));
        let moved = ready!(pipe.poll_fill(self.stream, cx, most));
        Poll::Ready(match moved {
            Ok(moved) => {
                *self.received += moved;
                self.decoder
                    .advance(moved as u64)
                    .map(|()| moved)
                    .map_err(|fault| {
                        *self.broken = true;
                        faults::bad_body(fault, self.side.clone())
                    })
            }
            Err(error) if is_refusal(&error) => Ok(0),
            Err(error) => {
                *self.broken = true;
                Err(faults::read_failed(error, self.side.clone()))
            }
        })
    }
}

/// Where the payload of a body goes to, if it needs no framing.
///
/// Lent by a session for one poll; what is moved is accounted for in the session.
#[derive(Debug)]
pub struct SpliceSink<'a> {
    pub(super) stream: &'a mut PlainStream,
    pub(super) encoder: &'a mut BodyEncoder,
    pub(super) sent: &'a mut usize,
    /// Nothing is queued ahead of the payload.
    pub(super) clear: bool,
    /// Set where nothing more can be written.
    pub(super) failed: &'a mut bool,
    pub(super) side: ErrorSource,
}

impl SpliceSink<'_> {
    /// Payload that the message still has room for, in bytes. `None`: any amount.
    pub fn room(&self) -> Option<u64> {
        self.encoder.room()
    }

    /// Whether payload may be written now: nothing is queued that has to leave first.
    pub fn is_clear(&self) -> bool {
        self.clear
    }

    /// Gives what is in a pipe, which must hold something, to the peer; returns how much it took. To
    /// be called where [`is_clear`](SpliceSink::is_clear) holds. Cancel-safe.
    ///
    /// # Errors
    /// Those of writing a body.
    pub fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut SplicePipe,
    ) -> Poll<Result<usize>> {
        let moved = ready!(pipe.poll_drain(self.stream, cx));
        Poll::Ready(match moved {
            Ok(moved) => {
                *self.sent += moved;
                self.encoder
                    .advance(moved as u64)
                    .map(|()| moved)
                    .map_err(|fault| {
                        *self.failed = true;
                        faults::bad_outgoing(fault)
                    })
            }
            Err(error) => {
                *self.failed = true;
                Err(faults::write_failed(error, self.side.clone()))
            }
        })
    }
}
