//! Callbacks at the beginning and the end of an upstream connection.

use std::fmt::Debug;

/// Notified of the beginning and end of one upstream connection, for the user's own metrics.
///
/// Both methods are called while the connection is made or dropped: they must not block.
pub trait Tracing: Send + Sync + Debug {
    /// The transport (TCP, Unix) is connected; TLS, if any, is still to come.
    fn on_connected(&self);
    /// The connection was closed.
    fn on_disconnected(&self);
    /// Clones the tracer into a box: one tracer serves all connections to a peer.
    fn boxed_clone(&self) -> Box<dyn Tracing>;
}

/// A [`Tracing`] that can be cloned and kept in the options of a peer.
#[derive(Debug)]
pub struct Tracer(pub Box<dyn Tracing>);

impl Clone for Tracer {
    fn clone(&self) -> Self {
        Tracer(self.0.boxed_clone())
    }
}
