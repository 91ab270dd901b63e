//! The figures of backends say what became of the requests there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod scripted;

use pingora_load_balancing::circuit::{Breaker, CircuitState};
use pingora_load_balancing::outcome::Outcome;
use pingora_load_balancing::selection::RoundRobin;
use pingora_load_balancing::{Lease, LoadBalancer};
use scripted::backend;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

fn balancer() -> LoadBalancer<RoundRobin> {
    let addresses = ["127.0.0.1:1", "127.0.0.1:2"];
    let balancer = LoadBalancer::try_from_iter(addresses).unwrap();
    let breaker = Breaker::new().consecutive_failures(3);
    let breaker = breaker.ejection_time(HOUR, HOUR);
    balancer.backends().set_breaker(breaker);
    balancer
}

/// A request to the backend with this number.
fn lease(balancer: &LoadBalancer<RoundRobin>, number: usize) -> Lease {
    let wanted = |b: &pingora_load_balancing::Backend, _| *b == backend(number);
    balancer.lease_with(b"", 256, wanted).unwrap()
}

#[test]
fn each_outcome_is_counted_at_its_backend() {
    let balancer = balancer();
    let ends = [
        (Outcome::Completed, 2),
        (Outcome::ConnectFailed, 1),
        (Outcome::Failed, 1),
        (Outcome::Completed, 1),
        (Outcome::TimedOut, 1),
        (Outcome::Cancelled, 3),
    ];
    for (end, times) in ends {
        for _ in 0..times {
            lease(&balancer, 1).end(end);
        }
    }
    let mut busy = lease(&balancer, 1);
    busy.responded(503);
    let running = lease(&balancer, 1);
    busy.end(Outcome::Completed);

    let figures = balancer.backends().figures();
    let [first, second] = &figures[..] else {
        panic!("{figures:?}");
    };
    assert_eq!((&first.backend, first.in_flight), (&backend(1), 1));
    let ended = first.outcomes;
    assert_eq!(
        (ended.completed, ended.connect_failed, ended.timed_out),
        (4, 1, 1)
    );
    assert_eq!((ended.failed, ended.cancelled, ended.total()), (1, 3, 10));
    assert_eq!(first.server_errors, 1);
    assert!(first.latency.is_some());
    assert_eq!(second.outcomes.total(), 0);
    assert_eq!(second.latency, None);
    drop(running);
    assert_eq!(balancer.backends().figures()[0].outcomes.cancelled, 4);
}

#[test]
fn the_state_is_shown_with_how_often_it_was_lost() {
    let balancer = balancer();
    let line = || balancer.backends().figures()[0].to_string();
    assert_eq!(
        line(),
        "127.0.0.1:1: ready, 0 in progress, 0 ended, 0 failed, 0 with 5xx"
    );
    for _ in 0..3 {
        lease(&balancer, 1).end(Outcome::ConnectFailed);
    }
    let figures = &balancer.backends().figures()[0];
    assert_eq!(
        (figures.circuit, figures.ejections, figures.ready),
        (CircuitState::Open, 1, false)
    );
    assert!(line().starts_with("127.0.0.1:1: ejected, 0 in progress, 3 ended, 3 failed"));
    assert!(line().ends_with("ejected 1 times"), "{}", line());
    assert!(balancer.backends().readmit(&backend(1)));
    assert!(balancer.backends().eject(&backend(1), HOUR));
    assert_eq!(balancer.backends().figures()[0].ejections, 2);
    balancer.backends().set_enable(&backend(1), false);
    assert!(line().starts_with("127.0.0.1:1: disabled"));
}

#[test]
fn figures_become_a_map_of_plain_values() {
    let balancer = balancer();
    lease(&balancer, 1).end(Outcome::Completed);
    let map = serde_yaml::to_value(balancer.backends().figures()).unwrap();
    let first = &map[0];
    assert_eq!(first["addr"], "127.0.0.1:1");
    assert_eq!(first["circuit"], "closed");
    assert_eq!(
        (&first["weight"], &first["in_flight"]),
        (&1.into(), &0.into())
    );
    assert_eq!(
        (&first["healthy"], &first["ready"]),
        (&true.into(), &true.into())
    );
    assert_eq!(first["outcomes"]["completed"], 1);
    assert!(first["latency_seconds"].is_number());
    assert!(map[1]["latency_seconds"].is_null());
}
