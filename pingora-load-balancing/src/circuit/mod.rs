//! Passive health: backends that fail requests are ejected for a while, and come back after a few
//! probes.
//!
//! A [`Breaker`] is a set of rules for all backends of a registry
//! ([`HealthRegistry::set_breaker`](crate::HealthRegistry::set_breaker)). Each backend has a circuit of its
//! own:
//!
//! ```text
//!   closed ── a threshold is reached ──▶ open ── its time has passed ──▶ half-open ──▶ closed
//!                                         ▲                                  │
//!                                         └──────── a probe failed ──────────┘
//! ```
//!
//! An open circuit keeps its backend from being [ready](crate::Backends::ready), like a failed health
//! check. A half-open one lets a limited number of requests through. [Tickets](crate::outcome::Ticket)
//! and [leases](crate::Lease) are counted; without them a circuit stays closed.
//!
//! Don't use it in place of health checks for a set that is idle most of the time: without requests, a bad backend
//! is not detected. Don't set a latency threshold if the latency of a request depends on the request.
//!
//! # Example
//! ```
//! use pingora_load_balancing::circuit::{Breaker, CircuitState};
//! use pingora_load_balancing::outcome::Outcome;
//! use pingora_load_balancing::prelude::*;
//!
//! let upstreams =
//!     LoadBalancer::<RoundRobin>::try_from_iter(["127.0.0.1:8001", "127.0.0.1:8002"]).unwrap();
//! upstreams.backends().set_breaker(Breaker::new().consecutive_failures(3));
//! for _ in 0..6 {
//!     let lease = upstreams.lease(b"", 256).unwrap();
//!     let good = lease.backend().addr.to_string() == "127.0.0.1:8001";
//!     lease.end(if good { Outcome::Completed } else { Outcome::ConnectFailed });
//! }
//! let states = upstreams.backends().circuits();
//! let states: Vec<CircuitState> = states.into_iter().map(|(_, state)| state).collect();
//! assert_eq!(states, [CircuitState::Closed, CircuitState::Open]);
//! ```

mod machine;
mod shell;
#[cfg(test)]
mod tests;
mod window;

pub(crate) use machine::Pass;
pub(crate) use shell::Circuit;

use crate::Backend;
use crate::outcome::{Outcome, Report};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// The state of a backend's circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CircuitState {
    /// Requests go to the backend.
    Closed,
    /// The backend is ejected.
    Open,
    /// The ejection time has passed: a few requests go to the backend, and decide.
    HalfOpen,
}

/// Observes circuits. Called from the tasks of requests, so it must not block. A panic is logged, and does
/// not affect the request.
pub trait CircuitObserver: Send + Sync {
    /// The circuit of `backend` has just entered this state.
    fn changed(&self, backend: &Backend, state: CircuitState);
}

/// The threshold of a rate of failures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) share: f64,
    pub(crate) requests: u32,
    pub(crate) window: Duration,
}

/// When a backend is ejected because of failed requests, and for how long.
///
/// Failures are connect errors, broken connections and timeouts
/// ([`Outcome::is_failure`](crate::outcome::Outcome::is_failure)); the statuses 502, 503 and 504, unless
/// [others](Self::failure_statuses) are set; and, if [set](Self::slower_than), slow answers. Requests that
/// clients aborted before the answer's head count neither way. A probe is judged by the head of its answer.
#[derive(Clone)]
pub struct Breaker {
    pub(crate) consecutive: Option<u32>,
    pub(crate) rate: Option<Rate>,
    statuses: Vec<RangeInclusive<u16>>,
    slow: Option<Duration>,
    pub(crate) ejection: Duration,
    pub(crate) longest_ejection: Duration,
    pub(crate) most_ejected: f64,
    pub(crate) probes: u32,
    pub(crate) successes: u32,
    observers: Vec<Arc<dyn CircuitObserver>>,
}

/// A share from 0 to 1, whatever the input.
fn share_of(given: f64) -> f64 {
    if given.is_nan() {
        0.5
    } else {
        given.clamp(0.0, 1.0)
    }
}

impl Breaker {
    /// Ejects a backend after 5 failures in a row, or if half of at least 20 requests within 10 s failed:
    /// for 10 s, doubled each further time, up to 5 min. At most half of the backends are ejected at a
    /// time. One probe at a time; after 3 good ones the backend is back.
    pub fn new() -> Self {
        Breaker {
            consecutive: Some(5),
            rate: Some(Rate {
                share: 0.5,
                requests: 20,
                window: Duration::from_secs(10),
            }),
            statuses: vec![502..=504],
            slow: None,
            ejection: Duration::from_secs(10),
            longest_ejection: Duration::from_secs(300),
            most_ejected: 0.5,
            probes: 1,
            successes: 3,
            observers: Vec::new(),
        }
    }

    /// Ejects after this many failures in a row; 0 disables this rule.
    pub fn consecutive_failures(mut self, failures: u32) -> Self {
        self.consecutive = (failures > 0).then_some(failures);
        self
    }

    /// Ejects if this `share` (0.0 to 1.0) of at least `requests` within the `window` failed. The window
    /// moves in ten steps. 0 requests disables this rule. NaN as the share counts as 0.5.
    pub fn failure_rate(mut self, share: f64, requests: u32, window: Duration) -> Self {
        self.rate = (requests > 0).then_some(Rate {
            share: share_of(share),
            requests,
            window,
        });
        self
    }

    /// The statuses that count as failures, instead of 502 to 504. An empty list: none.
    pub fn failure_statuses(
        mut self,
        statuses: impl IntoIterator<Item = RangeInclusive<u16>>,
    ) -> Self {
        self.statuses = statuses.into_iter().collect();
        self
    }

    /// Counts an answer as a failure if its head took longer than this, including connecting. By default
    /// no answer is too slow.
    pub fn slower_than(mut self, latency: Duration) -> Self {
        self.slow = Some(latency);
        self
    }

    /// The durations of the first ejection and of the longest one: each is twice as long as the previous
    /// one. A backend that was good for the longest time starts with the first again.
    pub fn ejection_time(mut self, first: Duration, longest: Duration) -> Self {
        self.ejection = first;
        self.longest_ejection = longest.max(first);
        self
    }

    /// The largest share of the registry's backends (0.0 to 1.0) that may be ejected at a time; 0.5 by
    /// default, also if NaN is given. It takes 1.0 to eject the only backend of a set.
    pub fn most_ejected(mut self, share: f64) -> Self {
        self.most_ejected = share_of(share);
        self
    }

    /// Lets `at_a_time` probes through a half-open circuit, and closes it after `successes` of them. 0
    /// means 1.
    pub fn probes(mut self, at_a_time: u32, successes: u32) -> Self {
        self.probes = at_a_time.max(1);
        self.successes = successes.max(1);
        self
    }

    /// Also notifies `observer` of state changes.
    pub fn observer(mut self, observer: Arc<dyn CircuitObserver>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Whether the request failed; `None` if it says nothing about the backend.
    pub(crate) fn judges(&self, report: &Report) -> Option<bool> {
        let bad_status = |status| self.statuses.iter().any(|bad| bad.contains(&status));
        let too_slow = |time: Duration| self.slow.is_some_and(|limit| time > limit);
        let bad = report.outcome.is_failure()
            || report.status.is_some_and(bad_status)
            || report.time_to_head.is_some_and(too_slow);
        let says_nothing = report.outcome == Outcome::Cancelled && report.status.is_none();
        (bad || !says_nothing).then_some(bad)
    }

    pub(crate) fn tell(&self, backend: &Backend, state: CircuitState) {
        match state {
            CircuitState::Closed => log::info!("backend {} is back", backend.addr),
            CircuitState::Open => log::warn!("backend {} is ejected", backend.addr),
            CircuitState::HalfOpen => log::debug!("backend {} is probed", backend.addr),
        }
        for observer in &self.observers {
            let told = crate::floor::caught("an observer of circuits", || {
                observer.changed(backend, state);
            });
            if let Err(e) = told {
                log::error!("{e}");
            }
        }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker::new()
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("consecutive", &self.consecutive)
            .field("rate", &self.rate)
            .field("statuses", &self.statuses)
            .field("slow", &self.slow)
            .field("ejection", &self.ejection)
            .field("longest_ejection", &self.longest_ejection)
            .field("most_ejected", &self.most_ejected)
            .field("probes", &self.probes)
            .field("successes", &self.successes)
            .finish_non_exhaustive()
    }
}
