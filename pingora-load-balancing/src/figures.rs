//! Figures of the requests to each backend.

use crate::Backend;
use crate::circuit::CircuitState;
use crate::outcome::Outcome;
use serde::ser::{Serialize, SerializeStruct, Serializer};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The state of one backend, and what became of the requests there, at one moment; from
/// [`Backends::figures`](crate::Backends::figures).
///
/// Requests are counted since the backend joined the set, from the moment at which anything
/// [counts them](crate::HealthRegistry::count_requests): leases, an observer, or a breaker. The counts of
/// one backend are read one after the other, so that they may differ by requests that end meanwhile.
///
/// `Display` writes one line. `Serialize` makes a map: `addr`, `weight`, `healthy`, `enabled`, `ready`,
/// `circuit` (`closed`, `open`, `half-open`), `in_flight`, `latency_seconds` (a number, or null),
/// `ejections`, `server_errors`, and the fields of [`OutcomeCounts`] under `outcomes`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BackendFigures {
    /// The backend.
    pub backend: Backend,
    /// The result of its health check; `true` without one.
    pub healthy: bool,
    /// Whether it is [enabled](crate::Backends::set_enable).
    pub enabled: bool,
    /// Whether it may be selected now.
    pub ready: bool,
    /// The state of its circuit.
    pub circuit: CircuitState,
    /// Requests in progress.
    pub in_flight: usize,
    /// How many requests have ended, by outcome.
    pub outcomes: OutcomeCounts,
    /// How many of them had a response with a status of 5xx.
    pub server_errors: u64,
    /// The time to the head of its responses, a moving average; `None` if nothing is known.
    pub latency: Option<Duration>,
    /// How often its circuit has opened.
    pub ejections: u64,
}

/// Ended requests by [`Outcome`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct OutcomeCounts {
    /// [`Outcome::Completed`].
    pub completed: u64,
    /// [`Outcome::ConnectFailed`].
    pub connect_failed: u64,
    /// [`Outcome::TimedOut`].
    pub timed_out: u64,
    /// [`Outcome::Failed`], and outcomes that have no field of their own.
    pub failed: u64,
    /// [`Outcome::Cancelled`].
    pub cancelled: u64,
}

impl OutcomeCounts {
    /// All of them.
    pub fn total(&self) -> u64 {
        let ended = self.completed + self.connect_failed + self.timed_out;
        ended + self.failed + self.cancelled
    }
}

/// The counts of a backend's [`Load`](crate::load::Load): one addition for each request, beside the number in
/// progress, which is written at the same time.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    completed: AtomicU64,
    connect_failed: AtomicU64,
    timed_out: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    server_errors: AtomicU64,
    ejections: AtomicU64,
}

impl Counts {
    pub(crate) fn ended(&self, outcome: Outcome, status: Option<u16>) {
        let count = match outcome {
            Outcome::Completed => &self.completed,
            Outcome::ConnectFailed => &self.connect_failed,
            Outcome::TimedOut => &self.timed_out,
            Outcome::Cancelled => &self.cancelled,
            _ => &self.failed,
        };
        add_one(count);
        if status.is_some_and(|status| status >= 500) {
            add_one(&self.server_errors);
        }
    }

    pub(crate) fn ejected(&self) {
        add_one(&self.ejections);
    }

    pub(crate) fn outcomes(&self) -> OutcomeCounts {
        OutcomeCounts {
            completed: value(&self.completed),
            connect_failed: value(&self.connect_failed),
            timed_out: value(&self.timed_out),
            failed: value(&self.failed),
            cancelled: value(&self.cancelled),
        }
    }

    pub(crate) fn server_errors(&self) -> u64 {
        value(&self.server_errors)
    }

    pub(crate) fn ejections(&self) -> u64 {
        value(&self.ejections)
    }
}

fn add_one(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

fn value(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

fn name(state: CircuitState) -> &'static str {
    match state {
        CircuitState::Closed => "closed",
        CircuitState::Open => "open",
        CircuitState::HalfOpen => "half-open",
    }
}

impl fmt::Display for BackendFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match (self.enabled, self.healthy, self.circuit) {
            (false, ..) => "disabled",
            (_, false, _) => "unhealthy",
            (.., CircuitState::Open) => "ejected",
            (.., CircuitState::HalfOpen) => "probed",
            _ if !self.ready => "full",
            _ => "ready",
        };
        let ended = &self.outcomes;
        let failed = ended.connect_failed + ended.timed_out + ended.failed;
        write!(
            f,
            "{}: {state}, {} in progress, {} ended, {failed} failed, {} with 5xx",
            self.backend.addr,
            self.in_flight,
            ended.total(),
            self.server_errors
        )?;
        if let Some(latency) = self.latency {
            write!(f, ", {} ms to the head", latency.as_millis())?;
        }
        if self.ejections > 0 {
            write!(f, ", ejected {} times", self.ejections)?;
        }
        Ok(())
    }
}

impl Serialize for BackendFigures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let latency = self.latency.map(|latency| latency.as_secs_f64());
        let mut map = serializer.serialize_struct("BackendFigures", 11)?;
        map.serialize_field("addr", &self.backend.addr.to_string())?;
        map.serialize_field("weight", &self.backend.weight)?;
        map.serialize_field("healthy", &self.healthy)?;
        map.serialize_field("enabled", &self.enabled)?;
        map.serialize_field("ready", &self.ready)?;
        map.serialize_field("circuit", name(self.circuit))?;
        map.serialize_field("in_flight", &self.in_flight)?;
        map.serialize_field("latency_seconds", &latency)?;
        map.serialize_field("ejections", &self.ejections)?;
        map.serialize_field("server_errors", &self.server_errors)?;
        map.serialize_field("outcomes", &self.outcomes)?;
        map.end()
    }
}
