//! The writing half of a TLS stream, independent of the library that seals the records.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// Most bytes of payload in one TLS record (RFC 8446 section 5.1).
pub(super) const MAX_RECORD: usize = 16 * 1024;
/// The most payload that is sealed before it is sent: some records.
pub(super) const WRITE_AT_ONCE: usize = 4 * MAX_RECORD;

/// The state of the writes on one stream.
#[derive(Debug, Default)]
pub(super) struct Writing {
    /// Payload that was sealed in a write that is still pending.
    pub(super) accepted: usize,
    /// The close_notify was sealed, or can't be: nothing may be written any more.
    pub(super) closed: bool,
    /// Session tickets wait for something that leaves with them.
    pub(super) holds_tickets: bool,
}

/// A TLS session that seals payload into records, and the transport that carries them.
///
/// ```text
/// payload ── poll_seal ──▶ sealed records ── poll_send ──▶ transport
/// ```
pub(super) trait SealsRecords {
    type Transport: AsyncWrite + Unpin;

    fn transport(&mut self) -> Pin<&mut Self::Transport>;

    fn writing(&mut self) -> &mut Writing;

    /// Sends the sealed records.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Seals some of these slices, up to [`WRITE_AT_ONCE`], without sending anything. Returns how much.
    fn poll_seal(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

    /// Seals and sends the close_notify, once over all calls. Errors don't matter: the transport is closed in
    /// any case.
    fn poll_close_notify(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// Seals up to 64 KiB, small slices together in one record, and sends it all at once. After a pending
/// write the same bytes have to be offered again, as with any TLS write; more may follow them.
pub(super) fn poll_write<S: SealsRecords>(
    stream: &mut S,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if !stream.writing().holds_tickets {
        ready!(stream.poll_send(cx))?;
    }
    let offered: usize = bufs.iter().map(|slice| slice.len()).sum();
    if offered == 0 {
        return Poll::Ready(Ok(0));
    }
    let accepted = std::mem::take(&mut stream.writing().accepted);
    if accepted > 0 {
        return Poll::Ready(if accepted <= offered {
            Ok(accepted)
        } else {
            Err(io::ErrorKind::InvalidInput.into())
        });
    }
    if stream.writing().closed {
        return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
    }
    stream.writing().holds_tickets = false;
    let sealed = stream.poll_seal(cx, bufs);
    // If sealing failed, this sends the library's alert.
    let sent = stream.poll_send(cx);
    match (ready!(sealed)?, sent) {
        (sealed, Poll::Ready(sent)) => Poll::Ready(sent.map(|()| sealed)),
        (sealed, Poll::Pending) => {
            stream.writing().accepted = sealed;
            Poll::Pending
        }
    }
}

/// Sends everything that was sealed.
pub(super) fn poll_flush<S: SealsRecords>(
    stream: &mut S,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    ready!(stream.poll_send(cx))?;
    stream.writing().holds_tickets = false;
    stream.transport().poll_flush(cx)
}

/// Sends a close_notify, and closes the transport's write side.
pub(super) fn poll_shutdown<S: SealsRecords>(
    stream: &mut S,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    ready!(stream.poll_close_notify(cx));
    stream.transport().poll_shutdown(cx)
}
