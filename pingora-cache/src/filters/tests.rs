use super::*;
use http::header::AUTHORIZATION;

const DEFAULTS: CacheMetaDefaults = CacheMetaDefaults::new(
    |status| (status == StatusCode::OK).then_some(Duration::from_secs(7)),
    3,
    4,
);

fn now() -> SystemTime {
    // On a whole second, as dates are.
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)
}

fn date_at(seconds: i64) -> String {
    let offset = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 {
        now() - offset
    } else {
        now() + offset
    };
    httpdate::fmt_http_date(time)
}

fn response(status: u16, fields: &[(&'static str, &str)]) -> ResponseHeader {
    let mut response = ResponseHeader::build(status, None).unwrap();
    for (name, value) in fields {
        response.append_header(*name, *value).unwrap();
    }
    response
}

/// RFC 9111 sections 3, 3.5, 4.2.1, 4.2.3, 5.1 and 5.3: for how long a response is fresh when it arrives.
#[test]
fn freshness_on_arrival() {
    type Row<'a> = (
        &'a str,
        u16,
        &'a [(&'static str, &'a str)],
        bool,
        Option<i64>,
    );
    let (past, future, far) = (date_at(-10), date_at(20), date_at(-100));
    let rows: &[Row<'_>] = &[
        ("the default of the status", 200, &[], false, Some(7)),
        ("no default", 404, &[], false, None),
        ("authorised", 200, &[], true, None),
        (
            "max-age",
            404,
            &[("cache-control", "max-age=60")],
            false,
            Some(60),
        ),
        (
            "authorised, max-age",
            200,
            &[("cache-control", "max-age=60")],
            true,
            None,
        ),
        (
            "authorised, s-maxage",
            200,
            &[("cache-control", "s-maxage=6")],
            true,
            Some(6),
        ),
        (
            "authorised, public",
            200,
            &[("cache-control", "public")],
            true,
            Some(7),
        ),
        (
            "no-store",
            200,
            &[("cache-control", "no-store, max-age=9")],
            false,
            None,
        ),
        (
            "private",
            200,
            &[("cache-control", "private, max-age=9")],
            false,
            None,
        ),
        (
            "no-cache",
            200,
            &[("cache-control", "no-cache, max-age=9")],
            false,
            Some(0),
        ),
        (
            "Age",
            200,
            &[("cache-control", "max-age=60"), ("age", "50")],
            false,
            Some(10),
        ),
        (
            "Age of more",
            200,
            &[("cache-control", "max-age=60"), ("age", "70")],
            false,
            Some(-10),
        ),
        (
            "Age twice",
            200,
            &[("cache-control", "max-age=60"), ("age", "50, 1")],
            false,
            Some(10),
        ),
        (
            "Age is no number",
            200,
            &[("cache-control", "max-age=60"), ("age", "-5")],
            false,
            Some(60),
        ),
        (
            "Age is far too large",
            200,
            &[
                ("cache-control", "max-age=60"),
                ("age", "99999999999999999999"),
            ],
            false,
            Some(60 - (1 << 31)),
        ),
        (
            "Date",
            200,
            &[("cache-control", "max-age=60"), ("date", &past)],
            false,
            Some(50),
        ),
        (
            "Date of more than Age",
            200,
            &[
                ("cache-control", "max-age=60"),
                ("date", &past),
                ("age", "5"),
            ],
            false,
            Some(50),
        ),
        (
            "Date to come",
            200,
            &[("cache-control", "max-age=60"), ("date", &future)],
            false,
            Some(60),
        ),
        (
            "Date is none",
            200,
            &[("cache-control", "max-age=60"), ("date", "now")],
            false,
            Some(60),
        ),
        ("Expires", 500, &[("expires", &future)], false, Some(20)),
        (
            "Expires and Date",
            200,
            &[("expires", &future), ("date", &past)],
            false,
            Some(20),
        ),
        (
            "Expires in the past",
            200,
            &[("expires", &past)],
            false,
            Some(0),
        ),
        (
            "Expires before an old Date",
            200,
            &[("expires", &far), ("date", &past)],
            false,
            Some(-10),
        ),
        ("Expires is none", 200, &[("expires", "0")], false, Some(0)),
        (
            "Expires twice",
            200,
            &[("expires", &future), ("expires", "-1")],
            false,
            Some(0),
        ),
        (
            "max-age over Expires",
            200,
            &[("expires", &past), ("cache-control", "max-age=9")],
            false,
            Some(9),
        ),
        (
            "for ever",
            200,
            &[("cache-control", "max-age=99999999999")],
            false,
            Some(1 << 31),
        ),
    ];
    for (name, status, fields, authorized, expected) in rows {
        let response = response(*status, fields);
        let directives = CacheControl::from_resp_headers(&response);
        let found = calculate_fresh_until(
            now(),
            directives.as_ref(),
            &response,
            *authorized,
            &DEFAULTS,
        );
        let found = found.map(|until| match until.duration_since(now()) {
            Ok(left) => i64::try_from(left.as_secs()).unwrap(),
            Err(over) => -i64::try_from(over.duration().as_secs()).unwrap(),
        });
        assert_eq!(found, *expected, "{name}");
    }
}

#[test]
fn what_is_stored() {
    const LONG: (&str, &str) = ("cache-control", "max-age=60");
    type Row = (
        &'static str,
        u16,
        &'static [(&'static str, &'static str)],
        bool,
    );
    let rows: &[Row] = &[
        ("fresh", 200, &[LONG], true),
        ("an error", 503, &[LONG], true),
        ("a part", 206, &[LONG], false),
        ("a confirmation", 304, &[LONG], false),
        ("varies", 200, &[LONG, ("vary", "a")], true),
        (
            "varies on everything",
            200,
            &[LONG, ("vary", "a, *")],
            false,
        ),
        (
            "on a second line",
            200,
            &[LONG, ("vary", "a"), ("vary", "*")],
            false,
        ),
        (
            "stale, of no use",
            200,
            &[("cache-control", "max-age=0, must-revalidate")],
            false,
        ),
        (
            "stale, can be validated",
            200,
            &[("cache-control", "no-cache"), ("etag", "\"a\"")],
            true,
        ),
        (
            "stale, by defaults of use",
            200,
            &[("cache-control", "max-age=0")],
            true,
        ),
    ];
    for (name, status, fields, expected) in rows {
        let response = response(*status, fields);
        let directives = CacheControl::from_resp_headers(&response);
        let found = resp_cacheable(directives.as_ref(), response, false, &DEFAULTS);
        assert_eq!(found.is_cacheable(), *expected, "{name}");
    }
}

#[test]
fn a_stored_response_tells_its_age_and_no_secrets() {
    let response = response(
        200,
        &[
            ("cache-control", "max-age=60, private=\"set-cookie\""),
            ("age", "20"),
            ("set-cookie", "a=b"),
        ],
    );
    let directives = CacheControl::from_resp_headers(&response);
    let meta = resp_cacheable(directives.as_ref(), response, false, &DEFAULTS).unwrap_meta();
    assert_eq!(meta.fresh_sec(), 60);
    assert!(meta.age().as_secs() >= 20 && meta.is_fresh(SystemTime::now()));
    assert!(!meta.headers().contains_key("set-cookie"));
    assert_eq!(meta.stale_while_revalidate_sec(), 3);
}

#[test]
fn stale_windows() {
    let rows: &[(Option<&str>, (u32, u32))] = &[
        (None, (3, 4)),
        (Some("max-age=1"), (3, 4)),
        (Some("stale-if-error=99999999999"), (3, 1 << 31)),
        (Some("must-revalidate, stale-if-error=9"), (0, 0)),
        (Some("s-maxage=1"), (0, 0)),
    ];
    for (line, expected) in rows {
        let fields: Vec<_> = line.iter().map(|line| ("cache-control", *line)).collect();
        let directives = CacheControl::from_resp_headers(&response(200, &fields));
        let found = calculate_serve_stale_durations(directives.as_ref(), &DEFAULTS);
        assert_eq!(found, *expected, "{line:?}");
    }
}

#[test]
fn requests() {
    for (method, expected) in [
        ("GET", true),
        ("HEAD", true),
        ("POST", false),
        ("get", false),
    ] {
        let mut req = pingora_http::RequestHeader::build(method, b"/", None).unwrap();
        req.insert_header(AUTHORIZATION, "Basic a").unwrap();
        assert_eq!(request_cacheable(&req), expected, "{method}");
    }
}
