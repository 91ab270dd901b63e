//! Turning connections away before anything is spent on them.

use std::fmt::Debug;
use std::net::SocketAddr;

/// Decides about a connection right after it was accepted, by the address of its peer: before a
/// task, a handshake or a buffer exists.
///
/// Called on the thread that accepts, so it must not block. Connections on Unix sockets are not
/// asked about: the permissions of the socket's file decide who may connect.
///
/// ```
/// use pingora_core::listeners::ConnectionFilter;
/// use std::net::SocketAddr;
///
/// #[derive(Debug)]
/// struct LocalOnly;
///
/// impl ConnectionFilter for LocalOnly {
///     fn should_accept(&self, addr: &SocketAddr) -> bool {
///         addr.ip().is_loopback()
///     }
/// }
/// ```
pub trait ConnectionFilter: Debug + Send + Sync {
    /// Whether the connection may stay. `false` closes it without a byte. Where this panics, the
    /// connection is closed.
    fn should_accept(&self, _addr: &SocketAddr) -> bool {
        true
    }
}

/// Lets everybody in.
#[derive(Clone, Copy, Debug, Default)]
pub struct AcceptAllFilter;

impl ConnectionFilter for AcceptAllFilter {}
