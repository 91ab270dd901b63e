//! Backends that fail requests are ejected, probed, and come back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod scripted;

use pingora_load_balancing::Backend;
use pingora_load_balancing::circuit::{Breaker, CircuitObserver, CircuitState};
use pingora_load_balancing::outcome::Outcome;
use pingora_load_balancing::selection::{
    BackendIter, BackendSelection, LeastConnections, LeastTime, PeakEwma, RoundRobin,
};
use pingora_load_balancing::{LoadBalancer, Queue};
use scripted::backend;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[derive(Default)]
struct Changes(Mutex<Vec<(Backend, CircuitState)>>);

impl CircuitObserver for Changes {
    fn changed(&self, backend: &Backend, state: CircuitState) {
        self.0.lock().unwrap().push((backend.clone(), state));
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

fn balancer(count: usize, breaker: Breaker) -> (LoadBalancer<RoundRobin>, Arc<Changes>) {
    let addresses = (1..=count).map(|number| format!("127.0.0.1:{number}"));
    let balancer = LoadBalancer::try_from_iter(addresses).unwrap();
    let changes = Arc::new(Changes::default());
    balancer
        .backends()
        .set_breaker(breaker.observer(changes.clone()));
    (balancer, changes)
}

/// Requests to each backend that is ready, in turn: those to `bad` end so.
fn requests(balancer: &LoadBalancer<RoundRobin>, count: usize, bad: &[Backend], end: Outcome) {
    for _ in 0..count {
        let lease = balancer.lease(b"", 256).unwrap();
        let outcome = if bad.contains(lease.backend()) {
            end
        } else {
            Outcome::Completed
        };
        lease.end(outcome);
    }
}

fn states(balancer: &LoadBalancer<RoundRobin>) -> Vec<CircuitState> {
    let circuits = balancer.backends().circuits();
    circuits.into_iter().map(|(_, state)| state).collect()
}

#[test]
fn one_that_fails_is_left_out() {
    use CircuitState::{Closed, Open};
    for end in [Outcome::ConnectFailed, Outcome::TimedOut, Outcome::Failed] {
        let (balancer, changes) = balancer(3, Breaker::new().ejection_time(HOUR, HOUR));
        requests(&balancer, 12, &[backend(2)], end);
        assert_eq!(
            states(&balancer),
            [Closed; 3],
            "four failures are not enough"
        );
        requests(&balancer, 3, &[backend(2)], end);
        assert_eq!(states(&balancer), [Closed, Open, Closed]);
        assert!(!balancer.backends().ready(&backend(2)));
        assert_eq!(*changes.0.lock().unwrap(), [(backend(2), Open)]);
        for _ in 0..20 {
            assert_ne!(balancer.select(b"", 256), Some(backend(2)));
        }
    }
}

#[test]
fn statuses_and_slow_answers_count_too() {
    for (breaker, status) in [
        (Breaker::new(), 503),
        (Breaker::new().failure_statuses([500..=599]), 500),
        (Breaker::new().slower_than(Duration::ZERO), 200),
    ] {
        let (balancer, _) = balancer(2, breaker.consecutive_failures(2));
        for _ in 0..4 {
            let mut lease = balancer.lease(b"", 256).unwrap();
            if lease.backend() == &backend(1) {
                lease.responded(status);
            }
            lease.end(Outcome::Completed);
        }
        assert_eq!(
            balancer.backends().circuit(&backend(1)),
            Some(CircuitState::Open)
        );
        assert_eq!(
            balancer.backends().circuit(&backend(2)),
            Some(CircuitState::Closed)
        );
    }
}

#[test]
fn no_more_than_a_share_is_ejected() {
    let (balancer, _) = balancer(4, Breaker::new().consecutive_failures(1).most_ejected(0.5));
    let all: Vec<Backend> = (1..=4).map(backend).collect();
    requests(&balancer, 100, &all, Outcome::Failed);
    let open = states(&balancer)
        .into_iter()
        .filter(|s| *s == CircuitState::Open);
    assert_eq!(open.count(), 2);
}

#[test]
fn probes_are_counted_and_bring_it_back() {
    let breaker = Breaker::new().consecutive_failures(1).probes(2, 2);
    let breaker = breaker.ejection_time(Duration::ZERO, Duration::ZERO);
    let (balancer, changes) = balancer(2, breaker);
    let only = |target: &Backend| balancer.lease_with(b"", 256, |b, ready| ready && b == target);
    only(&backend(1)).unwrap().end(Outcome::Failed);
    assert_eq!(states(&balancer)[0], CircuitState::HalfOpen);
    // Selections know the time to the millisecond.
    let begun = Instant::now();
    while !balancer.backends().ready(&backend(1)) {
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    let (one, two) = (only(&backend(1)).unwrap(), only(&backend(1)).unwrap());
    assert!(only(&backend(1)).is_none(), "two probes are under way");
    assert!(!balancer.backends().ready(&backend(1)));
    drop(one);
    let again = only(&backend(1)).unwrap();
    two.end(Outcome::Completed);
    again.end(Outcome::Completed);
    assert_eq!(states(&balancer), [CircuitState::Closed; 2]);
    let told: Vec<_> = changes.0.lock().unwrap().iter().map(|(_, s)| *s).collect();
    let expected = [
        CircuitState::Open,
        CircuitState::HalfOpen,
        CircuitState::Closed,
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_circuit_is_set_by_hand() {
    let (balancer, _) = balancer(2, Breaker::new().most_ejected(0.0));
    let backends = balancer.backends();
    assert!(backends.eject(&backend(1), HOUR) && backends.eject(&backend(2), HOUR));
    assert_eq!(balancer.select(b"", 256), None);
    assert!(backends.readmit(&backend(1)));
    assert_eq!(balancer.select(b"", 256), Some(backend(1)));
    assert!(!backends.eject(&backend(7), HOUR), "it is not in the set");
    assert_eq!(backends.circuit(&backend(7)), None);
    let without = LoadBalancer::<RoundRobin>::try_from_iter(["127.0.0.1:1"]).unwrap();
    assert!(
        !without.backends().eject(&backend(1), HOUR),
        "there are no rules"
    );
}

/// A selector that avoids the slow would never probe what failed slowly.
#[test]
fn an_ejected_backend_is_probed_by_selectors_that_go_by_latency() {
    fn check<S>()
    where
        S: BackendSelection + 'static,
        S::Iter: BackendIter,
    {
        let balancer = LoadBalancer::<S>::try_from_iter(["127.0.0.1:1", "127.0.0.1:2"]).unwrap();
        let breaker = Breaker::new().consecutive_failures(3).probes(1, 1);
        let breaker = breaker.ejection_time(Duration::ZERO, Duration::ZERO);
        balancer.backends().set_breaker(breaker);
        let to_one = |b: &Backend, ready| ready && b == &backend(1);
        for _ in 0..3 {
            let lease = balancer.lease_with(b"", 256, to_one).unwrap();
            lease.end(Outcome::Failed);
        }
        let begun = Instant::now();
        while balancer.backends().circuit(&backend(1)) != Some(CircuitState::Closed) {
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "it is not probed"
            );
            balancer.lease(b"", 256).unwrap().end(Outcome::Completed);
        }
    }
    check::<PeakEwma>();
    check::<LeastTime>();
    check::<LeastConnections>();
}

struct Hysteric;

impl CircuitObserver for Hysteric {
    fn changed(&self, _: &Backend, _: CircuitState) {
        panic!("as asked for");
    }
}

#[test]
fn an_observer_that_panics_harms_nobody() {
    let breaker = Breaker::new().consecutive_failures(1);
    let (balancer, changes) = balancer(2, breaker.observer(Arc::new(Hysteric)));
    requests(&balancer, 2, &[backend(1)], Outcome::Failed);
    assert_eq!(changes.0.lock().unwrap().len(), 1);
}

/// A tunnel or an endless stream would keep everybody else from a backend that is well.
#[test]
fn a_probe_is_judged_by_the_head_of_its_answer() {
    let soon = Duration::from_millis(1);
    for (status, expected) in [(200, CircuitState::Closed), (503, CircuitState::Open)] {
        let breaker = Breaker::new()
            .consecutive_failures(1)
            .ejection_time(soon, HOUR)
            .most_ejected(1.0)
            .probes(1, 1);
        let (balancer, _) = balancer(1, breaker);
        requests(&balancer, 1, &[backend(1)], Outcome::Failed);
        let begun = Instant::now();
        let mut probe = loop {
            match balancer.lease(b"", 256) {
                Some(probe) => break probe,
                None => assert!(begun.elapsed() < Duration::from_secs(30)),
            }
        };
        assert!(balancer.lease(b"", 256).is_none(), "one probe at a time");
        probe.responded(status);
        assert_eq!(states(&balancer), [expected], "{status}");
        probe.end(Outcome::Failed);
        assert_eq!(states(&balancer), [expected], "{status}: once only");
    }
}

#[test]
fn shares_that_are_no_numbers_do_not_turn_it_off() {
    let breaker = Breaker::new()
        .consecutive_failures(1)
        .ejection_time(HOUR, HOUR)
        .failure_rate(f64::NAN, 1, HOUR)
        .most_ejected(f64::NAN);
    let (balancer, _) = balancer(4, breaker);
    requests(&balancer, 4, &[backend(2)], Outcome::Failed);
    let open = states(&balancer);
    let open = open.iter().filter(|state| **state == CircuitState::Open);
    assert_eq!(open.count(), 1);
}

/// Where all are full, requests wait; those that are ejected have room, and get none of it.
#[test]
fn full_backends_are_no_reason_to_panic() {
    let (balancer, _) = balancer(3, Breaker::new().ejection_time(HOUR, HOUR));
    let backends = balancer.backends();
    backends.set_panic_threshold(0.5);
    backends.set_max_in_flight(Some(1));
    backends.eject(&backend(3), HOUR);
    let leases: Vec<_> = (0..3).filter_map(|_| balancer.lease(b"", 256)).collect();
    let taken: Vec<_> = leases.iter().map(|lease| lease.backend().clone()).collect();
    assert_eq!(leases.len(), 2, "{taken:?}");
    assert!(!taken.contains(&backend(3)));
}

#[tokio::test(start_paused = true)]
async fn a_queue_without_end_takes_requests_and_a_raised_cap_lets_them_go() {
    let (balancer, _) = balancer(1, Breaker::new());
    let backends = balancer.backends();
    backends.set_max_in_flight(Some(1));
    let queue = Queue::new(10, Duration::MAX);
    let first = balancer.lease(b"", 256).unwrap();
    let waiting = balancer.lease_or_wait(b"", 256, &queue);
    let raising = async {
        tokio::task::yield_now().await;
        backends.set_max_in_flight(None);
    };
    let (second, ()) = tokio::join!(waiting, raising);
    assert!(second.is_some());
    drop(first);
}
