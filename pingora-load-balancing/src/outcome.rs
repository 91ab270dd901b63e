//! The outcomes of the requests that backends were selected for.
//!
//! A request [begins](crate::Backends::begin) at its backend and gets a [`Ticket`], which tells every
//! [`OutcomeObserver`] of the registry how it ended: exactly once, even if the ticket is only dropped,
//! because a client left or because of a panic. The requests in progress are counted for each backend.
//!
//! Without observers, a ticket is an empty pointer: nothing is counted, allocated or timed.
//!
//! A proxied request can report automatically: give its session an [attempt](crate::Backends::attempt) in
//! `upstream_peer`.
//! ```ignore
//! let backend = self.balancer.select(b"", 256).ok_or_else(no_backend)?;
//! session.report_attempt(self.balancer.backends().attempt(&backend));
//! Ok(Box::new(HttpPeer::new(backend, false, String::new())))
//! ```
//!
//! # Example
//! ```
//! use pingora_load_balancing::outcome::{Outcome, OutcomeObserver, Report};
//! use pingora_load_balancing::prelude::*;
//! use pingora_load_balancing::{Backend, Backends, discovery::Static};
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! #[derive(Default)]
//! struct Failures(AtomicU64);
//!
//! impl OutcomeObserver for Failures {
//!     fn ended(&self, _backend: &Backend, report: &Report) {
//!         if report.outcome.is_failure() {
//!             self.0.fetch_add(1, Ordering::Relaxed);
//!         }
//!     }
//! }
//!
//! let registry = Arc::new(HealthRegistry::new());
//! let failures = Arc::new(Failures::default());
//! registry.add_observer(failures.clone());
//! let set = Static::try_from_iter(["127.0.0.1:8001"]).unwrap();
//! let set = Backends::new_with_health_registry(set, registry);
//! let balancer = LoadBalancer::<RoundRobin>::from_backends(set);
//!
//! let backend = balancer.select(b"", 256).unwrap();
//! let ticket = balancer.backends().begin(&backend);
//! assert_eq!(balancer.backends().in_flight(&backend), 1);
//! ticket.end(Outcome::ConnectFailed);
//! assert_eq!(failures.0.load(Ordering::Relaxed), 1);
//! ```

use crate::Backend;
use crate::circuit::{Breaker, CircuitState, Pass};
use crate::clock::now;
use crate::floor::caught;
use crate::load::Load;
use crate::targets::Targets;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

pub use pingora_core::upstreams::outcome::{Attempt, Outcome};

/// The report to an observer about a request that has ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// The status of the response, if a head was received; see [`Ticket::responded`].
    pub status: Option<u16>,
    /// From the beginning to the head of the response, including connecting.
    pub time_to_head: Option<Duration>,
    /// From the beginning to the end.
    pub duration: Duration,
}

/// Observes the requests to the backends of a registry. It is called from the tasks of the requests, many
/// at a time, so it must not block. A panic is logged, and does not affect the request.
pub trait OutcomeObserver: Send + Sync {
    /// A request begins at `backend`. Does nothing by default.
    fn begun(&self, _backend: &Backend) {}

    /// A request to `backend` has ended. Called once for each request that began while this observer was
    /// registered.
    fn ended(&self, backend: &Backend, report: &Report);
}

/// The observers of a registry's requests, in the form that each request holds.
#[derive(Clone)]
pub(crate) struct Observers {
    all: Vec<Arc<dyn OutcomeObserver>>,
    breaker: Option<Arc<Breaker>>,
    targets: Arc<Targets>,
    slow_start: Arc<AtomicU64>,
    freed: Arc<Notify>,
}

impl Observers {
    pub(crate) fn new(
        targets: Arc<Targets>,
        slow_start: Arc<AtomicU64>,
        freed: Arc<Notify>,
    ) -> Self {
        Observers {
            all: Vec::new(),
            breaker: None,
            targets,
            slow_start,
            freed,
        }
    }

    /// A request has ended at a backend.
    fn release(&self, load: &Load) {
        if load.end() {
            // All waiters, because the sets that share a registry wait here together; queues bound their
            // number.
            self.freed.notify_waiters();
        }
    }

    pub(crate) fn with(&self, observer: Arc<dyn OutcomeObserver>) -> Self {
        let mut more = self.clone();
        more.all.push(observer);
        more
    }

    pub(crate) fn with_breaker(&self, breaker: Arc<Breaker>) -> Self {
        Observers {
            breaker: Some(breaker),
            ..self.clone()
        }
    }

    pub(crate) fn breaker(&self) -> Option<&Breaker> {
        self.breaker.as_deref()
    }

    /// Begins a request at a circuit. The error: the circuit does not admit it.
    fn pass(&self, backend: &Backend, load: &Load) -> Result<Option<Pass>, ()> {
        let Some(breaker) = &self.breaker else {
            return Ok(None);
        };
        let (pass, is_first_probe) = load.circuit.begin(breaker, now()).ok_or(())?;
        if is_first_probe {
            breaker.tell(backend, CircuitState::HalfOpen);
        }
        Ok(Some(pass))
    }

    /// Ends a request at its circuit.
    fn judge(&self, open: &Open, told: &Report) {
        let (Some(breaker), Some(pass)) = (&self.breaker, open.pass) else {
            return;
        };
        let bad = breaker.judges(told);
        let may = |eject: &mut dyn FnMut()| self.targets.may_eject(breaker.most_ejected, eject);
        let changed = open.load.circuit.end(breaker, now(), pass, bad, may);
        match changed {
            Some(CircuitState::Closed) => self.warm_up(&open.load),
            Some(state) => {
                open.load.forget_latency();
                if state == CircuitState::Open {
                    open.load.counts.ejected();
                }
            }
            None => {}
        }
        if let Some(state) = changed {
            breaker.tell(&open.backend, state);
        }
    }

    /// The backend has come back.
    pub(crate) fn warm_up(&self, load: &Load) {
        let slow_start = Duration::from_millis(self.slow_start.load(Ordering::Relaxed));
        load.warm_up(now(), slow_start);
    }
}

/// One request at one backend, or one try of it. It ends once: through [`Ticket::end`], or by being
/// dropped.
#[must_use = "dropping it says that the request was cancelled"]
pub struct Ticket(Option<Box<Open>>);

struct Open {
    backend: Backend,
    load: Arc<Load>,
    observers: Arc<Observers>,
    pass: Option<Pass>,
    begun: Instant,
    head: Option<(u16, Duration)>,
}

impl Ticket {
    /// A ticket that reports to no observer.
    pub const fn unheard() -> Self {
        Ticket(None)
    }

    /// A request that begins in any case.
    pub(crate) fn new(backend: &Backend, load: Arc<Load>, observers: Arc<Observers>) -> Self {
        load.begin();
        let pass = observers.pass(backend, &load).unwrap_or(None);
        Ticket::begun(backend, load, observers, pass)
    }

    /// A request that begins if its backend has room for it, and its circuit admits it or is `ignored`.
    pub(crate) fn admitted(
        backend: &Backend,
        load: Arc<Load>,
        observers: Arc<Observers>,
        ignored: impl FnOnce() -> bool,
    ) -> Option<Self> {
        if !load.try_begin() {
            return None;
        }
        match observers.pass(backend, &load) {
            Ok(pass) => Some(Ticket::begun(backend, load, observers, pass)),
            Err(()) if ignored() => Some(Ticket::begun(backend, load, observers, None)),
            Err(()) => {
                observers.release(&load);
                None
            }
        }
    }

    fn begun(
        backend: &Backend,
        load: Arc<Load>,
        observers: Arc<Observers>,
        pass: Option<Pass>,
    ) -> Self {
        for observer in &observers.all {
            report(|| observer.begun(backend));
        }
        Ticket(Some(Box::new(Open {
            backend: backend.clone(),
            load,
            observers,
            pass,
            begun: Instant::now(),
            head: None,
        })))
    }

    /// The head of the response has arrived, with this status. Informational responses (1xx) don't count,
    /// except for 101. Only the first call has an effect.
    pub fn responded(&mut self, status: u16) {
        if let Some(open) = &mut self.0
            && open.head.is_none()
        {
            let time = open.begun.elapsed();
            open.load.observe(now(), time, status >= 500);
            open.head = Some((status, time));
            if open.pass.is_some_and(Pass::is_probe) {
                // The head decides: a tunnel or a long download would otherwise keep others from the backend
                // for hours.
                let told = Report {
                    outcome: Outcome::Completed,
                    status: Some(status),
                    time_to_head: Some(time),
                    duration: time,
                };
                open.observers.judge(open, &told);
                open.pass = None;
            }
        }
    }

    /// The request has ended.
    pub fn end(mut self, outcome: Outcome) {
        self.close(outcome);
    }

    fn close(&mut self, outcome: Outcome) {
        let Some(open) = self.0.take() else {
            return;
        };
        open.observers.release(&open.load);
        let told = Report {
            outcome,
            status: open.head.map(|(status, _)| status),
            time_to_head: open.head.map(|(_, time)| time),
            duration: open.begun.elapsed(),
        };
        open.load.counts.ended(outcome, told.status);
        let failed = outcome.is_failure();
        if failed || (open.head.is_none() && outcome == Outcome::Completed) {
            open.load.observe(now(), told.duration, failed);
        }
        open.observers.judge(&open, &told);
        for observer in &open.observers.all {
            report(|| observer.ended(&open.backend, &told));
        }
    }
}

impl Attempt for Ticket {
    fn responded(&mut self, status: u16) {
        Ticket::responded(self, status);
    }

    fn end(self: Box<Self>, outcome: Outcome) {
        Ticket::end(*self, outcome);
    }
}

/// A panic here may happen during the unwinding of another one, which would end the process.
fn report(tell: impl FnOnce()) {
    if let Err(e) = caught("an observer of outcomes", tell) {
        log::error!("{e}");
    }
}

impl Drop for Ticket {
    /// Ends the request as [`Outcome::Cancelled`], unless it has already ended.
    fn drop(&mut self) {
        self.close(Outcome::Cancelled);
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backend = self.0.as_ref().map(|open| &open.backend.addr);
        f.debug_tuple("Ticket").field(&backend).finish()
    }
}
