//! How a set of backends comes to be, and what stays when it changes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod scripted;

use pingora_load_balancing::discovery::Static;
use pingora_load_balancing::prelude::*;
use pingora_load_balancing::selection::Consistent;
use pingora_load_balancing::selection::consistent::KetamaConfig;
use pingora_load_balancing::{Backend, Backends};
use scripted::{Found, Script, backend, three};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

type Balancer = LoadBalancer<RoundRobin>;

fn selected(balancer: &Balancer, turns: usize) -> Vec<Option<Backend>> {
    (0..turns).map(|_| balancer.select(b"", 256)).collect()
}

#[test]
fn a_static_set_is_known_from_the_start_and_without_a_runtime() {
    let balancer = Balancer::try_from_iter(["127.0.0.1:2", "127.0.0.1:1", "127.0.0.1:2"]).unwrap();
    let expected = [1, 2, 1, 2].map(|n| Some(backend(n)));
    assert_eq!(selected(&balancer, 4), expected);
    assert_eq!(balancer.backends().get_backend().len(), 2);
    assert_eq!(balancer.last_update_timing(), None);
    assert!(Balancer::try_from_iter(["not an address"]).is_err());
}

#[tokio::test]
async fn a_set_that_was_known_is_checked_without_an_update() {
    let script = Script::default();
    let mut backends = Backends::new(Static::new(three()));
    backends.set_health_check(script.check(1, 1));
    backends.run_health_check(false).await;
    assert_eq!(script.checks_of(&backend(2)), 1);
}

#[tokio::test]
async fn what_left_the_set_is_not_selected_any_more() {
    let found = Found::default();
    let balancer = Balancer::from_backends(Backends::new(found.discovery()));
    assert_eq!(balancer.select(b"", 256), None);
    found.set(three(), &[]);
    balancer.update().await.unwrap();
    assert!(balancer.last_update_timing().is_some());
    assert_eq!(selected(&balancer, 3), [1, 2, 3].map(|n| Some(backend(n))));

    found.set([backend(3), backend(4), backend(3)], &[]);
    balancer.update().await.unwrap();
    assert_eq!(
        selected(&balancer, 4),
        [3, 4, 3, 4].map(|n| Some(backend(n)))
    );
    assert!(!balancer.backends().ready(&backend(1)));

    found.fail();
    assert!(balancer.update().await.is_err());
    assert_eq!(
        balancer.backends().get_backend().len(),
        2,
        "an error changes nothing"
    );

    found.set([], &[]);
    balancer.update().await.unwrap();
    assert_eq!(balancer.select(b"", 256), None);
}

#[tokio::test]
async fn an_update_without_a_change_leaves_the_turn_alone() {
    let found = Found::default();
    found.set(three(), &[]);
    let balancer = Balancer::from_backends(Backends::new(found.discovery()));
    balancer.update().await.unwrap();
    assert_eq!(balancer.select(b"", 256), Some(backend(1)));
    balancer.update().await.unwrap();
    assert_eq!(balancer.select(b"", 256), Some(backend(2)));
    let timing = balancer.last_update_timing().unwrap();
    assert_eq!(timing.build_duration, Duration::ZERO);
}

#[tokio::test]
async fn health_stays_with_those_who_stay() {
    let (script, found) = (Script::default(), Found::default());
    found.set(three(), &[]);
    let mut balancer = Balancer::from_backends(Backends::new(found.discovery()));
    balancer.set_health_check(script.check(1, 1));
    balancer.update().await.unwrap();
    script.set_up(&backend(1), false);
    balancer.backends().run_health_check(true).await;
    // The same server with another weight, and one that is new.
    let heavy = Backend::new_with_weight("127.0.0.1:1", 9).unwrap();
    found.set([heavy.clone(), backend(4)], &[]);
    balancer.update().await.unwrap();
    assert!(!balancer.backends().ready(&heavy));
    assert!(
        !balancer.backends().ready(&backend(1)),
        "not in the set with this weight"
    );
    assert!(
        balancer.backends().ready(&backend(4)),
        "healthy until checked"
    );
}

#[tokio::test]
async fn a_backend_may_be_disabled_by_hand_and_by_discovery() {
    let found = Found::default();
    found.set(three(), &[(&backend(1), false)]);
    let balancer = Balancer::from_backends(Backends::new(found.discovery()));
    balancer.update().await.unwrap();
    assert!(!balancer.backends().ready(&backend(1)));
    balancer.backends().set_enable(&backend(2), false);
    balancer.backends().set_enable(&backend(9), true);
    assert_eq!(selected(&balancer, 2), [3, 3].map(|n| Some(backend(n))));
    found.set([backend(1), backend(2)], &[(&backend(1), true)]);
    balancer.update().await.unwrap();
    assert!(balancer.backends().ready(&backend(1)));
    assert!(!balancer.backends().ready(&backend(2)), "stays as it was");
}

#[tokio::test]
async fn new_extensions_arrive_although_they_are_not_part_of_the_identity() {
    let found = Found::default();
    let balancer = Balancer::from_backends(Backends::new(found.discovery()));
    for version in [1_u8, 2] {
        let mut labelled = backend(1);
        labelled.ext.insert(version);
        found.set([labelled], &[]);
        balancer.update().await.unwrap();
        let selected = balancer.select(b"", 256).unwrap();
        assert_eq!(selected.ext.get::<u8>(), Some(&version));
    }
}

#[tokio::test(start_paused = true)]
async fn the_service_discovers_before_it_checks() {
    let (script, found) = (Script::default(), Found::default());
    found.set(three(), &[]);
    let mut balancer = Balancer::from_backends(Backends::new(found.discovery()));
    balancer.set_health_check(script.check(1, 1));
    balancer.update_frequency = Some(Duration::from_secs(5));
    let balancer = Arc::new(balancer);
    let (shutdown, watch) = watch::channel(false);
    let service = tokio::spawn({
        let balancer = balancer.clone();
        async move { balancer.run(watch, None).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(script.checks_of(&backend(3)), 1);
    found.set([backend(7)], &[]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(balancer.select(b"", 256), Some(backend(7)));
    shutdown.send(true).unwrap();
    service.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_first_discovery_that_fails_is_tried_again() {
    let (script, found) = (Script::default(), Found::default());
    let mut balancer = Balancer::from_backends(Backends::new(found.discovery()));
    balancer.set_health_check(script.check(1, 1));
    let balancer = Arc::new(balancer);
    let (_shutdown, watch) = watch::channel(false);
    let service = tokio::spawn({
        let balancer = balancer.clone();
        async move { balancer.run(watch, None).await }
    });
    tokio::time::sleep(Duration::from_millis(1500)).await;
    found.set(three(), &[]);
    service.await.unwrap();
    assert_eq!(balancer.select(b"", 256), Some(backend(1)));
    assert_eq!(
        script.checks_of(&backend(1)),
        1,
        "what was found late is checked nevertheless"
    );
}

#[test]
fn a_selector_is_built_as_its_configuration_says() {
    let backends = || Backends::new(Static::new(three()));
    let config = KetamaConfig {
        point_multiple: Some(0),
    };
    let none = LoadBalancer::<Consistent>::from_backends_with_config(backends(), Some(config));
    assert_eq!(none.select(b"key", 256), None, "no points, no choice");
    let some = LoadBalancer::<Consistent>::from_backends_with_config(backends(), None);
    assert!(some.select(b"key", 256).is_some());
}

#[test]
fn threads_share_one_round() {
    let balancer = Balancer::try_from_iter(["127.0.0.1:1", "127.0.0.1:2"]).unwrap();
    let of_first = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| selected(&balancer, 1000)))
            .collect();
        let all = threads.into_iter().flat_map(|t| t.join().unwrap());
        all.filter(|b| *b == Some(backend(1))).count()
    });
    assert_eq!(of_first, 2000);
}
