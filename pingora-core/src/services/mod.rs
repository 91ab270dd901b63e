//! Services, which a server hosts: listening ones, background ones, and their dependencies.

pub mod background;
pub mod datagram;
mod dependencies;
pub mod listening;
mod ready;
mod reminder;

pub(crate) use dependencies::Dependencies;
pub use dependencies::ServiceHandle;
pub use ready::{ServiceReadyNotifier, ServiceReadyWatch};
pub use reminder::Reminder;
pub(crate) use reminder::remind;

use crate::listeners::check_address;
use crate::process::{Fds, ListenFds, ReloadHook, ShutdownWatch};
use crate::runtime::RuntimeOpts;
use async_trait::async_trait;
use log::info;
use pingora_error::Result;
use std::time::Duration;

/// A service that reports when it is ready for the services that depend on it.
///
/// Every [`Service`] is one: ready as soon as it starts, unless it overrides that.
#[async_trait]
pub trait ServiceWithDependents: Send + Sync {
    /// Called on the main thread before any service starts, while the process still has its initial
    /// privileges: the place to bind sockets. Sockets that were passed to this process are in
    /// `fds`; sockets created here must be entered there. There is no runtime yet.
    ///
    /// # Errors
    /// An error ends the server before it has started.
    fn prepare(&mut self, _fds: &mut Fds) -> Result<()> {
        Ok(())
    }

    /// Runs the service, on its own runtime. Returns when `shutdown` has turned `true` and all work
    /// is done, or when the service has nothing left to do. The server waits for that at most for
    /// the configured grace period.
    ///
    /// Services that depend on this one start when `ready_notifier` is used or dropped.
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
        ready_notifier: ServiceReadyNotifier,
    );

    /// The name, for the log and for the threads (Linux shows its first 15 bytes).
    fn name(&self) -> &str;

    /// The number of threads; `None` is the configuration's number.
    fn threads(&self) -> Option<usize> {
        None
    }

    /// How the service's runtime differs from the configuration for all; `None` if it does not.
    fn runtime_opts_override(&self, _global: &RuntimeOpts) -> Option<RuntimeOpts> {
        None
    }

    /// Called with the elapsed time when the services that this one depends on are ready.
    fn on_startup_delay(&self, time_waited: Duration) {
        info!(
            "{}: its dependencies were ready after {time_waited:?}",
            self.name()
        );
    }

    /// The addresses that the service listens on; `None` if it does not listen.
    fn listen_addresses(&self) -> Option<Vec<String>> {
        None
    }

    /// Checks, for `-t`, everything that can be checked without starting the service; the running server
    /// may be using the same addresses. Default: the form of the addresses to listen on.
    ///
    /// # Errors
    /// One line with the reason.
    fn check(&self) -> Result<()> {
        let addresses = self.listen_addresses().unwrap_or_default();
        addresses.iter().try_for_each(|a| check_address(a))
    }

    /// The hooks that run when the server is told to reload. Queried once, after
    /// [`ServiceWithDependents::prepare`]. Default: none.
    fn reload_hooks(&self) -> Vec<ReloadHook> {
        vec![]
    }
}

/// A service: something that runs on its own threads until the server stops.
#[async_trait]
pub trait Service: Sync + Send {
    /// See [`ServiceWithDependents::prepare`].
    ///
    /// # Errors
    /// An error ends the server before it has started.
    fn prepare(&mut self, _fds: &mut Fds) -> Result<()> {
        Ok(())
    }

    /// Runs the service, on its own runtime. Returns when `shutdown` has turned `true` and all work
    /// is done, or when the service has nothing left to do. The server waits for that at most for
    /// the configured grace period.
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
    }

    /// [`Service::start_service`] for a service that is not ready as soon as it starts: it uses
    /// `ready_notifier` when it is. Default: ready at once.
    async fn start_with_ready_notifier(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
        ready_notifier: ServiceReadyNotifier,
    ) {
        ready_notifier.notify_ready();
        self.start_service(fds, shutdown, listeners_per_fd).await;
    }

    /// The name, for the log and for the threads (Linux shows its first 15 bytes).
    fn name(&self) -> &str;

    /// The number of threads; `None` is the configuration's number.
    fn threads(&self) -> Option<usize> {
        None
    }

    /// How the service's runtime differs from the configuration for all; `None` if it does not.
    fn runtime_opts_override(&self, _global: &RuntimeOpts) -> Option<RuntimeOpts> {
        None
    }

    /// Called with the elapsed time when the services that this one depends on are ready.
    fn on_startup_delay(&self, time_waited: Duration) {
        info!(
            "{}: its dependencies were ready after {time_waited:?}",
            self.name()
        );
    }

    /// The addresses that the service listens on; `None` if it does not listen.
    fn listen_addresses(&self) -> Option<Vec<String>> {
        None
    }

    /// Checks, for `-t`, everything that can be checked without starting the service; the running server
    /// may be using the same addresses. Default: the form of the addresses to listen on.
    ///
    /// # Errors
    /// One line with the reason.
    fn check(&self) -> Result<()> {
        let addresses = self.listen_addresses().unwrap_or_default();
        addresses.iter().try_for_each(|a| check_address(a))
    }

    /// The hooks that run when the server is told to reload. Queried once, after
    /// [`Service::prepare`]. Default: none.
    fn reload_hooks(&self) -> Vec<ReloadHook> {
        vec![]
    }
}

#[async_trait]
impl<S: Service> ServiceWithDependents for S {
    fn prepare(&mut self, fds: &mut Fds) -> Result<()> {
        Service::prepare(self, fds)
    }

    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
        ready_notifier: ServiceReadyNotifier,
    ) {
        let started = Service::start_with_ready_notifier;
        started(self, fds, shutdown, listeners_per_fd, ready_notifier).await;
    }

    fn name(&self) -> &str {
        Service::name(self)
    }

    fn threads(&self) -> Option<usize> {
        Service::threads(self)
    }

    fn runtime_opts_override(&self, global: &RuntimeOpts) -> Option<RuntimeOpts> {
        Service::runtime_opts_override(self, global)
    }

    fn on_startup_delay(&self, time_waited: Duration) {
        Service::on_startup_delay(self, time_waited);
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Service::listen_addresses(self)
    }

    fn check(&self) -> Result<()> {
        Service::check(self)
    }

    fn reload_hooks(&self) -> Vec<ReloadHook> {
        Service::reload_hooks(self)
    }
}
