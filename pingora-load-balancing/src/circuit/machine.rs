//! The states of one backend's circuit. Pure: the time is an argument.
//!
//! ```text
//!              the threshold is reached, and the share of ejected backends allows it
//!   ┌────────┐ ────────────────────────────────────────────────────────────▶ ┌──────┐
//!   │ closed │                                                               │ open │◀─┐
//!   └────────┘ ◀──── enough probes succeeded ──── ┌───────────┐ ◀── its time └──────┘  │
//!                                                 │ half-open │     has passed         │
//!                                                 └───────────┘ ── a probe failed ─────┘
//! ```
//!
//! Grammar: `state` queries; `handle_*` processes events; `begin` asks for permission. Requests that
//! began before the circuit opened, and end later, say nothing about it and are ignored.

use super::window::Window;
use super::{Breaker, CircuitState};
use std::time::Duration;

/// The circuit of one backend.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    phase: Phase,
    /// Incremented whenever the phase changes: a result counts only in the phase in which it began.
    era: u64,
    /// Consecutive bad results, while closed.
    consecutive: u32,
    window: Window,
    /// The number of times it has opened without staying closed for long in between.
    openings: u32,
    closed_at: Option<Duration>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Closed,
    Open {
        until: Duration,
    },
    HalfOpen {
        under_way: u32,
        succeeded: u32,
    },
}

/// The permission for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pass {
    era: u64,
    probe: bool,
}

impl Pass {
    /// Whether the request decides if others may follow.
    pub(crate) fn is_probe(self) -> bool {
        self.probe
    }
}

/// The change that a result led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing changed.
    Stay,
    /// A threshold was reached. The caller calls `trip` if another backend may be ejected, otherwise
    /// `spare`.
    Trip,
    /// It has opened again, because a probe failed.
    Reopened,
    /// It has closed.
    Closed,
}

impl Machine {
    pub(crate) fn state(&self, now: Duration) -> CircuitState {
        match self.phase {
            Phase::Closed => CircuitState::Closed,
            Phase::Open { until } if now < until => CircuitState::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }

    /// Whether it lets probes through.
    pub(crate) fn is_half_open(&self) -> bool {
        matches!(self.phase, Phase::HalfOpen { .. })
    }

    /// When the next request may begin: at any time, at a certain time, or not before a probe has
    /// ended.
    pub(crate) fn opens(&self, policy: &Breaker) -> Opens {
        match self.phase {
            Phase::Closed => Opens::Always,
            Phase::Open { until } => Opens::At(until),
            Phase::HalfOpen { under_way, .. } if under_way < policy.probes => {
                Opens::At(Duration::ZERO)
            }
            Phase::HalfOpen { .. } => Opens::NotYet,
        }
    }

    /// Begins a request; `None` if it must not go to this backend. A pass has to be given back, with the
    /// result or by `handle_abandoned`.
    pub(crate) fn begin(&mut self, policy: &Breaker, now: Duration) -> Option<Pass> {
        if let Phase::Open { until } = self.phase
            && now >= until
        {
            self.enter(Phase::HalfOpen {
                under_way: 0,
                succeeded: 0,
            });
        }
        let probe = match &mut self.phase {
            Phase::Closed => false,
            Phase::Open { .. } => return None,
            Phase::HalfOpen { under_way, .. } => {
                if *under_way >= policy.probes {
                    return None;
                }
                *under_way += 1;
                true
            }
        };
        Some(Pass {
            era: self.era,
            probe,
        })
    }

    /// A request that began with `pass` has ended.
    pub(crate) fn handle_result(
        &mut self,
        policy: &Breaker,
        now: Duration,
        pass: Pass,
        bad: bool,
    ) -> Step {
        if pass.era != self.era {
            return Step::Stay;
        }
        match &mut self.phase {
            Phase::Closed => self.count(policy, now, bad),
            Phase::Open { .. } => Step::Stay,
            Phase::HalfOpen { .. } if bad => {
                self.trip(policy, now);
                Step::Reopened
            }
            Phase::HalfOpen {
                under_way,
                succeeded,
            } => {
                *under_way = under_way.saturating_sub(1);
                *succeeded += 1;
                if *succeeded < policy.successes {
                    return Step::Stay;
                }
                self.close(now);
                Step::Closed
            }
        }
    }

    /// A request that began with `pass` has ended without a result.
    pub(crate) fn handle_abandoned(&mut self, pass: Pass) {
        if pass.era == self.era
            && pass.probe
            && let Phase::HalfOpen { under_way, .. } = &mut self.phase
        {
            *under_way = under_way.saturating_sub(1);
        }
    }

    fn count(&mut self, policy: &Breaker, now: Duration, bad: bool) -> Step {
        self.consecutive = if bad {
            self.consecutive.saturating_add(1)
        } else {
            0
        };
        let in_a_row = policy.consecutive.is_some_and(|n| self.consecutive >= n);
        let too_many = policy.rate.is_some_and(|rate| {
            let counts = self.window.count(now, rate.window, bad);
            counts.all >= rate.requests
                && f64::from(counts.bad) >= rate.share * f64::from(counts.all)
        });
        if bad && (in_a_row || too_many) {
            return Step::Trip;
        }
        Step::Stay
    }

    /// Opens, for longer than the last time if that was recent.
    pub(crate) fn trip(&mut self, policy: &Breaker, now: Duration) {
        let good_for = self.closed_at.map(|at| now.saturating_sub(at));
        if good_for.is_some_and(|good_for| good_for > policy.longest_ejection) {
            self.openings = 0;
        }
        let factor = 2_u32.saturating_pow(self.openings);
        self.openings = self.openings.saturating_add(1);
        let ejected = policy.ejection.saturating_mul(factor);
        self.open_for(now, ejected.min(policy.longest_ejection));
    }

    /// Opens for this long, unconditionally.
    pub(crate) fn open_for(&mut self, now: Duration, ejected: Duration) {
        let until = now.saturating_add(ejected);
        self.enter(Phase::Open { until });
    }

    /// A threshold was reached, but no more backends may be ejected: counting restarts.
    pub(crate) fn spare(&mut self) {
        self.consecutive = 0;
        self.window = Window::default();
    }

    /// Closes, unconditionally.
    pub(crate) fn close(&mut self, now: Duration) {
        self.closed_at = Some(now);
        self.enter(Phase::Closed);
    }

    fn enter(&mut self, phase: Phase) {
        self.spare();
        self.era = self.era.wrapping_add(1);
        self.phase = phase;
    }
}

/// When a circuit admits the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opens {
    /// It is closed.
    Always,
    /// From this time on.
    At(Duration),
    /// All probes are in progress.
    NotYet,
}
