//! A set and its selector change together: while one set takes another's place, somebody is always ready.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod scripted;

use pingora_load_balancing::selection::{
    BackendIter, BackendSelection, Consistent, FNVHash, Random, RoundRobin,
};
use pingora_load_balancing::{Backend, Backends, LoadBalancer, LoadBalancerGroup};
use scripted::{Found, backend};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Two sets of 1,000 that have nothing in common.
fn disjoint() -> [Vec<Backend>; 2] {
    [1, 2001].map(|first| (first..first + 1000).map(backend).collect())
}

/// Selects on two threads while `updates` runs, and says how often no backend was ready.
async fn select_while(
    select: impl Fn(usize) -> Option<Backend> + Sync + Send + Clone + 'static,
    updates: impl Future<Output = ()>,
) -> usize {
    let (over, failed) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (over, failed, select) = (over.clone(), failed.clone(), select.clone());
            std::thread::spawn(move || {
                let mut turn = 0;
                while !over.load(Ordering::Relaxed) {
                    turn += 1;
                    if select(turn).is_none() {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                assert!(turn > 0, "it was selected beside the updates");
            })
        })
        .collect();
    updates.await;
    over.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|t| t.join().unwrap());
    failed.load(Ordering::Relaxed)
}

async fn somebody_is_always_ready<S>()
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    let sets = disjoint();
    let found = Found::default();
    found.set(sets[0].clone(), &[]);
    let balancer = Arc::new(LoadBalancer::<S>::from_backends(Backends::new(
        found.discovery(),
    )));
    balancer.update().await.unwrap();
    let select = {
        let balancer = balancer.clone();
        move |turn: usize| balancer.select(&turn.to_le_bytes(), 256)
    };
    let failed = select_while(select, async {
        for round in 1..4 {
            found.set(sets[round % 2].clone(), &[]);
            balancer.update().await.unwrap();
            let selected = balancer.select(b"key", 256).unwrap();
            assert!(
                sets[round % 2].contains(&selected),
                "what left is not selected any more"
            );
        }
    });
    assert_eq!(failed.await, 0);
}

#[tokio::test]
async fn somebody_is_always_ready_with_round_robin() {
    somebody_is_always_ready::<RoundRobin>().await;
}

#[tokio::test]
async fn somebody_is_always_ready_at_random() {
    somebody_is_always_ready::<Random>().await;
}

#[tokio::test]
async fn somebody_is_always_ready_by_hash() {
    somebody_is_always_ready::<FNVHash>().await;
}

#[tokio::test]
async fn somebody_is_always_ready_by_consistent_hash() {
    somebody_is_always_ready::<Consistent>().await;
}

#[tokio::test]
async fn somebody_is_always_ready_in_a_group() {
    let sets = disjoint();
    let found = Found::default();
    found.set(sets[0].clone(), &[]);
    let backends = Backends::new(found.discovery());
    let group = LoadBalancerGroup::<Consistent>::from_backends_with_configs(backends, [None, None]);
    let group = Arc::new(group);
    group.update().await.unwrap();
    let select = {
        let group = group.clone();
        move |turn: usize| group.select(turn % 2, &turn.to_le_bytes(), 256)
    };
    let failed = select_while(select, async {
        for round in 1..4 {
            found.set(sets[round % 2].clone(), &[]);
            group.update().await.unwrap();
            let generation = group.backend_generation();
            let built = async {
                while !group.selectors_ready_for(generation) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), built)
                .await
                .unwrap();
            let selected = group.select(0, b"key", 256).unwrap();
            assert!(sets[round % 2].contains(&selected));
        }
    });
    assert_eq!(failed.await, 0);
}

#[tokio::test]
async fn somebody_is_always_ready_for_a_selector_of_the_programs_own() {
    let sets = disjoint();
    let found = Found::default();
    found.set(sets[0].clone(), &[]);
    let backends = Arc::new(Backends::new(found.discovery()));
    let selector: Arc<Mutex<Arc<BTreeSet<Backend>>>> = Arc::default();
    let update = async || {
        let built = |set: Arc<BTreeSet<Backend>>| {
            // As building takes its time.
            std::thread::sleep(Duration::from_millis(2));
            assert_eq!(*set, *backends.get_backend());
            *selector.lock().unwrap() = set;
        };
        backends.update(built).await.unwrap();
    };
    update().await;
    let select = {
        let (backends, selector) = (backends.clone(), selector.clone());
        move |_| {
            // Held, so that it is one selector that is asked and not two.
            let selector = selector.lock().unwrap();
            selector.iter().find(|b| backends.ready(b)).cloned()
        }
    };
    let failed = select_while(select, async {
        for round in 1..20 {
            found.set(sets[round % 2].clone(), &[]);
            update().await;
            assert!(!backends.ready(&sets[(round + 1) % 2][0]));
            assert!(backends.ready(&sets[round % 2][0]));
        }
    });
    assert_eq!(failed.await, 0);
}

#[tokio::test]
async fn a_set_that_a_program_updates_by_itself_reaches_the_selectors_with_the_next_update() {
    let found = Found::default();
    found.set([backend(1)], &[]);
    let backends = || Backends::new(found.discovery());
    let balancer = LoadBalancer::<RoundRobin>::from_backends(backends());
    let group = LoadBalancerGroup::<RoundRobin>::from_backends_with_configs(backends(), [None]);
    balancer.update().await.unwrap();
    group.update().await.unwrap();
    found.set([backend(2)], &[]);
    balancer.backends().update(|_| ()).await.unwrap();
    group.backends().update(|_| ()).await.unwrap();
    assert_eq!(balancer.select(b"", 256), Some(backend(1)));
    balancer.update().await.unwrap();
    group.update().await.unwrap();
    assert_eq!(balancer.select(b"", 256), Some(backend(2)));
    let built = async {
        while !group.selectors_ready_for(2) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), built)
        .await
        .unwrap();
    assert_eq!(group.select(0, b"", 256), Some(backend(2)));
}
