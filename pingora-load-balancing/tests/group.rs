//! Several selectors over one set, built anew beside the requests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod scripted;

use futures::FutureExt;
use pingora_load_balancing::outcome::Outcome;
use pingora_load_balancing::selection::consistent::KetamaConfig;
use pingora_load_balancing::selection::{BackendIter, BackendSelection, Consistent, RoundRobin};
use pingora_load_balancing::{Backend, Backends, LoadBalancerGroup, Queue, SelectorRebuildGate};
use scripted::{Found, Script, backend, three};
use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tokio::sync::watch;

fn round_robins(found: &Found, count: usize) -> LoadBalancerGroup<RoundRobin> {
    let configs = (0..count).map(|_| None);
    LoadBalancerGroup::from_backends_with_configs(Backends::new(found.discovery()), configs)
}

/// Waits, with a bound, until `done`.
async fn until(done: impl Fn() -> bool) {
    for _ in 0..2000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it did not happen within ten seconds");
}

#[tokio::test]
async fn each_selector_goes_its_own_way() {
    let found = Found::default();
    found.set(three(), &[]);
    let group = round_robins(&found, 2);
    assert_eq!(group.selector_count(), 2);
    assert_eq!(group.select(0, b"", 256), None);
    assert!(group.selectors_ready_for(0) && !group.selectors_ready_for(1));
    group.update().await.unwrap();
    assert_eq!(group.backend_generation(), 1);
    assert!(
        group.selectors_ready_for(1),
        "there was nothing to go on with"
    );
    assert_eq!(group.select(0, b"", 256), Some(backend(1)));
    assert_eq!(group.select(0, b"", 256), Some(backend(2)));
    assert_eq!(group.select(1, b"", 256), Some(backend(1)));
    assert_eq!(
        group.select_with(1, b"", 256, |b, _| *b == backend(3)),
        Some(backend(3))
    );
    assert_eq!(group.selector_last_update_timing(0).unwrap().generation, 1);
    assert!(group.last_update_timing().is_some());

    group.update().await.unwrap();
    assert_eq!(group.backend_generation(), 1, "nothing changed");
    // There is no third one.
    assert_eq!(group.select(2, b"", 256), None);
    assert_eq!(group.selector_generation(2), None);
    assert_eq!(group.selector_last_update_timing(2), None);
    assert_eq!(group.selector_coalesced_rebuilds(2), None);
    assert_eq!(group.selector_failed_rebuilds(2), None);
}

#[test]
fn without_a_runtime_selectors_are_built_at_once() {
    let found = Found::default();
    found.set(three(), &[]);
    let group = round_robins(&found, 1);
    group.update().now_or_never().unwrap().unwrap();
    assert_eq!(group.select(0, b"", 256), Some(backend(1)));
    assert_eq!(group.selector_generation(0), Some(1));
}

#[test]
fn each_selector_has_its_configuration() {
    let backends = Backends::new(pingora_load_balancing::discovery::Static::new(three()));
    let without_points = KetamaConfig {
        point_multiple: Some(0),
    };
    let configs = [None, Some(without_points)];
    let group = LoadBalancerGroup::<Consistent>::from_backends_with_configs(backends, configs);
    assert!(group.select(0, b"key", 256).is_some());
    assert!(group.select(1, b"key", 256).is_none());
}

/// Holds up whoever builds, until it is opened; may be told to make them panic.
#[derive(Default)]
struct Barrier {
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Barrier {
    fn set(&self, open: bool, panic: bool) {
        *self.state.lock().unwrap() = (open, panic);
        self.changed.notify_all();
    }

    fn pass(&self) {
        let state = self.state.lock().unwrap();
        let (_, panic) = *self.changed.wait_while(state, |(open, _)| !*open).unwrap();
        assert!(!panic, "told to panic");
    }
}

/// Takes its time to be built, and always chooses the first.
struct Slow(Option<Backend>);

struct SlowIter(Option<Backend>, bool);

impl BackendIter for SlowIter {
    fn next(&mut self) -> Option<&Backend> {
        let again = std::mem::replace(&mut self.1, true);
        self.0.as_ref().filter(|_| !again)
    }
}

impl BackendSelection for Slow {
    type Iter = SlowIter;
    type Config = Arc<Barrier>;

    fn build_with_config(backends: &BTreeSet<Backend>, barrier: &Arc<Barrier>) -> Self {
        barrier.pass();
        Self::build(backends)
    }

    fn build(backends: &BTreeSet<Backend>) -> Self {
        Slow(backends.first().cloned())
    }

    fn iter(self: &Arc<Self>, _key: &[u8]) -> SlowIter {
        SlowIter(self.0.clone(), false)
    }
}

/// A group that knows backend 9 and will build as the barrier lets it.
async fn slow(barrier: &Arc<Barrier>) -> (Found, LoadBalancerGroup<Slow>) {
    let found = Found::default();
    found.set([backend(9)], &[]);
    let configs = [Some(barrier.clone())];
    barrier.set(true, false);
    let backends = Backends::new(found.discovery());
    let group = LoadBalancerGroup::from_backends_with_configs(backends, configs);
    group.update().await.unwrap();
    (found, group)
}

#[tokio::test]
async fn what_is_overtaken_is_not_built() {
    let barrier = Arc::new(Barrier::default());
    let (found, group) = slow(&barrier).await;
    barrier.set(false, false);
    for number in 1..=4 {
        found.set([backend(number)], &[]);
        group.update().await.unwrap();
        // Lets the first one begin.
        tokio::task::yield_now().await;
    }
    assert_eq!(
        group.select(0, b"", 256),
        Some(backend(9)),
        "set and selector change together"
    );
    barrier.set(true, false);
    until(|| group.selectors_ready_for(5)).await;
    assert_eq!(group.select(0, b"", 256), Some(backend(4)));
    assert!(group.selector_coalesced_rebuilds(0).unwrap() >= 2);
    assert_eq!(group.selector_failed_rebuilds(0), Some(0));
}

#[tokio::test]
async fn a_build_that_panics_leaves_the_selector_as_it_was() {
    let barrier = Arc::new(Barrier::default());
    let (found, group) = slow(&barrier).await;
    found.set([backend(1), backend(2)], &[]);
    group.update().await.unwrap();
    until(|| group.selectors_ready_for(2)).await;
    barrier.set(true, true);
    found.set([backend(0), backend(1)], &[]);
    group.update().await.unwrap();
    until(|| group.selector_failed_rebuilds(0) == Some(1)).await;
    assert_eq!(group.selector_generation(0), Some(2));
    assert_eq!(group.select(0, b"", 256), Some(backend(1)));
    barrier.set(true, false);
    found.set([backend(7)], &[]);
    group.update().await.unwrap();
    until(|| group.selectors_ready_for(4)).await;
    assert_eq!(group.select(0, b"", 256), Some(backend(7)));
}

#[tokio::test]
async fn groups_that_share_a_gate_take_turns() {
    let gate = Arc::new(SelectorRebuildGate::default());
    let (shut, open) = (Arc::new(Barrier::default()), Arc::new(Barrier::default()));
    let (found, first) = slow(&shut).await;
    let (also_found, second) = slow(&open).await;
    let first = first.with_rebuild_gate(gate.clone());
    let second = second.with_rebuild_gate(gate);
    shut.set(false, false);
    for (found, group) in [(&found, &first), (&also_found, &second)] {
        found.set([backend(1)], &[]);
        group.update().await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(!second.selectors_ready_for(2), "the first has the gate");
    shut.set(true, false);
    until(|| first.selectors_ready_for(2) && second.selectors_ready_for(2)).await;
}

#[tokio::test(start_paused = true)]
async fn the_service_discovers_and_checks() {
    let (script, found) = (Script::default(), Found::default());
    found.set(three(), &[]);
    script.set_up(&backend(1), false);
    let mut group = round_robins(&found, 1);
    group.set_health_check(script.check(1, 1));
    group.health_check_frequency = Some(Duration::from_secs(1));
    let group = Arc::new(group);
    let (shutdown, watch) = watch::channel(false);
    let service = tokio::spawn({
        let group = group.clone();
        async move { group.run(watch, None).await }
    });
    until(|| group.selectors_ready_for(1) && script.checks_of(&backend(3)) > 1).await;
    assert_eq!(group.select(0, b"", 256), Some(backend(2)));
    shutdown.send(true).unwrap();
    service.await.unwrap();
}

#[test]
fn a_runtime_that_ended_holds_up_nobody() {
    let barrier = Arc::new(Barrier::default());
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let (found, group) = runtime().block_on(slow(&barrier));
    found.set([backend(1)], &[]);
    // The rebuild is asked for, and its task dropped before it ran.
    runtime().block_on(group.update()).unwrap();
    found.set([backend(2)], &[]);
    runtime().block_on(async {
        group.update().await.unwrap();
        until(|| group.selectors_ready_for(3)).await;
    });
    assert_eq!(group.select(0, b"", 256), Some(backend(2)));
}

/// What one selector has leased counts for all of them.
#[tokio::test]
async fn leases_count_at_the_backend_whichever_selector_chose_it() {
    let found = Found::default();
    found.set(three(), &[]);
    let backends = Backends::new(found.discovery());
    backends.set_max_in_flight(Some(1));
    let group = LoadBalancerGroup::<RoundRobin>::from_backends_with_configs(backends, [None, None]);
    group.update().await.unwrap();
    assert!(group.lease(2, b"", 256).is_none(), "there is no third");
    let first = group.lease(0, b"", 256).unwrap();
    let second = group.lease(1, b"", 256).unwrap();
    let third = group.lease_with(1, b"", 256, |_, ready| ready).unwrap();
    let mut all = [&first, &second, &third].map(|lease| lease.backend().clone());
    all.sort();
    assert!(all.iter().eq(&three()));
    assert!(group.lease(0, b"", 256).is_none(), "all are full");

    // Someone waits, until one of another selector ends.
    let queue = Queue::new(1, Duration::from_secs(600));
    assert!(group.lease_or_wait(2, b"", 256, &queue).await.is_none());
    let mut waiting = std::pin::pin!(group.lease_or_wait(0, b"", 256, &queue));
    assert!(waiting.as_mut().now_or_never().is_none());
    let freed = second.backend().clone();
    second.end(Outcome::Completed);
    assert_eq!(*waiting.await.unwrap().backend(), freed);

    // A lease outlives the membership of its backend.
    found.set([backend(9)], &[]);
    group.update().await.unwrap();
    until(|| group.selectors_ready_for(2)).await;
    drop((first, third));
    let lease = group.lease(1, b"", 256).unwrap();
    assert_eq!(*lease.backend(), backend(9));
}
