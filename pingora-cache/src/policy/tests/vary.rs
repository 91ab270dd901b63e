use super::*;

fn variance(vary: &[&str], req: Fields<'_>) -> Option<crate::key::HashBinary> {
    let fields: Vec<_> = vary.iter().map(|line| ("vary", *line)).collect();
    let meta = CacheMeta::new(now(), now(), 0, 0, response(200, &fields));
    CachePolicy::new().variance(&meta, &request("GET", req))
}

/// RFC 9111 section 4.1: which requests match.
#[test]
fn requests_match_or_differ() {
    const NAMES: &[&str] = &["Accept-Language, X-Kind"];
    const CODINGS: &[&str] = &["accept-encoding"];
    let rows: &[(&[&str], Fields<'_>, Fields<'_>, bool)] = &[
        (NAMES, &[], &[], true),
        (NAMES, &[("x-kind", "a")], &[("x-kind", "a")], true),
        (NAMES, &[("x-kind", "a")], &[("x-kind", "b")], false),
        (NAMES, &[("x-kind", "a")], &[("x-kind", "A")], false),
        (NAMES, &[("x-kind", "")], &[], false),
        (NAMES, &[("x-kind", "absent")], &[], false),
        (
            NAMES,
            &[("x-kind", "a")],
            &[("accept-language", "a")],
            false,
        ),
        (NAMES, &[("x-kind", "a, b")], &[("x-kind", "a,b")], true),
        (
            NAMES,
            &[("x-kind", "a, b")],
            &[("x-kind", "a"), ("x-kind", "b")],
            true,
        ),
        (NAMES, &[("x-kind", "a, b")], &[("x-kind", "b, a")], false),
        (NAMES, &[("x-kind", "a b")], &[("x-kind", "ab")], false),
        (NAMES, &[("x-other", "a")], &[("x-other", "b")], true),
        (
            CODINGS,
            &[("accept-encoding", "gzip, br")],
            &[("accept-encoding", "BR,gzip")],
            true,
        ),
        (
            CODINGS,
            &[("accept-encoding", "gzip;q=0.5")],
            &[("accept-encoding", "gzip; q=0.5")],
            true,
        ),
        (
            CODINGS,
            &[("accept-encoding", "gzip;q=0")],
            &[("accept-encoding", "gzip")],
            false,
        ),
        (
            CODINGS,
            &[("accept-encoding", "gzip")],
            &[("accept-encoding", "br")],
            false,
        ),
        (CODINGS, &[("accept-encoding", "")], &[], false),
    ];
    for (vary, one, other, expected) in rows {
        let is_same = variance(vary, one) == variance(vary, other);
        assert_eq!(is_same, *expected, "{vary:?} {one:?} {other:?}");
    }
    assert_eq!(variance(&[], &[]), None);
    assert_eq!(variance(&[" ,, "], &[]), None);
    let req: Fields<'_> = &[("a", "1"), ("b", "2")];
    assert_eq!(variance(&["a, b"], req), variance(&["B", "A, b"], req));
}

#[test]
fn a_key_has_only_so_many_fresh_variants() {
    let policy = CachePolicy::new().variants(2, 2);
    let store = |kind: &str, time: i64| {
        let req = request("GET", &[("x-kind", kind)]);
        let resp = response(200, &[("cache-control", "max-age=60"), ("vary", "x-kind")]);
        policy.response(&req, &resp, at(time), at(time))
    };
    assert!(store("a", 0).is_cacheable() && store("b", 10).is_cacheable());
    assert!(matches!(
        store("c", 20),
        RespCacheable::Uncacheable(NoCacheReason::Custom("TooManyVariants"))
    ));
    // Those that are there may be fetched again, and make room when they have expired.
    assert!(store("a", 30).is_cacheable());
    assert!(store("c", 75).is_cacheable());
    assert!(!store("d", 80).is_cacheable());
}
