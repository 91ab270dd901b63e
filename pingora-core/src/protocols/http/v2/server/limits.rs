//! Limits on what a client may do to a connection.

use super::super::message::MOST_CRUMBS;
use super::H2Options;
use crate::metrics::Http2Resets;
use crate::protocols::http::v2::ledger::CONNECTION_WINDOW;
use std::time::Duration;

/// The number of bytes that a client may send ahead on one stream. Together with
/// [`CONNECTION_WINDOW`], it bounds the memory that unread uploads can hold.
const STREAM_WINDOW: u32 = 128 * 1024;
/// The number of bytes of one response that are handed to the connection before it has written
/// them.
const SEND_BUFFER: usize = 64 * 1024;
/// The same for all streams: the memory that many slow readers of one connection can hold together.
const CONNECTION_SEND_BUFFER: usize = 16 * SEND_BUFFER;
/// The number of fields of one request, before cookies are joined and the program's own limit is
/// checked.
const MOST_FIELDS: usize = 512;

/// Ceilings for what a client may do to a connection. They also apply to the [`H2Options`] of a
/// program, which may only lower them.
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
    /// for each field). 64 KiB by default. A larger request gets 431.
    pub header_list_bytes: u32,
    /// Concurrent streams. 100 by default; further streams are refused.
    pub concurrent_streams: u32,
    /// Streams that the client resets, or makes us reset, before they are answered: this many at
    /// once, one more for each response, and a twentieth of the budget per second. 200 by default.
    pub resets: u32,
    /// Frames without useful content: this many at once, more for what is sent to the client, and a
    /// twentieth of the budget per second. 2000 by default.
    pub overhead_frames: u32,
    /// The number of response bytes that all streams of a connection may hold before they are sent.
    /// Beyond it, a stream reads 4 KiB ahead of its client, or 16 KiB if the client accepts data. 1
    /// MiB by default.
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
    /// Options within these limits: the program's own, capped, or ours.
    pub(super) fn cap(&self, options: Option<H2Options>) -> H2Options {
        let mut options = options.unwrap_or_else(windows);
        options
            .max_send_buffer_size(SEND_BUFFER)
            .max_concurrent_reset_streams(50)
            .reset_stream_duration(Duration::from_secs(30))
            .enable_connect_protocol();
        let config = options.config();
        let settings = &mut config.settings;
        let (list, streams) = (self.header_list_bytes, self.concurrent_streams);
        settings.max_header_list_size = Some(lower(settings.max_header_list_size, list));
        settings.max_concurrent_streams = Some(lower(settings.max_concurrent_streams, streams));
        config.connection_send_buffer = CONNECTION_SEND_BUFFER;
        config.fields = MOST_FIELDS;
        config.crumbs = MOST_CRUMBS + 1;
        config.resets = self.resets;
        config.overhead = self.overhead_frames;
        config.on_reset = Some(|frame| Http2Resets::of_client(frame.received, frame.reason.into()));
        options
    }
}

fn lower(asked: Option<u32>, most: u32) -> u32 {
    asked.map_or(most, |asked| asked.min(most))
}

/// The windows of a connection unless its program sets options.
pub(super) fn windows() -> H2Options {
    let mut options = H2Options::new();
    options
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_counted_as_those_of_a_client() {
        use crate::metrics::counted_resets;
        use pingora_h2::{Reason, ResetFrame};
        let labels = ["client", "received", "inadequate_security"];
        let before = counted_resets(labels);
        let told = H2Limits::default().cap(None).config().on_reset;
        told.unwrap()(ResetFrame {
            received: true,
            reason: Reason::INADEQUATE_SECURITY,
        });
        assert!(counted_resets(labels) > before);
    }

    #[test]
    fn options_of_a_program_may_lower_the_limits_and_not_raise_them() {
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
            let mut capped = limits.cap(options);
            let got = capped.config().settings;
            assert_eq!(
                (got.max_concurrent_streams, got.max_header_list_size),
                (Some(expected.0), Some(expected.1))
            );
        }
    }

    #[test]
    fn options_that_announce_nothing_are_capped_too() {
        let mut capped = H2Limits::default().cap(Some(H2Options::new()));
        assert_eq!(capped.config().settings.max_concurrent_streams, Some(100));
    }
}
