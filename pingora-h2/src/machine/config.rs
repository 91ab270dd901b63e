//! The settings that a connection announces, and its bounds.

use crate::error::Reason;
use crate::frame::{ReaderLimits, Role, Settings};
use crate::hpack::ListLimits;
use std::time::Duration;

/// The limit on the header list if the connection announces none, in bytes.
const HEADER_LIST: u32 = 64 * 1024;
/// The least limit on the wire size of a field block, in bytes, even if the limit on the list is
/// smaller.
const LEAST_BLOCK: usize = 32 * 1024;

/// The settings that a connection announces, and its bounds.
#[derive(Debug, Clone)]
pub struct Config {
    /// The side that this endpoint is on.
    pub role: Role,
    /// The settings announced to the peer. Unset ones have the protocol's default; the header list
    /// is bounded by 64 KiB even if that is not announced.
    pub settings: Settings,
    /// The number of bytes that the peer may send ahead on all streams together. 65,535 by default.
    pub connection_window: u32,
    /// The maximum number of fields of one message, pseudo-header fields included. 256 by default.
    pub fields: usize,
    /// The maximum number of `cookie` fields of one message. 100 by default.
    pub crumbs: usize,
    /// The number of bytes of one stream that are accepted from the program before they are
    /// written. 64 KiB by default.
    pub send_buffer: usize,
    /// The same for all streams of the connection. 1 MiB by default.
    pub connection_send_buffer: usize,
    /// The number of streams that a client opens before the server has announced its limit. 100 by
    /// default.
    pub initial_peer_streams: u32,
    /// The number of streams reset by us that are remembered, so that frames still in flight for
    /// them are not errors. 64 by default.
    pub reset_memory: usize,
    /// How long they are remembered. 30 s by default.
    pub reset_lifetime: Duration,
    /// The budget for streams that the peer resets, or makes us reset: this many at once, one more
    /// for each message that we send, and a twentieth of the budget per second. 200 by default for a
    /// server; 10,000 for a client, because many users share its streams.
    pub resets: u32,
    /// The budget for frames without useful content: this many at once, more for what we send, and
    /// a twentieth of the budget per second. 2,000 by default for a server, 20,000 for a client.
    pub overhead: u32,
    /// How long a draining server waits for the answer to its PING before it refuses new streams. 2
    /// s by default.
    pub drain_timeout: Duration,
    /// How long the peer may take to acknowledge our SETTINGS, counted from the start of the connection;
    /// a slower peer gets a GOAWAY with `SETTINGS_TIMEOUT` (RFC 9113 section 6.5.3). 30 s by default. A
    /// duration that the clock can't represent ([`Duration::MAX`]) never ends.
    pub settings_timeout: Duration,
    /// Told of each RST_STREAM that is sent or received, for counts; it must not block. Nobody by
    /// default.
    pub on_reset: Option<fn(ResetFrame)>,
}

/// A RST_STREAM (RFC 9113 section 6.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResetFrame {
    /// The peer has sent it; otherwise it is ours.
    pub received: bool,
    /// The code in it, whatever the peer has put there.
    pub reason: Reason,
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
            on_reset: None,
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

    /// A refused list is decoded to its end, so that a list slightly over the limit costs only its
    /// stream; a list far beyond the limit ends the connection.
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

    /// The maximum number of streams that the peer may have open at once.
    pub(super) fn max_streams(&self) -> usize {
        let most = self.settings.max_concurrent_streams;
        most.map_or(usize::MAX, |most| most as usize)
    }

    pub(super) fn stream_window(&self) -> u32 {
        let window = self.settings.initial_window_size;
        window.unwrap_or(crate::frame::DEFAULT_WINDOW)
    }
}
