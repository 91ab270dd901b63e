//! The states of a circuit, at simulated times.

use super::machine::{Machine, Opens, Step};
use super::*;

fn policy() -> Breaker {
    Breaker::new()
        .consecutive_failures(3)
        .failure_rate(0.5, 10, SECOND * 10)
        .ejection_time(SECOND * 10, SECOND * 60)
        .probes(2, 3)
}

const SECOND: Duration = Duration::from_secs(1);

/// A request that begins and ends at once; trips if it may.
fn request(machine: &mut Machine, policy: &Breaker, now: Duration, bad: bool) -> Step {
    let pass = machine.begin(policy, now).expect("it is admitted");
    let step = machine.handle_result(policy, now, pass, bad);
    if step == Step::Trip {
        machine.trip(policy, now);
    }
    step
}

#[test]
fn failures_in_a_row_open_it_and_a_success_begins_anew() {
    let (policy, mut machine) = (policy(), Machine::default());
    for bad in [true, true, false, true, true] {
        assert_eq!(request(&mut machine, &policy, SECOND, bad), Step::Stay);
    }
    assert_eq!(request(&mut machine, &policy, SECOND, true), Step::Trip);
    assert_eq!(machine.state(SECOND), CircuitState::Open);
    assert_eq!(machine.begin(&policy, SECOND * 10), None);
    assert_eq!(machine.opens(&policy), Opens::At(SECOND * 11));
}

#[test]
fn a_rate_of_failures_opens_it_once_there_are_enough_requests() {
    let policy = policy().consecutive_failures(0);
    let mut machine = Machine::default();
    for turn in 0..9 {
        let step = request(&mut machine, &policy, SECOND, turn % 2 == 0);
        assert_eq!(step, Step::Stay);
    }
    assert_eq!(request(&mut machine, &policy, SECOND, true), Step::Trip);
    // The same, too slowly.
    let mut machine = Machine::default();
    for turn in 0..100 {
        let step = request(&mut machine, &policy, SECOND * 2 * turn, true);
        assert_eq!(step, Step::Stay);
    }
}

#[test]
fn probes_are_counted_and_decide() {
    let (policy, mut machine) = (policy(), Machine::default());
    machine.trip(&policy, Duration::ZERO);
    let now = SECOND * 10;
    assert_eq!(machine.state(now), CircuitState::HalfOpen);
    let first = machine.begin(&policy, now).unwrap();
    let second = machine.begin(&policy, now).unwrap();
    assert_eq!(machine.begin(&policy, now), None);
    assert_eq!(machine.opens(&policy), Opens::NotYet);
    machine.handle_abandoned(first);
    assert_eq!(machine.opens(&policy), Opens::At(Duration::ZERO));
    let third = machine.begin(&policy, now).unwrap();
    for (pass, expected) in [(second, Step::Stay), (third, Step::Stay)] {
        assert_eq!(machine.handle_result(&policy, now, pass, false), expected);
    }
    assert_eq!(request(&mut machine, &policy, now, false), Step::Closed);
    assert_eq!(machine.state(now), CircuitState::Closed);
}

#[test]
fn ejections_grow_up_to_the_longest_and_are_forgotten_after_a_good_time() {
    let (policy, mut machine) = (policy(), Machine::default());
    let mut now = Duration::ZERO;
    machine.trip(&policy, now);
    for seconds in [10, 20, 40, 60, 60] {
        assert_eq!(machine.opens(&policy), Opens::At(now + SECOND * seconds));
        now += SECOND * seconds;
        assert_eq!(request(&mut machine, &policy, now, true), Step::Reopened);
    }
    now += SECOND * 60;
    for _ in 0..3 {
        request(&mut machine, &policy, now, false);
    }
    assert_eq!(machine.state(now), CircuitState::Closed);
    machine.trip(&policy, now + SECOND);
    assert_eq!(machine.opens(&policy), Opens::At(now + SECOND * 61));
    machine.close(now);
    now += SECOND * 61;
    machine.trip(&policy, now);
    assert_eq!(machine.opens(&policy), Opens::At(now + SECOND * 10));
}

#[test]
fn results_of_another_era_say_nothing() {
    let (policy, mut machine) = (policy(), Machine::default());
    let early = machine.begin(&policy, SECOND).unwrap();
    let another = machine.begin(&policy, SECOND).unwrap();
    machine.trip(&policy, SECOND);
    let step = machine.handle_result(&policy, SECOND, early, true);
    assert_eq!(step, Step::Stay);
    let probe = machine.begin(&policy, SECOND * 20).unwrap();
    let step = machine.handle_result(&policy, SECOND * 20, another, true);
    assert_eq!((step, machine.is_half_open()), (Step::Stay, true));
    machine.close(SECOND * 20);
    machine.handle_abandoned(probe);
    assert_eq!(machine.opens(&policy), Opens::Always);
}

#[test]
fn one_that_is_spared_counts_from_the_beginning() {
    let (policy, mut machine) = (policy(), Machine::default());
    for _ in 0..2 {
        request(&mut machine, &policy, SECOND, true);
    }
    let pass = machine.begin(&policy, SECOND).unwrap();
    let step = machine.handle_result(&policy, SECOND, pass, true);
    assert_eq!(step, Step::Trip);
    machine.spare();
    for _ in 0..2 {
        assert_eq!(request(&mut machine, &policy, SECOND, true), Step::Stay);
    }
    assert_eq!(request(&mut machine, &policy, SECOND, true), Step::Trip);
}

#[test]
fn extreme_settings_do_no_harm() {
    let policy = Breaker::new()
        .failure_rate(f64::NAN, 1, Duration::ZERO)
        .ejection_time(Duration::MAX, Duration::ZERO)
        .most_ejected(7.0)
        .probes(0, 0)
        .consecutive_failures(1);
    let mut machine = Machine::default();
    for _ in 0..40 {
        machine.trip(&policy, Duration::MAX);
    }
    assert_eq!(machine.state(SECOND), CircuitState::Open);
    machine.close(Duration::MAX);
    assert_eq!(request(&mut machine, &policy, SECOND, true), Step::Trip);
}

#[test]
fn what_counts_as_a_failure() {
    let breaker = Breaker::new().slower_than(SECOND);
    let report = |outcome, status, head: Option<Duration>| Report {
        outcome,
        status,
        time_to_head: head,
        duration: SECOND * 9,
    };
    for (outcome, status, head, expected) in [
        (Outcome::Completed, Some(200), Some(SECOND), Some(false)),
        (Outcome::Completed, Some(200), Some(SECOND * 2), Some(true)),
        (Outcome::Completed, Some(500), Some(SECOND), Some(false)),
        (Outcome::Completed, Some(503), Some(SECOND), Some(true)),
        (Outcome::Completed, None, None, Some(false)),
        (Outcome::Failed, Some(200), Some(SECOND), Some(true)),
        (Outcome::ConnectFailed, None, None, Some(true)),
        (Outcome::TimedOut, None, None, Some(true)),
        (Outcome::Cancelled, None, None, None),
        (Outcome::Cancelled, Some(200), Some(SECOND), Some(false)),
        (Outcome::Cancelled, Some(502), Some(SECOND), Some(true)),
    ] {
        let report = report(outcome, status, head);
        assert_eq!(breaker.judges(&report), expected, "{report:?}");
    }
    let every = Breaker::new().failure_statuses([500..=599]);
    let report = report(Outcome::Completed, Some(500), None);
    assert_eq!(every.judges(&report), Some(true));
}
