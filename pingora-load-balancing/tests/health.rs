//! Which backends are healthy, which are selected, and when that is found out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod scripted;

use async_trait::async_trait;
use pingora_core::services::ServiceReadyNotifier;
use pingora_error::Result;
use pingora_load_balancing::discovery::Static;
use pingora_load_balancing::health_check::{HealthObserve, TcpHealthCheck};
use pingora_load_balancing::prelude::*;
use pingora_load_balancing::selection::{Consistent, FNVHash};
use pingora_load_balancing::{Backend, Backends};
use scripted::{Script, backend, three};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

fn balancer() -> LoadBalancer<RoundRobin> {
    LoadBalancer::from_backends(Backends::new(Static::new(three())))
}

#[tokio::test]
async fn it_takes_as_many_results_in_a_row_as_the_thresholds_say() {
    let script = Script::default();
    let mut balancer = balancer();
    balancer.set_health_check(script.check(2, 3));
    let target = backend(1);
    let check = async |up: bool| {
        script.set_up(&target, up);
        balancer.backends().run_health_check(false).await;
        balancer.backends().ready(&target)
    };
    assert!(check(false).await && check(false).await);
    assert!(
        check(true).await,
        "a success in between begins the count anew"
    );
    assert!(check(false).await && check(false).await);
    assert!(!check(false).await);
    assert!(!check(true).await);
    assert!(!check(false).await && !check(true).await);
    assert!(check(true).await);
    assert_eq!(script.changes(), [(target.clone(), false), (target, true)]);
    assert_eq!(
        script.checks_of(&backend(2)),
        10,
        "the others were checked as often"
    );
}

#[tokio::test]
async fn an_unhealthy_backend_is_never_selected() {
    let script = Script::default();
    let mut balancer = balancer();
    balancer.set_health_check(script.check(1, 1));
    script.set_up(&backend(2), false);
    balancer.backends().run_health_check(true).await;
    let mut shares = [0; 4];
    for _ in 0..1000 {
        let selected = balancer.select(b"", 256).unwrap();
        shares[usize::from(selected.as_inet().unwrap().port())] += 1;
    }
    assert_eq!(shares, [0, 500, 0, 500]);
    let even_if_down = balancer.select_with(b"", 256, |b, healthy| {
        assert_eq!(healthy, *b != backend(2));
        *b == backend(2)
    });
    assert_eq!(even_if_down, Some(backend(2)));

    script.set_up(&backend(1), false);
    script.set_up(&backend(3), false);
    balancer.backends().run_health_check(true).await;
    assert_eq!(balancer.select(b"", 256), None);
    assert_eq!(balancer.select(b"", 0), None);
}

#[tokio::test]
async fn hashes_avoid_what_is_unhealthy_too() {
    async fn check<S>(mut balancer: LoadBalancer<S>)
    where
        S: pingora_load_balancing::selection::BackendSelection + 'static,
        S::Iter: pingora_load_balancing::selection::BackendIter,
    {
        let script = Script::default();
        balancer.set_health_check(script.check(1, 1));
        script.set_up(&backend(1), false);
        balancer.backends().run_health_check(true).await;
        for key in 0..500 {
            let key = format!("/{key}");
            let selected = balancer.select(key.as_bytes(), 256).unwrap();
            assert_ne!(selected, backend(1));
            assert_eq!(balancer.select(key.as_bytes(), 256), Some(selected));
            // Each backend is offered once.
            let offered = Mutex::new(vec![]);
            balancer.select_with(key.as_bytes(), 256, |b, _| {
                offered.lock().unwrap().push(b.clone());
                false
            });
            let mut offered = offered.into_inner().unwrap();
            offered.sort();
            assert_eq!(offered, Vec::from_iter(three()));
        }
    }
    let backends = || Backends::new(Static::new(three()));
    check(LoadBalancer::<FNVHash>::from_backends(backends())).await;
    check(LoadBalancer::<Consistent>::from_backends(backends())).await;
}

#[tokio::test(start_paused = true)]
async fn checks_run_side_by_side_if_they_may() {
    for (parallel, expected) in [(false, 3 * SECOND), (true, SECOND)] {
        let script = Script::default();
        script.set_duration(SECOND);
        let mut balancer = balancer();
        balancer.set_health_check(script.check(1, 1));
        let begun = Instant::now();
        balancer.backends().run_health_check(parallel).await;
        assert_eq!(begun.elapsed(), expected);
    }
}

#[tokio::test]
async fn a_check_that_panics_is_one_that_failed() {
    let script = Script::default();
    script.set_panics(&backend(1));
    let mut balancer = balancer();
    balancer.set_health_check(script.check(1, 1));
    balancer.backends().run_health_check(false).await;
    assert!(!balancer.backends().ready(&backend(1)));
    assert!(balancer.backends().ready(&backend(3)));
    assert_eq!(script.checks_of(&backend(3)), 1);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_dies_or_comes_back_is_noticed_within_the_interval() {
    let script = Script::default();
    script.set_up(&backend(1), false);
    let mut balancer = balancer();
    balancer.set_health_check(script.check(1, 1));
    balancer.health_check_frequency = Some(SECOND);
    let balancer = Arc::new(balancer);
    let (shutdown, watch) = watch::channel(false);
    let (sender, mut ready) = watch::channel(false);
    let service = tokio::spawn({
        let balancer = balancer.clone();
        async move {
            balancer
                .run(watch, Some(ServiceReadyNotifier::new(sender)))
                .await
        }
    });
    ready.wait_for(|ready| *ready).await.unwrap();
    assert!(
        !balancer.backends().ready(&backend(1)),
        "ready means checked"
    );
    // Between two checks.
    sleep(SECOND / 2).await;
    for up in [true, false, true] {
        script.set_up(&backend(1), up);
        sleep(SECOND).await;
        assert_eq!(balancer.backends().ready(&backend(1)), up);
    }
    assert_eq!(script.checks_of(&backend(2)), 4);
    // A check that hangs does not hold up the end.
    script.set_duration(1000 * SECOND);
    sleep(SECOND).await;
    shutdown.send(true).unwrap();
    service.await.unwrap();
}

#[tokio::test]
async fn a_service_without_frequencies_checks_once_and_ends() {
    let script = Script::default();
    let mut balancer = balancer();
    balancer.set_health_check(script.check(1, 1));
    let (_shutdown, watch) = watch::channel(false);
    balancer.run(watch, None).await;
    assert_eq!(script.checks_of(&backend(1)), 1);
}

#[tokio::test]
async fn sets_that_share_a_registry_share_health() {
    let script = Script::default();
    let registry = Arc::new(HealthRegistry::new());
    registry.set_health_check(script.check(1, 1));
    let view = |members: &[usize]| {
        let members = members.iter().map(|n| backend(*n)).collect();
        BackendView::new_with_health_registry(Static::new(members), registry.clone())
    };
    let (some, others) = (view(&[1, 2]), view(&[2, 3]));
    assert_eq!(registry.target_count(), 3);
    script.set_up(&backend(2), false);
    let mut service = HealthCheckService::new(registry.clone());
    service.parallel_health_check = true;
    let (_shutdown, watch) = watch::channel(false);
    service.run(watch, None).await;
    assert_eq!(script.checks_of(&backend(2)), 1);
    assert!(!some.ready(&backend(2)) && !others.ready(&backend(2)));
    assert!(
        some.ready(&backend(1)) && !some.ready(&backend(3)),
        "not of this set"
    );
    drop(others);
    assert_eq!(registry.target_count(), 2);
}

#[tokio::test]
async fn a_registry_may_tell_backends_apart_by_a_rule_of_its_own() {
    let registry = Arc::new(HealthRegistry::with_equivalence(|_| 0));
    let set = Static::new(three());
    let _view = BackendView::new_with_health_registry(set, registry.clone());
    assert_eq!(registry.target_count(), 1);
}

/// Writes down what it observes.
struct Observer(Arc<Mutex<Vec<(Backend, bool)>>>);

#[async_trait]
impl HealthObserve for Observer {
    async fn observe(&self, target: &Backend, healthy: bool) {
        self.0.lock().unwrap().push((target.clone(), healthy));
    }
}

#[tokio::test]
async fn tcp_checks_ask_real_listeners() {
    let alive = TcpListener::bind("127.0.0.1:0").unwrap();
    let dying = TcpListener::bind("127.0.0.1:0").unwrap();
    let addrs = [alive.local_addr().unwrap(), dying.local_addr().unwrap()];
    let mut balancer = LoadBalancer::<RoundRobin>::try_from_iter(addrs).unwrap();
    let observed = Arc::new(Mutex::new(vec![]));
    let mut check = TcpHealthCheck::new();
    check.health_changed_callback = Some(Box::new(Observer(observed.clone())));
    balancer.set_health_check(check);
    let [alive_at, dying_at] = addrs.map(Backend::from);

    balancer.backends().run_health_check(true).await;
    assert!(balancer.backends().ready(&alive_at) && balancer.backends().ready(&dying_at));
    drop(dying);
    balancer.backends().run_health_check(true).await;
    assert!(balancer.backends().ready(&alive_at) && !balancer.backends().ready(&dying_at));
    let _revived = TcpListener::bind(addrs[1]).unwrap();
    balancer.backends().run_health_check(true).await;
    assert!(balancer.backends().ready(&dying_at));
    let expected = [(dying_at.clone(), false), (dying_at, true)];
    assert_eq!(*observed.lock().unwrap(), expected);
}

#[tokio::test]
async fn tcp_checks_ask_unix_sockets() -> Result<()> {
    let path = std::env::temp_dir().join(format!("lb-health-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let target = Backend::new(path.to_str().unwrap())?;
    let mut backends = Backends::new(Static::new([target.clone()].into()));
    backends.set_health_check(TcpHealthCheck::new());
    backends.run_health_check(false).await;
    assert!(backends.ready(&target));
    drop(listener);
    std::fs::remove_file(&path).unwrap();
    backends.run_health_check(false).await;
    assert!(!backends.ready(&target));
    Ok(())
}
