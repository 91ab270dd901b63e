//! A circuit that many threads use: the machine behind a lock, and a word for selections to read.
//!
//! Selections read one word. The lock, one for each backend, is taken when a request begins and when it ends.

use super::machine::{Machine, Opens, Pass, Step};
use super::{Breaker, CircuitState};
use crate::clock::millis;
use crate::registry::lock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const CLOSED: u64 = 0;
const NOT_YET: u64 = u64::MAX;

#[derive(Debug, Default)]
pub(crate) struct Circuit {
    /// 0 while closed; otherwise the milliseconds from which a request may begin, plus one.
    opens: AtomicU64,
    /// Apart from the word, whose cache line selections read.
    machine: Box<Mutex<Machine>>,
}

impl Circuit {
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.opens.load(Ordering::Relaxed) == CLOSED
    }

    /// Whether a request may begin.
    #[inline]
    pub(crate) fn admits(&self, now: impl Fn() -> Duration) -> bool {
        match self.opens.load(Ordering::Relaxed) {
            CLOSED => true,
            NOT_YET => false,
            at => millis(now()) >= at - 1,
        }
    }

    pub(crate) fn state(&self, now: Duration) -> CircuitState {
        lock(&self.machine).state(now)
    }

    /// Begins a request; `None` if the circuit does not admit it. The second value is true for the
    /// first probe.
    pub(crate) fn begin(&self, policy: &Breaker, now: Duration) -> Option<(Pass, bool)> {
        let mut machine = lock(&self.machine);
        let was_half_open = machine.is_half_open();
        let pass = machine.begin(policy, now)?;
        self.publish(&machine, policy);
        Some((pass, !was_half_open && machine.is_half_open()))
    }

    /// `report` is `None` if the request said nothing about the backend. `may_eject` is called before
    /// the circuit opens, and keeps others from opening meanwhile.
    pub(crate) fn end(
        &self,
        policy: &Breaker,
        now: Duration,
        pass: Pass,
        bad: Option<bool>,
        may_eject: impl FnOnce(&mut dyn FnMut()) -> bool,
    ) -> Option<CircuitState> {
        let mut machine = lock(&self.machine);
        let Some(bad) = bad else {
            machine.handle_abandoned(pass);
            self.publish(&machine, policy);
            return None;
        };
        let changed = match machine.handle_result(policy, now, pass, bad) {
            Step::Stay => None,
            Step::Reopened => Some(CircuitState::Open),
            Step::Closed => Some(CircuitState::Closed),
            Step::Trip => {
                let ejected = may_eject(&mut || {
                    machine.trip(policy, now);
                    self.publish(&machine, policy);
                });
                if !ejected {
                    machine.spare();
                }
                ejected.then_some(CircuitState::Open)
            }
        };
        self.publish(&machine, policy);
        changed
    }

    /// Opens it for this long, unconditionally.
    pub(crate) fn open_for(&self, policy: &Breaker, now: Duration, ejected: Duration) {
        let mut machine = lock(&self.machine);
        machine.open_for(now, ejected);
        self.publish(&machine, policy);
    }

    /// Closes it, unconditionally.
    pub(crate) fn close(&self, policy: &Breaker, now: Duration) {
        let mut machine = lock(&self.machine);
        machine.close(now);
        self.publish(&machine, policy);
    }

    fn publish(&self, machine: &Machine, policy: &Breaker) {
        let opens = match machine.opens(policy) {
            Opens::Always => CLOSED,
            Opens::At(time) => {
                let exact = Duration::from_millis(millis(time)) == time;
                let at = millis(time).saturating_add(u64::from(!exact));
                at.saturating_add(1).min(NOT_YET - 1)
            }
            Opens::NotYet => NOT_YET,
        };
        if self.opens.load(Ordering::Relaxed) != opens {
            self.opens.store(opens, Ordering::Relaxed);
        }
    }
}
