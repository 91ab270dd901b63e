//! No round of a background service ends the next ones: neither by a panic, nor by hanging, nor by taking
//! long.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod scripted;

use async_trait::async_trait;
use pingora_core::services::ServiceReadyNotifier;
use pingora_error::{Error, Result};
use pingora_load_balancing::discovery::{ServiceDiscovery, Static};
use pingora_load_balancing::health_check::HealthCheck;
use pingora_load_balancing::selection::{BackendIter, BackendSelection, RoundRobin};
use pingora_load_balancing::{
    Backend, Backends, HealthCheckService, HealthRegistry, LoadBalancer, LoadBalancerGroup,
};
use scripted::{Script, backend, three};
use std::collections::{BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// A discovery's reaction when it is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Good,
    Fails,
    Panics,
    Hangs,
}

/// Answers as it is told, and may tell of changes.
#[derive(Clone)]
struct Told(Arc<Inner>);

struct Inner {
    answer: Mutex<Answer>,
    backends: Mutex<BTreeSet<Backend>>,
    asked: AtomicUsize,
    pushes: Option<Notify>,
    /// How the next calls panic: at once, or when they are awaited.
    push_panics: Mutex<Vec<bool>>,
}

impl Told {
    fn new(pushes: bool) -> Self {
        Told(Arc::new(Inner {
            answer: Mutex::new(Answer::Good),
            backends: Mutex::new(three()),
            asked: AtomicUsize::new(0),
            pushes: pushes.then(Notify::new),
            push_panics: Mutex::default(),
        }))
    }

    fn answers(&self, answer: Answer) {
        *self.0.answer.lock().unwrap() = answer;
    }

    fn find(&self, backends: impl IntoIterator<Item = Backend>) {
        *self.0.backends.lock().unwrap() = backends.into_iter().collect();
    }

    fn push(&self) {
        self.0.pushes.as_ref().unwrap().notify_one();
    }

    fn asked(&self) -> usize {
        self.0.asked.load(Ordering::Relaxed)
    }

    fn backends(&self) -> Backends {
        Backends::new(Box::new(self.clone()))
    }
}

#[async_trait]
impl ServiceDiscovery for Told {
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        self.0.asked.fetch_add(1, Ordering::Relaxed);
        let answer = *self.0.answer.lock().unwrap();
        match answer {
            Answer::Good => Ok((self.0.backends.lock().unwrap().clone(), HashMap::new())),
            Answer::Fails => Err(Error::new_str("told to fail")),
            Answer::Panics => panic!("told to panic"),
            Answer::Hangs => std::future::pending().await,
        }
    }

    fn changed(&self) -> Option<Pin<Box<dyn Future<Output = ()> + Send + '_>>> {
        let pushes = self.0.pushes.as_ref()?;
        let panics = self.0.push_panics.lock().unwrap().pop();
        assert_ne!(panics, Some(true), "told to panic");
        Some(Box::pin(async move {
            assert_ne!(panics, Some(false), "told to panic");
            pushes.notified().await;
        }))
    }
}

/// Runs `balancer` until the sender is dropped or told.
fn run<S>(balancer: &Arc<LoadBalancer<S>>) -> (watch::Sender<bool>, JoinHandle<()>)
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    let (shutdown, watch) = watch::channel(false);
    let balancer = balancer.clone();
    let service = tokio::spawn(async move { balancer.run(watch, None).await });
    (shutdown, service)
}

#[tokio::test(start_paused = true)]
async fn a_discovery_that_fails_in_whatever_way_is_asked_again_and_checks_go_on() {
    for answer in [Answer::Fails, Answer::Panics, Answer::Hangs] {
        for first in [true, false] {
            let (told, script) = (Told::new(false), Script::default());
            let mut balancer = LoadBalancer::<RoundRobin>::from_backends(told.backends());
            balancer.update().await.unwrap();
            balancer.set_health_check(script.check(1, 1));
            balancer.update_frequency = Some(SECOND);
            balancer.health_check_frequency = Some(SECOND);
            let balancer = Arc::new(balancer);
            if first {
                told.answers(answer);
            }
            let (shutdown, service) = run(&balancer);
            sleep(SECOND / 2).await;
            told.answers(answer);
            sleep(25 * SECOND).await;
            let checks = script.checks_of(&backend(1));
            assert!(checks >= 25, "{answer:?}: {checks} checks");
            let asked = told.asked();
            assert!(asked >= 3, "{answer:?}: asked {asked} times");
            // Health is as it is, not as it was.
            script.set_up(&backend(1), false);
            told.answers(Answer::Good);
            told.find([backend(1), backend(7)]);
            sleep(13 * SECOND).await;
            assert_eq!(balancer.select(b"", 256), Some(backend(7)), "{answer:?}");
            shutdown.send(true).unwrap();
            service.await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_direct_update_tells_of_a_panic_as_of_an_error() {
    let told = Told::new(false);
    let balancer = LoadBalancer::<RoundRobin>::from_backends(told.backends());
    let group =
        LoadBalancerGroup::<RoundRobin>::from_backends_with_configs(told.backends(), [None]);
    balancer.update().await.unwrap();
    group.update().await.unwrap();
    told.answers(Answer::Panics);
    for error in [
        balancer.update().await.unwrap_err(),
        group.update().await.unwrap_err(),
        told.backends().update(|_| ()).await.unwrap_err(),
    ] {
        assert!(
            error
                .to_string()
                .contains("discovery panicked: told to panic"),
            "{error}"
        );
    }
    assert_eq!(balancer.select(b"", 256), Some(backend(1)));
    assert_eq!(group.select(0, b"", 256), Some(backend(1)));
}

#[tokio::test]
async fn a_callback_that_panics_leaves_the_set_as_it_was() {
    let told = Told::new(false);
    let backends = told.backends();
    backends.update(|_| ()).await.unwrap();
    told.find([backend(9)]);
    let error = backends
        .update(|_| panic!("as asked for"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("as asked for"), "{error}");
    assert!(backends.ready(&backend(1)) && !backends.ready(&backend(9)));
    assert_eq!(backends.get_backend().len(), 3);
    backends.update(|_| ()).await.unwrap();
    assert!(!backends.ready(&backend(1)) && backends.ready(&backend(9)));
}

/// Panics when it is built of a set with backend 13.
struct Superstitious(Option<Backend>);

struct Once(Option<Backend>, bool);

impl BackendIter for Once {
    fn next(&mut self) -> Option<&Backend> {
        let again = std::mem::replace(&mut self.1, true);
        self.0.as_ref().filter(|_| !again)
    }
}

impl BackendSelection for Superstitious {
    type Iter = Once;
    type Config = ();

    fn build(backends: &BTreeSet<Backend>) -> Self {
        assert!(!backends.contains(&backend(13)), "a bad omen");
        Superstitious(backends.first().cloned())
    }

    fn iter(self: &Arc<Self>, _key: &[u8]) -> Once {
        Once(self.0.clone(), false)
    }
}

#[tokio::test(start_paused = true)]
async fn a_selector_that_can_not_be_built_is_tried_again_and_the_service_goes_on() {
    let (told, script) = (Told::new(false), Script::default());
    let mut balancer = LoadBalancer::<Superstitious>::from_backends(told.backends());
    balancer.set_health_check(script.check(1, 1));
    balancer.update_frequency = Some(SECOND);
    balancer.health_check_frequency = Some(SECOND);
    let balancer = Arc::new(balancer);
    let (_shutdown, _service) = run(&balancer);
    sleep(SECOND / 2).await;
    told.find([backend(13), backend(14)]);
    sleep(3 * SECOND).await;
    assert!(told.asked() >= 3 && script.checks_of(&backend(1)) >= 3);
    assert_eq!(
        balancer.select(b"", 256),
        Some(backend(1)),
        "set and selector stay"
    );
    assert_eq!(balancer.backends().get_backend().len(), 3);
    let error = balancer.update().await.unwrap_err().to_string();
    assert!(
        error.contains("building the selector panicked: a bad omen"),
        "{error}"
    );
    told.find([backend(14)]);
    sleep(SECOND).await;
    assert_eq!(balancer.select(b"", 256), Some(backend(14)));
}

#[tokio::test]
async fn one_selector_of_a_group_that_can_not_be_built_ends_nothing() {
    let told = Told::new(false);
    told.find([backend(13)]);
    let configs = [None, None];
    let backends = told.backends();
    let group = LoadBalancerGroup::<Superstitious>::from_backends_with_configs(backends, configs);
    // The first one, which is built before `update` returns.
    group.update().await.unwrap();
    assert_eq!(group.selector_failed_rebuilds(0), Some(1));
    assert_eq!(group.selector_failed_rebuilds(1), Some(1));
    assert_eq!(group.selector_generation(0), Some(0));
    // Nothing has changed: it is tried again nevertheless.
    group.update().await.unwrap();
    until(|| group.selector_failed_rebuilds(0) == Some(2)).await;
    told.find([backend(1)]);
    group.update().await.unwrap();
    until(|| group.selectors_ready_for(2)).await;
    assert_eq!(group.select(1, b"", 256), Some(backend(1)));
}

/// Waits, with a bound, until `done`.
async fn until(done: impl Fn() -> bool) {
    for _ in 0..2000 {
        if done() {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("it did not happen within ten seconds");
}

/// Does to backend 1 what it is told, and finds all others well.
struct Bad(Fault, Arc<AtomicUsize>);

#[derive(Clone, Copy, Debug)]
enum Fault {
    Hangs,
    PanicsAtOnce,
    HangsWhenToldOfAChange,
    PanicsWhenToldOfAChange,
    PanicsAtItsThreshold,
    PanicsAtItsSummary,
}

#[async_trait]
impl HealthCheck for Bad {
    async fn check(&self, target: &Backend) -> Result<()> {
        self.1.fetch_add(1, Ordering::Relaxed);
        if *target != backend(1) {
            return Ok(());
        }
        match self.0 {
            Fault::Hangs => std::future::pending().await,
            Fault::PanicsAtOnce => panic!("told to panic"),
            _ => Err(Error::new_str("told to be down")),
        }
    }

    async fn health_status_change(&self, _target: &Backend, _healthy: bool) {
        match self.0 {
            Fault::HangsWhenToldOfAChange => std::future::pending().await,
            Fault::PanicsWhenToldOfAChange => panic!("told to panic"),
            _ => {}
        }
    }

    fn backend_summary(&self, target: &Backend) -> String {
        assert!(
            !matches!(self.0, Fault::PanicsAtItsSummary),
            "told to panic"
        );
        target.addr.to_string()
    }

    fn health_threshold(&self, _success: bool) -> usize {
        assert!(
            !matches!(self.0, Fault::PanicsAtItsThreshold),
            "told to panic"
        );
        1
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_fails_in_whatever_way_keeps_no_other_from_being_checked() {
    for fault in [
        Fault::Hangs,
        Fault::PanicsAtOnce,
        Fault::HangsWhenToldOfAChange,
        Fault::PanicsWhenToldOfAChange,
        Fault::PanicsAtItsThreshold,
        Fault::PanicsAtItsSummary,
    ] {
        let (told, checks) = (Told::new(false), Arc::new(AtomicUsize::new(0)));
        let mut balancer = LoadBalancer::<RoundRobin>::from_backends(told.backends());
        balancer.set_health_check(Box::new(Bad(fault, checks.clone())));
        balancer.update_frequency = Some(SECOND);
        balancer.health_check_frequency = Some(SECOND);
        let balancer = Arc::new(balancer);
        let (_shutdown, _service) = run(&balancer);
        sleep(35 * SECOND).await;
        assert!(!balancer.backends().ready(&backend(1)), "{fault:?}");
        assert!(balancer.backends().ready(&backend(2)), "{fault:?}");
        let checks = checks.load(Ordering::Relaxed);
        assert!(checks >= 3 * 3, "{fault:?}: {checks} checks");
        assert!(
            told.asked() >= 35,
            "{fault:?}: asked {} times",
            told.asked()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_discovery_that_speaks_first_is_asked_at_once() {
    let (told, script) = (Told::new(true), Script::default());
    let mut balancer = LoadBalancer::<RoundRobin>::from_backends(told.backends());
    balancer.set_health_check(script.check(1, 1));
    let balancer = Arc::new(balancer);
    let (shutdown, service) = run(&balancer);
    sleep(1000 * SECOND).await;
    assert_eq!(told.asked(), 1, "nothing was told, no frequency is set");
    told.find([backend(5)]);
    told.push();
    sleep(SECOND / 5).await;
    assert_eq!(balancer.select(b"", 256), Some(backend(5)));
    assert_eq!(told.asked(), 2);

    // One that never stops talking does not fill a thread.
    let begun = Instant::now();
    while begun.elapsed() < 10 * SECOND {
        told.push();
        sleep(Duration::from_millis(3)).await;
    }
    let asked = told.asked() - 2;
    assert!((90..=101).contains(&asked), "{asked}");

    // A failure after a push is not forgotten.
    told.answers(Answer::Fails);
    told.find([backend(6)]);
    told.push();
    sleep(SECOND / 2).await;
    told.answers(Answer::Good);
    sleep(2 * SECOND).await;
    assert_eq!(balancer.select(b"", 256), Some(backend(6)));

    // Neither is what changes while discovery is asked.
    told.answers(Answer::Hangs);
    told.push();
    sleep(SECOND).await;
    told.answers(Answer::Good);
    told.find([backend(7)]);
    told.push();
    sleep(12 * SECOND).await;
    assert_eq!(balancer.select(b"", 256), Some(backend(7)));
    shutdown.send(true).unwrap();
    service.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_discovery_that_panics_when_it_is_to_speak_first_is_asked_again() {
    for panics in [true, false] {
        let told = Told::new(true);
        *told.0.push_panics.lock().unwrap() = vec![panics];
        let balancer = Arc::new(LoadBalancer::<RoundRobin>::from_backends(told.backends()));
        let (_shutdown, _service) = run(&balancer);
        sleep(2 * SECOND).await;
        told.find([backend(5)]);
        told.push();
        sleep(SECOND).await;
        assert_eq!(balancer.select(b"", 256), Some(backend(5)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_frequency_beyond_the_end_of_time_means_never_and_one_of_zero_fills_no_thread() {
    let (told, script) = (Told::new(false), Script::default());
    let mut balancer = LoadBalancer::<RoundRobin>::from_backends(told.backends());
    balancer.set_health_check(script.check(1, 1));
    balancer.update_frequency = Some(Duration::MAX);
    balancer.health_check_frequency = Some(Duration::ZERO);
    let balancer = Arc::new(balancer);
    let (shutdown, service) = run(&balancer);
    sleep(SECOND).await;
    assert_eq!(told.asked(), 1);
    let checks = script.checks_of(&backend(1));
    assert!((100..=1001).contains(&checks), "{checks}");
    shutdown.send(true).unwrap();
    service.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_first_discovery_that_hangs_holds_up_only_what_depends_on_it() {
    let (told, script) = (Told::new(false), Script::default());
    told.answers(Answer::Hangs);
    let mut balancer = LoadBalancer::<RoundRobin>::from_backends(told.backends());
    balancer.set_health_check(script.check(1, 1));
    let (_shutdown, watch) = watch::channel(false);
    let (sender, mut ready) = watch::channel(false);
    let begun = Instant::now();
    let service = tokio::spawn(async move {
        let notifier = ServiceReadyNotifier::new(sender);
        balancer.run(watch, Some(notifier)).await;
    });
    ready.wait_for(|ready| *ready).await.unwrap();
    assert_eq!(begun.elapsed(), 10 * SECOND, "the time-out");
    told.answers(Answer::Good);
    service.await.unwrap();
    assert_eq!(script.checks_of(&backend(1)), 1, "what was found late");
}

#[tokio::test(start_paused = true)]
async fn a_check_service_without_anything_to_check_waits_for_it_and_keeps_nobody_waiting() {
    let (script, registry) = (Script::default(), Arc::new(HealthRegistry::new()));
    registry.set_health_check(script.check(1, 1));
    let told = Told::new(false);
    let view = Backends::new_with_health_registry(Box::new(told), registry.clone());
    let service = HealthCheckService::new(registry.clone());
    let (_shutdown, watch) = watch::channel(false);
    let (sender, mut ready) = watch::channel(false);
    let service = tokio::spawn(async move {
        service
            .run(watch, Some(ServiceReadyNotifier::new(sender)))
            .await;
    });
    ready.wait_for(|ready| *ready).await.unwrap();
    sleep(20 * SECOND).await;
    script.set_up(&backend(1), false);
    view.update(|_| ()).await.unwrap();
    service.await.unwrap();
    assert!(!view.ready(&backend(1)) && view.ready(&backend(2)));
    // A set that is known from the start is checked from the start.
    let known = Backends::new_with_health_registry(Static::new(three()), registry.clone());
    assert_eq!(registry.target_count(), 3);
    assert!(!known.ready(&backend(1)));
}
