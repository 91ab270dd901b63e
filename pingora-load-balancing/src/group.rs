//! Several selectors over one set of backends, each rebuilt separately.

use crate::backends::Members;
use crate::choice::Choice;
use crate::discovery::ServiceDiscovery;
use crate::health_check::HealthCheck;
use crate::lease;
use crate::registry::{HealthRegistry, lock};
use crate::rounds::{Rounds, run_rounds};
use crate::selection::{BackendIter, BackendSelection};
use crate::{Backend, Backends, Lease, Queue, UpdateTimings};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::ServiceReadyNotifier;
use pingora_core::services::background::BackgroundService;
use pingora_error::Result;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

/// Statistics about the last rebuild of a selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelectorUpdateTimings {
    /// The generation of the set that it was built from.
    pub generation: u64,
    /// How long it waited for its turn.
    pub queue_duration: Duration,
    /// How long building took.
    pub build_duration: Duration,
}

/// Lets only one selector at a time be rebuilt, among all groups that share this gate: large selectors
/// take much processor time, and their groups often notice a change at the same moment.
#[derive(Debug)]
pub struct SelectorRebuildGate {
    turn: Semaphore,
}

impl SelectorRebuildGate {
    /// A gate that admits one at a time.
    pub fn new() -> Self {
        SelectorRebuildGate {
            turn: Semaphore::const_new(1),
        }
    }
}

impl Default for SelectorRebuildGate {
    fn default() -> Self {
        SelectorRebuildGate::new()
    }
}

/// The input for building a selector.
struct Job {
    members: Arc<Members>,
    generation: u64,
    queued: Instant,
}

/// The current builder, and the next input.
#[derive(Default)]
struct Rebuilds {
    /// Only the newest set matters.
    next: Option<Job>,
    /// Whether a task takes inputs from here.
    taken: bool,
    task: Option<AbortHandle>,
    timings: Option<SelectorUpdateTimings>,
}

impl Rebuilds {
    /// Whether a task takes inputs from here. It may also have ended together with its runtime.
    fn is_worked_off(&self) -> bool {
        self.taken && !self.task.as_ref().is_none_or(AbortHandle::is_finished)
    }
}

/// One selector of a group, with the set that it was built from.
struct GroupSelector<S: BackendSelection> {
    choice: ArcSwap<Choice<S>>,
    config: Option<S::Config>,
    generation: AtomicU64,
    coalesced: AtomicU64,
    failed: AtomicU64,
    queue: Mutex<Rebuilds>,
}

impl<S: BackendSelection> GroupSelector<S> {
    fn new(members: &Arc<Members>, config: Option<S::Config>) -> Self {
        GroupSelector {
            choice: ArcSwap::from_pointee(Choice::new(members, config.as_ref())),
            config,
            generation: AtomicU64::new(0),
            coalesced: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            queue: Mutex::default(),
        }
    }

    /// Rebuilds the selector. If that panics, the old selector stays, with the set that it was built
    /// from.
    fn rebuild(&self, job: Job) {
        let (begun, generation) = (Instant::now(), job.generation);
        let choice = match Choice::build(&job.members, self.config.as_ref()) {
            Ok(choice) => choice,
            Err(e) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                log::error!(
                    "a selector stays as it was, it can't be built for generation {generation}: {e}"
                );
                return;
            }
        };
        let mut queue = lock(&self.queue);
        // A build that was overtaken, on a runtime that has since ended, must not undo the newer one.
        if generation < self.generation.load(Ordering::Acquire) {
            return;
        }
        self.choice.store(Arc::new(choice));
        self.generation.store(generation, Ordering::Release);
        queue.timings = Some(SelectorUpdateTimings {
            generation,
            queue_duration: begun.duration_since(job.queued),
            build_duration: begun.elapsed(),
        });
    }
}

impl<S> GroupSelector<S>
where
    S: BackendSelection + Send + Sync + 'static,
{
    /// Rebuilds the selector: soon, or at once if there is no runtime to wait in.
    fn enqueue(self: &Arc<Self>, job: Job, gate: &Arc<SelectorRebuildGate>) {
        let Ok(runtime) = Handle::try_current() else {
            self.rebuild(job);
            return;
        };
        let mut queue = lock(&self.queue);
        if queue.next.replace(job).is_some() {
            self.coalesced.fetch_add(1, Ordering::Relaxed);
        }
        if !queue.is_worked_off() {
            queue.taken = true;
            let work = work_off(self.clone(), gate.clone());
            queue.task = Some(runtime.spawn(work).abort_handle());
        }
    }

    /// Whether its last build failed: it is of an older generation, and no build in progress will change
    /// that.
    fn is_left_behind(&self, generation: u64) -> bool {
        self.generation.load(Ordering::Acquire) < generation && !lock(&self.queue).is_worked_off()
    }

    fn next_job(&self) -> Option<Job> {
        let mut queue = lock(&self.queue);
        let job = queue.next.take();
        queue.taken = job.is_some();
        job
    }
}

async fn work_off<S>(slot: Arc<GroupSelector<S>>, gate: Arc<SelectorRebuildGate>)
where
    S: BackendSelection + Send + Sync + 'static,
{
    loop {
        // The gate is never closed; if it ever were, building would matter more than taking turns.
        let _turn = gate.turn.acquire().await;
        let Some(job) = slot.next_job() else {
            return;
        };
        let built = tokio::task::spawn_blocking({
            let slot = slot.clone();
            move || slot.rebuild(job)
        });
        if let Err(e) = built.await {
            log::error!("a selector stays as it was: {e}");
        }
    }
}

/// Several selectors over one set of backends, with one health registry and one discovery: for example
/// rings with different numbers of points, or one round robin for each listener.
///
/// When the set changes, selectors are rebuilt one at a time, in parallel with requests and off the
/// threads that serve them. A selector and the set that it selects from change together: until a
/// selector's turn comes, it offers the same backends as before, including those that have since left the
/// set. Each change of the set makes a new generation, counted from 0; a selector that missed some is
/// built from the newest. If a build panics, the old selector stays until the next
/// [`update`](Self::update).
pub struct LoadBalancerGroup<S>
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
    /// The set that the selectors are, or will be, built from.
    newest: ArcSwap<Members>,
    slots: Box<[Arc<GroupSelector<S>>]>,
    gate: Arc<SelectorRebuildGate>,
    /// No backends were known at first, so the selectors have nothing to offer until the first set.
    began_empty: bool,
    generation: AtomicU64,
    timings: Mutex<Option<UpdateTimings>>,
}

impl<S> LoadBalancerGroup<S>
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    /// One selector over `backends` for each of `configs`; `None` means the default configuration.
    pub fn from_backends_with_configs(
        backends: Backends,
        configs: impl IntoIterator<Item = Option<S::Config>>,
    ) -> Self {
        if S::counts_requests() {
            backends.registry().count_requests();
        }
        let known = backends.members();
        let slot = |config| Arc::new(GroupSelector::new(&known, config));
        let slots = configs.into_iter().map(slot).collect();
        LoadBalancerGroup {
            health_check_frequency: None,
            update_frequency: None,
            parallel_health_check: false,
            slots,
            newest: ArcSwap::new(known.clone()),
            backends,
            began_empty: known.backends().is_empty(),
            gate: Arc::new(SelectorRebuildGate::new()),
            generation: AtomicU64::new(0),
            timings: Mutex::default(),
        }
    }

    /// Makes builds take turns with those of all other groups that share this gate. Without it, only the
    /// selectors of this group take turns.
    pub fn with_rebuild_gate(mut self, rebuild_gate: Arc<SelectorRebuildGate>) -> Self {
        self.gate = rebuild_gate;
        self
    }

    /// The number of selectors.
    pub fn selector_count(&self) -> usize {
        self.slots.len()
    }

    /// Asks discovery for the set. If it changed, the selectors are rebuilt soon afterwards; outside of a
    /// runtime, and the first time if no backends were known before, they are rebuilt before this
    /// returns.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// Discovery's, or `InternalError` if it panicked; the set stays as it was.
    pub async fn update(&self) -> Result<()> {
        self.refresh().await.map(drop)
    }

    /// [`LoadBalancerGroup::update`], but also returns whether the set changed.
    async fn refresh(&self) -> Result<bool> {
        let begun = Instant::now();
        let found = self.backends.find().await?;
        let discovered = Instant::now();
        let changed = found.other_than(&self.newest.load());
        match changed {
            Some(members) => {
                found.publish();
                self.newest.store(members.clone());
                let generation = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
                self.rebuild(members, generation, discovered);
            }
            None => self.rebuild_again(discovered),
        }
        let build_duration = match changed {
            Some(_) => discovered.elapsed(),
            None => Duration::ZERO,
        };
        *lock(&self.timings) = Some(UpdateTimings {
            discovery_duration: discovered.duration_since(begun),
            build_duration,
        });
        Ok(changed.is_some())
    }

    fn rebuild(&self, members: &Arc<Members>, generation: u64, queued: Instant) {
        for slot in &self.slots {
            let job = Job {
                members: members.clone(),
                generation,
                queued,
            };
            if self.began_empty && generation == 1 {
                slot.rebuild(job);
            } else {
                slot.enqueue(job, &self.gate);
            }
        }
    }

    /// Retries the selectors whose last build panicked.
    fn rebuild_again(&self, queued: Instant) {
        let generation = self.generation.load(Ordering::Acquire);
        let left_behind = self
            .slots
            .iter()
            .filter(|slot| slot.is_left_behind(generation));
        for slot in left_behind {
            let job = Job {
                members: self.newest.load_full(),
                generation,
                queued,
            };
            slot.enqueue(job, &self.gate);
        }
    }

    /// [`LoadBalancer::select`](crate::LoadBalancer::select) with the selector at this index. Also `None`
    /// if there is no such selector.
    #[inline]
    pub fn select(
        &self,
        selector_index: usize,
        key: &[u8],
        max_iterations: usize,
    ) -> Option<Backend> {
        self.select_with(selector_index, key, max_iterations, |_, healthy| healthy)
    }

    /// [`LoadBalancer::select_with`](crate::LoadBalancer::select_with) with the selector at this index.
    /// Also `None` if there is no such selector.
    #[inline]
    pub fn select_with<F>(
        &self,
        selector_index: usize,
        key: &[u8],
        max_iterations: usize,
        accept: F,
    ) -> Option<Backend>
    where
        F: Fn(&Backend, bool) -> bool,
    {
        let choice = self.slots.get(selector_index)?.choice.load();
        choice.select(key, max_iterations, accept)
    }

    /// Selects a backend with the selector at this index and begins a request there, as
    /// [`LoadBalancer::lease`](crate::LoadBalancer::lease). Requests count at the backend, whichever selector has chosen
    /// it. Also `None` if there is no such selector.
    pub fn lease(&self, selector_index: usize, key: &[u8], max_iterations: usize) -> Option<Lease> {
        self.lease_with(selector_index, key, max_iterations, |_, ready| ready)
    }

    /// [`lease`](Self::lease) that waits in `queue`, as
    /// [`LoadBalancer::lease_or_wait`](crate::LoadBalancer::lease_or_wait). Also `None` if there is no such selector.
    ///
    /// Cancel-safe: its place in the queue becomes free again.
    pub async fn lease_or_wait(
        &self,
        selector_index: usize,
        key: &[u8],
        max_iterations: usize,
        queue: &Queue,
    ) -> Option<Lease> {
        // Nobody waits for a selector that will never be there.
        self.slots.get(selector_index)?;
        let begin = || self.lease(selector_index, key, max_iterations);
        lease::wait(&self.backends, queue, begin).await
    }

    /// [`lease`](Self::lease) with a custom rule, as in [`select_with`](Self::select_with).
    pub fn lease_with<F>(
        &self,
        selector_index: usize,
        key: &[u8],
        max_iterations: usize,
        accept: F,
    ) -> Option<Lease>
    where
        F: Fn(&Backend, bool) -> bool,
    {
        lease::begin(&self.backends, |full| {
            self.select_with(selector_index, key, max_iterations, |backend, ready| {
                !full.contains(backend) && accept(backend, ready)
            })
        })
    }

    /// Sets the health check for backends.
    pub fn set_health_check(&mut self, hc: Box<dyn HealthCheck + Send + Sync + 'static>) {
        self.backends.set_health_check(hc);
    }

    /// The set of backends.
    pub fn backends(&self) -> &Backends {
        &self.backends
    }

    /// The generation of the set: the number of its changes.
    pub fn backend_generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The generation that a selector was built from; `None` if there is no such selector.
    pub fn selector_generation(&self, selector_index: usize) -> Option<u64> {
        let slot = self.slots.get(selector_index)?;
        Some(slot.generation.load(Ordering::Acquire))
    }

    /// Whether every selector was built from this generation or a newer one.
    pub fn selectors_ready_for(&self, generation: u64) -> bool {
        self.slots
            .iter()
            .all(|slot| slot.generation.load(Ordering::Acquire) >= generation)
    }

    /// Statistics about a selector's last rebuild; `None` before the first.
    pub fn selector_last_update_timing(
        &self,
        selector_index: usize,
    ) -> Option<SelectorUpdateTimings> {
        lock(&self.slots.get(selector_index)?.queue).timings
    }

    /// How many rebuilds of a selector were skipped because a newer set came before their turn. `None` if
    /// there is no such selector.
    pub fn selector_coalesced_rebuilds(&self, selector_index: usize) -> Option<u64> {
        let slot = self.slots.get(selector_index)?;
        Some(slot.coalesced.load(Ordering::Relaxed))
    }

    /// How many rebuilds of a selector panicked, which left it as it was. `None` if there is no such
    /// selector.
    pub fn selector_failed_rebuilds(&self, selector_index: usize) -> Option<u64> {
        let slot = self.slots.get(selector_index)?;
        Some(slot.failed.load(Ordering::Relaxed))
    }

    /// How long the last update took, without the rebuilds that it started; `None` before the first.
    pub fn last_update_timing(&self) -> Option<UpdateTimings> {
        *lock(&self.timings)
    }

    /// As [`LoadBalancer::run`](crate::LoadBalancer::run).
    pub async fn run(&self, shutdown: ShutdownWatch, ready_opt: Option<ServiceReadyNotifier>) {
        run_rounds(self, shutdown, ready_opt).await;
    }
}

#[async_trait]
impl<S> Rounds for LoadBalancerGroup<S>
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
impl<S> BackgroundService for LoadBalancerGroup<S>
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

impl<S: BackendSelection> Drop for LoadBalancerGroup<S> {
    /// Builds that wait for their turn are dropped; the result of a build in progress is discarded.
    fn drop(&mut self) {
        for slot in &self.slots {
            if let Some(task) = lock(&slot.queue).task.take() {
                task.abort();
            }
        }
    }
}

impl<S: BackendSelection> fmt::Debug for LoadBalancerGroup<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadBalancerGroup")
            .field("backends", &self.backends)
            .field("selectors", &self.slots.len())
            .finish_non_exhaustive()
    }
}
