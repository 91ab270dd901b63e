//! The load balancer: a set of backends, a selector over them, and the rounds that keep both current.

use crate::choice::Choice;
use crate::discovery::{ServiceDiscovery, Static};
use crate::health_check::HealthCheck;
use crate::lease;
use crate::registry::{HealthRegistry, lock};
use crate::rounds::{Rounds, run_rounds};
use crate::selection::{BackendIter, BackendSelection};
use crate::{Backend, Backends, Lease, Queue};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::ServiceReadyNotifier;
use pingora_core::services::background::BackgroundService;
use pingora_error::Result;
use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long the last update took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateTimings {
    /// Until discovery answered.
    pub discovery_duration: Duration,
    /// To build the selector; zero if the set had not changed.
    pub build_duration: Duration,
}

/// Selects from the healthy backends of a set.
///
/// As a background service it updates the set and checks the backends at once, is then ready, and
/// continues at its frequencies.
pub struct LoadBalancer<S>
where
    S: BackendSelection,
{
    /// How often to check the backends; `None`: once, when the service starts.
    pub health_check_frequency: Option<Duration>,
    /// How often to ask discovery for the set; `None`: once, when the service starts.
    pub update_frequency: Option<Duration>,
    /// Whether to check many backends at a time. If they are checked one after the other, a few that
    /// don't answer delay all the rest.
    pub parallel_health_check: bool,
    backends: Backends,
    choice: ArcSwap<Choice<S>>,
    config: Option<S::Config>,
    timings: Mutex<Option<UpdateTimings>>,
}

impl<S> LoadBalancer<S>
where
    S: BackendSelection + 'static,
    S::Iter: BackendIter,
{
    /// Balances over backends of weight 1 at these addresses; see [`Static::try_from_iter`].
    ///
    /// # Errors
    /// For the first address that can't be resolved.
    pub fn try_from_iter<A, T: IntoIterator<Item = A>>(iter: T) -> io::Result<Self>
    where
        A: ToSocketAddrs,
    {
        let discovery = Static::try_from_iter(iter)?;
        Ok(LoadBalancer::from_backends(Backends::new(discovery)))
    }

    /// Balances over `backends` with a selector of this configuration; `None` for its default.
    pub fn from_backends_with_config(backends: Backends, config_opt: Option<S::Config>) -> Self {
        if S::counts_requests() {
            backends.registry().count_requests();
        }
        let choice = Choice::new(&backends.members(), config_opt.as_ref());
        LoadBalancer {
            health_check_frequency: None,
            update_frequency: None,
            parallel_health_check: false,
            backends,
            choice: ArcSwap::from_pointee(choice),
            config: config_opt,
            timings: Mutex::default(),
        }
    }

    /// Balances over `backends`.
    pub fn from_backends(backends: Backends) -> Self {
        LoadBalancer::from_backends_with_config(backends, None)
    }

    /// Asks discovery for the set, and rebuilds the selector if it changed; both take effect together.
    /// The background service calls this, so a program need not.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// Discovery's, or `InternalError` if discovery or building the selector panicked; the set and its
    /// selector stay as they were.
    pub async fn update(&self) -> Result<()> {
        self.refresh().await.map(drop)
    }

    /// [`LoadBalancer::update`], but also returns whether the set changed.
    async fn refresh(&self) -> Result<bool> {
        let begun = Instant::now();
        let found = self.backends.find().await?;
        let discovered = Instant::now();
        let mut build_duration = Duration::ZERO;
        let changed = found.other_than(self.choice.load().members());
        if let Some(members) = changed {
            let choice = Choice::build(members, self.config.as_ref())?;
            build_duration = discovered.elapsed();
            found.publish();
            self.choice.store(Arc::new(choice));
        }
        *lock(&self.timings) = Some(UpdateTimings {
            discovery_duration: discovered.duration_since(begun),
            build_duration,
        });
        Ok(changed.is_some())
    }

    /// The backend for `key` (which round robin and random selection ignore): the first choice that
    /// is healthy and enabled, among the first `max_iterations` that the selector offers,
    /// repetitions included. `None` if there is none.
    #[inline]
    pub fn select(&self, key: &[u8], max_iterations: usize) -> Option<Backend> {
        self.select_with(key, max_iterations, |_, healthy| healthy)
    }

    /// [`select`](Self::select) with a custom rule: `accept` gets a backend and whether it is healthy and
    /// enabled, and returns whether to take it. It sees no backend twice.
    #[inline]
    pub fn select_with<F>(&self, key: &[u8], max_iterations: usize, accept: F) -> Option<Backend>
    where
        F: Fn(&Backend, bool) -> bool,
    {
        // Borrowed: reference counting would have every worker write to the same place in memory.
        self.choice.load().select(key, max_iterations, accept)
    }

    /// Selects a backend and begins a request there, which counts as in progress until the lease ends.
    /// Unlike [`select`](Self::select) this keeps the limits of
    /// [requests in progress](crate::HealthRegistry::set_max_in_flight) and of
    /// [probes](crate::circuit::Breaker::probes) exactly. `None` if no backend is ready and has room.
    pub fn lease(&self, key: &[u8], max_iterations: usize) -> Option<Lease> {
        self.lease_with(key, max_iterations, |_, ready| ready)
    }

    /// [`lease`](Self::lease) that waits in `queue` if every ready backend has as many requests as it may.
    /// `None` if none is ready, the queue is full, or the time has passed.
    ///
    /// Cancel-safe: its place in the queue becomes free again.
    pub async fn lease_or_wait(
        &self,
        key: &[u8],
        max_iterations: usize,
        queue: &Queue,
    ) -> Option<Lease> {
        lease::wait(&self.backends, queue, || self.lease(key, max_iterations)).await
    }

    /// [`lease`](Self::lease) with a custom rule, as in [`select_with`](Self::select_with).
    pub fn lease_with<F>(&self, key: &[u8], max_iterations: usize, accept: F) -> Option<Lease>
    where
        F: Fn(&Backend, bool) -> bool,
    {
        lease::begin(&self.backends, |full| {
            self.select_with(key, max_iterations, |backend, ready| {
                !full.contains(backend) && accept(backend, ready)
            })
        })
    }

    /// Begins a request at exactly this backend, if it has room.
    pub(crate) fn lease_at(&self, backend: Backend) -> Option<Lease> {
        let ticket = self.backends.begin_admitted(&backend)?;
        Some(Lease::new(backend, ticket))
    }

    /// Sets the health check for backends.
    pub fn set_health_check(&mut self, hc: Box<dyn HealthCheck + Send + Sync + 'static>) {
        self.backends.set_health_check(hc);
    }

    /// The set of backends.
    pub fn backends(&self) -> &Backends {
        &self.backends
    }

    /// How long the last update took; `None` before the first.
    pub fn last_update_timing(&self) -> Option<UpdateTimings> {
        *lock(&self.timings)
    }

    /// Updates the set and checks the backends at once, reports that it is ready, and continues at its
    /// frequencies until `shutdown`; without frequencies it returns. A failed first discovery is retried
    /// every second.
    pub async fn run(&self, shutdown: ShutdownWatch, ready_opt: Option<ServiceReadyNotifier>)
    where
        S: Send + Sync,
    {
        run_rounds(self, shutdown, ready_opt).await;
    }
}

#[async_trait]
impl<S> Rounds for LoadBalancer<S>
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    fn updates_every(&self) -> Option<Duration> {
        self.update_frequency
    }

    fn checks_every(&self) -> Option<Duration> {
        self.health_check_frequency
    }

    fn discovery(&self) -> Option<&(dyn ServiceDiscovery + Send + Sync)> {
        Some(self.backends.discovery())
    }

    fn registry(&self) -> &HealthRegistry {
        self.backends.registry()
    }

    fn checks_in_parallel(&self) -> bool {
        self.parallel_health_check
    }

    async fn update(&self) -> Result<bool> {
        self.refresh().await
    }
}

#[async_trait]
impl<S> BackgroundService for LoadBalancer<S>
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    async fn start_with_ready_notifier(
        &self,
        shutdown: ShutdownWatch,
        ready_notifier: ServiceReadyNotifier,
    ) {
        self.run(shutdown, Some(ready_notifier)).await;
    }
}

impl<S: BackendSelection> fmt::Debug for LoadBalancer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadBalancer")
            .field("backends", &self.backends)
            .finish_non_exhaustive()
    }
}
