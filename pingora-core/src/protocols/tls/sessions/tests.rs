//! The cache of sessions to resume: age, capacity, whose session is whose.

use super::*;
use crate::protocols::tls::ALPN;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

fn key(peer: u64) -> SessionKey {
    SessionKey { peer, facts: 0 }
}

const LIFE: Duration = Duration::from_secs(10);

#[test]
fn a_ticket_is_used_once_the_newest_first() {
    let (cache, now) = (SessionCache::new(10), Instant::now());
    for ticket in ["first", "second"] {
        cache.put(key(1), ticket, true, now + LIFE);
    }
    assert_eq!(cache.take(&key(2), now), None);
    assert_eq!(cache.take(&key(1), now), Some("second"));
    assert_eq!(cache.take(&key(1), now), Some("first"));
    assert_eq!(cache.take(&key(1), now), None);
    assert_eq!(cache.lock().sessions, 0);
    assert!(cache.lock().by_key.is_empty() && cache.lock().by_use.is_empty());
}

#[test]
fn a_session_of_the_old_kind_is_used_until_a_newer_one_comes() {
    let (cache, now) = (SessionCache::new(10), Instant::now());
    cache.put(key(1), "old", false, now + LIFE);
    assert_eq!(cache.take(&key(1), now), Some("old"));
    assert_eq!(cache.take(&key(1), now), Some("old"));
    cache.put(key(1), "new", false, now + LIFE);
    assert_eq!(cache.take(&key(1), now), Some("new"));
    assert_eq!(cache.lock().sessions, 1);
    cache.forget(&key(1));
    assert_eq!(cache.take(&key(1), now), None);
    assert_eq!(cache.lock().sessions, 0);
}

#[test]
fn nothing_is_resumed_after_its_time() {
    let (cache, now) = (SessionCache::new(10), Instant::now());
    cache.put(key(1), "long", true, now + LIFE * 2);
    cache.put(key(1), "short", true, now + LIFE);
    assert_eq!(cache.take(&key(1), now + LIFE), Some("long"));
    cache.put(key(1), "short", false, now + LIFE);
    assert_eq!(cache.take(&key(1), now + LIFE), None);
    assert_eq!(cache.lock().sessions, 0);
}

#[test]
fn an_upstream_has_so_many_and_all_have_so_many() {
    let (cache, now) = (SessionCache::new(20), Instant::now());
    for ticket in 0..100 {
        cache.put(key(1), ticket, true, now + LIFE);
    }
    assert_eq!(cache.lock().sessions, PER_UPSTREAM);
    assert_eq!(cache.take(&key(1), now), Some(99));
    for peer in 2..1000 {
        cache.put(key(peer), 0, true, now + LIFE);
        // Used all the time, and so never the one to go.
        cache.put(key(1), 100, true, now + LIFE);
        assert!(cache.lock().sessions <= 20);
    }
    assert!(cache.take(&key(1), now).is_some());
    assert!(cache.take(&key(2), now).is_none());
    assert!(cache.take(&key(999), now).is_some());
    let shelves = cache.lock();
    assert_eq!(shelves.by_key.len(), shelves.by_use.len());
    let counted: usize = shelves.by_key.values().map(|s| s.sessions.len()).sum();
    assert_eq!(counted, shelves.sessions);
}

#[test]
fn no_capacity_means_none_at_all() {
    let (cache, now) = (SessionCache::new(10), Instant::now());
    cache.put(key(1), (), true, now + LIFE);
    assert!(cache.is_on());
    cache.set_capacity(0);
    assert!(!cache.is_on());
    assert_eq!(cache.take(&key(1), now), None);
    cache.put(key(1), (), true, now + LIFE);
    assert_eq!(cache.take(&key(1), now), None);
}

#[test]
fn whatever_verification_depends_on_changes_the_key() {
    let one = ClientHandshake {
        reuse_hash: 7,
        sni: "one.example",
        address: None,
        verify_cert: true,
        verify_hostname: true,
        alternative_name: None,
        ca: None,
        client_cert: None,
        alpn: Some(&ALPN::H1),
        curves: None,
        complete_hook: None,
    };
    let changes: &[fn(&mut ClientHandshake<'_>)] = &[
        |_| {},
        |w| w.reuse_hash = 8,
        |w| w.sni = "two.example",
        |w| w.sni = "",
        |w| w.address = Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        |w| w.verify_cert = false,
        |w| w.verify_hostname = false,
        |w| w.alternative_name = Some("one.example"),
        |w| w.alpn = Some(&ALPN::H2),
        |w| w.alpn = None,
        |w| w.curves = Some("X25519"),
    ];
    let keys: HashSet<SessionKey> = changes
        .iter()
        .map(|change| {
            let mut changed = one.clone();
            change(&mut changed);
            assert_eq!(SessionKey::new(&changed), SessionKey::new(&changed));
            SessionKey::new(&changed)
        })
        .collect();
    assert_eq!(keys.len(), changes.len());
}

#[test]
fn what_is_in_a_session_is_not_shown() {
    let cache = SessionCache::new(10);
    cache.put(key(1), "secret", true, Instant::now() + LIFE);
    assert_eq!(
        format!("{cache:?}"),
        "SessionCache { sessions: 1, capacity: 10, .. }"
    );
}

#[test]
fn handshakes_are_counted() {
    let cache = SessionCache::<()>::new(10);
    for resumed in [true, false, true] {
        cache.note(resumed);
    }
    let TlsHandshakeCounts { full, resumed } = cache.counts();
    assert_eq!((full, resumed), (1, 2));
}
