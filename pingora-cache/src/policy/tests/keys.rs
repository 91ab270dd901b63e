use super::*;

/// Keys tell everything apart that distinguishes responses, and nothing else.
#[test]
fn keys() {
    let rows: &[(&str, &str, &str, &str, Option<&str>)] = &[
        (
            "https",
            "GET",
            "a.example",
            "/x?y",
            Some("GET https://a.example/x?y"),
        ),
        (
            "https",
            "HEAD",
            "a.example",
            "/x?y",
            Some("GET https://a.example/x?y"),
        ),
        (
            "HTTPS",
            "GET",
            "A.Example:443",
            "/X?Y",
            Some("GET https://a.example/X?Y"),
        ),
        (
            "http",
            "GET",
            "a.example:80",
            "/",
            Some("GET http://a.example/"),
        ),
        (
            "http",
            "GET",
            "a.example:443",
            "/",
            Some("GET http://a.example:443/"),
        ),
        (
            "https",
            "GET",
            "a.example:8443",
            "/",
            Some("GET https://a.example:8443/"),
        ),
        (
            "https",
            "GET",
            "a.example:",
            "/",
            Some("GET https://a.example/"),
        ),
        (
            "https",
            "GET",
            "[2001:DB8::1]:443",
            "/",
            Some("GET https://[2001:db8::1]/"),
        ),
        (
            "https",
            "GET",
            "[2001:db8::443]",
            "/",
            Some("GET https://[2001:db8::443]/"),
        ),
        // As received: what an origin takes for the same is its business.
        (
            "https",
            "GET",
            "a.example",
            "/%61//./x?b&a",
            Some("GET https://a.example/%61//./x?b&a"),
        ),
        ("https", "GET", "", "/", None),
        ("https", "GET", "a.example/x", "/", None),
        ("https", "GET", "a.example x", "/", None),
        ("https", "GET", "me@a.example", "/", None),
        ("https", "POST", "a.example", "/", None),
        ("https", "QUERY", "a.example", "/", None),
    ];
    let policy = CachePolicy::new();
    for (scheme, method, host, path, expected) in rows {
        let mut request = RequestHeader::build(*method, path.as_bytes(), None).unwrap();
        request.insert_header("Host", *host).unwrap();
        let key = policy.key(scheme, &request).ok();
        let key = key.as_ref().and_then(CacheKey::primary_key_str);
        assert_eq!(key, *expected, "{scheme} {method} {host} {path}");
    }
}

#[test]
fn the_target_decides_over_the_host_field() {
    let policy = CachePolicy::new();
    let mut request = RequestHeader::build("GET", b"/", None).unwrap();
    assert!(policy.key("https", &request).is_err());
    request.set_uri("https://Two.example/x".parse().unwrap());
    request.insert_header("Host", "one.example").unwrap();
    let key = policy.key("https", &request).unwrap();
    assert_eq!(key.primary_key_str(), Some("GET https://two.example/x"));
    request.append_header("Host", "three.example").unwrap();
    assert!(policy.key("https", &request).is_err());
}

/// RFC 10008 section 2.7.
#[test]
fn a_query_has_its_body_in_its_key() {
    let policy = CachePolicy::new().query(true);
    let key = |fields: Fields<'_>, pieces: &[&str]| {
        let mut body = QueryBody::new();
        pieces
            .iter()
            .for_each(|piece| body.update(piece.as_bytes()));
        let key = policy.query_key("https", &request("QUERY", fields), body);
        key.unwrap().primary_key().to_vec()
    };
    let json = ("content-type", "application/json");
    let plain = key(&[json], &["ab"]);
    assert_eq!(plain, key(&[json], &["a", "b"]));
    assert!(plain.starts_with(b"QUERY ") && plain.ends_with(b" https://one.example/a"));
    for (fields, body) in [
        (&[json][..], "ac"),
        (&[], "ab"),
        (&[("content-type", "text/plain")], "ab"),
        (&[json, ("content-encoding", "gzip")], "ab"),
        (&[("content-encoding", "application/json")], "ab"),
    ] {
        assert_ne!(plain, key(fields, &[body]), "{fields:?} {body}");
    }
    let get = policy.query_key("https", &request("GET", &[]), QueryBody::default());
    assert!(get.is_err());
}

/// RFC 9111 sections 3 and 5.2.1.5, and what is no part of a key.
#[test]
fn requests_that_may_use_the_cache() {
    let rows: &[(&str, Fields<'_>, bool)] = &[
        ("GET", &[], true),
        ("HEAD", &[], true),
        ("POST", &[], false),
        ("OPTIONS", &[], false),
        ("QUERY", &[], false),
        ("GET", &[("content-length", "0")], true),
        ("GET", &[("content-length", "1")], false),
        (
            "GET",
            &[("content-length", "0"), ("content-length", "5")],
            false,
        ),
        ("GET", &[("transfer-encoding", "chunked")], false),
        ("GET", &[("cache-control", "no-store")], false),
        ("GET", &[("cache-control", "no-cache")], true),
        ("GET", &[("authorization", "Basic a")], true),
        ("GET", &[("x-http-method-override", "POST")], false),
        ("GET", &[("x-original-url", "/admin")], false),
        ("GET", &[("range", "bytes=0-1")], true),
    ];
    let policy = CachePolicy::new();
    for (method, fields, expected) in rows {
        let found = policy.may_use_cache(&request(method, fields));
        assert_eq!(found, *expected, "{method} {fields:?}");
    }
    let own = CachePolicy::new()
        .request_directives(false)
        .query(true)
        .bypass_fields(["x-forwarded-host", "no name"]);
    assert!(own.may_use_cache(&request("GET", &[("cache-control", "no-store")])));
    assert!(own.may_use_cache(&request("QUERY", &[("content-length", "5")])));
    assert!(!own.may_use_cache(&request("GET", &[("x-forwarded-host", "b")])));
}
