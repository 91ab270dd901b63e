//! What lower layers need to know of the process they run in. The public names of these types are
//! re-exported by [`crate::server`].

/// Turns from `false` to `true` when the process begins to shut down.
pub type ShutdownWatch = tokio::sync::watch::Receiver<bool>;
