//! The phases of a server's lifetime.

use log::debug;
use tokio::sync::broadcast;

/// A phase of a server's lifetime.
///
/// ```text
///   Setup ── Bootstrap ── BootstrapComplete ── Running ◀───────────────────────┐
///                                                 │                            │
///        ┌────────────────────────────────────────┼─────────────────────┐      │
///        │ graceful upgrade                       │ graceful terminate  │ fast │
///   GracefulUpgradeTransferringFds ───────────────┼─────────────────────┤      │
///        │               │ not taken over         │                     │      │
///        │               └────────────────────────┼─────────────────────┼──────┘
///   GracefulUpgradeCloseTimeout            GracefulTerminate            │
///        └────────────────────────────────────────┤                     │
///                                          ShutdownStarted ◀────────────┘
///                                                 ├── fast ─────────────┐
///                                        ShutdownGracePeriod            │
///                                                 ├─────────────────────┘
///                                         ShutdownRuntimes
///                                                 │
///                                            Terminated
/// ```
///
/// A signal to stop that comes while the sockets are being handed over is obeyed at once, gracefully or
/// fast as it says. A second signal, to stop fast, ends the grace period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutionPhase {
    /// The server was created and does nothing yet. Never announced, because every server starts
    /// here.
    Setup,
    /// It is preparing to bind its sockets.
    Bootstrap,
    /// It is ready to bind its sockets.
    BootstrapComplete,
    /// All services were told to start.
    Running,
    /// It hands its listening sockets to the next server.
    GracefulUpgradeTransferringFds,
    /// The next server has the sockets; both accept connections for a moment.
    GracefulUpgradeCloseTimeout,
    /// It was told to stop once active work is done.
    GracefulTerminate,
    /// The services were told to stop.
    ShutdownStarted,
    /// It waits for the services to finish active work.
    ShutdownGracePeriod,
    /// It stops the threads of the services.
    ShutdownRuntimes,
    /// Nothing runs any more.
    Terminated,
}

/// Announces phases.
#[derive(Debug)]
pub(super) struct Phases(broadcast::Sender<ExecutionPhase>);

impl Phases {
    pub(super) fn new() -> Self {
        // More than the number of phases, so that no watcher misses one.
        Phases(broadcast::Sender::new(32))
    }

    pub(super) fn watch(&self) -> broadcast::Receiver<ExecutionPhase> {
        self.0.subscribe()
    }

    pub(super) fn enter(&self, phase: ExecutionPhase) {
        debug!("server phase: {phase:?}");
        // An error only means that there is no watcher.
        let _ = self.0.send(phase);
    }
}
