use super::*;

/// RFC 9111 section 4.3.4.
#[test]
fn whose_confirmation_it_is() {
    const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NEW: &str = "Mon, 07 Nov 1994 08:49:37 GMT";
    let rows: &[(Fields<'_>, Fields<'_>, bool)] = &[
        (&[("etag", "\"a\"")], &[], true),
        (&[("etag", "\"a\"")], &[("etag", "\"a\"")], true),
        (&[("etag", "\"a\"")], &[("etag", "\"b\"")], false),
        (&[("etag", "\"a\"")], &[("etag", "W/\"a\"")], true),
        (&[("etag", "W/\"a\"")], &[("etag", "W/\"a\"")], true),
        (&[("etag", "W/\"a\"")], &[("etag", "\"a\"")], false),
        (&[("last-modified", OLD)], &[("etag", "\"a\"")], true),
        (&[("last-modified", OLD)], &[("last-modified", OLD)], true),
        (&[("last-modified", OLD)], &[("last-modified", NEW)], false),
        (&[], &[("last-modified", NEW)], true),
    ];
    for (stored, confirmation, expected) in rows {
        let found = is_confirmed_by(&response(200, stored), &response(304, confirmation));
        assert_eq!(found, *expected, "{stored:?} {confirmation:?}");
    }
}

/// RFC 9111 section 3.2.
#[test]
fn fields_of_a_confirmation() {
    let stored = response(
        200,
        &[
            ("Content-Length", "5"),
            ("Content-Encoding", "gzip"),
            ("Content-Type", "text/plain"),
            ("Content-MD5", "N7UdGUp1E+RbVvZSTy1R8g=="),
            ("Age", "99"),
            ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("Cache-Control", "max-age=1"),
            ("X-Two", "1"),
            ("X-Two", "2"),
            ("X-Kept", "1"),
        ],
    );
    let confirmation = response(
        304,
        &[
            ("content-length", "0"),
            ("content-encoding", "br"),
            ("content-type", "text/html"),
            ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
            (
                "content-digest",
                "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
            ),
            ("content-range", "bytes 0-1/2"),
            ("transfer-encoding", "chunked"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("cache-control", "max-age=60"),
            ("x-two", "3"),
            ("x-new", "a"),
            ("x-new", "b"),
        ],
    );
    let header = freshen(&stored, &confirmation, now());
    assert_eq!(header.status, 200);
    let mut fields: Vec<_> = header
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap().to_owned()))
        .collect();
    fields.sort();
    let expected = [
        ("cache-control", "max-age=60".to_owned()),
        ("content-encoding", "gzip".to_owned()),
        ("content-length", "5".to_owned()),
        ("content-md5", "N7UdGUp1E+RbVvZSTy1R8g==".to_owned()),
        ("content-type", "text/plain".to_owned()),
        ("date", date(0)),
        ("x-kept", "1".to_owned()),
        ("x-new", "a".to_owned()),
        ("x-new", "b".to_owned()),
        ("x-two", "3".to_owned()),
    ];
    assert_eq!(fields, expected);
    let own = response(
        304,
        &[("age", "7"), ("date", "Mon, 07 Nov 1994 08:49:37 GMT")],
    );
    let header = freshen(&stored, &own, now());
    assert_eq!(header.headers["age"], "7");
    assert_eq!(header.headers["date"], "Mon, 07 Nov 1994 08:49:37 GMT");
}

/// RFC 9111 section 4.3.5.
#[test]
fn heads() {
    const STORED: Fields<'_> = &[("etag", "\"a\""), ("content-length", "5"), ("x", "1")];
    let rows: &[(u16, Fields<'_>, &str)] = &[
        (
            200,
            &[("etag", "\"a\""), ("content-length", "5"), ("x", "2")],
            "freshened",
        ),
        (200, &[("etag", "\"a\"")], "freshened"),
        (200, &[], "freshened"),
        (200, &[("etag", "\"b\"")], "outdated"),
        (
            200,
            &[("etag", "\"a\""), ("content-length", "6")],
            "outdated",
        ),
        (200, &[("last-modified", "x")], "outdated"),
        (404, &[], "nothing"),
        (500, &[("etag", "\"b\"")], "nothing"),
    ];
    for (status, fields, expected) in rows {
        let update = freshen_by_head(&response(200, STORED), &response(*status, fields), now());
        let found = match &update {
            HeadUpdate::Freshened(_) => "freshened",
            HeadUpdate::Outdated => "outdated",
            HeadUpdate::Nothing => "nothing",
        };
        assert_eq!(found, *expected, "{status} {fields:?}");
        if let (HeadUpdate::Freshened(header), Some(("x", value))) = (&update, fields.last()) {
            assert_eq!(header.headers["x"], *value);
        }
    }
}
