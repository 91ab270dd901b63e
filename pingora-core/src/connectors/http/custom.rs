//! Connections over a protocol of the user's own. Not built yet, apart from the place it will have.

/// Makes connections over a protocol of the user's own.
pub trait Connector: Send + Sync + Unpin + 'static {
    /// What an exchange over such a connection is.
    type Session: Send + Sync + Unpin + 'static;
}

impl Connector for () {
    type Session = ();
}
