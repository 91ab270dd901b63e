//! A set of backends: its source, and which of its members may be selected.

use crate::Backend;
use crate::circuit::{Breaker, Circuit, CircuitState};
use crate::clock::now;
use crate::discovery::ServiceDiscovery;
use crate::figures::BackendFigures;
use crate::floor::{caught, caught_async};
use crate::health_check::{CheckPace, HealthCheck};
use crate::load::Load;
use crate::metrics::BackendState;
use crate::outcome::{Attempt, Ticket};
use crate::registry::{HealthRegistry, Target};
use arc_swap::ArcSwap;
use pingora_core::services::Reminder;
use pingora_error::Result;
use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// The server's warning if no set has been updated by the time it is ready.
const UNASKED: &str = "a set of backends is empty, because its discovery was not asked; it is by `update()`, \
    or by its load balancer as a background service of the server";

/// A set of backends, its source, and which of them may be selected.
pub struct Backends {
    discovery: Box<dyn ServiceDiscovery + Send + Sync + 'static>,
    registry: Arc<HealthRegistry>,
    current: ArcSwap<Members>,
    /// One update at a time, so that the later one's result is the one that stays.
    updating: tokio::sync::Mutex<()>,
    /// Records that someone has to ask discovery, if the set is not known from the start.
    unasked: Option<Reminder>,
}

/// The whole set, which is always replaced as a whole.
#[derive(Default)]
pub(crate) struct Members {
    backends: Arc<BTreeSet<Backend>>,
    /// In the order of the backends, one entry for each.
    members: Box<[Member]>,
    /// How many of a thousand members have to be ready; if fewer are, readiness is ignored.
    panic: Arc<AtomicU32>,
}

/// A backend of a set and its state.
#[derive(Clone)]
pub(crate) struct Member {
    backend: Backend,
    /// The backend's weight, which selections compute with.
    weight: f64,
    enabled: Arc<AtomicBool>,
    /// That of `health`, one step nearer.
    load: Arc<Load>,
    /// Keeps the backend in the registry.
    health: Arc<Target>,
}

impl Member {
    #[inline]
    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }

    #[inline]
    pub(crate) fn load(&self) -> &Arc<Load> {
        &self.load
    }

    #[inline]
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// Whether it may be selected. Reads the clock only if its circuit is not closed.
    #[inline]
    pub(crate) fn is_ready(&self, now: impl Fn() -> Duration) -> bool {
        self.is_enabled() && self.load.is_ready(now)
    }

    /// Whether it would be ready if it had room.
    pub(crate) fn is_full(&self) -> bool {
        let load = &self.load;
        self.is_enabled() && load.is_healthy() && load.circuit.admits(now) && !load.has_room()
    }

    fn figures(&self, now: Duration) -> BackendFigures {
        let load = self.load();
        let latency = load.mean_latency(now);
        BackendFigures {
            backend: self.backend.clone(),
            healthy: self.health.is_healthy(),
            enabled: self.is_enabled(),
            ready: self.is_ready(|| now),
            circuit: load.circuit.state(now),
            in_flight: load.in_flight(),
            outcomes: load.counts.outcomes(),
            server_errors: load.counts.server_errors(),
            latency: latency.map(|micros| Duration::from_micros(micros.into())),
            ejections: load.counts.ejections(),
        }
    }

    /// Whether it has a weight, without which it takes no new requests.
    #[inline]
    pub(crate) fn has_weight(&self) -> bool {
        self.weight > 0.0
    }

    /// Its weight, less while it is warming up.
    #[inline]
    pub(crate) fn weight(&self, now: impl Fn() -> Duration) -> f64 {
        if self.load.is_warm() {
            return self.weight;
        }
        self.weight * self.load.warmth(now)
    }
}

/// Whether so few members are ready that readiness is ignored. Determined at most once per selection, because
/// it examines all of them.
#[derive(Default)]
pub(crate) struct Panic(OnceCell<bool>);

impl Panic {
    /// Whether `member` may be selected although it is not ready, because nearly none is.
    #[cold]
    pub(crate) fn takes(&self, members: &Members, member: &Member) -> bool {
        member.is_enabled()
            && member.load.has_room()
            && *self.0.get_or_init(|| members.is_panicking())
    }
}

impl Members {
    /// All of them, in the order of the backends.
    #[inline]
    pub(crate) fn all(&self) -> &[Member] {
        &self.members
    }

    /// Whether so few are ready that readiness is ignored. Drained members don't count.
    pub(crate) fn is_panicking(&self) -> bool {
        let threshold = self.panic.load(Ordering::Relaxed) as usize;
        if threshold == 0 {
            return false;
        }
        let usable = |m: &&Member| m.backend.weight > 0 && m.is_enabled();
        let (mut all, mut ready) = (0_usize, 0_usize);
        for member in self.members.iter().filter(usable) {
            all += 1;
            // A full member is too busy, but otherwise in order.
            ready += usize::from(member.is_ready(now) || member.is_full());
        }
        ready * 1000 < threshold * all
    }

    /// Whether one would be ready if it had room.
    pub(crate) fn has_a_full_one(&self) -> bool {
        self.members.iter().any(Member::is_full)
    }

    /// Whether `member` may be selected although it is not ready, because nearly none is.
    #[cold]
    pub(crate) fn takes_in_panic(&self, member: &Member) -> bool {
        member.is_enabled() && member.load.has_room() && self.is_panicking()
    }

    /// The members for which `keep` returns true.
    pub(crate) fn filter(&self, keep: impl Fn(&Backend) -> bool) -> Self {
        let kept = self.members.iter().filter(|m| keep(&m.backend));
        let members: Box<[Member]> = kept.cloned().collect();
        Members {
            backends: Arc::new(members.iter().map(|m| m.backend.clone()).collect()),
            members,
            panic: self.panic.clone(),
        }
    }

    /// Only the backends.
    pub(crate) fn backends(&self) -> &Arc<BTreeSet<Backend>> {
        &self.backends
    }

    /// Whether `backend` may be selected: it is in this set, healthy, and not disabled.
    #[inline]
    pub(crate) fn ready(&self, backend: &Backend) -> bool {
        self.member(backend).is_some_and(|m| m.is_ready(now))
    }

    #[inline]
    pub(crate) fn member(&self, backend: &Backend) -> Option<&Member> {
        let found = self.members.binary_search_by(|m| m.backend.cmp(backend));
        self.members.get(found.ok()?)
    }

    /// The set `backends`, whose members keep their known state.
    pub(crate) fn with(&self, backends: BTreeSet<Backend>, registry: &HealthRegistry) -> Self {
        let member = |backend: &Backend| {
            let health = registry.register(backend);
            Member {
                backend: backend.clone(),
                weight: backend.weight as f64,
                enabled: match self.member(backend) {
                    Some(known) => known.enabled.clone(),
                    None => Arc::new(AtomicBool::new(true)),
                },
                load: health.load().clone(),
                health,
            }
        };
        Members {
            members: backends.iter().map(member).collect(),
            backends: Arc::new(backends),
            panic: self.panic.clone(),
        }
    }

    /// The set of `next`, in which the members that are leaving still count as ready.
    fn on_the_way_to(&self, next: &Members) -> Self {
        let leaving = self.members.iter();
        let leaving = leaving.filter(|m| next.member(&m.backend).is_none());
        let mut members: Vec<Member> = next.members.iter().chain(leaving).cloned().collect();
        members.sort_unstable_by(|a, b| a.backend.cmp(&b.backend));
        Members {
            backends: next.backends.clone(),
            members: members.into(),
            panic: self.panic.clone(),
        }
    }

    fn enable(&self, enablement: &HashMap<u64, bool>) {
        if enablement.is_empty() {
            return;
        }
        for member in &self.members {
            if let Some(enabled) = enablement.get(&member.backend.hash_key()) {
                member.enabled.store(*enabled, Ordering::Relaxed);
            }
        }
    }
}

/// The result of discovery, before it takes effect. As long as this lives, no other update begins.
pub(crate) struct Found<'a> {
    backends: &'a Backends,
    members: Arc<Members>,
    changed: bool,
    _one_at_a_time: tokio::sync::MutexGuard<'a, ()>,
}

impl Found<'_> {
    /// The set, if it differs from `known`. That may be older than the one in effect, if a program has
    /// called [`Backends::update`] on a balancer's set.
    pub(crate) fn other_than(&self, known: &Arc<Members>) -> Option<&Arc<Members>> {
        (!Arc::ptr_eq(known, &self.members)).then_some(&self.members)
    }

    /// Makes the set take effect.
    pub(crate) fn publish(&self) {
        if self.changed {
            self.backends.current.store(self.members.clone());
        }
    }
}

/// A set of backends whose health is shared with other sets.
pub type BackendView = Backends;

impl Backends {
    /// The set that `discovery` finds. If it is [known](ServiceDiscovery::known), it is there at once;
    /// otherwise it is empty until the first [`update`](Self::update).
    pub fn new(discovery: Box<dyn ServiceDiscovery + Send + Sync + 'static>) -> Self {
        Backends::new_with_health_registry(discovery, Arc::new(HealthRegistry::new()))
    }

    /// [`Backends::new`] with a registry that may be shared with other sets.
    pub fn new_with_health_registry(
        discovery: Box<dyn ServiceDiscovery + Send + Sync + 'static>,
        health_registry: Arc<HealthRegistry>,
    ) -> Self {
        let known = discovery.known();
        let unasked = known.is_none().then(|| Reminder::new(UNASKED));
        let known = known.unwrap_or_default();
        Backends {
            unasked,
            current: ArcSwap::from_pointee(Members::default().with(known, &health_registry)),
            discovery,
            registry: health_registry,
            updating: tokio::sync::Mutex::const_new(()),
        }
    }

    /// Sets the health check for backends, for all sets that share the registry.
    pub fn set_health_check(&mut self, hc: Box<dyn HealthCheck + Send + Sync + 'static>) {
        self.registry.set_health_check(hc);
    }

    /// Sets how often each backend is checked; see [`HealthRegistry::set_check_pace`].
    pub fn set_check_pace(&self, pace: CheckPace) {
        self.registry.set_check_pace(pace);
    }

    /// Sets whether backends that were never checked count as healthy; see
    /// [`HealthRegistry::set_initially_healthy`].
    pub fn set_initially_healthy(&self, healthy: bool) {
        self.registry.set_initially_healthy(healthy);
    }

    /// Sets the rules by which backends are ejected; see [`HealthRegistry::set_breaker`].
    pub fn set_breaker(&self, breaker: Breaker) {
        self.registry.set_breaker(breaker);
    }

    /// Sets the maximum number of concurrent requests at each backend; see
    /// [`HealthRegistry::set_max_in_flight`].
    pub fn set_max_in_flight(&self, most: Option<usize>) {
        self.registry.set_max_in_flight(most);
    }

    /// Sets how long a backend that comes back gets less than its share; see
    /// [`HealthRegistry::set_slow_start`].
    pub fn set_slow_start(&self, time: Duration) {
        self.registry.set_slow_start(time);
    }

    /// Sets the share of the enabled backends (0.0 to 1.0) that has to be ready. If fewer are, requests go
    /// to all of them, whatever their health: the few remaining ones would break down, too, and a fault of
    /// the health check itself must not stop everything. 0, the default, turns this off: if no backend is
    /// ready, none is selected.
    pub fn set_panic_threshold(&self, share: f64) {
        // Rounded up, so that only 0 turns it off; NaN counts as 0.
        let thousandths = (share.clamp(0.0, 1.0) * 1000.0).ceil() as u32;
        let members = self.current.load();
        members.panic.store(thousandths, Ordering::Relaxed);
    }

    /// The state of the circuit of `backend`; `None` if it is not in the set.
    pub fn circuit(&self, backend: &Backend) -> Option<CircuitState> {
        let members = self.current.load();
        let member = members.member(backend)?;
        Some(member.load().circuit.state(now()))
    }

    /// The circuits of all backends of the set, in their order.
    pub fn circuits(&self) -> Vec<(Backend, CircuitState)> {
        let (members, now) = (self.current.load(), now());
        let state = |m: &Member| (m.backend.clone(), m.load().circuit.state(now));
        members.members.iter().map(state).collect()
    }

    /// The figures of all backends of the set, in their order. Reads shared counters and takes no lock that
    /// a request holds for long, so it may be asked every second.
    pub fn figures(&self) -> Vec<BackendFigures> {
        let (members, now) = (self.current.load(), now());
        members.members.iter().map(|m| m.figures(now)).collect()
    }

    /// Opens the circuit of `backend` for this long, whatever the share of ejected backends; probes follow
    /// as usual. `false`, and nothing happens, if it is not in the set or [no rules](Self::set_breaker)
    /// are set.
    pub fn eject(&self, backend: &Backend, time: Duration) -> bool {
        self.force(backend, CircuitState::Open, |circuit, breaker| {
            circuit.open_for(breaker, now(), time);
        })
    }

    /// Closes the circuit of `backend`. It begins with a [slow start](Self::set_slow_start), if that is
    /// set. `false`, and nothing happens, if it is not in the set or [no rules](Self::set_breaker) are
    /// set.
    pub fn readmit(&self, backend: &Backend) -> bool {
        self.force(backend, CircuitState::Closed, |circuit, breaker| {
            circuit.close(breaker, now());
        })
    }

    fn force(
        &self,
        backend: &Backend,
        state: CircuitState,
        change: impl FnOnce(&Circuit, &Breaker),
    ) -> bool {
        let (members, observers) = (self.current.load(), self.registry.observers());
        let (Some(member), Some(breaker)) = (members.member(backend), observers.breaker()) else {
            return false;
        };
        change(&member.load().circuit, breaker);
        match state {
            CircuitState::Closed => observers.warm_up(member.load()),
            _ => member.load().counts.ejected(),
        }
        breaker.tell(&member.backend, state);
        true
    }

    /// Whether `backend` may be selected: it is in the set, healthy, not disabled, not ejected, and has
    /// room for another request.
    #[inline]
    pub fn ready(&self, backend: &Backend) -> bool {
        self.current.load().ready(backend)
    }

    /// Sets whether `backend` may be selected while it is healthy. Does nothing if it is not in the set.
    /// Remains in effect until the backend leaves the set, or discovery says otherwise.
    pub fn set_enable(&self, backend: &Backend, enabled: bool) {
        if let Some(member) = self.current.load().member(backend) {
            member.enabled.store(enabled, Ordering::Relaxed);
        }
    }

    /// The set.
    pub fn get_backend(&self) -> Arc<BTreeSet<Backend>> {
        self.current.load().backends.clone()
    }

    /// Asks discovery for the set. If it changed, `callback` is called with the new one; members that
    /// stay keep their health. Backends with extensions always count as changed, because extensions can't
    /// be compared.
    ///
    /// Build the selector in `callback`. While it runs, both the leaving and the new members [are
    /// ready](Self::ready): everything that the old or the new selector offers can be selected.
    ///
    /// Cancel-safe: the set is replaced as a whole or not at all.
    ///
    /// # Errors
    /// Discovery's, or `InternalError` if discovery or `callback` panicked; the set stays as it was.
    pub async fn update<F>(&self, callback: F) -> Result<()>
    where
        F: FnOnce(Arc<BTreeSet<Backend>>),
    {
        let found = self.find().await?;
        let before = self.current.load_full();
        if let Some(next) = found.other_than(&before) {
            self.current.store(Arc::new(before.on_the_way_to(next)));
            let backends = next.backends.clone();
            let called = caught("the callback of an update", || callback(backends));
            if called.is_err() {
                self.current.store(before);
            }
            called?;
        }
        found.publish();
        Ok(())
    }

    /// Asks discovery for the set. Its statements about which members may be selected take effect at
    /// once; the set itself does so when it is [published](Found::publish).
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// Discovery's, or `InternalError` if it panicked.
    pub(crate) async fn find(&self) -> Result<Found<'_>> {
        if let Some(unasked) = &self.unasked {
            unasked.done();
        }
        let one_at_a_time = self.updating.lock().await;
        let (backends, enablement) =
            caught_async("discovery", || self.discovery.discover()).await?;
        let mut members = self.current.load_full();
        let changed = *members.backends != backends || backends.iter().any(|b| !b.ext.is_empty());
        if changed {
            members = Arc::new(members.with(backends, &self.registry));
            self.registry.forget_the_gone();
        }
        members.enable(&enablement);
        Ok(Found {
            backends: self,
            members,
            changed,
            _one_at_a_time: one_at_a_time,
        })
    }

    /// Begins a request at `backend`: the ticket tells the observers of the registry how it ends. Costs
    /// next to nothing if there are [no observers](HealthRegistry::add_observer).
    #[inline]
    pub fn begin(&self, backend: &Backend) -> Ticket {
        if !self.registry.is_listening() {
            return Ticket::unheard();
        }
        self.begin_heard(backend)
    }

    /// [`Backends::begin`] for a proxied request: returns the argument for `Session::report_attempt`.
    /// `None` if there is no observer.
    #[inline]
    pub fn attempt(&self, backend: &Backend) -> Option<Box<dyn Attempt>> {
        if !self.registry.is_listening() {
            return None;
        }
        Some(Box::new(self.begin_heard(backend)))
    }

    fn begin_heard(&self, backend: &Backend) -> Ticket {
        Ticket::new(backend, self.load_of(backend), self.registry.observers())
    }

    /// Begins a request at `backend` if it has room and its circuit admits it. Counted and reported even
    /// without an observer.
    pub(crate) fn begin_admitted(&self, backend: &Backend) -> Option<Ticket> {
        let members = self.current.load();
        let in_panic = || {
            members
                .member(backend)
                .is_some_and(|m| members.takes_in_panic(m))
        };
        let load = self.load_of(backend);
        Ticket::admitted(backend, load, self.registry.observers(), in_panic)
    }

    fn load_of(&self, backend: &Backend) -> Arc<Load> {
        match self.current.load().member(backend) {
            Some(member) => member.load.clone(),
            None => self.registry.load_of(backend),
        }
    }

    /// The number of requests in progress at `backend`, in all sets that share the registry: those that
    /// [began](Self::begin) since [counting started](HealthRegistry::count_requests). A backend that
    /// leaves the set and comes back in the meantime keeps its count.
    pub fn in_flight(&self, backend: &Backend) -> usize {
        match self.current.load().member(backend) {
            Some(member) => member.load.in_flight(),
            None => self.registry.in_flight(backend),
        }
    }

    /// The set with the known state of its members.
    pub(crate) fn members(&self) -> Arc<Members> {
        self.current.load_full()
    }

    /// The state of each backend of the set, in their order.
    pub(crate) fn states(&self) -> Vec<BackendState> {
        let (members, at) = (self.current.load(), now());
        let state = |member: &Member| BackendState {
            address: member.backend.addr.to_string(),
            weight: member.backend.weight,
            healthy: member.health.is_healthy(),
            enabled: member.is_enabled(),
            ready: member.is_ready(now),
            circuit: member.load().circuit.state(at),
            in_progress: member.load().in_flight(),
        };
        members.members.iter().map(state).collect()
    }

    /// The source of the set.
    pub(crate) fn discovery(&self) -> &(dyn ServiceDiscovery + Send + Sync) {
        &*self.discovery
    }

    /// The health of the backends.
    pub(crate) fn registry(&self) -> &HealthRegistry {
        &self.registry
    }

    /// Checks every backend of the registry once; see [`HealthRegistry::run_health_check`].
    pub async fn run_health_check(&self, parallel: bool) {
        self.registry.run_health_check(parallel).await;
    }
}

impl fmt::Debug for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backends")
            .field("backends", &self.current.load().backends)
            .finish_non_exhaustive()
    }
}
