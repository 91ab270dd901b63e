//! Options that a session takes over from the peer that its connection was made for.

use std::time::Duration;

/// How a session treats its server.
///
/// The defaults are those of [`HttpSession::new`](super::HttpSession::new).
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ClientOptions {
    /// Time between two reads of the response; `None` (the default): no limit.
    pub read_timeout: Option<Duration>,
    /// Time in which the server has to take something of the request; `None` (the default): no
    /// limit.
    pub write_timeout: Option<Duration>,
    /// Whether a response whose `Content-Length` can't be understood is taken as delimited by the end
    /// of the connection, instead of being refused. Off by default.
    pub allow_invalid_content_length: bool,
}

/// Something that says how sessions with it are to be treated. Every
/// [`Peer`](crate::upstreams::peer::Peer) does.
pub trait HasClientOptions {
    /// The options. Asked once per session, and again when a kept connection is used for another
    /// peer.
    fn client_options(&self) -> ClientOptions;
}
