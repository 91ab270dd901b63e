//! Services that do not listen: health checks, discovery, collecting metrics.

use super::{Reminder, ServiceReadyNotifier, ServiceWithDependents};
use crate::process::{ListenFds, ShutdownWatch};
use async_trait::async_trait;
use std::fmt;
use std::sync::Arc;

/// A task that runs alongside the listening services. Implement one of the two methods.
///
/// ```
/// use async_trait::async_trait;
/// use pingora_core::server::ShutdownWatch;
/// use pingora_core::services::background::{BackgroundService, background_service};
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::time::Duration;
///
/// struct Uptime(AtomicU64);
///
/// #[async_trait]
/// impl BackgroundService for Uptime {
///     async fn start(&self, mut shutdown: ShutdownWatch) {
///         let mut tick = tokio::time::interval(Duration::from_secs(1));
///         loop {
///             tokio::select! {
///                 _ = shutdown.changed() => return,
///                 _ = tick.tick() => self.0.fetch_add(1, Ordering::Relaxed),
///             };
///         }
///     }
/// }
///
/// let service = background_service("uptime", Uptime(AtomicU64::new(0)));
/// let shared = service.task(); // for those who want to read it
/// # let _ = shared;
/// // server.add_service(service);
/// ```
#[async_trait]
pub trait BackgroundService {
    /// Runs the task, and reports when it is ready for the services that depend on it. Default: ready
    /// at once, then [`BackgroundService::start`].
    async fn start_with_ready_notifier(
        &self,
        shutdown: ShutdownWatch,
        ready_notifier: ServiceReadyNotifier,
    ) where
        Self: Sync,
    {
        ready_notifier.notify_ready();
        self.start(shutdown).await;
    }

    /// Runs the task. It should return soon after `shutdown` has turned `true`: the server waits
    /// for it, at most for the configured grace period.
    async fn start(&self, _shutdown: ShutdownWatch)
    where
        Self: Sync,
    {
    }
}

/// A service around a [`BackgroundService`].
///
/// A background service that was created but not added to a server does nothing; a server warns of that when
/// it has become ready.
pub struct GenBackgroundService<A> {
    name: String,
    task: Arc<A>,
    reminder: Reminder,
    /// The number of threads. Default: 1.
    pub threads: Option<usize>,
}

impl<A> GenBackgroundService<A> {
    /// A service around a task that may be shared.
    pub fn new(name: String, task: Arc<A>) -> Self {
        let reminder = Reminder::new(format!(
            "the background service {name:?} was made but not added to the server, so it does not run; \
             `Server::add_service` does that"
        ));
        GenBackgroundService {
            name,
            task,
            reminder,
            threads: Some(1),
        }
    }

    /// The task, shared with the service.
    pub fn task(&self) -> Arc<A> {
        self.task.clone()
    }
}

impl<A> Drop for GenBackgroundService<A> {
    fn drop(&mut self) {
        // Something still uses a task that should have run.
        if Arc::strong_count(&self.task) > 1 {
            self.reminder.keep();
        }
    }
}

impl<A> fmt::Debug for GenBackgroundService<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GenBackgroundService")
            .field("name", &self.name)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<A: BackgroundService + Send + Sync + 'static> ServiceWithDependents
    for GenBackgroundService<A>
{
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
        ready_notifier: ServiceReadyNotifier,
    ) {
        self.reminder.done();
        self.task
            .start_with_ready_notifier(shutdown, ready_notifier)
            .await;
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn threads(&self) -> Option<usize> {
        self.threads
    }
}

/// Turns a task into a service.
pub fn background_service<SV>(name: &str, task: SV) -> GenBackgroundService<SV> {
    GenBackgroundService::new(name.to_string(), Arc::new(task))
}
