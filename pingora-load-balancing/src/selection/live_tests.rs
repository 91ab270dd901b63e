//! Selection by the state of backends: shares, ties, bounds, ranks.

use super::*;
use crate::outcome::Outcome;
use crate::{Backends, Lease, LoadBalancer, discovery::Static};
use std::collections::BTreeMap;
use std::time::Duration;

const THREE: [(&str, usize); 3] = [("1.0.0.1:80", 3), ("1.0.0.2:80", 1), ("1.0.0.3:80", 2)];

fn backend(addr: &str, weight: usize) -> Backend {
    Backend::new_with_weight(addr, weight).unwrap()
}

fn balancer_of<S>(
    members: impl IntoIterator<Item = Backend>,
    config: Option<S::Config>,
) -> LoadBalancer<S>
where
    S: BackendSelection + 'static,
    S::Iter: BackendIter,
{
    let backends = Backends::new(Static::new(members.into_iter().collect()));
    LoadBalancer::from_backends_with_config(backends, config)
}

fn balancer<S>(members: &[(&str, usize)]) -> LoadBalancer<S>
where
    S: BackendSelection + 'static,
    S::Iter: BackendIter,
{
    balancer_of(
        members.iter().map(|(addr, weight)| backend(addr, *weight)),
        None,
    )
}

/// `10.0.0.0:80` and so on.
fn equals<S>(count: usize) -> LoadBalancer<S>
where
    S: BackendSelection + 'static,
    S::Iter: BackendIter,
{
    let members = (0..count).map(|n| backend(&format!("10.0.{}.{}:80", n / 250, n % 250), 1));
    balancer_of(members, None)
}

fn name(backend: &Backend) -> String {
    backend.addr.to_string()
}

fn counts<'a>(backends: impl IntoIterator<Item = &'a Backend>) -> Vec<usize> {
    let mut counts = BTreeMap::<String, usize>::new();
    for backend in backends {
        *counts.entry(name(backend)).or_default() += 1;
    }
    counts.into_values().collect()
}

fn leases<S>(balancer: &LoadBalancer<S>, count: usize) -> Vec<Lease>
where
    S: BackendSelection + 'static,
    S::Iter: BackendIter,
{
    (0..count)
        .map(|_| balancer.lease(b"key", 256).unwrap())
        .collect()
}

#[test]
fn the_order_is_that_of_nginx() {
    let named = |weights: &[u64]| -> String {
        let order = smooth::order(weights);
        order.iter().map(|i| (b'a' + *i as u8) as char).collect()
    };
    for (weights, expected) in [
        (&[5, 1, 1][..], "aabacaa"),
        (&[1, 1, 1], "abc"),
        (&[1, 2, 3], "cbacbc"),
        (&[3, 1], "aaba"),
        (&[10, 20], "bab"),
        (&[4, 3, 2, 1], "abcabdacba"),
        (&[0, 1], "b"),
        (&[], ""),
    ] {
        assert_eq!(named(weights), expected, "{weights:?}");
    }
    let heavy = smooth::order(&[u64::MAX, u64::MAX / 2, 1]);
    assert!(heavy.len() <= (1 << 16) + 3, "{}", heavy.len());
    let many = smooth::order(&vec![u64::MAX - 1; 5_000]);
    assert_eq!(many.len(), 5_000);
}

#[test]
fn smooth_round_robin_keeps_weights_and_passes_over_the_unready() {
    let upstreams = balancer::<SmoothRoundRobin>(&THREE);
    let select = |count| -> Vec<Backend> {
        (0..count)
            .map(|_| upstreams.select(b"", 256).unwrap())
            .collect()
    };
    assert_eq!(counts(&select(600)), [300, 100, 200]);
    upstreams
        .backends()
        .set_enable(&backend("1.0.0.1:80", 3), false);
    let rest = counts(&select(600));
    assert_eq!(rest.len(), 2);
    assert!(rest[0].abs_diff(200) < 40, "{rest:?}");
}

#[test]
fn least_connections_keeps_requests_in_progress_in_proportion_to_weights() {
    let upstreams = balancer::<LeastConnections>(&THREE);
    let mut held = leases(&upstreams, 600);
    assert_eq!(counts(held.iter().map(Lease::backend)), [300, 100, 200]);
    // The backend whose requests have ended gets the next ones.
    held.retain(|lease| name(lease.backend()) != "1.0.0.2:80");
    let next = leases(&upstreams, 100);
    assert_eq!(counts(next.iter().map(Lease::backend)), [100]);
    assert_eq!(name(next[0].backend()), "1.0.0.2:80");
}

#[test]
fn equals_take_turns() {
    let upstreams = equals::<LeastConnections>(3);
    let turns: Vec<_> = (0..6)
        .map(|_| upstreams.select(b"", 256).unwrap())
        .collect();
    assert_eq!(counts(&turns), [2, 2, 2]);
    assert_eq!(turns[..3], turns[3..]);
    // By weight, without long runs of the heavy one.
    let upstreams = balancer::<LeastConnections>(&[("1.0.0.1:80", 300), ("1.0.0.2:80", 100)]);
    let turns: Vec<_> = (0..400)
        .map(|_| upstreams.select(b"", 256).unwrap())
        .collect();
    let shares = counts(&turns);
    assert!(shares[0].abs_diff(300) <= 4, "{shares:?}");
    let longest = turns.chunk_by(|a, b| a == b).map(<[Backend]>::len).max();
    assert!(longest.unwrap() <= 5, "{longest:?}");
}

/// One request at a time, each taking the time that `latency` returns for its backend.
#[test]
fn more_equals_than_are_remembered_take_turns_too() {
    let upstreams = equals::<LeastConnections>(300);
    let mut order = vec![upstreams.select(b"", 256).unwrap()];
    order.extend((1..600).map(|_| upstreams.select(b"", 256).unwrap()));
    assert_eq!(order[..300], order[300..], "in the same order each time");
    assert_eq!(counts(&order), [2; 300]);

    let weighted =
        (0..300).map(|n| backend(&format!("10.1.{}.{}:80", n / 250, n % 250), 1 + n % 2));
    let upstreams = balancer_of::<LeastConnections>(weighted, None);
    let selected: Vec<Backend> = (0..4_500)
        .map(|_| upstreams.select(b"", 256).unwrap())
        .collect();
    let heavy = selected
        .iter()
        .filter(|backend| backend.weight == 2)
        .count();
    assert!(heavy.abs_diff(3_000) < 50, "{heavy}");
    let counts = counts(&selected);
    assert_eq!(counts.len(), 300);
    assert!(
        counts.iter().all(|count| (5..=25).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn turns_are_exact_across_threads() {
    fn check<S>()
    where
        S: BackendSelection + Send + Sync + 'static,
        S::Iter: BackendIter,
    {
        let upstreams = equals::<S>(10);
        let select = || {
            let selected = (0..250).map(|_| upstreams.select(b"", 256).unwrap());
            selected.collect::<Vec<_>>()
        };
        let selected: Vec<Backend> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(select)).collect();
            let joined = threads.into_iter().map(|thread| thread.join().unwrap());
            joined.flatten().collect()
        });
        assert_eq!(counts(&selected), [100; 10]);
    }
    check::<RoundRobin>();
    check::<SmoothRoundRobin>();
    check::<LeastConnections>();
}

fn observed<S>(upstreams: &LoadBalancer<S>, latency: impl Fn(&str) -> u64)
where
    S: BackendSelection + 'static,
    S::Iter: BackendIter,
{
    let members = upstreams.backends().members();
    for member in members.all() {
        let time = Duration::from_millis(latency(&name(member.backend())));
        member.load().observe(crate::clock::now(), time, false);
    }
}

#[test]
fn the_fast_get_more_than_the_slow() {
    fastrand::seed(3);
    for (kind, shares) in [
        ("least time", {
            let upstreams = equals::<LeastTime>(3);
            observed(
                &upstreams,
                |name| if name == "10.0.0.1:80" { 40 } else { 10 },
            );
            counts(leases(&upstreams, 900).iter().map(Lease::backend))
        }),
        ("peak ewma", {
            let upstreams = equals::<PeakEwma>(3);
            observed(
                &upstreams,
                |name| if name == "10.0.0.1:80" { 40 } else { 10 },
            );
            counts(leases(&upstreams, 900).iter().map(Lease::backend))
        }),
    ] {
        // 4 : 1 : 4
        assert!(shares[0].abs_diff(400) < 20, "{kind}: {shares:?}");
        assert!(shares[1].abs_diff(100) < 20, "{kind}: {shares:?}");
    }
}

#[test]
fn the_better_of_two_keeps_weights() {
    fastrand::seed(4);
    let upstreams = balancer::<PeakEwma>(&THREE);
    let shares = counts(leases(&upstreams, 600).iter().map(Lease::backend));
    for (share, expected) in shares.iter().zip([300, 100, 200]) {
        assert!(share.abs_diff(expected) < 30, "{shares:?}");
    }
    // If no request is in progress, it is random.
    let alone: Vec<_> = (0..6_000)
        .map(|_| upstreams.select(b"", 256).unwrap())
        .collect();
    assert!(counts(&alone).iter().all(|share| *share > 150), "{alone:?}");
}

#[test]
fn the_last_one_that_is_ready_is_found() {
    let upstreams = equals::<PeakEwma>(200);
    let all = upstreams.backends().get_backend();
    for backend in all.iter().skip(1) {
        upstreams.backends().set_enable(backend, false);
    }
    for _ in 0..50 {
        assert_eq!(upstreams.select(b"", 1).as_ref(), all.first());
    }
}

#[test]
fn shares_of_a_table_are_even_and_few_keys_move() {
    let before = equals::<Maglev>(10);
    let gone = backend("10.0.0.4:80", 1);
    let all = before.backends().get_backend();
    let rest = all.iter().filter(|b| **b != gone).cloned();
    let after = balancer_of::<Maglev>(rest, None);
    let keys = (0..20_000).map(|n| format!("/path/{n}"));
    let (mut chosen, mut moved) = (Vec::new(), 0);
    for key in keys {
        let was = before.select(key.as_bytes(), 256).unwrap();
        let is = after.select(key.as_bytes(), 256).unwrap();
        moved += usize::from(was != is && was != gone);
        chosen.push(was);
    }
    let shares = counts(&chosen);
    assert!(shares.iter().all(|s| s.abs_diff(2_000) < 150), "{shares:?}");
    assert!(moved < 900, "{moved} of 18,000 keys moved without need");
}

#[test]
fn a_table_keeps_weights() {
    let upstreams = balancer::<Maglev>(&THREE);
    let chosen: Vec<_> = (0..60_000_u32)
        .map(|key| upstreams.select(&key.to_le_bytes(), 256).unwrap())
        .collect();
    let shares = counts(&chosen);
    for (share, expected) in shares.iter().zip([30_000, 10_000, 20_000]) {
        assert!(share.abs_diff(expected) < 900, "{shares:?}");
    }
}

#[test]
fn keys_that_meet_at_one_backend_overflow_to_the_next() {
    let upstreams = equals::<Maglev>(4);
    // One key; a million colliding ones would do the same.
    let held = leases(&upstreams, 400);
    let loads = counts(held.iter().map(Lease::backend));
    assert_eq!(loads.len(), 4);
    assert!(loads.iter().all(|load| *load <= 126), "{loads:?}");
    let again = equals::<Maglev>(4);
    let order: Vec<_> = leases(&again, 400)
        .iter()
        .map(|l| name(l.backend()))
        .collect();
    let before: Vec<_> = held.iter().map(|l| name(l.backend())).collect();
    assert_eq!(order, before, "overflow is the same everywhere");
    // Without a bound, all go to one.
    let config = MaglevConfig::new().bound(None).size(0).seed(7);
    let all = upstreams.backends().get_backend();
    let unbounded = balancer_of::<Maglev>(all.iter().cloned(), Some(config));
    assert_eq!(
        counts(leases(&unbounded, 400).iter().map(Lease::backend)),
        [400]
    );
}

fn ranked(addr: &str, rank: u32) -> Backend {
    let mut backend = backend(addr, 1);
    backend.ext.insert(Priority(rank));
    backend
}

#[test]
fn backups_take_over_by_degrees() {
    fastrand::seed(5);
    let first = (0..10).map(|n| ranked(&format!("1.0.0.{n}:80"), 0));
    let backups = (0..2).map(|n| ranked(&format!("2.0.0.{n}:80"), 1));
    let upstreams = balancer_of::<Tiered<LeastConnections>>(first.chain(backups), None);
    let share = |key: &[u8]| {
        let chosen = (0..4_000).map(|_| upstreams.select(key, 256).unwrap());
        chosen.filter(|b| name(b).starts_with('2')).count()
    };
    let disable = |numbers: std::ops::Range<usize>| {
        for number in numbers {
            let backend = backend(&format!("1.0.0.{number}:80"), 1);
            upstreams.backends().set_enable(&backend, false);
        }
    };
    disable(0..3);
    assert_eq!(share(b""), 0, "70 % are enough");
    disable(3..6);
    // 40 % of 70 % take 57 %.
    assert!(share(b"").abs_diff(1_714) < 150, "{}", share(b""));
    assert!(
        [0, 4_000].contains(&share(b"key")),
        "a key stays in its group"
    );
    disable(6..10);
    assert_eq!(share(b""), 4_000);
    for number in 0..2 {
        let backend = backend(&format!("2.0.0.{number}:80"), 1);
        upstreams.backends().set_enable(&backend, false);
    }
    assert_eq!(upstreams.select(b"", 256), None);
}

#[test]
fn requests_stay_in_their_zone_while_it_can_take_them() {
    let in_zone = |addr: &str, zone: &str| {
        let mut backend = backend(addr, 1);
        backend.ext.insert(Zone::new(zone));
        backend.ext.insert(crate::MaxInFlight(3));
        backend
    };
    let members = [
        in_zone("1.0.0.1:80", "far"),
        in_zone("1.0.0.2:80", "near"),
        in_zone("1.0.0.3:80", "near"),
        backend("1.0.0.4:80", 1),
    ];
    let config = TieredConfig::new().zone(Zone::new("near")).enough(0.0);
    let upstreams = balancer_of::<Tiered<LeastConnections>>(members, Some(config));
    let held = leases(&upstreams, 6);
    assert_eq!(counts(held.iter().map(Lease::backend)), [3, 3]);
    let spilled = leases(&upstreams, 4);
    assert_eq!(counts(spilled.iter().map(Lease::backend)), [2, 2]);
    drop(held);
    assert!(
        ["1.0.0.2:80", "1.0.0.3:80"].contains(&name(&upstreams.select(b"", 9).unwrap()).as_str())
    );
}

#[test]
fn in_a_panic_all_are_asked() {
    fn check<S>()
    where
        S: BackendSelection + 'static,
        S::Iter: BackendIter,
    {
        fastrand::seed(6);
        let upstreams = equals::<S>(10);
        let backends = upstreams.backends();
        backends.set_breaker(crate::circuit::Breaker::new().most_ejected(1.0));
        for backend in backends.get_backend().iter().take(8) {
            assert!(backends.eject(backend, Duration::from_secs(60)));
        }
        let select = || -> Vec<usize> {
            let chosen: Vec<_> = (0..2_000_u32)
                .map(|key| {
                    let lease = upstreams.lease(&key.to_le_bytes(), 256).unwrap();
                    lease.backend().clone()
                })
                .collect();
            counts(&chosen)
        };
        assert_eq!(select().len(), 2);
        backends.set_panic_threshold(0.3);
        let shares = select();
        assert_eq!(shares.len(), 10);
        assert!(shares.iter().all(|s| s.abs_diff(200) < 100), "{shares:?}");
        let disabled = backends.get_backend().first().unwrap().clone();
        backends.set_enable(&disabled, false);
        assert_eq!(select().len(), 9, "one that is disabled stays so");
    }
    check::<RoundRobin>();
    check::<SmoothRoundRobin>();
    check::<FNVHash>();
    check::<Consistent>();
    check::<LeastConnections>();
    check::<PeakEwma>();
    check::<Maglev>();
}

#[test]
fn one_that_comes_back_gets_its_share_slowly() {
    fastrand::seed(7);
    let upstreams = equals::<RoundRobin>(2);
    let backends = upstreams.backends();
    backends.set_breaker(crate::circuit::Breaker::new());
    backends.set_slow_start(Duration::from_secs(3_600));
    let back = backends.get_backend().first().unwrap().clone();
    assert!(backends.readmit(&back));
    let share = |count: usize| {
        let chosen = (0..count).map(|_| upstreams.select(b"", 256).unwrap());
        chosen.filter(|chosen| *chosen == back).count()
    };
    let early = share(2_000);
    assert!((60..260).contains(&early), "{early}");
    let other = backends.get_backend().last().unwrap().clone();
    backends.set_enable(&other, false);
    assert_eq!(share(100), 100, "alone, it gets everything");
}

#[test]
fn a_cap_is_kept_and_a_full_set_has_none_to_offer() {
    let upstreams = equals::<RoundRobin>(3);
    upstreams.backends().set_max_in_flight(Some(2));
    let mut held = leases(&upstreams, 6);
    assert!(upstreams.lease(b"", 256).is_none());
    assert!(upstreams.select(b"", 256).is_none());
    let freed = held.pop().unwrap();
    let backend = freed.backend().clone();
    freed.end(Outcome::Completed);
    assert_eq!(upstreams.lease(b"", 256).unwrap().backend(), &backend);
    upstreams.backends().set_max_in_flight(None);
    assert!(upstreams.lease(b"", 256).is_some());
}
