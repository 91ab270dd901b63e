use super::*;
use ForcedFreshness::{ForceExpired, ForceFresh};

/// A response that was made at -30, arrived at 0 and is fresh until 70.
fn meta(directives: &str) -> CacheMeta {
    let resp = response(200, &[("cache-control", directives), ("etag", "a")]);
    let mut meta = CacheMeta::new(at(70), now(), 0, 0, resp);
    meta.set_epoch_override(at(-30));
    meta
}

/// RFC 9111 sections 4.2.4 and 5.2.1: what a client asks for.
#[test]
fn requests_have_wishes() {
    type Row<'a> = (&'a str, &'a str, i64, Option<ForcedFreshness>);
    let rows: &[Row<'_>] = &[
        ("", "", 10, None),
        ("", "", 100, None),
        ("", "no-cache", 10, Some(ForceExpired)),
        ("", "no-cache", 100, Some(ForceExpired)),
        ("", "max-age=40", 10, None),
        ("", "max-age=39", 10, Some(ForceExpired)),
        ("", "max-age=0", 10, Some(ForceExpired)),
        ("", "max-age=x", 10, Some(ForceExpired)),
        ("", "max-age=99999999999", 10, None),
        ("", "min-fresh=60", 10, None),
        ("", "min-fresh=61", 10, Some(ForceExpired)),
        ("", "min-fresh=x", 10, Some(ForceExpired)),
        ("", "max-stale", 10, None),
        ("", "max-stale", 100, Some(ForceFresh)),
        ("", "max-stale=30", 100, Some(ForceFresh)),
        ("", "max-stale=29", 100, None),
        ("", "max-stale=x", 100, None),
        ("", "max-stale, no-cache", 100, Some(ForceExpired)),
        ("", "max-stale, max-age=5", 100, None),
        ("", "max-stale, max-age=130", 100, Some(ForceFresh)),
        ("", "max-stale, min-fresh=1", 100, None),
        ("must-revalidate", "max-stale", 100, None),
        ("proxy-revalidate", "max-stale", 100, None),
        ("no-cache", "max-stale", 100, None),
        ("s-maxage=100", "max-stale", 100, None),
        ("", "only-if-cached", 10, None),
        ("", "only-if-cached", 100, None),
    ];
    let policy = CachePolicy::new();
    let deaf = CachePolicy::new().request_directives(false);
    let key = CacheKey::new("GET https://one.example/a", "");
    for (said, wish, time, expected) in rows {
        let request = request("GET", &[("cache-control", wish)]);
        let found = policy.hit(&request, &key, &meta(said), at(*time));
        assert_eq!(found, *expected, "{said} / {wish} at {time}");
        assert_eq!(deaf.hit(&request, &key, &meta(said), at(*time)), None);
    }
}

/// RFC 9111 section 5.4.
#[test]
fn pragma_counts_where_there_is_nothing_else() {
    let policy = CachePolicy::new();
    let key = CacheKey::new("GET https://one.example/a", "");
    let rows: &[(Fields<'_>, Option<ForcedFreshness>)] = &[
        (&[("pragma", "No-Cache")], Some(ForceExpired)),
        (&[("pragma", "x, no-cache")], Some(ForceExpired)),
        (&[("pragma", "x")], None),
        (
            &[("pragma", "no-cache"), ("cache-control", "max-age=50")],
            None,
        ),
    ];
    for (fields, expected) in rows {
        let found = policy.hit(&request("GET", fields), &key, &meta(""), at(10));
        assert_eq!(found, *expected, "{fields:?}");
    }
}

/// RFC 9111 section 5.2.1.7.
#[test]
fn only_if_cached() {
    assert!(is_only_if_cached(&request(
        "GET",
        &[("cache-control", "Only-If-Cached")]
    )));
    assert!(!is_only_if_cached(&request(
        "GET",
        &[("cache-control", "x=\"only-if-cached\"")]
    )));
    assert!(!is_only_if_cached(&request("GET", &[])));
}

/// RFC 9211.
#[test]
fn cache_status() {
    let hit = CacheStatus::hit("Edge Cache \"1\"")
        .ttl(-3)
        .key("GET a\u{e4}\\");
    assert_eq!(
        hit.to_string(),
        r#""Edge Cache \"1\""; hit; ttl=-3; key="GET a\\""#
    );
    let miss = CacheStatus::forwarded("edge", Forwarded::Stale)
        .forwarded_status(StatusCode::NOT_MODIFIED)
        .collapsed()
        .stored()
        .detail("x y");
    let expected = r#"edge; fwd=stale; fwd-status=304; collapsed; stored; detail="x y""#;
    assert_eq!(miss.to_string(), expected);
    let mut resp = response(
        200,
        &[
            ("cache-status", "origin; hit"),
            ("cache-status", "mid; hit"),
        ],
    );
    miss.append_to(&mut resp).unwrap();
    let expected = format!("origin; hit, mid; hit, {expected}");
    assert_eq!(resp.headers["cache-status"], expected.as_str());
    assert_eq!(resp.headers.get_all("cache-status").iter().count(), 1);
    for (reason, token) in [
        (Forwarded::Bypass, "bypass"),
        (Forwarded::Method, "method"),
        (Forwarded::UriMiss, "uri-miss"),
        (Forwarded::VaryMiss, "vary-miss"),
        (Forwarded::Miss, "miss"),
        (Forwarded::Request, "request"),
        (Forwarded::Stale, "stale"),
        (Forwarded::Partial, "partial"),
    ] {
        assert_eq!(reason.as_str(), token);
    }
}
