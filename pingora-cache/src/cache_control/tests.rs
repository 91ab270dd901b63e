use super::*;

fn response(lines: &[&str]) -> ResponseHeader {
    let mut response = ResponseHeader::build(200, None).unwrap();
    for line in lines {
        response
            .append_header("Cache-Control", line.as_bytes())
            .unwrap();
    }
    response
}

fn directives(lines: &[&str]) -> CacheControl {
    CacheControl::from_resp_headers(&response(lines)).unwrap()
}

fn shown(lines: &[&str]) -> String {
    let shown = directives(lines).directives;
    let shown = shown.iter().map(|(key, value)| match value {
        Some(value) => format!("{key}={}", String::from_utf8_lossy(&value.0)),
        None => key.to_string(),
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[test]
fn lines_are_read_with_patience() {
    let rows: &[(&[&str], &str)] = &[
        (&[""], ""),
        (&[",, ,"], ""),
        (&["no-store"], "no-store"),
        (&["No-Store , MAX-AGE=5"], "no-store max-age=5"),
        (&["max-age = 5"], "max-age=5"),
        (&["max-age=5", "public"], "max-age=5 public"),
        (&["max-age="], "max-age="),
        (&["=5, public"], "public"),
        (&["a b, public"], "public"),
        (&["max-age=5 public"], "max-age=5 public"),
        (&["x=\"a, no-store\", public"], "x=\"a, no-store\" public"),
        (
            &["x=\"a\\\", no-store\", public"],
            "x=\"a\\\", no-store\" public",
        ),
        // A quote that does not end hides nothing.
        (&["x=\"a, no-store"], "x=\"a no-store"),
        (&["x=\"a", "no-store"], "x=\"a no-store"),
        (&["x=\"a, no-store, y=\"b"], "x=\"a, no-store, y=\"b"),
        (&["x=a\"b, c\", public"], "x=a\"b, c\" public"),
        (&["x=\"\\"], "x=\"\\"),
    ];
    for (lines, expected) in rows {
        assert_eq!(shown(lines), *expected, "{lines:?}");
    }
    let none = ResponseHeader::build(200, None).unwrap();
    assert!(CacheControl::from_resp_headers(&none).is_none());
}

#[test]
fn the_strictest_of_several_counts() {
    let rows: &[(&[&str], &str)] = &[
        (&["max-age=5, max-age=3"], "max-age=3"),
        (&["max-age=3", "max-age=5"], "max-age=3"),
        (&["max-age=3, max-age=x"], "max-age=x"),
        (&["max-age, max-age=3"], "max-age"),
        (&["s-maxage=9, s-maxage=7"], "s-maxage=7"),
        (&["stale-if-error=9, stale-if-error=0"], "stale-if-error=0"),
        (&["min-fresh=5, min-fresh=9"], "min-fresh=9"),
        (&["max-stale, max-stale=5"], "max-stale=5"),
        (&["max-stale=7, max-stale=5"], "max-stale=5"),
        (&["private=a, private"], "private"),
        (&["private=\"a\", private=b"], "private=a,b"),
        (&["no-cache=\"a\", no-cache=\"\""], "no-cache"),
        (&["x=1, x=2"], "x=1"),
    ];
    for (lines, expected) in rows {
        assert_eq!(shown(lines), *expected, "{lines:?}");
    }
}

#[test]
fn numbers() {
    let rows: &[(&str, Option<u32>, Option<u32>)] = &[
        ("0", Some(0), Some(0)),
        ("60", Some(60), Some(60)),
        ("007", Some(7), Some(7)),
        ("\"60\"", Some(60), Some(60)),
        ("4294967295", Some(u32::MAX), Some(u32::MAX)),
        (
            "4294967296",
            Some(DELTA_SECONDS_OVERFLOW_VALUE),
            Some(DELTA_SECONDS_OVERFLOW_VALUE),
        ),
        (
            "99999999999999999999999999",
            Some(DELTA_SECONDS_OVERFLOW_VALUE),
            Some(DELTA_SECONDS_OVERFLOW_VALUE),
        ),
        ("1.9", None, Some(1)),
        ("1.", None, None),
        (".9", None, None),
        ("1.2.3", None, None),
        ("-1", None, None),
        ("+1", None, None),
        ("1e3", None, None),
        ("1 2", None, None),
        ("'60'", None, None),
        ("", None, None),
        ("\"", None, None),
    ];
    for (text, seconds, floor) in rows {
        let value = DirectiveValue(text.as_bytes().to_vec());
        assert_eq!(value.parse_as_delta_seconds().ok(), *seconds, "{text}");
        assert_eq!(value.parse_as_delta_seconds_floor().ok(), *floor, "{text}");
    }
    assert!(DirectiveValue(vec![0xff]).parse_as_str().is_err());
    assert_eq!(
        DirectiveValue(b"\"a\"".to_vec()).parse_as_str().unwrap(),
        "a"
    );
    let float = directives(&["max-age=1.5"]).with_float_seconds();
    assert_eq!(float.max_age().unwrap(), Some(1));
    assert!(directives(&["max-age=1.5"]).max_age().is_err());
}

#[test]
fn field_names() {
    let rows: &[(&str, Option<&[&str]>)] = &[
        ("private", None),
        ("private=\"\"", None),
        ("private=\" , \"", None),
        ("private=a", Some(&["a"])),
        ("private=\"a, B ,,c\"", Some(&["a", "B", "c"])),
        // Without these the copy would mean something else.
        ("private=\"a, Vary\"", None),
        ("private=\"content-encoding\"", None),
        ("public", None),
    ];
    for (line, expected) in rows {
        let directives = directives(&[line]);
        let names: Option<Vec<_>> = directives
            .private_field_names()
            .map(|names| names.map(|name| str::from_utf8(name).unwrap()).collect());
        assert_eq!(names.as_deref(), *expected, "{line}");
    }
}

/// RFC 9111 sections 3, 3.5, 4.2.1, 4.2.4 and 5.2.2; RFC 5861. Freshness and the two windows in seconds.
#[test]
fn what_a_response_says() {
    use Cacheable::{Default, No, Yes};
    type Seconds = Option<u64>;
    let rows: &[(&str, Cacheable, bool, Seconds, Seconds, Seconds)] = &[
        ("", Default, false, None, None, None),
        ("x", Default, false, None, None, None),
        ("public", Yes, true, None, None, None),
        ("max-age=60", Yes, false, Some(60), None, None),
        ("max-age=0", Yes, false, Some(0), None, None),
        ("max-age=abc", Yes, false, Some(0), None, None),
        ("max-age=-5", Yes, false, Some(0), None, None),
        ("max-age", Yes, false, Some(0), None, None),
        (
            "s-maxage=9, max-age=60",
            Yes,
            true,
            Some(9),
            Some(0),
            Some(0),
        ),
        (
            "s-maxage=x, max-age=60",
            Yes,
            true,
            Some(0),
            Some(0),
            Some(0),
        ),
        (
            "s-maxage=9, stale-if-error=5",
            Yes,
            true,
            Some(9),
            Some(0),
            Some(5),
        ),
        ("no-store, max-age=60", No, false, Some(60), None, None),
        (
            "private, max-age=60, public",
            No,
            true,
            Some(60),
            None,
            None,
        ),
        (
            "private=\"x\", max-age=60",
            Yes,
            false,
            Some(60),
            None,
            None,
        ),
        (
            "private=\"vary\", max-age=60",
            No,
            false,
            Some(60),
            None,
            None,
        ),
        (
            "no-cache, max-age=60",
            Yes,
            false,
            Some(0),
            Some(0),
            Some(0),
        ),
        ("no-cache", Default, false, Some(0), Some(0), Some(0)),
        (
            "no-cache=\"x\", max-age=60",
            Yes,
            false,
            Some(60),
            None,
            None,
        ),
        (
            "must-revalidate, max-age=60",
            Yes,
            true,
            Some(60),
            Some(0),
            Some(0),
        ),
        (
            "proxy-revalidate, stale-while-revalidate=5",
            Default,
            false,
            None,
            Some(0),
            Some(0),
        ),
        (
            "max-age=1, stale-while-revalidate=5, stale-if-error=7",
            Yes,
            false,
            Some(1),
            Some(5),
            Some(7),
        ),
        (
            "stale-while-revalidate=x",
            Default,
            false,
            None,
            Some(0),
            None,
        ),
    ];
    for (line, cacheable, authorized, fresh, revalidate, error) in rows {
        let directives = directives(&[line]);
        assert_eq!(directives.is_cacheable(), *cacheable, "{line}");
        assert_eq!(
            directives.allow_caching_authorized_req(),
            *authorized,
            "{line}"
        );
        let seconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs());
        assert_eq!(seconds(directives.fresh_duration()), *fresh, "{line}");
        let found = directives.serve_stale_while_revalidate_duration();
        assert_eq!(seconds(found), *revalidate, "{line}");
        let found = directives.serve_stale_if_error_duration();
        assert_eq!(seconds(found), *error, "{line}");
    }
}

#[test]
fn named_fields_are_left_out() {
    let mut response = response(&["private=\"x-user, set-cookie\", no-cache=x-token, max-age=5"]);
    for name in ["X-User", "Set-Cookie", "X-Token", "X-Other"] {
        response.insert_header(name, "1").unwrap();
    }
    let directives = CacheControl::from_resp_headers(&response).unwrap();
    directives.strip_private_headers(&mut response);
    let left: Vec<_> = response.headers.keys().map(|name| name.as_str()).collect();
    assert_eq!(left.len(), 2);
    assert!(left.contains(&"x-other") && left.contains(&"cache-control"));
}

#[test]
fn names_of_directives() {
    for name in [
        "max-age",
        "s-maxage",
        "must-understand",
        "immutable",
        "no-transform",
    ] {
        let key = DirectiveKey::from_lowercase(name);
        assert!(!matches!(key, DirectiveKey::Unknown(_)), "{name}");
        assert!(key == *name && key == name && key.as_str() == name);
        assert_eq!(DirectiveKey::from_lowercase_owned(name.to_owned()), key);
    }
    assert_eq!(
        DirectiveKey::from_lowercase("x"),
        DirectiveKey::Unknown("x".into())
    );
    assert!(directives(&["only-if-cached, x"]).has_key("x"));
    assert!(directives(&["only-if-cached"]).only_if_cached());
}
