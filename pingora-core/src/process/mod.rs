//! The facts about their process that lower layers need. [`crate::server`] re-exports the public
//! names of these types.

mod activation;
mod bounds;
mod conf;
pub(crate) mod drain;
mod fds;
mod handover;
mod keys;
pub(crate) mod memory;
mod names;
mod options;
mod reload;
mod signals;

pub(crate) use activation::{is_external, sockets_of_the_service_manager};
pub use bounds::ServerBounds;
pub(crate) use bounds::{connections_in_all, connections_per_client, count_refused};
pub use conf::ServerConf;
pub(crate) use fds::Claimed;
pub use fds::{Fds, ListenFds};
pub(crate) use handover::{Handover, Passed};
pub(crate) use names::SocketKind;
pub use options::Opt;
pub(crate) use reload::run_hooks;
pub use reload::{Reload, ReloadHook};
pub(crate) use signals::{expect_signals, leave_signals_alone};

/// Turns from `false` to `true` when the process begins to shut down.
pub type ShutdownWatch = tokio::sync::watch::Receiver<bool>;

/// Whether the process is shutting down. Takes no lock while it is not.
pub fn is_shutting_down(shutdown: &ShutdownWatch) -> bool {
    // The value only ever changes from false to true: unchanged means false, unless it was true
    // when the receiver was created, which every recipient of one checks.
    matches!(shutdown.has_changed(), Ok(true)) && *shutdown.borrow()
}
