//! The beginning of a connection.

use super::registry::Departing;
use crate::metrics::Http2Resets;
use crate::protocols::http::v2::client::{Activity, ConnectionRef, Driver, MOST_BEFORE_SETTINGS};
use crate::protocols::{Digest, Stream};
use crate::upstreams::peer::Peer;
use bytes::Bytes;
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_h2::client::Builder;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::watch;

/// The initial window of a stream, and of a connection (RFC 9113 section 6.9.2).
const PROTOCOL_WINDOW: u32 = 65_535;
/// The largest window allowed.
const LARGEST_WINDOW: u32 = (1 << 31) - 1;
/// The number of bytes that all streams of a connection may hold unread together, unless the program
/// sets another; always enough for two streams.
const MOST_UNREAD: u32 = 16 * 1024 * 1024;
/// The maximum size of a response's fields, decoded, in bytes as the protocol counts them.
const MOST_HEADER_LIST: u32 = 64 * 1024;
/// The number of request bytes that a stream holds until its window, or the socket, has room.
const SEND_BUFFER: usize = 64 * 1024;
/// The number of streams reset by us that are remembered, so that frames still in flight for them
/// are not errors of the server's.
const RESETS_REMEMBERED: usize = 256;
/// The same for all streams of a connection.
const CONNECTION_SEND_BUFFER: usize = 32 * SEND_BUFFER;
/// The number of frames that break the rules of their stream, and of frames without useful content,
/// that a connection survives at once; more for each request, and a twentieth per second.
const MOST_STREAM_ERRORS: u32 = 16 * 1024;
const MOST_OVERHEAD: u32 = 64 * 1024;

/// How a connection is set up.
#[derive(Clone, Debug)]
pub struct H2HandshakeSettings {
    /// The maximum number of concurrent exchanges. 1 by default; the server may allow fewer.
    pub max_streams: usize,
    /// The interval of PINGs that check whether the server is still there. `None`, the default:
    /// never.
    pub ping_interval: Option<Duration>,
    /// The window of each stream, in bytes: the amount of a response that is received before it is
    /// read. `None`, the default: 65,535.
    pub stream_window_size: Option<u32>,
    /// The window of the connection, in bytes: the amount that all its responses may hold together while
    /// they are not read. `None`, the default: the sum of all streams' windows, so that exchanges with
    /// slow clients don't hold up others, but at most 16 MiB, or two streams if those are more.
    pub connection_window_size: Option<u32>,
}

impl H2HandshakeSettings {
    /// The defaults, as documented for each field.
    pub fn new() -> Self {
        H2HandshakeSettings {
            max_streams: 1,
            ping_interval: None,
            stream_window_size: None,
            connection_window_size: None,
        }
    }

    /// The settings of a peer's options.
    pub(super) fn of<P: Peer>(peer: &P) -> Self {
        let options = peer.get_peer_options();
        H2HandshakeSettings {
            max_streams: super::max_streams(peer),
            ping_interval: peer.h2_ping_interval(),
            stream_window_size: options.and_then(|o| o.h2_stream_window_size),
            connection_window_size: options.and_then(|o| o.h2_connection_window_size),
        }
    }

    fn stream_window(&self) -> u32 {
        self.stream_window_size
            .unwrap_or(PROTOCOL_WINDOW)
            .min(LARGEST_WINDOW)
    }

    fn connection_window(&self) -> u32 {
        let all_streams = || {
            let streams = u32::try_from(self.max_streams).unwrap_or(u32::MAX);
            let window = self.stream_window();
            let most = MOST_UNREAD.max(window.saturating_mul(2));
            streams.saturating_mul(window).min(most)
        };
        self.connection_window_size
            .unwrap_or_else(|| all_streams().max(PROTOCOL_WINDOW))
            .min(LARGEST_WINDOW)
    }

    fn builder(&self) -> Builder {
        let mut builder = Builder::new();
        builder
            .initial_window_size(self.stream_window())
            .initial_connection_window_size(self.connection_window())
            .max_header_list_size(MOST_HEADER_LIST)
            .max_send_buffer_size(SEND_BUFFER)
            .initial_max_send_streams(MOST_BEFORE_SETTINGS)
            .max_concurrent_reset_streams(RESETS_REMEMBERED);
        let config = builder.config();
        config.connection_send_buffer = CONNECTION_SEND_BUFFER;
        config.resets = MOST_STREAM_ERRORS;
        config.overhead = MOST_OVERHEAD;
        config.on_reset =
            Some(|frame| Http2Resets::of_upstream(frame.received, frame.reason.into()));
        builder
    }
}

impl Default for H2HandshakeSettings {
    fn default() -> Self {
        Self::new()
    }
}

/// Begins HTTP/2 on a connection, as a client: over TLS where h2 was negotiated, or on a plain
/// connection to a server that is known to speak it (RFC 9113 section 3.3). A task on the current
/// runtime drives the connection until its last reference is dropped.
///
/// # Errors
/// [`ErrorType::HandshakeError`] if the connection fails already. A server that speaks another
/// protocol is detected by the first exchange.
pub async fn handshake(stream: Stream, settings: H2HandshakeSettings) -> Result<ConnectionRef> {
    establish(stream, settings, Departing::nowhere()).await
}

/// [`handshake`] for a connection that leaves its pool when it must not be used any more.
pub(super) async fn establish(
    stream: Stream,
    settings: H2HandshakeSettings,
    departing: Departing,
) -> Result<ConnectionRef> {
    let id = stream.id();
    let digest = Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    };
    let activity = Arc::<Activity>::default();
    let begun = settings.builder().handshake::<_, Bytes>(stream).await;
    let (send_request, connection) = begun.map_err(|error| {
        Error::create(
            ErrorType::HandshakeError,
            ErrorSource::Upstream,
            Some("beginning HTTP/2".into()),
            Some(Box::new(error)),
        )
    })?;
    let ended = departing.of(activity.clone());
    let (closed, closed_receiver) = watch::channel(false);
    let ping_timedout = Arc::<AtomicBool>::default();
    let driver = Driver::new(connection, settings.ping_interval, activity.clone());
    let conn = ConnectionRef::new(
        send_request,
        closed_receiver,
        ping_timedout.clone(),
        id,
        settings.max_streams,
        digest,
    )
    .with_activity(activity);
    tokio::spawn(async move {
        let leave = || ended.leave();
        driver.drive(id, closed, ping_timedout, leave).await;
    });
    Ok(conn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_counted_as_those_of_an_upstream() {
        use crate::metrics::counted_resets;
        use pingora_h2::{Reason, ResetFrame};
        let labels = ["upstream", "sent", "inadequate_security"];
        let before = counted_resets(labels);
        let told = H2HandshakeSettings::new().builder().config().on_reset;
        told.unwrap()(ResetFrame {
            received: false,
            reason: Reason::INADEQUATE_SECURITY,
        });
        assert!(counted_resets(labels) > before);
    }

    #[test]
    fn the_window_of_a_connection_is_that_of_its_streams_up_to_a_bound() {
        const MIB: u32 = 1 << 20;
        // Streams, requested windows of a stream and of the connection, resulting window.
        type Row = (usize, Option<u32>, Option<u32>, u32);
        let rows: &[Row] = &[
            (1, None, None, 65_535),
            (100, None, None, 6_553_500),
            (1_000, None, None, 16 * MIB),
            (1, Some(1_000), None, 65_535),
            (100, Some(MIB), None, 16 * MIB),
            (100, Some(20 * MIB), None, 40 * MIB),
            (1, Some(20 * MIB), None, 20 * MIB),
            (100, Some(u32::MAX), None, LARGEST_WINDOW),
            (100, Some(MIB), Some(100 * MIB), 100 * MIB),
            (100, Some(MIB), Some(10), 10),
        ];
        for (max_streams, stream_window_size, connection_window_size, window) in rows {
            let settings = H2HandshakeSettings {
                max_streams: *max_streams,
                ping_interval: None,
                stream_window_size: *stream_window_size,
                connection_window_size: *connection_window_size,
            };
            assert_eq!(settings.connection_window(), *window, "{settings:?}");
        }
    }
}
