//! How much a client may do to a connection.

use super::super::guard::Allowance;
use super::H2Options;
use bytes::{Buf, Bytes};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that a client may send ahead on one stream. With [`CONNECTION_WINDOW`], the memory that
/// uploads which nobody reads can hold.
const STREAM_WINDOW: u32 = 128 * 1024;
/// The same for all streams of a connection: so many stalled uploads keep the other streams of that
/// client waiting.
pub(crate) const CONNECTION_WINDOW: u32 = 16 * STREAM_WINDOW;
/// Bytes of one response that are handed to the connection before it has written them.
const SEND_BUFFER: usize = 64 * 1024;
/// What frames of data that nobody took yet may cost, where each counts as 256 bytes at least. A whole
/// window of messages of ten bytes fits in: a client that streams them to a slow server means no harm.
const FRAME_BUDGET: usize = 32 * STREAM_WINDOW as usize;

/// Ceilings over what a client may do to a connection. They hold over the [`H2Options`] of a
/// program, too, which may only lower them.
///
/// ```
/// use pingora_core::apps::HttpServerOptions;
/// use pingora_core::protocols::http::v2::server::H2Limits;
///
/// let mut limits = H2Limits::default();
/// limits.concurrent_streams = 250;
/// let mut options = HttpServerOptions::default();
/// options.set_h2_limits(limits);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct H2Limits {
    /// The decoded header list of a request, in bytes as RFC 9113 section 6.5.2 counts them (32 more
    /// for each field). 64 KiB by default. A request over it gets 431.
    pub header_list_bytes: u32,
    /// Streams at once. 100 by default; one more is refused.
    pub concurrent_streams: u32,
    /// Streams that the client resets, or has us reset, before they are answered: so many at once,
    /// one more for each response, and a twentieth of them per second. 200 by default.
    pub resets: u32,
    /// Frames that carry nothing: so many at once, more for what the client is sent, and a
    /// twentieth of them per second. 2000 by default.
    pub overhead_frames: u32,
    /// What all streams of a connection may hold of their responses, in bytes, before they leave: from
    /// there on a stream reads 4 KiB ahead of its client, or 16 KiB if the client takes them. 1 MiB by
    /// default.
    pub response_bytes: u32,
}

impl Default for H2Limits {
    fn default() -> Self {
        H2Limits {
            header_list_bytes: 64 * 1024,
            concurrent_streams: 100,
            resets: 200,
            overhead_frames: 2000,
            response_bytes: 1024 * 1024,
        }
    }
}

impl H2Limits {
    pub(super) fn allowance(&self) -> Allowance {
        Allowance {
            resets: self.resets,
            overhead: self.overhead_frames,
        }
    }

    /// Options that keep to these limits: the program's own with a lid on them, or ours.
    pub(super) fn cap(&self, options: Option<H2Options>) -> H2Options {
        let asked = options.as_ref().map(Announced::by).unwrap_or_default();
        let mut options = options.unwrap_or_else(windows);
        options
            .max_header_list_size(lower(asked.header_list, self.header_list_bytes))
            .max_concurrent_streams(lower(asked.streams, self.concurrent_streams))
            .max_send_buffer_size(SEND_BUFFER)
            .data_frame_budget(FRAME_BUDGET)
            .max_pending_accept_reset_streams(self.concurrent_streams as usize)
            // Resets for the client's fault are counted by the guard, which forgives in time: this
            // one would end a connection for what it did days ago.
            .max_local_error_reset_streams(None)
            .max_concurrent_reset_streams(50)
            .reset_stream_duration(Duration::from_secs(1))
            .enable_connect_protocol();
        options
    }
}

fn lower(asked: Option<u32>, most: u32) -> u32 {
    asked.map_or(most, |asked| asked.min(most))
}

/// The windows that a connection has unless its program brings options.
pub(super) fn windows() -> H2Options {
    let mut options = H2Options::new();
    options
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    options
}

/// What options announce to a client. They can't be asked, but they can be made to speak: the first
/// thing that a handshake does is to write its SETTINGS.
#[derive(Debug, Default, PartialEq, Eq)]
struct Announced {
    streams: Option<u32>,
    header_list: Option<u32>,
}

impl Announced {
    fn by(options: &H2Options) -> Self {
        let mut written = Capture::default();
        let mut handshake = Box::pin(options.handshake::<_, Bytes>(&mut written));
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Future::poll(handshake.as_mut(), &mut cx);
        drop(handshake);
        Self::in_frame(&written.0)
    }

    /// Reads a SETTINGS frame (RFC 9113 section 6.5.1).
    fn in_frame(frame: &[u8]) -> Self {
        let mut announced = Announced::default();
        let mut payload = frame.get(9..).unwrap_or_default();
        while payload.remaining() >= 6 {
            let (identifier, value) = (payload.get_u16(), payload.get_u32());
            match identifier {
                3 => announced.streams = Some(value),
                6 => announced.header_list = Some(value),
                _ => {}
            }
        }
        announced
    }
}

/// Keeps what is written; nothing is ever read from it.
#[derive(Debug, Default)]
struct Capture(Vec<u8>);

impl AsyncRead for Capture {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Capture {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_a_program_may_lower_the_limits_and_not_raise_them() {
        let announced = |options: H2Options| Announced::by(&options);
        let limits = H2Limits::default();
        type Pair = (u32, u32);
        let rows: &[(Option<Pair>, Pair)] = &[
            (None, (100, 65_536)),
            (Some((10, 8192)), (10, 8192)),
            (Some((5000, 16 << 20)), (100, 65_536)),
        ];
        for (asked, expected) in rows {
            let options = asked.map(|(streams, list)| {
                let mut options = H2Options::new();
                options
                    .max_concurrent_streams(streams)
                    .max_header_list_size(list);
                options
            });
            let got = announced(limits.cap(options));
            assert_eq!(
                (got.streams, got.header_list),
                (Some(expected.0), Some(expected.1))
            );
        }
    }

    #[test]
    fn options_that_announce_nothing_are_capped_too() {
        assert_eq!(Announced::by(&H2Options::new()), Announced::default());
        let capped = Announced::by(&H2Limits::default().cap(Some(H2Options::new())));
        assert_eq!(capped.streams, Some(100));
    }

    #[test]
    fn a_cut_frame_is_read_as_far_as_it_goes() {
        let frame = [0, 0, 7, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 9, 0];
        assert_eq!(Announced::in_frame(&frame).streams, Some(9));
        assert_eq!(Announced::in_frame(&[]), Announced::default());
    }
}
