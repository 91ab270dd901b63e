//! Years pass here in no time.

use super::*;

fn day(n: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH
        + Duration::from_secs(20_000 * 24 * 3600)
        + DAY * u32::try_from(n).unwrap()
}

fn life(from: SystemTime, days: u32) -> Validity {
    Validity {
        not_before: from,
        not_after: from + DAY * days,
    }
}

/// Whether `time` is less than an hour away from `wanted`.
fn about(time: SystemTime, wanted: SystemTime) -> bool {
    let apart = time.duration_since(wanted).unwrap_or_else(|e| e.duration());
    apart < HOUR
}

fn obtain(issuer: usize) -> Step {
    Step::Obtain { issuer }
}

#[test]
fn what_is_not_held_is_obtained_at_once() {
    let schedule = Schedule::new(1);
    assert!(schedule.next().0 < day(0));
    assert_eq!(schedule.next().1, obtain(0));
}

#[test]
fn the_time_of_renewal_follows_from_the_life_and_the_spread() {
    for (days, spread, renewed_after) in [
        (90, 0.0, DAY * 60),
        (90, 1.0, DAY * 57),
        (90, 0.5, DAY * 117 / 2),
        // Short-lived ones after half of their life.
        (6, 0.0, DAY * 3),
        (6, 1.0, DAY * 3 - DAY / 5),
        (1, 0.0, DAY / 2),
        (365, 0.0, DAY * 730 / 3),
    ] {
        let mut schedule = Schedule::new(1);
        schedule.hold(day(1), life(day(0), days), spread);
        schedule.set_window(day(1), None, None);
        let (when, step) = schedule.next();
        assert!(about(when, day(0) + renewed_after), "{days} {spread}");
        assert_eq!(step, obtain(0));
    }
}

#[test]
fn an_authority_may_say_when() {
    let mut schedule = Schedule::new(1);
    schedule.hold(day(0), life(day(0), 90), 0.5);
    assert_eq!(schedule.next(), (day(0), Step::AskWindow));
    let window = |start, end| {
        Some(Window {
            start: day(start),
            end: day(end),
        })
    };
    schedule.set_window(day(0), window(40, 44), Some(HOUR * 6));
    assert_eq!(schedule.next(), (day(0) + HOUR * 6, Step::AskWindow));
    assert_eq!(schedule.renewal(), Some(day(42)));
    // It is unreachable for a while: what it said last stands.
    schedule.set_window(day(1), None, Some(HOUR));
    assert_eq!(schedule.renewal(), Some(day(42)));
    // It revokes, and wants all of them renewed at once.
    schedule.set_window(day(2), window(0, 1), Some(Duration::ZERO));
    assert_eq!(schedule.next(), (day(0) + DAY / 2, obtain(0)));
    // Nonsense changes nothing, and an authority can't make a host ask all the time, or not for months.
    schedule.set_window(day(2), window(9, 3), Some(DAY * 300));
    assert_eq!(schedule.renewal(), Some(day(0) + DAY / 2));
    let mut patient = Schedule::new(1);
    patient.hold(day(0), life(day(0), 90), 0.5);
    patient.set_window(day(0), window(80, 400), Some(DAY * 300));
    assert_eq!(patient.next(), (day(1), Step::AskWindow));
    assert_eq!(
        patient.renewal(),
        Some(day(81)),
        "there is time for failures"
    );
}

#[test]
fn after_a_failure_the_next_issuer_is_asked_and_after_all_of_them_it_waits() {
    let mut schedule = Schedule::new(2);
    let mut now = day(0);
    let mut waits = vec![];
    for attempt in 0..12 {
        let (when, step) = schedule.next();
        now = now.max(when);
        assert_eq!(step, obtain(attempt % 2));
        schedule.failed(now, 0.5, Duration::ZERO);
        waits.push(schedule.next().0.duration_since(now).unwrap().as_secs());
    }
    // Nothing is held, so it never waits for longer than an hour.
    let expected = [10, 60, 10, 240, 10, 960, 10, 3600, 10, 3600, 10, 3600];
    assert_eq!(waits, expected);
    schedule.hold(now, life(now, 90), 0.0);
    schedule.set_window(now, None, None);
    assert_eq!(schedule.next().1, obtain(0), "the first one is asked again");
}

#[test]
fn waits_grow_to_hours_while_the_certificate_is_good_and_shrink_at_its_end() {
    let mut schedule = Schedule::new(1);
    schedule.hold(day(0), life(day(0), 90), 0.0);
    schedule.set_window(day(0), None, None);
    let mut now = day(60);
    let mut attempts = 0;
    while now < day(90) {
        let (when, step) = schedule.next();
        assert_eq!(step, obtain(0));
        now = now.max(when);
        schedule.failed(now, 0.5, Duration::ZERO);
        attempts += 1;
        let wait = schedule.next().0.duration_since(now).unwrap();
        let longest = if now < day(81) { LONGEST_WAIT } else { HOUR };
        assert!(
            wait <= longest,
            "{wait:?} on day {:?}",
            now.duration_since(day(0))
        );
    }
    // 21 days by 6 hours, 9 days by the hour.
    assert!((280..320).contains(&attempts), "{attempts}");
}

#[test]
fn an_issuer_that_limits_the_rate_is_left_alone() {
    let mut schedule = Schedule::new(1);
    schedule.failed(day(0), 0.0, HOUR * 3);
    let wait = schedule.next().0.duration_since(day(0)).unwrap();
    assert!(wait >= HOUR * 2, "{wait:?}");
}

#[test]
fn chance_spreads_the_attempts() {
    let waits = [0.0, 1.0].map(|chance| {
        let mut schedule = Schedule::new(1);
        schedule.failed(day(0), chance, Duration::ZERO);
        schedule.next().0.duration_since(day(0)).unwrap()
    });
    assert_eq!(waits, [MINUTE.mul_f64(0.8), MINUTE.mul_f64(1.2)]);
}

/// Five years with an authority that fails on three days of ten: there is always a good certificate.
#[test]
fn a_certificate_is_held_for_years() {
    let mut schedule = Schedule::new(2);
    let mut now = day(0);
    let mut held: Option<Validity> = None;
    let mut renewals = 0;
    while now < day(5 * 365) {
        let (when, step) = schedule.next();
        now = now.max(when);
        if let Some(held) = held {
            assert!(now < held.not_after);
        }
        let today = now.duration_since(day(0)).unwrap().as_secs() / DAY.as_secs();
        match step {
            Step::AskWindow => schedule.set_window(now, None, Some(HOUR * 12)),
            Step::Obtain { .. } if today % 10 < 3 && held.is_some() => {
                schedule.failed(now, 0.3, Duration::ZERO);
            }
            Step::Obtain { .. } => {
                let validity = life(now, 90);
                schedule.hold(now, validity, 0.7);
                held = Some(validity);
                renewals += 1;
            }
        }
    }
    assert!((29..33).contains(&renewals), "{renewals}");
}

#[test]
fn what_was_revoked_is_obtained_at_once_whatever_was_planned() {
    let now = day(0);
    let mut schedule = Schedule::new(2);
    schedule.hold(now, life(now, 90), 0.5);
    schedule.set_window(now, None, None);
    schedule.failed(now, 0.5, HOUR);
    assert!(schedule.next().0 > now);
    schedule.give_up_held();
    let (when, step) = schedule.next();
    assert!(when <= now && step == Step::Obtain { issuer: 0 });
}
