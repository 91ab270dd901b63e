//! The health of every backend, shared by all sets that contain it.

use crate::Backend;
use crate::backend::MaxInFlight;
use crate::circuit::Breaker;
use crate::clock::{millis, now};
use crate::discovery::ServiceDiscovery;
use crate::floor::{caught, caught_async, within};
use crate::health_check::pace::Rhythm;
use crate::health_check::{CheckPace, HealthCheck};
use crate::load::Load;
use crate::outcome::{Observers, OutcomeObserver};
use crate::rounds::{Rounds, run_rounds};
use crate::targets::{Entry, Targets};
use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use pingora_core::services::{Reminder, ServiceReadyNotifier};
use pingora_error::Result;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// The most concurrent checks: each may hold a socket.
const PARALLEL_CHECKS: usize = 256;

/// The server's warning if no health check has run by the time it is ready.
const IDLE: &str = "a health check was set but does not run, so every backend counts as healthy; it is run by \
    its load balancer, or a `HealthCheckService`, as a background service of the server";

type DynHealthCheck = dyn HealthCheck + Send + Sync + 'static;

/// Treating a poisoned lock as an error would spread the panic; the data behind these locks is consistent
/// at any time.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A checked target and its results.
pub(crate) struct Target {
    /// As it was last announced: its extensions may have changed.
    backend: Mutex<Backend>,
    /// The number of consecutive checks that contradicted its health.
    contradictions: Mutex<usize>,
    /// Whether any check of it has ended.
    checked: AtomicBool,
    rhythm: Mutex<Rhythm>,
    /// Its health is in there, too.
    load: Arc<Load>,
}

impl Target {
    fn new(backend: &Backend, load: Arc<Load>, healthy: bool) -> Self {
        // Until the first check says otherwise.
        load.set_healthy(healthy);
        Target {
            load,
            backend: Mutex::new(backend.clone()),
            contradictions: Mutex::new(0),
            checked: AtomicBool::new(false),
            rhythm: Mutex::default(),
        }
    }

    #[inline]
    pub(crate) fn is_healthy(&self) -> bool {
        self.load.is_healthy()
    }

    /// The requests in progress.
    pub(crate) fn load(&self) -> &Arc<Load> {
        &self.load
    }

    /// Records the result of a check; returns whether it changed the target's health.
    fn note(&self, success: bool, threshold: usize) -> bool {
        lock(&self.rhythm).note(success);
        let mut contradictions = lock(&self.contradictions);
        // A backend that is not proven yet needs only one good check.
        let is_first = !self.checked.swap(true, Ordering::Relaxed);
        let threshold = if is_first && success { 1 } else { threshold };
        if success == self.is_healthy() {
            *contradictions = 0;
            return false;
        }
        *contradictions += 1;
        let changed = *contradictions >= threshold;
        if changed {
            *contradictions = 0;
            self.load.set_healthy(success);
        }
        changed
    }
}

/// The health of the backends in one set, or in several sets that share the registry; and the observers
/// of the requests to them.
///
/// A backend that is in several sets is checked once. It leaves the registry with the last set that
/// contains it.
pub struct HealthRegistry {
    check: ArcSwapOption<Box<DynHealthCheck>>,
    equivalence: Box<dyn Fn(&Backend) -> u64 + Send + Sync>,
    targets: Arc<Targets>,
    /// Notified when a target is added.
    registered: Notify,
    /// Whether requests are counted and reported; never unset.
    listening: AtomicBool,
    observers: ArcSwap<Observers>,
    /// The maximum number of concurrent requests at each backend that sets none itself; 0: without
    /// limit.
    cap: AtomicUsize,
    pace: ArcSwap<CheckPace>,
    /// Whether backends count as unhealthy until a check says otherwise.
    unproven: AtomicBool,
    /// How long a backend that comes back gets less than its share, in milliseconds.
    slow_start: Arc<AtomicU64>,
    /// Notified when a request has ended at a backend with a cap.
    freed: Arc<Notify>,
    /// Records that someone has to run the health check, once one is set.
    idle: OnceLock<Reminder>,
}

impl HealthRegistry {
    /// A registry that treats backends with the same address as one, whatever their weights.
    pub fn new() -> Self {
        HealthRegistry::with_equivalence(|backend| {
            let mut hasher = DefaultHasher::new();
            backend.addr.hash(&mut hasher);
            hasher.finish()
        })
    }

    /// A registry that treats backends with the same key as one.
    pub fn with_equivalence(
        equivalence_key: impl Fn(&Backend) -> u64 + Send + Sync + 'static,
    ) -> Self {
        let targets = Arc::new(Targets::default());
        let slow_start = Arc::new(AtomicU64::new(0));
        let freed = Arc::new(Notify::new());
        let observers = Observers::new(targets.clone(), slow_start.clone(), freed.clone());
        HealthRegistry {
            check: ArcSwapOption::empty(),
            equivalence: Box::new(equivalence_key),
            observers: ArcSwap::from_pointee(observers),
            freed,
            targets,
            slow_start,
            cap: AtomicUsize::new(0),
            pace: ArcSwap::default(),
            unproven: AtomicBool::new(false),
            registered: Notify::const_new(),
            listening: AtomicBool::new(false),
            idle: OnceLock::new(),
        }
    }

    /// Sets the health check for backends. Without one, all of them are healthy.
    pub fn set_health_check(&self, hc: Box<dyn HealthCheck + Send + Sync + 'static>) {
        self.idle.get_or_init(|| Reminder::new(IDLE));
        self.check.store(Some(Arc::new(hc)));
    }

    /// Sets which rounds of a background service's checks each backend takes part in, and when. Checks that a
    /// program runs itself include all at once.
    pub fn set_check_pace(&self, pace: CheckPace) {
        self.pace.store(Arc::new(pace));
    }

    /// Sets whether backends that were never checked count as healthy; `true` by default. If not, a new one
    /// gets requests after its first good check, whatever the threshold. Also applies to existing backends
    /// that have not been checked.
    pub fn set_initially_healthy(&self, healthy: bool) {
        self.unproven.store(!healthy, Ordering::Relaxed);
        for target in self.targets.live() {
            if !target.checked.load(Ordering::Relaxed) {
                target.load.set_healthy(healthy);
            }
        }
    }

    /// The number of backends to check.
    pub fn target_count(&self) -> usize {
        self.targets.live().len()
    }

    /// Reports to `observer` every request that [begins](crate::Backends::begin) from now on, for as long
    /// as the registry lives.
    pub fn add_observer(&self, observer: Arc<dyn OutcomeObserver>) {
        self.observers
            .rcu(|observers| observers.with(observer.clone()));
        self.count_requests();
    }

    /// Ejects backends by these rules, because of the requests that [begin](crate::Backends::begin) from now
    /// on; replaces earlier rules. Backends that are already ejected stay so until their time has passed.
    pub fn set_breaker(&self, breaker: Breaker) {
        let breaker = Arc::new(breaker);
        self.observers
            .rcu(|observers| observers.with_breaker(breaker.clone()));
        self.count_requests();
    }

    /// Sets the maximum number of concurrent requests at each backend, for those without a
    /// [`MaxInFlight`] of their own; `None`, the default: without limit. Takes effect at once. A backend
    /// at its limit is not [ready](crate::Backends::ready). [Leases](crate::Lease) keep the limit
    /// exactly; [tickets](crate::Backends::begin) are counted but never refused.
    pub fn set_max_in_flight(&self, most: Option<usize>) {
        self.cap
            .store(most.map_or(0, |most| most.max(1)), Ordering::Relaxed);
        for target in self.targets.live() {
            self.set_cap(&target);
        }
        self.count_requests();
        self.freed().notify_waiters();
    }

    /// Sets how long a backend that was unhealthy or ejected, and comes back, gets less than its share: a
    /// tenth of it at first, all of it at the end. Zero, the default, turns this off. Selection by a hash
    /// of the key ignores it, because it would send keys to other backends, where they are unknown, too.
    pub fn set_slow_start(&self, time: Duration) {
        self.slow_start.store(millis(time), Ordering::Relaxed);
    }

    fn set_cap(&self, target: &Target) {
        let own = lock(&target.backend).ext.get::<MaxInFlight>().copied();
        let cap = match own {
            Some(MaxInFlight(most)) => most.max(1),
            None => self.cap.load(Ordering::Relaxed),
        };
        target.load.set_cap(cap);
    }

    /// Counts the requests that [begin](crate::Backends::begin) from now on, for
    /// [`in_flight`](crate::Backends::in_flight), even without an observer.
    pub fn count_requests(&self) {
        self.listening.store(true, Ordering::Release);
    }

    /// Whether requests have to be counted or reported.
    #[inline]
    pub(crate) fn is_listening(&self) -> bool {
        self.listening.load(Ordering::Acquire)
    }

    /// Notified, one waiting request at a time, when a request has ended at a backend with a cap.
    pub(crate) fn freed(&self) -> &Notify {
        &self.freed
    }

    pub(crate) fn observers(&self) -> Arc<Observers> {
        self.observers.load_full()
    }

    /// The health of `backend`, which is checked for as long as the returned value is kept.
    pub(crate) fn register(&self, backend: &Backend) -> Arc<Target> {
        let key = (self.equivalence)(backend);
        let mut targets = self.targets.lock();
        let known = targets.get(&key);
        if let Some(target) = known.and_then(|known| known.target.upgrade()) {
            *lock(&target.backend) = backend.clone();
            self.set_cap(&target);
            return target;
        }
        let load = known.and_then(|known| known.load.upgrade());
        let healthy = !self.unproven.load(Ordering::Relaxed);
        let target = Arc::new(Target::new(backend, load.unwrap_or_default(), healthy));
        self.set_cap(&target);
        let entry = Entry {
            target: Arc::downgrade(&target),
            load: Arc::downgrade(&target.load),
        };
        targets.insert(key, entry);
        drop(targets);
        self.registered.notify_waiters();
        target
    }

    /// The number of requests in progress at a backend that may be in no set.
    pub(crate) fn in_flight(&self, backend: &Backend) -> usize {
        let key = (self.equivalence)(backend);
        let load = self
            .targets
            .lock()
            .get(&key)
            .and_then(|entry| entry.load.upgrade());
        load.map_or(0, |load| load.in_flight())
    }

    /// The request counter of a backend that may be in no set, because it has just left.
    pub(crate) fn load_of(&self, backend: &Backend) -> Arc<Load> {
        let key = (self.equivalence)(backend);
        let mut targets = self.targets.lock();
        let entry = targets.entry(key).or_insert_with(|| Entry {
            target: Weak::new(),
            load: Weak::new(),
        });
        entry.load.upgrade().unwrap_or_else(|| {
            let load = Arc::<Load>::default();
            entry.load = Arc::downgrade(&load);
            load
        })
    }

    /// Forgets targets that are no longer in use. Called whenever a set changes, so that the registry is
    /// only as large as the sets and the requests in progress.
    pub(crate) fn forget_the_gone(&self) {
        self.targets.forget_the_gone();
    }

    /// Waits until there is something to check. Cancel-safe.
    pub(crate) async fn until_there_are_targets(&self) {
        loop {
            let mut registered = std::pin::pin!(self.registered.notified());
            registered.as_mut().enable();
            if self.target_count() > 0 {
                return;
            }
            registered.await;
        }
    }

    /// Checks every backend once, one after the other or, if `parallel`, up to 256 at a time. Each check
    /// must end by itself: the [time-outs](HealthCheck::timeout) apply only in background services.
    ///
    /// Cancel-safe: unfinished checks have no result.
    pub async fn run_health_check(&self, parallel: bool) {
        self.check_all(parallel, false).await;
    }

    /// [`HealthRegistry::run_health_check`]; if `bounded`, each check is limited by its time-out.
    pub(crate) async fn check_all(&self, parallel: bool, bounded: bool) {
        if let Some(idle) = self.idle.get() {
            idle.done();
        }
        let Some(check) = self.check.load_full() else {
            return;
        };
        let check: &DynHealthCheck = &**check;
        let limit = if parallel { PARALLEL_CHECKS } else { 1 };
        let pace = *self.pace.load_full();
        let mut targets = self.targets.live();
        targets.retain(|target| !bounded || lock(&target.rhythm).is_due(&pace));
        stream::iter(targets)
            .for_each_concurrent(limit, |target| async move {
                if bounded && !pace.delay().is_zero() {
                    tokio::time::sleep(pace.delay()).await;
                }
                let checked = caught_async("a health check", || {
                    self.check_target(check, &target, bounded)
                });
                if let Err(e) = checked.await {
                    log::error!("{}: {e}", lock(&target.backend).addr);
                }
            })
            .await;
    }

    /// # Errors
    /// The error if the notification of a change takes too long. The check's own error is a result.
    async fn check_target(
        &self,
        check: &DynHealthCheck,
        target: &Target,
        bounded: bool,
    ) -> Result<()> {
        let backend = lock(&target.backend).clone();
        let limit = if bounded { check.timeout() } else { None };
        let checked = caught_async("the health check", || check.check(&backend));
        let result = within(limit, "the health check", checked).await;
        let healthy = result.is_ok();
        let threshold = caught("the threshold of a health check", || {
            check.health_threshold(healthy)
        });
        if !target.note(healthy, threshold.unwrap_or(1)) {
            if let Err(e) = result {
                log::debug!("{}: health check: {e}", check.backend_summary(&backend));
            }
            return Ok(());
        }
        let summary = caught("the summary of a backend", || {
            check.backend_summary(&backend)
        });
        let summary = summary.unwrap_or_else(|_| format!("backend {}", backend.addr));
        match result {
            Ok(()) => {
                let slow_start = Duration::from_millis(self.slow_start.load(Ordering::Relaxed));
                target.load.warm_up(now(), slow_start);
                log::info!("{summary} is healthy again");
            }
            Err(e) => log::warn!("{summary} is unhealthy: {e}"),
        }
        let told = async {
            check.health_status_change(&backend, healthy).await;
            Ok(())
        };
        within(limit, "telling of a change of health", told).await
    }
}

impl Default for HealthRegistry {
    fn default() -> Self {
        HealthRegistry::new()
    }
}

impl fmt::Debug for HealthRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthRegistry")
            .field("targets", &self.target_count())
            .finish_non_exhaustive()
    }
}

/// A background service that repeatedly checks the backends of a registry, for several sets of backends
/// that share it.
#[derive(Debug)]
pub struct HealthCheckService {
    /// How often to check; `None`: once, when the service starts.
    pub health_check_frequency: Option<Duration>,
    /// Whether to check many backends at a time. If they are checked one after the other, a few that
    /// don't answer delay all the rest.
    pub parallel_health_check: bool,
    registry: Arc<HealthRegistry>,
}

impl HealthCheckService {
    /// Checks `registry` once. To check repeatedly, set
    /// [`health_check_frequency`](Self::health_check_frequency).
    pub fn new(registry: Arc<HealthRegistry>) -> Self {
        HealthCheckService {
            health_check_frequency: None,
            parallel_health_check: false,
            registry,
        }
    }

    /// Checks at once, reports that it is ready, and checks again at its frequency until `shutdown`. If
    /// there is nothing to check yet, it is ready nevertheless, and checks as soon as there is something;
    /// after ten seconds without anything, it logs a warning.
    pub async fn run(&self, shutdown: ShutdownWatch, ready_opt: Option<ServiceReadyNotifier>) {
        run_rounds(self, shutdown, ready_opt).await;
    }
}

#[async_trait]
impl Rounds for HealthCheckService {
    fn updates_every(&self) -> Option<Duration> {
        None
    }

    fn checks_every(&self) -> Option<Duration> {
        self.health_check_frequency
    }

    fn discovery(&self) -> Option<&(dyn ServiceDiscovery + Send + Sync)> {
        None
    }

    fn registry(&self) -> &HealthRegistry {
        &self.registry
    }

    fn checks_in_parallel(&self) -> bool {
        self.parallel_health_check
    }

    async fn update(&self) -> Result<bool> {
        Ok(false)
    }
}

#[async_trait]
impl BackgroundService for HealthCheckService {
    async fn start_with_ready_notifier(
        &self,
        shutdown: ShutdownWatch,
        ready_notifier: ServiceReadyNotifier,
    ) {
        self.run(shutdown, Some(ready_notifier)).await;
    }
}
