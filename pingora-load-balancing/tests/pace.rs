//! How often backends are checked, and what they are before that.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use async_trait::async_trait;
use pingora_core::Result;
use pingora_error::{Error, ErrorType};
use pingora_load_balancing::discovery::Static;
use pingora_load_balancing::health_check::{CheckPace, HealthCheck};
use pingora_load_balancing::prelude::*;
use pingora_load_balancing::{Backend, Backends};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, advance};

const ROUND: Duration = Duration::from_secs(1);

#[derive(Clone, Default)]
struct Told {
    checks: Arc<AtomicUsize>,
    fails: Arc<AtomicBool>,
    times: Arc<Mutex<Vec<Instant>>>,
}

#[async_trait]
impl HealthCheck for Told {
    async fn check(&self, _target: &Backend) -> Result<()> {
        self.checks.fetch_add(1, Ordering::SeqCst);
        self.times.lock().unwrap().push(Instant::now());
        if self.fails.load(Ordering::SeqCst) {
            return Error::e_explain(ErrorType::ConnectRefused, "as it was told");
        }
        Ok(())
    }

    fn health_threshold(&self, _success: bool) -> usize {
        3
    }
}

/// Runs a balancer of this many backends with these settings. The sender stops it.
fn serve(
    backends: u16,
    told: &Told,
    settings: impl FnOnce(&Backends),
) -> (Arc<LoadBalancer<RoundRobin>>, watch::Sender<bool>) {
    let addresses = (1..=backends).map(|port| ([127, 0, 0, 1], port).into());
    let addresses: Vec<std::net::SocketAddr> = addresses.collect();
    let set = Backends::new(Static::try_from_iter(addresses).unwrap());
    settings(&set);
    let mut balancer = LoadBalancer::<RoundRobin>::from_backends(set);
    balancer.set_health_check(Box::new(told.clone()));
    balancer.health_check_frequency = Some(ROUND);
    balancer.parallel_health_check = true;
    let balancer = Arc::new(balancer);
    let (stop, stopped) = watch::channel(false);
    let service = balancer.clone();
    tokio::spawn(async move { service.run(stopped, None).await });
    (balancer, stop)
}

/// Lets this many rounds pass, in virtual time.
async fn rounds(count: usize) {
    for _ in 0..count * 10 {
        advance(ROUND / 10).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stable_backend_is_checked_less_often_until_it_fails() {
    let told = Told::default();
    let pace = CheckPace::new().slower_when_stable(2, 5);
    let (_balancer, _stop) = serve(1, &told, |set| set.set_check_pace(pace));
    rounds(22).await;
    let slow = told.checks.load(Ordering::SeqCst);
    assert!((5..=7).contains(&slow), "{slow}");
    told.fails.store(true, Ordering::SeqCst);
    rounds(15).await;
    let fast = told.checks.load(Ordering::SeqCst) - slow;
    assert!((10..=16).contains(&fast), "{fast}");
}

#[tokio::test(start_paused = true)]
async fn the_checks_of_a_round_are_spread() {
    let told = Told::default();
    let pace = CheckPace::new().jitter(ROUND / 2);
    let (_balancer, _stop) = serve(50, &told, |set| set.set_check_pace(pace));
    rounds(1).await;
    let mut times = told.times.lock().unwrap().clone();
    times.sort();
    times.dedup();
    assert!(times.len() > 3, "{}", times.len());
}

#[tokio::test(start_paused = true)]
async fn one_that_has_to_prove_itself_has_done_so_with_one_check() {
    let told = Told::default();
    let set = |set: &Backends| set.set_initially_healthy(false);
    told.fails.store(true, Ordering::SeqCst);
    let (balancer, _stop) = serve(1, &told, set);
    assert!(balancer.select(b"", 256).is_none());
    rounds(2).await;
    assert!(balancer.select(b"", 256).is_none());

    told.fails.store(false, Ordering::SeqCst);
    let (balancer, _stop) = serve(1, &told, set);
    assert!(balancer.select(b"", 256).is_none());
    rounds(1).await;
    assert!(balancer.select(b"", 256).is_some());
}
