//! What a connection announces, and its bounds.

use crate::frame::{ReaderLimits, Role, Settings};
use crate::hpack::ListLimits;
use std::time::Duration;

/// The header list of a connection that announces none, in bytes.
const HEADER_LIST: u32 = 64 * 1024;
/// Least bytes that a field block may have on the wire, whatever the limit on the list.
const LEAST_BLOCK: usize = 32 * 1024;

/// What a connection announces, and its bounds.
#[derive(Debug, Clone)]
pub struct Config {
    /// The side that this endpoint is on.
    pub role: Role,
    /// What the peer is told. What is not set has the protocol's default; the header list is bounded
    /// by 64 KiB even if that is not announced.
    pub settings: Settings,
    /// Bytes that the peer may send ahead on all streams together. 65,535 by default.
    pub connection_window: u32,
    /// Most fields of one message, pseudo-header fields included. 256 by default.
    pub fields: usize,
    /// Most `cookie` fields of one message. 100 by default.
    pub crumbs: usize,
    /// Bytes of one stream that are taken from the program before they were written. 64 KiB by
    /// default.
    pub send_buffer: usize,
    /// The same for all streams of the connection. 1 MiB by default.
    pub connection_send_buffer: usize,
    /// Streams that a client opens before the server has said how many it takes. 100 by default.
    pub initial_peer_streams: u32,
    /// How many streams that we have reset are remembered, so that what is still on its way for them
    /// is no error. 64 by default.
    pub reset_memory: usize,
    /// And for how long. 30 s by default.
    pub reset_lifetime: Duration,
    /// Streams that the peer resets, or has us reset: so many at once, one more for each message that
    /// we send, and a twentieth of them per second. 200 by default for a server, 10,000 for a client,
    /// whose streams belong to many.
    pub resets: u32,
    /// Frames that carry nothing: so many at once, more for what we send, and a twentieth of them
    /// per second. 2,000 by default for a server, 20,000 for a client.
    pub overhead: u32,
    /// How long a draining server waits for the answer to its PING before it takes no more streams.
    /// 2 s by default.
    pub drain_timeout: Duration,
    /// How long the peer may take to acknowledge our SETTINGS, from the connection's beginning on; one
    /// that takes longer gets a GOAWAY with `SETTINGS_TIMEOUT` (RFC 9113 section 6.5.3). 30 s by default.
    /// A time that the clock cannot tell ([`Duration::MAX`]) never ends.
    pub settings_timeout: Duration,
}

impl Config {
    /// The defaults for an endpoint with this role.
    pub fn new(role: Role) -> Self {
        let mut settings = Settings::default();
        if role == Role::Client {
            settings.enable_push = Some(false);
        }
        Config {
            role,
            settings,
            connection_window: crate::frame::DEFAULT_WINDOW,
            fields: 256,
            crumbs: 100,
            send_buffer: 64 * 1024,
            connection_send_buffer: 1024 * 1024,
            initial_peer_streams: 100,
            reset_memory: 64,
            reset_lifetime: Duration::from_secs(30),
            resets: if role == Role::Server { 200 } else { 10_000 },
            overhead: if role == Role::Server { 2000 } else { 20_000 },
            drain_timeout: Duration::from_secs(2),
            settings_timeout: Duration::from_secs(30),
        }
    }

    pub(super) fn list_limits(&self) -> ListLimits {
        let bytes = self.settings.max_header_list_size.unwrap_or(HEADER_LIST);
        ListLimits {
            max_bytes: bytes as usize,
            max_fields: self.fields,
            max_crumbs: self.crumbs,
        }
    }

    /// A refused list is decoded to its end, so that one that is a little too large costs a stream and
    /// not the connection; one that is far beyond ends it.
    pub(super) fn reader_limits(&self) -> ReaderLimits {
        let defaults = ReaderLimits::default();
        let frame = self.settings.max_frame_size;
        let block = self.list_limits().max_bytes.saturating_mul(2);
        ReaderLimits {
            max_frame_size: frame.unwrap_or(defaults.max_frame_size),
            max_block_bytes: block.max(LEAST_BLOCK),
            ..defaults
        }
    }

    /// The most streams of the peer's that are open at once.
    pub(super) fn max_streams(&self) -> usize {
        let most = self.settings.max_concurrent_streams;
        most.map_or(usize::MAX, |most| most as usize)
    }

    pub(super) fn stream_window(&self) -> u32 {
        let window = self.settings.initial_window_size;
        window.unwrap_or(crate::frame::DEFAULT_WINDOW)
    }
}
