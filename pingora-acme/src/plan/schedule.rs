//! When a certificate is obtained, renewed, and tried again for.

use std::time::{Duration, SystemTime};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A certificate that lives no longer is renewed after half of its life.
const SHORT_LIVED: Duration = Duration::from_secs(10 * 24 * 3600);
/// How long after a failure the next issuer is asked, if there is one.
const NEXT_ISSUER: Duration = Duration::from_secs(10);
/// Longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_secs(6 * 3600);
/// Bounds on the interval at which an authority wants its window to be queried.
const LOOK_AGAIN: (Duration, Duration) = (MINUTE, DAY);

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

impl Validity {
    fn life(self) -> Duration {
        self.not_after
            .duration_since(self.not_before)
            .unwrap_or_default()
    }
}

/// When an authority would like a certificate to be renewed (RFC 9773 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) start: SystemTime,
    pub(crate) end: SystemTime,
}

/// The next step for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// To obtain it, from the issuer with this number, for the first time or again.
    Obtain { issuer: usize },
    /// To ask for the window in which it should be renewed.
    AskWindow,
}

/// The life of one certificate.
///
/// ```text
///   none ──obtained──► held ──(2/3 of its life, or the window)──► due ──obtained──► held
///    ▲                                                             │
///    └──────────── failed: the next issuer, then a wait that grows ┘
/// ```
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    issuers: usize,
    held: Option<Validity>,
    window: Option<Window>,
    /// When the window is to be asked for; `None` if the authority knows of none.
    ask_window: Option<SystemTime>,
    /// Where in a span of time this certificate is renewed, from 0 to 1.
    spread: f64,
    failures: u32,
    /// No attempt is made before this time.
    wait_until: Option<SystemTime>,
}

impl Schedule {
    /// For a certificate that does not exist yet, to be obtained from `issuers` (at least one) in turn.
    pub(crate) fn new(issuers: usize) -> Self {
        Schedule {
            issuers: issuers.max(1),
            held: None,
            window: None,
            ask_window: None,
            spread: 0.0,
            failures: 0,
            wait_until: None,
        }
    }

    /// The number of failures since the last success.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// A certificate is held from now on. `spread` is a number from 0 to 1, by chance but the same for each host
    /// that holds it.
    pub(crate) fn hold(&mut self, now: SystemTime, validity: Validity, spread: f64) {
        self.held = Some(validity);
        self.window = None;
        self.ask_window = Some(now);
        self.spread = spread.clamp(0.0, 1.0);
        self.failures = 0;
        self.wait_until = None;
    }

    /// The certificate is no longer good: a new one is obtained at once.
    pub(crate) fn give_up_held(&mut self) {
        *self = Schedule::new(self.issuers);
    }

    /// It could not be obtained. `chance` is a number from 0 to 1; `at_least` the wait that was asked for.
    pub(crate) fn failed(&mut self, now: SystemTime, chance: f64, at_least: Duration) {
        self.failures = self.failures.saturating_add(1);
        let issuers = u32::try_from(self.issuers).unwrap_or(u32::MAX);
        let wait = if !self.failures.is_multiple_of(issuers) {
            NEXT_ISSUER
        } else {
            self.backoff(now, self.failures / issuers).max(at_least)
        };
        self.wait_until = Some(now + wait.mul_f64(0.8 + 0.4 * chance.clamp(0.0, 1.0)));
    }

    /// Another host is working on it: it is checked again later.
    pub(crate) fn postpone(&mut self, now: SystemTime, wait: Duration) {
        self.wait_until = Some(now + wait);
    }

    /// A minute, 4, 16, ... but while there is nothing good to show, no longer than an hour.
    fn backoff(&self, now: SystemTime, rounds: u32) -> Duration {
        let longest = match self.held {
            Some(held) if now + held.life() / 10 < held.not_after => LONGEST_WAIT,
            _ => HOUR,
        };
        let growth = 4u32.saturating_pow(rounds.saturating_sub(1).min(8));
        (MINUTE * growth).min(longest)
    }

    /// Sets the window that the authority suggests. `None`: it suggests none, or can't be asked. It is queried
    /// again after `again`, or not at all.
    pub(crate) fn set_window(
        &mut self,
        now: SystemTime,
        window: Option<Window>,
        again: Option<Duration>,
    ) {
        // A window that makes no sense is ignored (RFC 9773 section 4.2).
        let window = window.filter(|w| w.start < w.end);
        if window.is_some() {
            self.window = window;
        }
        self.ask_window = again.map(|again| now + again.clamp(LOOK_AGAIN.0, LOOK_AGAIN.1));
    }

    /// When the certificate that is held is to be renewed.
    pub(crate) fn renewal(&self) -> Option<SystemTime> {
        let held = self.held?;
        let life = held.life();
        let usual = if life > SHORT_LIVED {
            held.not_after - life / 3
        } else {
            held.not_before + life / 2
        };
        // Earlier rather than later, so that not all certificates of a day come back at once.
        let usual = usual - (life / 30).mul_f64(self.spread);
        let Some(window) = self.window else {
            return Some(usual);
        };
        let span = window.end.duration_since(window.start).unwrap_or_default();
        let wished = window.start + span.mul_f64(self.spread);
        // Even if the authority suggests a later time, there has to be time for failures.
        Some(wished.min(held.not_after - life / 10))
    }

    /// The next step, and its time.
    pub(crate) fn next(&self) -> (SystemTime, Step) {
        let issuer = self.failures as usize % self.issuers;
        let due = self.renewal().unwrap_or(SystemTime::UNIX_EPOCH);
        let obtain = self.wait_until.map_or(due, |wait| wait.max(due));
        match self.ask_window {
            Some(ask) if ask <= obtain => (ask, Step::AskWindow),
            _ => (obtain, Step::Obtain { issuer }),
        }
    }
}

#[cfg(test)]
mod tests;
