//! Selection: shares by weight, keys that move when a backend leaves, iterators.

use super::*;
use std::collections::{BTreeMap, HashSet};

fn set(members: &[(&str, usize)]) -> BTreeSet<Backend> {
    members
        .iter()
        .map(|(addr, weight)| Backend::new_with_weight(addr, *weight).unwrap())
        .collect()
}

fn selector<S: BackendSelection>(members: &[(&str, usize)]) -> Arc<S> {
    Arc::new(S::build(&set(members)))
}

fn chosen<S>(selector: &Arc<S>, key: &[u8]) -> Option<String>
where
    S: BackendSelection,
    S::Iter: BackendIter,
{
    selector.iter(key).next().map(|b| b.addr.to_string())
}

/// All backends in the order in which they are tried.
fn order<S>(selector: &Arc<S>, key: &[u8], max_iterations: usize) -> Vec<String>
where
    S: BackendSelection,
    S::Iter: BackendIter,
{
    let mut iter = UniqueIterator::new(selector.iter(key), max_iterations);
    std::iter::from_fn(|| iter.get_next().map(|b| b.addr.to_string())).collect()
}

/// How often each backend is chosen for this many keys.
fn shares<S>(selector: &Arc<S>, keys: usize) -> BTreeMap<String, usize>
where
    S: BackendSelection,
    S::Iter: BackendIter,
{
    let mut shares = BTreeMap::new();
    for key in 0..keys {
        let backend = chosen(selector, format!("/path/{key}").as_bytes()).unwrap();
        *shares.entry(backend).or_default() += 1;
    }
    shares
}

const THREE: [(&str, usize); 3] = [("1.1.1.1:80", 1), ("1.0.0.1:80", 3), ("1.1.1.2:80", 2)];

#[test]
fn round_robin_goes_in_the_order_of_addresses() {
    let selector = selector::<RoundRobin>(&[("1.1.1.1:443", 1), ("1.0.0.1:443", 1)]);
    let turns: Vec<_> = (0..4).map(|_| chosen(&selector, b"").unwrap()).collect();
    assert_eq!(
        turns,
        ["1.0.0.1:443", "1.1.1.1:443", "1.0.0.1:443", "1.1.1.1:443"]
    );
}

#[test]
fn round_robin_keeps_weights_exactly() {
    let shares = shares(&selector::<RoundRobin>(&THREE), 600);
    let expected = [
        ("1.0.0.1:80", 300),
        ("1.1.1.1:80", 100),
        ("1.1.1.2:80", 200),
    ];
    assert_eq!(shares, expected.map(|(a, n)| (a.to_string(), n)).into());
}

#[test]
fn what_one_that_is_down_would_have_got_is_shared_out_evenly() {
    let selector = selector::<RoundRobin>(&[("1.0.0.1:1", 1), ("1.0.0.2:1", 1), ("1.0.0.3:1", 1)]);
    for down in ["1.0.0.1:1", "1.0.0.2:1", "1.0.0.3:1"] {
        let mut shares = BTreeMap::<String, usize>::new();
        for _ in 0..1000 {
            let mut iter = selector.iter(b"");
            let up = loop {
                let backend = iter.next().unwrap().addr.to_string();
                if backend != down {
                    break backend;
                }
            };
            *shares.entry(up).or_default() += 1;
        }
        assert_eq!(shares.len(), 2);
        assert!(
            shares.values().all(|n| n.abs_diff(500) <= 1),
            "{down}: {shares:?}"
        );
    }
}

#[test]
fn random_keeps_weights_roughly() {
    fastrand::seed(1);
    let shares = shares(&selector::<Random>(&THREE), 60_000);
    for (backend, share) in [
        ("1.0.0.1:80", 30_000),
        ("1.1.1.1:80", 10_000),
        ("1.1.1.2:80", 20_000),
    ] {
        assert!(shares[backend].abs_diff(share) < 1_500, "{shares:?}");
    }
}

#[test]
fn hashes_are_determined_and_keep_weights_roughly() {
    let selector = selector::<FNVHash>(&THREE);
    let again = self::selector::<FNVHash>(&THREE);
    for key in 0..500 {
        let key = format!("/{key}");
        let chosen = chosen(&selector, key.as_bytes());
        assert_eq!(chosen, self::chosen(&again, key.as_bytes()));
        assert_eq!(
            chosen.unwrap(),
            selector.first(key.as_bytes()).unwrap().addr.to_string()
        );
        assert_eq!(
            order(&selector, key.as_bytes(), 256),
            order(&again, key.as_bytes(), 256)
        );
    }
    let shares = shares(&selector, 60_000);
    for (backend, share) in [
        ("1.0.0.1:80", 30_000),
        ("1.1.1.1:80", 10_000),
        ("1.1.1.2:80", 20_000),
    ] {
        assert!(shares[backend].abs_diff(share) < 1_500, "{shares:?}");
    }
}

#[test]
fn the_keys_of_one_that_is_down_spread_over_the_others() {
    let members: Vec<(String, usize)> = (1..=4).map(|n| (format!("1.0.0.{n}:1"), 1)).collect();
    let members: Vec<_> = members.iter().map(|(a, w)| (a.as_str(), *w)).collect();
    let mut seconds = BTreeMap::<String, usize>::new();
    let selector = selector::<FNVHash>(&members);
    for key in 0..8000 {
        let tried = order(&selector, format!("/{key}").as_bytes(), 256);
        if tried[0] == "1.0.0.1:1" {
            *seconds.entry(tried[1].clone()).or_default() += 1;
        }
    }
    assert_eq!(seconds.len(), 3, "{seconds:?}");
    assert!(
        seconds.values().all(|n| n.abs_diff(667) < 170),
        "{seconds:?}"
    );
}

#[test]
fn every_backend_is_tried_and_none_twice() {
    fn check<S>()
    where
        S: BackendSelection,
        S::Iter: BackendIter,
    {
        let members: Vec<(String, usize)> = (0..50)
            .map(|n| (format!("10.0.0.{n}:80"), if n == 7 { 1000 } else { 1 }))
            .collect();
        let members: Vec<_> = members.iter().map(|(a, w)| (a.as_str(), *w)).collect();
        let selector = selector::<S>(&members);
        for key in 0..100 {
            let tried = order(&selector, format!("/{key}").as_bytes(), 256);
            let different: HashSet<_> = tried.iter().collect();
            assert_eq!((tried.len(), different.len()), (50, 50));
        }
    }
    check::<RoundRobin>();
    check::<Random>();
    check::<FNVHash>();
    check::<Consistent>();
    check::<SmoothRoundRobin>();
    check::<LeastConnections>();
    check::<LeastTime>();
    check::<PeakEwma>();
    check::<Maglev>();
    check::<Tiered<RoundRobin>>();
}

#[test]
fn no_more_is_looked_at_than_allowed() {
    let selector = selector::<RoundRobin>(&THREE);
    assert_eq!(order(&selector, b"", 0).len(), 0);
    assert_eq!(order(&selector, b"", 1).len(), 1);
}

#[test]
fn what_was_refused_counts_once_and_does_not_come_again() {
    fn check<S>()
    where
        S: BackendSelection,
        S::Iter: BackendIter,
    {
        let selector = selector::<S>(&THREE.map(|(addr, _)| (addr, 1)));
        for (max_iterations, expected) in [(0, 0), (1, 0), (2, 1), (256, 2)] {
            let refused = selector.first(b"key").unwrap().clone();
            let iter = selector.iter(b"key");
            let mut iter = UniqueIterator::after(refused.clone(), iter, max_iterations);
            let rest: Vec<_> = std::iter::from_fn(|| iter.get_next()).collect();
            assert_eq!(rest.len(), expected, "{max_iterations}");
            assert!(!rest.contains(&refused));
        }
    }
    check::<RoundRobin>();
    check::<Consistent>();
}

#[test]
fn nothing_is_selected_from_nothing() {
    fn check<S>()
    where
        S: BackendSelection,
        S::Iter: BackendIter,
    {
        for members in [&[][..], &[("1.0.0.1:80", 0)]] {
            let selector = selector::<S>(members);
            assert_eq!(chosen(&selector, b"key"), None);
            assert!(selector.first(b"key").is_none());
            assert_eq!(order(&selector, b"key", 256).len(), 0);
        }
    }
    check::<RoundRobin>();
    check::<Random>();
    check::<FNVHash>();
    check::<Consistent>();
    check::<SmoothRoundRobin>();
    check::<LeastConnections>();
    check::<LeastTime>();
    check::<PeakEwma>();
    check::<Maglev>();
    check::<Tiered<RoundRobin>>();
}

#[test]
fn weight_zero_takes_no_part() {
    let selector = selector::<RoundRobin>(&[("1.0.0.1:80", 0), ("1.0.0.2:80", 1)]);
    assert_eq!(order(&selector, b"", 256), ["1.0.0.2:80"]);
}

#[test]
fn few_keys_move_on_the_ring_when_one_goes() {
    let before = selector::<Consistent>(&[("1.0.0.1:1", 1), ("1.0.0.2:1", 1), ("1.0.0.3:1", 1)]);
    let after = selector::<Consistent>(&[("1.0.0.1:1", 1), ("1.0.0.3:1", 1)]);
    for key in 0..2000 {
        let key = format!("/{key}");
        let (was, is) = (
            chosen(&before, key.as_bytes()),
            chosen(&after, key.as_bytes()),
        );
        if was.as_deref() == Some("1.0.0.2:1") {
            // The former second choice is now the first.
            assert_eq!(order(&before, key.as_bytes(), 256).get(1), is.as_ref());
        } else {
            assert_eq!(was, is, "only keys of the one that went move");
        }
    }
}

#[test]
fn more_points_make_shares_more_even() {
    let spread = |multiple| {
        let config = consistent::KetamaConfig {
            point_multiple: Some(multiple),
        };
        let members = [("1.0.0.1:1", 1), ("1.0.0.2:1", 1), ("1.0.0.3:1", 1)];
        let ring = Consistent::build_with_config(&set(&members), &config);
        let shares = shares(&Arc::new(ring), 30_000);
        shares.values().max().unwrap() - shares.values().min().unwrap()
    };
    assert!(spread(2000) < spread(1));
}

/// The choices of nginx 1.22.1 with `hash $arg_k consistent`; `tests/nginx_ring.rs` queries a real
/// one.
#[test]
fn the_ring_is_that_of_nginx() {
    let selector = selector::<Consistent>(&[
        ("127.0.0.1:18081", 1),
        ("127.0.0.1:18082", 2),
        ("127.0.0.1:18083", 1),
        ("127.0.0.1:18084", 5),
    ]);
    for (key, port) in NGINX {
        let chosen = chosen(&selector, key.as_bytes()).unwrap();
        assert_eq!(chosen, format!("127.0.0.1:{port}"), "{key}");
    }
}

#[rustfmt::skip]
const NGINX: [(&str, u16); 40] = [
    ("/images/0.png", 18082),
    ("/images/1.png", 18081),
    ("/images/2.png", 18084),
    ("/images/3.png", 18081),
    ("/images/4.png", 18082),
    ("/images/5.png", 18084),
    ("/images/6.png", 18082),
    ("/images/7.png", 18082),
    ("/images/8.png", 18084),
    ("/images/9.png", 18082),
    ("/images/10.png", 18083),
    ("/images/11.png", 18083),
    ("/images/12.png", 18082),
    ("/images/13.png", 18084),
    ("/images/14.png", 18081),
    ("/images/15.png", 18081),
    ("/images/16.png", 18082),
    ("/images/17.png", 18083),
    ("/images/18.png", 18082),
    ("/images/19.png", 18081),
    ("/images/20.png", 18082),
    ("/images/21.png", 18082),
    ("/images/22.png", 18084),
    ("/images/23.png", 18084),
    ("/images/24.png", 18083),
    ("/images/25.png", 18084),
    ("/images/26.png", 18084),
    ("/images/27.png", 18081),
    ("/images/28.png", 18082),
    ("/images/29.png", 18081),
    ("/images/30.png", 18084),
    ("/images/31.png", 18084),
    ("/images/32.png", 18084),
    ("/images/33.png", 18081),
    ("/images/34.png", 18084),
    ("/images/35.png", 18083),
    ("/images/36.png", 18084),
    ("/images/37.png", 18083),
    ("/images/38.png", 18081),
    ("/images/39.png", 18084),
];
