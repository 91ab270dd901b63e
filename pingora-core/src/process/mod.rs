//! What lower layers need to know of the process they run in. The public names of these types are
//! re-exported by [`crate::server`].

mod activation;
mod bounds;
mod conf;
pub(crate) mod drain;
mod fds;
mod handover;
mod keys;
pub(crate) mod memory;
mod options;
mod reload;

pub(crate) use activation::{is_external, sockets_of_the_service_manager};
pub use bounds::ServerBounds;
pub(crate) use bounds::connections_per_client;
pub use conf::ServerConf;
pub use fds::{Fds, ListenFds};
pub(crate) use handover::Handover;
pub use options::Opt;
pub(crate) use reload::run_hooks;
pub use reload::{Reload, ReloadHook};

/// Turns from `false` to `true` when the process begins to shut down.
pub type ShutdownWatch = tokio::sync::watch::Receiver<bool>;
