//! What lower layers need to know of the process they run in. The public names of these types are
//! re-exported by [`crate::server`].

mod conf;
pub(crate) mod drain;
mod fds;
mod handover;
mod options;

pub use conf::ServerConf;
pub use fds::{Fds, ListenFds};
pub(crate) use handover::Handover;
pub use options::Opt;

/// Turns from `false` to `true` when the process begins to shut down.
pub type ShutdownWatch = tokio::sync::watch::Receiver<bool>;
