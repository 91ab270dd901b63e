//! Leases while the set changes, and odd sets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod scripted;

use pingora_load_balancing::outcome::{Outcome, OutcomeObserver, Report};
use pingora_load_balancing::selection::{
    BackendIter, BackendSelection, Consistent, FNVHash, LeastConnections, LeastTime, Maglev,
    PeakEwma, Random, RoundRobin, SmoothRoundRobin, Tiered,
};
use pingora_load_balancing::{Backend, Backends, HealthRegistry, LoadBalancer};
use scripted::{Found, backend};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const THREADS: usize = 64;
const CHANGES: usize = 1_000;

#[derive(Default)]
struct Ends(AtomicUsize);

impl OutcomeObserver for Ends {
    fn ended(&self, _: &Backend, _: &Report) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The set after this many changes: three backends, of which the next set keeps two.
fn set(change: usize) -> Vec<Backend> {
    (change + 1..change + 4).map(backend).collect()
}

/// Takes leases until told to stop; returns how many. A backend must not be older than the set that was
/// in force when the selection began.
fn take<S>(balancer: &LoadBalancer<S>, in_force: &AtomicUsize, stop: &AtomicBool) -> usize
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    let mut taken = 0;
    let mut held = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let change = in_force.load(Ordering::SeqCst);
        let lease = balancer.lease(b"key", 256).expect("never empty");
        let port = usize::from(lease.backend().as_inet().unwrap().port());
        assert!(port > change, "stale: {port} after change {change}");
        taken += 1;
        held.push(lease);
        if held.len() == 5 {
            let all = held.drain(..);
            all.zip(0..).for_each(|(lease, number)| match number % 2 {
                0 => lease.end(Outcome::Completed),
                _ => drop(lease),
            });
            std::thread::yield_now();
        }
    }
    taken
}

fn change_under_way<S>()
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter + Send,
{
    let (found, registry) = (Found::default(), Arc::new(HealthRegistry::new()));
    let ends = Arc::new(Ends::default());
    registry.add_observer(ends.clone());
    found.set(set(0), &[]);
    let backends = Backends::new_with_health_registry(found.discovery(), registry.clone());
    let balancer = LoadBalancer::<S>::from_backends(backends);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(balancer.update()).unwrap();
    let (in_force, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let taken: usize = std::thread::scope(|scope| {
        let thread = || scope.spawn(|| take(&balancer, &in_force, &stop));
        let threads: Vec<_> = (0..THREADS).map(|_| thread()).collect();
        for change in 1..=CHANGES {
            found.set(set(change), &[]);
            runtime.block_on(balancer.update()).unwrap();
            in_force.store(change, Ordering::SeqCst);
            if change % 10 == 0 {
                std::thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(
        ends.0.load(Ordering::Relaxed),
        taken,
        "every lease has ended"
    );
    for number in 1..CHANGES + 4 {
        assert_eq!(balancer.backends().in_flight(&backend(number)), 0);
    }
    assert_eq!(registry.target_count(), 3);
}

#[test]
fn no_lease_is_lost_and_no_pick_is_stale_while_the_set_changes() {
    change_under_way::<RoundRobin>();
    change_under_way::<LeastConnections>();
    change_under_way::<PeakEwma>();
}

#[test]
fn that_holds_where_building_a_selector_takes_its_time() {
    change_under_way::<Consistent>();
}

async fn odd_sets<S>()
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    let found = Found::default();
    found.set([], &[]);
    let balancer = LoadBalancer::<S>::from_backends(Backends::new(found.discovery()));
    balancer.update().await.unwrap();
    assert!(balancer.lease(b"key", 256).is_none(), "an empty set");

    let heavy = |number: usize, weight| {
        Backend::new_with_weight(&format!("127.0.0.1:{number}"), weight).unwrap()
    };
    let drained = heavy(1, 0);
    found.set(
        [drained.clone(), heavy(2, usize::MAX), heavy(3, usize::MAX)],
        &[],
    );
    balancer.update().await.unwrap();
    for key in 0..100_u32 {
        let lease = balancer.lease(&key.to_le_bytes(), 256).unwrap();
        assert_ne!(lease.backend(), &drained);
    }

    // The last good set stays.
    found.fail();
    assert!(balancer.update().await.is_err());
    let held = balancer.lease(b"key", 256).unwrap();
    // Drained: what is under way goes on, nothing else begins.
    let port = usize::from(held.backend().as_inet().unwrap().port());
    found.set([heavy(port, 0)], &[]);
    balancer.update().await.unwrap();
    assert_eq!(balancer.backends().in_flight(&heavy(port, 0)), 1);
    assert!(balancer.select(b"key", 256).is_none());
    held.end(Outcome::Completed);
    assert_eq!(balancer.backends().in_flight(&heavy(port, 0)), 0);

    // The same address with two weights counts as two members of one server.
    found.set([heavy(4, 1), heavy(4, 2), heavy(4, 2)], &[]);
    balancer.update().await.unwrap();
    let lease = balancer.lease(b"key", 256).unwrap();
    assert_eq!(balancer.backends().in_flight(&heavy(4, 1)), 1);
    drop(lease);

    // All are unhealthy, or disabled.
    found.set([heavy(5, 1)], &[(&heavy(5, 1), false)]);
    balancer.update().await.unwrap();
    assert!(balancer.lease(b"key", 256).is_none());
}

#[tokio::test]
async fn odd_sets_have_defined_answers() {
    odd_sets::<RoundRobin>().await;
    odd_sets::<Random>().await;
    odd_sets::<FNVHash>().await;
    odd_sets::<SmoothRoundRobin>().await;
    odd_sets::<LeastConnections>().await;
    odd_sets::<LeastTime>().await;
    odd_sets::<PeakEwma>().await;
    odd_sets::<Maglev>().await;
    odd_sets::<Tiered<PeakEwma>>().await;
}
