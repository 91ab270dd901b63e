//! Options that a session takes from the peer that its connection was made for.

use std::time::Duration;

/// How a session treats its server.
///
/// The defaults are those of [`HttpSession::new`](super::HttpSession::new).
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ClientOptions {
    /// The timeout between two reads of the response; `None` (the default): no limit.
    pub read_timeout: Option<Duration>,
    /// The time within which the server has to accept some of the request; `None` (the default): no
    /// limit.
    pub write_timeout: Option<Duration>,
    /// Whether a response with an invalid `Content-Length` is treated as delimited by the end of the
    /// connection instead of being refused. Off by default.
    pub allow_invalid_content_length: bool,
}

/// Implemented by types that determine how sessions treat their server. Every
/// [`Peer`](crate::upstreams::peer::Peer) does.
pub trait HasClientOptions {
    /// The options. Queried once per session, and again when a kept connection is used for another
    /// peer.
    fn client_options(&self) -> ClientOptions;
}
