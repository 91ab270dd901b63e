//! Decides which of the names that clients ask for are worth an order.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How many names without success are remembered.
const MOST_FAILED: usize = 1024;
/// How long a name is not tried again: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Whether a certificate may be ordered for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// It may; the caller reports the end.
    Begin,
    /// A task is working on it.
    Join,
    /// It failed a short time ago.
    Pause,
    /// There are too many under way.
    Busy,
}

/// Bounds the orders that unknown clients cause: each name once at a time, a few at once, a rate for all together.
#[derive(Debug)]
pub(crate) struct Admission {
    most_at_once: usize,
    /// Orders per hour; as many may come at once.
    per_hour: u32,
    tokens: f64,
    counted_at: Option<Instant>,
    under_way: usize,
    names: HashMap<Box<str>, State>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    UnderWay { failures: u32 },
    Failed { failures: u32, until: Instant },
}

impl Admission {
    pub(crate) fn new(most_at_once: usize, per_hour: u32) -> Self {
        Admission {
            most_at_once,
            per_hour,
            tokens: per_hour.into(),
            counted_at: None,
            under_way: 0,
            names: HashMap::new(),
        }
    }

    /// A client asks for this name.
    pub(crate) fn ask(&mut self, name: &str, now: Instant) -> Admitted {
        let failures = match self.names.get(name) {
            Some(State::UnderWay { .. }) => return Admitted::Join,
            Some(State::Failed { until, .. }) if now < *until => return Admitted::Pause,
            Some(State::Failed { failures, .. }) => *failures,
            None => 0,
        };
        if self.under_way >= self.most_at_once {
            return Admitted::Busy;
        }
        self.under_way += 1;
        self.names.insert(name.into(), State::UnderWay { failures });
        Admitted::Begin
    }

    /// Whether one more order may be made now, which counts.
    pub(crate) fn order(&mut self, now: Instant) -> bool {
        let passed = self
            .counted_at
            .map(|then| now.saturating_duration_since(then));
        let passed = passed.unwrap_or_default().as_secs_f64();
        let most = f64::from(self.per_hour);
        self.tokens = (self.tokens + passed * most / 3600.0).min(most);
        self.counted_at = Some(now);
        let allowed = self.tokens >= 1.0;
        if allowed {
            self.tokens -= 1.0;
        }
        allowed
    }

    /// An admitted attempt has ended, successfully or not.
    pub(crate) fn ended(&mut self, name: &str, well: bool, now: Instant) {
        let Some(State::UnderWay { failures }) = self.names.remove(name) else {
            return;
        };
        self.under_way = self.under_way.saturating_sub(1);
        if well {
            return;
        }
        let failures = failures.saturating_add(1);
        let pause = FIRST_PAUSE * 4u32.saturating_pow(failures.min(8) - 1);
        let until = now + pause.min(LONGEST_PAUSE);
        self.make_room(now);
        self.names
            .insert(name.into(), State::Failed { failures, until });
    }

    fn make_room(&mut self, now: Instant) {
        if self.names.len() < MOST_FAILED + self.under_way {
            return;
        }
        let over = |state: &State| matches!(state, State::Failed { until, .. } if *until <= now);
        self.names.retain(|_, state| !over(state));
        if self.names.len() < MOST_FAILED + self.under_way {
            return;
        }
        let first = self.names.iter().filter_map(|(name, state)| match state {
            State::Failed { until, .. } => Some((*until, name)),
            State::UnderWay { .. } => None,
        });
        if let Some(name) = first.min().map(|(_, name)| name.clone()) {
            self.names.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_name_is_gone_for_once_at_a_time() {
        let now = Instant::now();
        let mut admission = Admission::new(2, 100);
        assert_eq!(admission.ask("a", now), Admitted::Begin);
        assert_eq!(admission.ask("a", now), Admitted::Join);
        assert_eq!(admission.ask("b", now), Admitted::Begin);
        assert_eq!(admission.ask("c", now), Admitted::Busy);
        admission.ended("a", true, now);
        admission.ended("a", true, now);
        assert_eq!(admission.ask("c", now), Admitted::Begin);
        assert_eq!(admission.ask("d", now), Admitted::Busy);
    }

    #[test]
    fn what_failed_is_left_alone_for_longer_each_time() {
        let mut now = Instant::now();
        let mut admission = Admission::new(2, 100);
        for pause in [1, 4, 16, 60, 60] {
            assert_eq!(admission.ask("a", now), Admitted::Begin);
            admission.ended("a", false, now);
            now += MINUTE * pause - Duration::from_secs(1);
            assert_eq!(admission.ask("a", now), Admitted::Pause, "{pause}");
            now += Duration::from_secs(1);
        }
    }

    #[test]
    fn orders_have_a_rate() {
        let mut now = Instant::now();
        let mut admission = Admission::new(2, 4);
        for _ in 0..4 {
            assert!(admission.order(now));
        }
        assert!(!admission.order(now));
        now += MINUTE * 15;
        assert!(admission.order(now));
        assert!(!admission.order(now));
        now += MINUTE * 60 * 24;
        assert_eq!((0..9).filter(|_| admission.order(now)).count(), 4);
    }

    #[test]
    fn invented_names_take_no_more_room_than_is_set_aside() {
        let now = Instant::now();
        let mut admission = Admission::new(2, 100);
        for n in 0..3 * MOST_FAILED {
            let name = format!("{n}.example");
            assert_eq!(admission.ask(&name, now), Admitted::Begin);
            admission.ended(&name, false, now);
            assert!(admission.names.len() <= MOST_FAILED + 2);
        }
        let last = format!("{}.example", 3 * MOST_FAILED - 1);
        assert_eq!(admission.ask(&last, now), Admitted::Pause);
        assert_eq!(admission.under_way, 0);
    }
}
