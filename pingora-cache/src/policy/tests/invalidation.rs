use super::*;

/// RFC 9111 section 4.4.
#[test]
fn what_becomes_invalid() {
    const OWN: &str = "GET https://one.example/a";
    type Row<'a> = (&'a str, u16, Fields<'a>, &'a [&'a str]);
    let rows: &[Row<'_>] = &[
        ("GET", 200, &[], &[]),
        ("HEAD", 200, &[], &[]),
        ("OPTIONS", 200, &[], &[]),
        ("QUERY", 200, &[], &[]),
        ("POST", 200, &[], &[OWN]),
        ("PUT", 204, &[], &[OWN]),
        ("DELETE", 303, &[], &[OWN]),
        ("PATCH", 400, &[], &[]),
        ("PATCH", 500, &[], &[]),
        ("UNKNOWN", 200, &[], &[OWN]),
        (
            "POST",
            201,
            &[("location", "/b")],
            &[OWN, "GET https://one.example/b"],
        ),
        (
            "POST",
            201,
            &[("location", "b?c#d")],
            &[OWN, "GET https://one.example/b?c"],
        ),
        (
            "POST",
            201,
            &[
                ("location", "https://ONE.example:443/b"),
                ("content-location", "/c"),
            ],
            &[
                OWN,
                "GET https://one.example/b",
                "GET https://one.example/c",
            ],
        ),
        (
            "POST",
            201,
            &[("location", "https://two.example/b")],
            &[OWN],
        ),
        ("POST", 201, &[("location", "http://one.example/b")], &[OWN]),
        ("POST", 201, &[("content-location", "/a")], &[OWN]),
    ];
    let policy = CachePolicy::new();
    for (method, status, fields, expected) in rows {
        let resp = response(*status, fields);
        let keys = policy.invalidated("https", &request(method, &[]), &resp);
        let keys: Vec<_> = keys
            .iter()
            .map(|key| key.primary_key_str().unwrap())
            .collect();
        assert_eq!(keys, *expected, "{method} {status} {fields:?}");
    }
    let mut nobody = RequestHeader::build("POST", b"/", None).unwrap();
    nobody.remove_header("host");
    assert!(
        policy
            .invalidated("https", &nobody, &response(200, &[]))
            .is_empty()
    );
}
