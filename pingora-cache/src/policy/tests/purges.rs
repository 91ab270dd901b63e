use super::*;
use crate::clock;

fn policy() -> CachePolicy {
    CachePolicy::new().tag_fields(["cache-tag", "surrogate-key"])
}

/// A response that was asked for so many seconds ago.
fn meta(policy: &CachePolicy, seconds: u64, fields: Fields<'_>) -> CacheMeta {
    let mut resp = response(200, fields);
    resp.insert_header("cache-control", "max-age=600").unwrap();
    let then = clock::now() - Duration::from_secs(seconds);
    policy
        .response(&request("GET", &[]), &resp, then, then)
        .unwrap_meta()
}

fn is_gone(policy: &CachePolicy, uri: &str, meta: &CacheMeta) -> bool {
    let key = CacheKey::new(format!("GET {uri}"), "");
    let found = policy.hit(&request("GET", &[]), &key, meta, clock::now());
    found == Some(ForcedFreshness::ForceMiss)
}

#[test]
fn by_tag() {
    let policy = policy();
    let tagged = meta(
        &policy,
        5,
        &[("cache-tag", "a, b"), ("surrogate-key", "c d")],
    );
    let other = meta(&policy, 5, &[("cache-tag", "ab")]);
    for tag in ["ab ", "A", "", "a, b", "e"] {
        policy.purges().purge_tag(tag);
        assert!(!is_gone(&policy, "https://one.example/", &tagged), "{tag}");
    }
    for tag in ["a", "b", "c", "d"] {
        let policy = self::policy();
        policy.purges().purge_tag(tag);
        assert!(is_gone(&policy, "https://one.example/", &tagged), "{tag}");
        assert!(!is_gone(&policy, "https://one.example/", &other), "{tag}");
    }
}

#[test]
fn what_is_asked_for_after_a_purge_stays() {
    let policy = policy();
    let old = meta(&policy, 5, &[("cache-tag", "a")]);
    policy.purges().purge_tag("a");
    assert!(is_gone(&policy, "https://one.example/", &old));
    // A microsecond later at least.
    let mut new = meta(&policy, 0, &[("cache-tag", "a")]);
    while is_gone(&policy, "https://one.example/", &new) {
        new = meta(&policy, 0, &[("cache-tag", "a")]);
    }
    // Purged again, after everything else was purged.
    policy.purges().purge_all();
    assert!(is_gone(&policy, "https://one.example/", &new));
}

#[test]
fn by_host_and_prefix() {
    let policy = policy();
    let found = meta(&policy, 5, &[]);
    let gone = |uri: &str| is_gone(&policy, uri, &found);
    assert!(policy.purges().is_empty());
    policy.purges().purge_host("https", "One.example:443");
    assert!(gone("https://one.example/") && gone("https://one.example/a?b://c"));
    assert!(!gone("http://one.example/") && !gone("https://one.example.org/"));
    assert!(!gone("https://two.example/https://one.example/"));
    policy.purges().purge_prefix("https://two.example/news/");
    policy.purges().purge_prefix("https://three.example/a");
    assert!(gone("https://two.example/news/") && gone("https://two.example/news/1?a"));
    assert!(!gone("https://two.example/news") && !gone("https://two.example/"));
    assert!(gone("https://three.example/ab"));
    assert_eq!(policy.purges().len(), 3);
}

#[test]
fn purges_outlive_the_process() {
    let one = policy();
    let found = meta(&one, 5, &[("cache-tag", "a")]);
    one.purges().purge_tag("a");
    one.purges().purge_host("https", "two.example");
    one.purges().purge_prefix("https://three.example/x");
    let bytes = one.purges().serialize();
    let other = policy();
    other.purges().deserialize(&bytes).unwrap();
    for uri in [
        "https://one.example/",
        "https://two.example/",
        "https://three.example/x",
    ] {
        assert!(is_gone(&other, uri, &found), "{uri}");
    }
    assert_eq!(other.purges().len(), 3);
    for end in [0, 1, 5, bytes.len() - 1] {
        let cut = policy().purges().deserialize(&bytes[..end]);
        assert_eq!(cut.is_err(), end != 1, "{end}");
    }
    assert!(policy().purges().deserialize(b"\x02").is_err());
}

#[test]
fn purges_are_bounded() {
    let policy = policy();
    let found = meta(&policy, 5, &[]);
    for number in 0..65_540 {
        policy.purges().purge_tag(&number.to_string());
    }
    assert!(policy.purges().len() < 40_000);
    // Whether it had one of the forgotten tags is unknown.
    assert!(is_gone(&policy, "https://one.example/", &found));
}
