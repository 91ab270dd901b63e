//! A balancer's report on its backends, for metrics and for pages: state, requests in progress, outcomes.
//!
//! Nothing is counted for a balancer that is not [watched](watch).
//!
//! ```
//! use pingora_load_balancing::prelude::*;
//! use std::sync::Arc;
//!
//! let upstreams = LoadBalancer::<RoundRobin>::try_from_iter(["127.0.0.1:8001"]).unwrap();
//! let upstreams = Arc::new(upstreams);
//! pingora_load_balancing::metrics::watch("shop", &upstreams);
//! ```

use crate::circuit::CircuitState;
use crate::outcome::{Outcome, OutcomeObserver, Report};
use crate::selection::{BackendIter, BackendSelection};
use crate::{Backend, LoadBalancer};
use pingora_core::metrics::{Block, Collect, Collected, Kind, ONE, Shape, Spec, register};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

const SPECS: &[Spec] = &[
    Spec {
        name: "pingora_backend_requests_total",
        help: "Requests to a backend that have ended, by outcome.",
        kind: Kind::Counter,
        labels: &["outcome"],
        series: &[
            &["completed"],
            &["connect_failed"],
            &["timed_out"],
            &["failed"],
            &["cancelled"],
        ],
    },
    Spec {
        name: "pingora_backend_first_byte_seconds",
        help: "Time from choosing a backend to the head of its response.",
        kind: Kind::Histogram,
        labels: &[],
        series: ONE,
    },
];
const FIRST_BYTE: usize = Shape::place(SPECS, 1);

/// Of this many backends each has series of its own; those of the rest are added up.
static SHAPE: Shape = Shape {
    specs: SPECS,
    most: 128,
};

/// Backends that a thread remembers the places of.
const REMEMBERED: usize = 256;

thread_local! {
    static PLACES: RefCell<HashMap<(u64, u64), Block>> = RefCell::default();
}

/// Counts the requests to the backends of one balancer.
struct RequestCounter<S: BackendSelection> {
    name: String,
    /// Tells it from others of the same name.
    number: u64,
    balancer: Weak<LoadBalancer<S>>,
}

/// Counts the requests to this balancer's backends from now on, and tells the state of each, under this name as the
/// label `group`; for as long as the balancer lives. To be called once for each balancer.
///
/// A request then costs a look-up more where it ends, and [what counting costs](crate::HealthRegistry::count_requests).
pub fn watch<S>(name: &str, balancer: &Arc<LoadBalancer<S>>)
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let watch = Arc::new(RequestCounter {
        name: name.to_owned(),
        number: NEXT.fetch_add(1, Ordering::Relaxed),
        balancer: Arc::downgrade(balancer),
    });
    let weak: Weak<RequestCounter<S>> = Arc::downgrade(&watch);
    register(weak);
    // Which keeps it.
    balancer.backends().registry().add_observer(watch);
}

impl<S: BackendSelection> RequestCounter<S> {
    fn block(&self, backend: &Backend) -> Block {
        let key = (self.number, backend.hash_key());
        PLACES.with_borrow_mut(|places| {
            if let Some(block) = places.get(&key) {
                return *block;
            }
            if places.len() >= REMEMBERED {
                places.clear();
            }
            let address = backend.addr.to_string();
            let labels = [("group", &*self.name), ("backend", &*address)];
            let block = Block::find(&SHAPE, &labels);
            places.insert(key, block);
            block
        })
    }
}

impl<S: BackendSelection + Send + Sync> OutcomeObserver for RequestCounter<S> {
    fn ended(&self, backend: &Backend, report: &Report) {
        let here = self.block(backend).here();
        let outcome = match report.outcome {
            Outcome::Completed => 0,
            Outcome::ConnectFailed => 1,
            Outcome::TimedOut => 2,
            Outcome::Failed => 3,
            _ => 4,
        };
        here.add(outcome, 1);
        if let Some(time) = report.time_to_head {
            here.observe(FIRST_BYTE, time);
        }
    }
}

impl<S> Collect for RequestCounter<S>
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    fn collect(&self, out: &mut Collected) {
        let Some(balancer) = self.balancer.upgrade() else {
            return;
        };
        for state in states(&balancer) {
            let labels = [("group", &*self.name), ("backend", &*state.address)];
            let ejected = state.circuit != CircuitState::Closed;
            let gauges = [
                (
                    "pingora_backend_healthy",
                    "Whether the health checks of a backend succeed.",
                    f64::from(u8::from(state.healthy)),
                ),
                (
                    "pingora_backend_ejected",
                    "Whether a backend is ejected because of the requests that it failed, or on probation.",
                    f64::from(u8::from(ejected)),
                ),
                (
                    "pingora_backend_ready",
                    "Whether a backend may be selected.",
                    f64::from(u8::from(state.ready)),
                ),
                (
                    "pingora_backend_requests_active",
                    "Requests in progress at a backend.",
                    state.in_progress as f64,
                ),
            ];
            for (name, help, value) in gauges {
                out.gauge(name, help, &labels, value);
            }
        }
    }
}

/// The state of a backend.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BackendState {
    /// Where it listens.
    pub address: String,
    /// Its weight.
    pub weight: usize,
    /// Whether its health checks succeed; true where there are none.
    pub healthy: bool,
    /// Whether it is enabled: see [`Backends::set_enable`](crate::Backends::set_enable).
    pub enabled: bool,
    /// Whether it may be selected at the moment.
    pub ready: bool,
    /// Its circuit.
    pub circuit: CircuitState,
    /// Requests in progress there, as far as they are counted.
    pub in_progress: usize,
}

impl BackendState {
    /// One that listens there and has no faults.
    pub fn new(address: String) -> Self {
        BackendState {
            address,
            weight: 1,
            healthy: true,
            enabled: true,
            ready: true,
            circuit: CircuitState::Closed,
            in_progress: 0,
        }
    }
}

/// The state of each backend of a balancer, in their order.
pub fn states<S>(balancer: &LoadBalancer<S>) -> Vec<BackendState>
where
    S: BackendSelection + 'static,
    S::Iter: BackendIter,
{
    balancer.backends().states()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selection::RoundRobin;
    use pingora_core::metrics::{Format, gather, write_families};

    fn text() -> String {
        let mut text = String::new();
        write_families(&gather(), Format::Prometheus, &mut text);
        text
    }

    #[test]
    fn outcomes_and_states_are_told_by_group_and_backend() {
        let addresses = ["192.0.2.1:80", "192.0.2.2:80"];
        let balancer = LoadBalancer::<RoundRobin>::try_from_iter(addresses).unwrap();
        let balancer = Arc::new(balancer);
        watch("told", &balancer);
        let backends = balancer.backends();
        let one = Backend::new(addresses[0]).unwrap();
        let mut ticket = backends.begin(&one);
        ticket.responded(200);
        ticket.end(Outcome::Completed);
        backends.begin(&one).end(Outcome::TimedOut);
        let _under_way = backends.begin(&one);
        backends.set_enable(&Backend::new(addresses[1]).unwrap(), false);
        let told = text();
        for line in [
            "pingora_backend_requests_total{group=\"told\",backend=\"192.0.2.1:80\",outcome=\"completed\"} 1",
            "pingora_backend_requests_total{group=\"told\",backend=\"192.0.2.1:80\",outcome=\"timed_out\"} 1",
            "pingora_backend_first_byte_seconds_count{group=\"told\",backend=\"192.0.2.1:80\"} 1",
            "pingora_backend_requests_active{group=\"told\",backend=\"192.0.2.1:80\"} 1",
            "pingora_backend_ready{group=\"told\",backend=\"192.0.2.1:80\"} 1",
            "pingora_backend_ready{group=\"told\",backend=\"192.0.2.2:80\"} 0",
            "pingora_backend_healthy{group=\"told\",backend=\"192.0.2.2:80\"} 1",
        ] {
            assert!(told.lines().any(|found| found == line), "{line}\n{told}");
        }
        drop(balancer);
        assert!(!text().contains("pingora_backend_ready{group=\"told\""));
    }
}
