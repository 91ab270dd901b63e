use super::*;

/// RFC 9111 sections 3 and 5.2.2: what may be stored at all, of a fresh response.
#[test]
fn what_may_be_stored() {
    type Row<'a> = (&'a str, u16, Fields<'a>, Fields<'a>, bool);
    const LONG: (&str, &str) = ("cache-control", "max-age=60");
    const NO_STORE: (&str, &str) = ("cache-control", "no-store, max-age=60, must-understand");
    let rows: &[Row<'_>] = &[
        ("fresh", 200, &[], &[LONG], true),
        ("no sign of it", 200, &[], &[], false),
        (
            "public alone",
            200,
            &[],
            &[("cache-control", "public"), ("etag", "a")],
            true,
        ),
        (
            "no-store",
            200,
            &[],
            &[("cache-control", "no-store, max-age=60")],
            false,
        ),
        (
            "private",
            200,
            &[],
            &[("cache-control", "private, max-age=60")],
            false,
        ),
        (
            "on another line",
            200,
            &[],
            &[LONG, ("cache-control", "Private")],
            false,
        ),
        ("an error", 500, &[], &[LONG], true),
        ("an unknown status", 299, &[], &[LONG], true),
        ("an unknown class", 799, &[], &[LONG], true),
        ("a part", 206, &[], &[LONG], false),
        ("a confirmation", 304, &[], &[LONG], false),
        ("ahead of the response", 103, &[], &[LONG], false),
        ("must-understand, understood", 200, &[], &[NO_STORE], true),
        ("must-understand, not so", 299, &[], &[NO_STORE], false),
        (
            "the client forbids",
            200,
            &[("cache-control", "no-store")],
            &[LONG],
            false,
        ),
        // Section 3.5.
        ("authorised", 200, &[("authorization", "a")], &[LONG], false),
        (
            "authorised, public",
            200,
            &[("authorization", "a")],
            &[LONG, ("cache-control", "public")],
            true,
        ),
        (
            "authorised, s-maxage",
            200,
            &[("authorization", "a")],
            &[("cache-control", "s-maxage=5")],
            true,
        ),
        (
            "authorised, must-revalidate",
            200,
            &[("authorization", "a")],
            &[LONG, ("cache-control", "must-revalidate")],
            true,
        ),
        // Section 4.1.
        (
            "varies on everything",
            200,
            &[],
            &[LONG, ("vary", "*")],
            false,
        ),
        (
            "also among others",
            200,
            &[],
            &[LONG, ("vary", "a,*")],
            false,
        ),
        (
            "varies on too much",
            200,
            &[],
            &[LONG, ("vary", "a,b,c,d,e,f,g,h,i")],
            false,
        ),
        // Section 7.3.
        ("a cookie", 200, &[], &[LONG, ("set-cookie", "a=b")], false),
        (
            "a cookie that stays private",
            200,
            &[],
            &[
                ("cache-control", "max-age=60, private=\"set-cookie\""),
                ("set-cookie", "a=b"),
            ],
            true,
        ),
        (
            "of no use",
            200,
            &[],
            &[("cache-control", "max-age=0")],
            false,
        ),
        (
            "can be validated",
            200,
            &[],
            &[("cache-control", "max-age=0"), ("etag", "a")],
            true,
        ),
        (
            "no-cache",
            200,
            &[],
            &[("cache-control", "no-cache"), ("last-modified", "x")],
            true,
        ),
        (
            "no-cache of no use",
            200,
            &[],
            &[("cache-control", "no-cache")],
            false,
        ),
    ];
    let policy = CachePolicy::new();
    for (name, status, req, resp, expected) in rows {
        let resp = response(*status, resp);
        let found = policy.response(&request("GET", req), &resp, now(), now());
        assert_eq!(found.is_cacheable(), *expected, "{name}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "QUERY"] {
        let req = request(method, &[]);
        let found = policy.response(&req, &response(200, &[LONG]), now(), now());
        assert!(!found.is_cacheable(), "{method}");
    }
}

/// RFC 9111 sections 4.2.1 to 4.2.3, 5.1 and 5.3: for how long a response is fresh when it arrives.
#[test]
fn freshness() {
    type Row<'a> = (&'a str, Fields<'a>, Option<i64>);
    let [day_ago, past, future, hour] = [-86_400, -10, 20, 3600].map(date);
    let rows: &[Row<'_>] = &[
        ("max-age", &[("cache-control", "max-age=60")], Some(60)),
        (
            "s-maxage",
            &[("cache-control", "max-age=60, s-maxage=9")],
            Some(9),
        ),
        (
            "s-maxage of more",
            &[("cache-control", "max-age=6, s-maxage=90")],
            Some(90),
        ),
        (
            "two of them",
            &[
                ("cache-control", "max-age=60"),
                ("cache-control", "max-age=9"),
            ],
            Some(9),
        ),
        ("Expires", &[("expires", &future)], Some(20)),
        (
            "Expires counts from Date",
            &[("expires", &future), ("date", &past)],
            Some(20),
        ),
        (
            "max-age over Expires",
            &[("expires", &past), ("cache-control", "max-age=9")],
            Some(9),
        ),
        (
            "no number",
            &[
                ("cache-control", "max-age=x"),
                ("expires", &future),
                ("etag", "a"),
            ],
            Some(0),
        ),
        (
            "negative",
            &[("cache-control", "max-age=-9"), ("etag", "a")],
            Some(0),
        ),
        (
            "Expires is no date",
            &[("expires", "0"), ("etag", "a")],
            Some(0),
        ),
        (
            "Expires in words",
            &[("expires", "tomorrow"), ("etag", "a")],
            Some(0),
        ),
        (
            "overflow",
            &[("cache-control", "max-age=99999999999999")],
            Some(1 << 31),
        ),
        // 10 % of a day is more than an hour; of 1,000 seconds it is 100.
        ("heuristic", &[("last-modified", &day_ago)], Some(3600)),
        (
            "heuristic, from Date",
            &[("last-modified", &past), ("date", &hour)],
            Some(361),
        ),
        (
            "heuristic of the future",
            &[("last-modified", &future)],
            None,
        ),
        ("heuristic of no date", &[("last-modified", "x")], None),
        (
            "heuristic with other directives",
            &[("last-modified", &day_ago), ("cache-control", "x")],
            Some(3600),
        ),
        (
            "Age",
            &[("cache-control", "max-age=60"), ("age", "50")],
            Some(10),
        ),
        (
            "Age in pieces",
            &[("cache-control", "max-age=60"), ("age", "50"), ("age", "1")],
            Some(10),
        ),
        (
            "Age of a day",
            &[
                ("cache-control", "max-age=60"),
                ("age", "86400"),
                ("etag", "a"),
            ],
            Some(60 - 86_400),
        ),
        (
            "Age is no number",
            &[("cache-control", "max-age=60"), ("age", "7x")],
            None,
        ),
        (
            "Age is no number, but the origin can be asked",
            &[
                ("cache-control", "max-age=60"),
                ("age", "-1"),
                ("etag", "a"),
            ],
            Some(0),
        ),
        (
            "Date",
            &[("cache-control", "max-age=60"), ("date", &past)],
            Some(50),
        ),
        (
            "Date to come",
            &[("cache-control", "max-age=60"), ("date", &hour)],
            Some(60),
        ),
        (
            "Date and Age",
            &[
                ("cache-control", "max-age=60"),
                ("date", &past),
                ("age", "30"),
            ],
            Some(30),
        ),
    ];
    let policy = CachePolicy::new();
    for (name, fields, expected) in rows {
        assert_eq!(left(stored(&policy, &[], fields)), *expected, "{name}");
    }
    // Another cache's statement was true when the request was sent, at the latest.
    let resp = response(200, &[("cache-control", "max-age=60"), ("age", "50")]);
    let found = policy.response(&request("GET", &[]), &resp, at(-5), now());
    assert_eq!(left(found), Some(5));
}

/// RFC 9111 section 4.2.2: heuristics are for some statuses, and not for personal responses.
#[test]
fn heuristics() {
    let day_ago = date(-86_400);
    let policy = CachePolicy::new();
    let by_status = |status| {
        let resp = response(status, &[("last-modified", &day_ago)]);
        policy
            .response(&request("GET", &[]), &resp, now(), now())
            .is_cacheable()
    };
    let found: Vec<_> = (200..600).filter(|status| by_status(*status)).collect();
    assert_eq!(
        found,
        [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501]
    );

    let fields = [("last-modified", day_ago.as_str())];
    assert!(!stored(&policy, &[("cookie", "a=b")], &fields).is_cacheable());
    let public = [fields[0], ("cache-control", "public")];
    assert!(stored(&policy, &[("cookie", "a=b")], &public).is_cacheable());
    let off = CachePolicy::new().heuristic(0, Duration::MAX);
    assert!(!stored(&off, &[], &fields).is_cacheable());
    let most = CachePolicy::new().heuristic(u32::MAX, Duration::MAX);
    assert!(stored(&most, &[], &fields).is_cacheable());
    let own = CachePolicy::new().defaults(CacheMetaDefaults::new(
        |status| (status == StatusCode::IM_A_TEAPOT).then_some(Duration::from_secs(7)),
        3,
        4,
    ));
    let teapot = own.response(&request("GET", &[]), &response(418, &[]), now(), now());
    let meta = teapot.unwrap_meta();
    assert_eq!((meta.fresh_sec(), meta.stale_if_error_sec()), (7, 4));
}

/// RFC 5861, and RFC 9111 section 4.2.4.
#[test]
fn stale_windows() {
    let rows: &[(&str, (u32, u32))] = &[
        ("max-age=9", (0, 0)),
        (
            "max-age=9, stale-while-revalidate=5, stale-if-error=7",
            (5, 7),
        ),
        (
            "max-age=9, stale-while-revalidate=5, must-revalidate",
            (0, 0),
        ),
        ("max-age=9, stale-if-error=5, proxy-revalidate", (0, 0)),
        ("s-maxage=9, stale-if-error=5", (0, 5)),
        ("max-age=9, stale-if-error=x", (0, 0)),
    ];
    for (line, expected) in rows {
        let found = stored(&CachePolicy::new(), &[], &[("cache-control", line)]);
        let meta = found.unwrap_meta();
        let found = (meta.stale_while_revalidate_sec(), meta.stale_if_error_sec());
        assert_eq!(found, *expected, "{line}");
    }
}

/// RFC 9213: the first field that is there and can be read decides alone.
#[test]
fn targeted_fields() {
    const SHORT: (&str, &str) = ("cache-control", "max-age=1");
    let future = date(20);
    let rows: &[(&str, Fields<'_>, Option<i64>)] = &[
        (
            "it decides",
            &[SHORT, ("cdn-cache-control", "max-age=60")],
            Some(60),
        ),
        (
            "whatever the other says",
            &[
                ("cache-control", "no-store"),
                ("cdn-cache-control", "max-age=60"),
            ],
            Some(60),
        ),
        (
            "and forbids",
            &[SHORT, ("cdn-cache-control", "no-store")],
            None,
        ),
        (
            "Expires does not count",
            &[("expires", &future), ("cdn-cache-control", "foo")],
            None,
        ),
        (
            "zero",
            &[SHORT, ("cdn-cache-control", "max-age=0"), ("etag", "a")],
            Some(0),
        ),
        (
            "parameters",
            &[SHORT, ("cdn-cache-control", "max-age=60;a=b, x=(1 2);y")],
            Some(60),
        ),
        (
            "false",
            &[SHORT, ("cdn-cache-control", "max-age=60, no-store=?0")],
            Some(60),
        ),
        (
            "true",
            &[SHORT, ("cdn-cache-control", "max-age=60, no-store=?1")],
            None,
        ),
        (
            "the wrong type",
            &[
                SHORT,
                ("cdn-cache-control", "max-age=\"60\", public"),
                ("etag", "a"),
            ],
            Some(0),
        ),
        ("empty", &[SHORT, ("cdn-cache-control", "")], Some(1)),
        (
            "capitals are no key",
            &[SHORT, ("cdn-cache-control", "Max-Age=60")],
            Some(1),
        ),
        (
            "a space",
            &[SHORT, ("cdn-cache-control", "max-age =60")],
            Some(1),
        ),
        (
            "a comma at the end",
            &[SHORT, ("cdn-cache-control", "max-age=60,")],
            Some(1),
        ),
        (
            "no dictionary",
            &[SHORT, ("cdn-cache-control", "max-age=60, &")],
            Some(1),
        ),
        (
            "an open quote",
            &[SHORT, ("cdn-cache-control", "max-age=60, a=\"b")],
            Some(1),
        ),
        (
            "on a second line",
            &[
                SHORT,
                ("cdn-cache-control", "max-age=60"),
                ("cdn-cache-control", "private"),
            ],
            None,
        ),
        (
            "another cache's",
            &[SHORT, ("other-cache-control", "max-age=60")],
            Some(1),
        ),
    ];
    let policy = CachePolicy::new();
    for (name, fields, expected) in rows {
        assert_eq!(left(stored(&policy, &[], fields)), *expected, "{name}");
    }
    let own = CachePolicy::new().targeted_fields(["edge-cache-control", "cdn-cache-control"]);
    let both = [
        ("cdn-cache-control", "max-age=60"),
        ("edge-cache-control", "max-age=5"),
    ];
    assert_eq!(left(stored(&own, &[], &both)), Some(5));
}

/// RFC 9111 sections 3.1, 5.2.2.4 and 5.2.2.7: the fields that are not stored.
#[test]
fn fields_that_are_not_stored() {
    let resp = response(
        200,
        &[
            (
                "cache-control",
                "max-age=60, no-cache=\"x-token\", private=\"x-user\"",
            ),
            ("connection", "x-hop, close"),
            ("x-hop", "1"),
            ("x-token", "1"),
            ("x-user", "1"),
            ("keep-alive", "1"),
            ("proxy-authenticate", "Basic"),
            ("transfer-encoding", "chunked"),
            ("set-cookie", "a=b"),
            ("x-kept", "1"),
        ],
    );
    let policy = CachePolicy::new().set_cookie(SetCookie::Strip);
    let meta = policy
        .response(&request("GET", &[]), &resp, now(), now())
        .unwrap_meta();
    let mut names: Vec<_> = meta.headers().keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["cache-control", "x-kept"]);

    let cookie = [("cache-control", "max-age=60"), ("set-cookie", "a=b")];
    let keep = CachePolicy::new().set_cookie(SetCookie::Keep);
    let meta = stored(&keep, &[], &cookie).unwrap_meta();
    assert!(meta.headers().contains_key("set-cookie"));
    let refused = stored(&CachePolicy::new(), &[], &cookie);
    assert!(matches!(
        refused,
        RespCacheable::Uncacheable(NoCacheReason::Custom("SetsCookie"))
    ));
}

#[test]
fn age_counts_from_the_origin() {
    let fields = [("cache-control", "max-age=60"), ("age", "20")];
    let meta = stored(&CachePolicy::new(), &[], &fields).unwrap_meta();
    assert_eq!((meta.created(), meta.epoch()), (now(), at(-20)));
    assert_eq!((meta.provenance(), meta.fresh_sec()), (at(-20), 60));
    let new = stored(&CachePolicy::new(), &[], &fields[..1]).unwrap_meta();
    assert_eq!(new.epoch_override(), None);
}
