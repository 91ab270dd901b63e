//! The guarantees that both heads share.

use super::*;
use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderValue, Uri};

fn wire(request: &RequestHeader) -> String {
    let mut wire = Vec::new();
    request.header_to_h1_wire(&mut wire);
    String::from_utf8(wire).unwrap()
}

fn get() -> RequestHeader {
    RequestHeader::build("GET", b"/", None).unwrap()
}

fn spelt_out(request: &RequestHeader) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    request
        .case_header_iter()
        .map(|(name, value)| (text(name.as_slice()), text(value.as_bytes())))
        .collect()
}

/// Names by way of `map`.
fn mapped(request: &RequestHeader) -> Vec<String> {
    let mut names = Vec::new();
    request
        .map(|name, _| {
            names.push(match name {
                HeaderNameVariant::Case(case) => {
                    String::from_utf8(case.as_slice().to_vec()).unwrap()
                }
                HeaderNameVariant::Titled(titled) => titled.to_string(),
            });
            Ok(())
        })
        .unwrap();
    names
}

#[test]
fn names_are_written_as_they_were_given() {
    let names = [
        "Host",
        "ETag",
        "WWW-Authenticate",
        "DNT",
        "sec-ch-ua",
        "X-Custom-Name",
        "x_under",
        "a",
        "Z",
        "-lead",
        "trail-",
        "A--B",
        "9lives",
        "content-md5",
        "X-Über-ignored".split_at(2).0,
    ];
    for name in names {
        let mut request = get();
        request.insert_header(name, "v").unwrap();
        assert_eq!(wire(&request), format!("{name}: v\r\n"));
        assert_eq!(mapped(&request), [name]);
        assert_eq!(spelt_out(&request), [(name.to_string(), "v".to_string())]);
        assert_eq!(request.headers.get(name).unwrap(), "v");
    }
}

#[test]
fn every_kind_of_name_is_accepted() {
    let mut request = get();
    let etag = CaseHeaderName::from_static("ETag");
    request.insert_header(etag, "1").unwrap();
    request.insert_header(String::from("dNT"), "2").unwrap();
    request
        .insert_header(Bytes::from_static(b"x-b"), "3")
        .unwrap();
    request.insert_header(header::HOST, "4").unwrap();
    request.insert_header(&header::ACCEPT, "5").unwrap();
    let custom = HeaderName::from_static("sec-ch-ua");
    request.insert_header(&custom, "6").unwrap();
    assert_eq!(
        wire(&request),
        "ETag: 1\r\ndNT: 2\r\nx-b: 3\r\nHost: 4\r\nAccept: 5\r\nSec-Ch-Ua: 6\r\n"
    );
    assert_eq!(
        IntoCaseHeaderName::into_case_header_name(&custom).as_slice(),
        b"Sec-Ch-Ua"
    );
}

#[test]
fn a_long_name_is_titled_whole() {
    let lower = "abc-".repeat(50) + "d";
    let titled = "Abc-".repeat(50) + "D";
    let mut request = get();
    let name = HeaderName::from_bytes(lower.as_bytes()).unwrap();
    request.insert_header(name, "v").unwrap();
    assert_eq!(wire(&request), format!("{titled}: v\r\n"));
    assert_eq!(mapped(&request).concat(), titled);
    request.insert_header(lower.clone(), "v").unwrap();
    assert_eq!(wire(&request), format!("{lower}: v\r\n"));
    request.insert_header(titled.clone(), "v").unwrap();
    assert_eq!(wire(&request), format!("{titled}: v\r\n"));
}

#[test]
fn each_value_has_the_spelling_it_came_with() {
    let mut request = get();
    assert!(!request.append_header("x-a", "1").unwrap());
    assert!(request.append_header("X-A", "2").unwrap());
    request.append_header("Host", "h").unwrap();
    assert!(request.append_header("X-a", "3").unwrap());
    assert!(request.append_header(String::from("x-A"), "4").unwrap());
    assert_eq!(
        wire(&request),
        "x-a: 1\r\nX-A: 2\r\nX-a: 3\r\nx-A: 4\r\nHost: h\r\n"
    );
    assert_eq!(mapped(&request), ["x-a", "X-A", "X-a", "x-A", "Host"]);
    assert_eq!(spelt_out(&request).len(), 5);

    request.insert_header("X-a", "5").unwrap();
    assert_eq!(wire(&request), "X-a: 5\r\nHost: h\r\n");
    assert_eq!(request.remove_header("x-a").unwrap(), "5");
    assert!(request.remove_header("x-a").is_none());
    request.append_header(header::ETAG, "6").unwrap();
    request
        .append_header(HeaderName::from_static("x-a"), "7")
        .unwrap();
    assert_eq!(wire(&request), "Host: h\r\nEtag: 6\r\nX-A: 7\r\n");
}

#[test]
fn removing_keeps_the_spelling_of_the_others() {
    for gone in 0..6 {
        let names = ["aa", "Bb", "cC", "dd", "EE", "Ff"];
        let mut request = get();
        for name in names {
            request.append_header(name, name).unwrap();
            request.append_header(name, name).unwrap();
        }
        let first = request.remove_header(names[gone]).unwrap();
        assert_eq!(first, names[gone]);
        let left = spelt_out(&request);
        assert_eq!(left.len(), 10);
        assert!(left.iter().all(|(name, value)| name == value));
        assert!(!left.iter().any(|(name, _)| name == names[gone]));
        assert_eq!(
            mapped(&request),
            left.into_iter().map(|(n, _)| n).collect::<Vec<_>>()
        );
    }
}

#[test]
fn the_spelt_out_names_follow_every_change() {
    let mut request = get();
    request.append_header("aa", "1").unwrap();
    assert_eq!(spelt_out(&request).len(), 1);
    request.append_header("Bb", "2").unwrap();
    assert_eq!(spelt_out(&request).len(), 2);
    request.insert_header("AA", "3").unwrap();
    assert_eq!(spelt_out(&request)[0].0, "AA");
    request.remove_header("bb");
    assert_eq!(spelt_out(&request).len(), 1);
    request.append_parsed(b"cc", Bytes::new()).unwrap();
    assert_eq!(spelt_out(&request).len(), 2);
    let copy = request.clone();
    request.reset();
    assert_eq!(spelt_out(&request).len(), 0);
    request.assign_from(&copy);
    assert_eq!(spelt_out(&request), spelt_out(&copy));
}

#[test]
fn without_case_names_are_titled() {
    let mut request = RequestHeader::build_no_case("GET", b"/", Some(4)).unwrap();
    assert!(!request.has_case());
    request.insert_header("x-trace", "1").unwrap();
    request.append_header("ETag", "2").unwrap();
    request.append_parsed(b"DNT", Bytes::new()).unwrap();
    assert_eq!(wire(&request), "X-Trace: 1\r\nEtag: 2\r\nDnt: \r\n");
    assert_eq!(mapped(&request), ["X-Trace", "Etag", "Dnt"]);
    assert_eq!(request.case_header_iter().count(), 0);
    request.remove_header("etag").unwrap();
    assert_eq!(wire(&request), "X-Trace: 1\r\nDnt: \r\n");
}

#[test]
fn map_ends_with_the_first_error() {
    let mut request = get();
    request.insert_header("A", "1").unwrap();
    request.insert_header("B", "2").unwrap();
    let mut seen = 0;
    let result = request.map(|_, _| {
        seen += 1;
        pingora_error::Error::err(pingora_error::ErrorType::InternalError)
    });
    assert!(result.is_err());
    assert_eq!(seen, 1);
}

#[test]
fn bad_names_and_values_are_refused_and_change_nothing() {
    let mut request = get();
    request.insert_header("x-a", "1").unwrap();
    for name in ["", "a b", "a:", "a\r\n", "\u{e4}", "a\0"] {
        assert!(request.insert_header(name, "v").is_err(), "{name:?}");
        assert!(request.append_header(name, "v").is_err(), "{name:?}");
    }
    for value in ["a\r\nb", "\0", "\u{7f}", "\n"] {
        assert!(request.insert_header("x-a", value).is_err(), "{value:?}");
        assert!(request.append_header("x-a", value).is_err(), "{value:?}");
        assert!(request.append_header("X-A", value).is_err(), "{value:?}");
    }
    assert_eq!(
        request.append_parsed(b"a b", Bytes::new()),
        Err(FieldRefused::Name)
    );
    assert_eq!(
        request.append_parsed(b"a", Bytes::from_static(b"\r")),
        Err(FieldRefused::Value)
    );
    assert_eq!(wire(&request), "x-a: 1\r\n");
}

#[test]
fn a_head_that_is_full_says_so() {
    let mut request = get();
    let refused = (0..40_000u32)
        .map(|n| Bytes::from(format!("x-{n}")))
        .find_map(|name| request.append_header(name, "").err());
    assert!(refused.is_some());
    assert!(request.insert_header("x-last", "").is_err());
}

#[test]
fn parsed_fields_share_the_buffer() {
    let head = Bytes::from_static(b"sec-ch-ua: \"x\"");
    let mut request = RequestHeader::default();
    request.reserve(8);
    request.append_parsed(&head[..9], head.slice(11..)).unwrap();
    assert_eq!(wire(&request), "sec-ch-ua: \"x\"\r\n");
    let value = &request.headers["sec-ch-ua"];
    assert_eq!(value.as_bytes().as_ptr(), head[11..].as_ptr());
}

#[test]
fn reset_and_assign_leave_nothing_behind() {
    let mut request = RequestHeader::build("POST", b"/a<b", None).unwrap();
    request.insert_header("x-a", "1").unwrap();
    request.set_version(http::Version::HTTP_2);
    request.set_send_end_stream(false);
    request.extensions_mut().insert(7u8);

    let mut copy = get();
    copy.insert_header("x-old", "1").unwrap();
    copy.assign_from(&request);
    assert_eq!(copy.method, "POST");
    assert_eq!(copy.raw_path(), b"/a<b");
    assert_eq!(copy.send_end_stream(), Some(false));
    assert_eq!(copy.extensions.get::<u8>(), Some(&7));
    assert_eq!(wire(&copy), "x-a: 1\r\n");

    copy.reset();
    assert_eq!(copy.method, "GET");
    assert_eq!(copy.raw_path(), b"/");
    assert_eq!(copy.uri, Uri::default());
    assert_eq!(copy.version, http::Version::HTTP_11);
    assert!(copy.extensions.is_empty());
    assert_eq!(wire(&copy), "");
    assert!(copy.has_case());
}

#[test]
fn targets() {
    // The target that is set, the bytes that are sent, and the URI's path.
    let cases: &[(&[u8], &[u8], &str)] = &[
        (b"/", b"/", "/"),
        (b"/a/b?c=d", b"/a/b?c=d", "/a/b"),
        (b"*", b"*", "*"),
        (b"//evil/x", b"//evil/x", "//evil/x"),
        (b"/\xff\xfe", b"/\xff\xfe", "/%FF%FE"),
        (b"/a<b>?q=`\"", b"/a<b>?q=`\"", "/a%3Cb%3E"),
        (b"/%41", b"/%41", "/%41"),
        ("/\u{e4}".as_bytes(), "/\u{e4}".as_bytes(), "/\u{e4}"),
        (b"http://h:1/p?q", b"http://h:1/p?q", "/p"),
        (b"http://h", b"http://h", "/"),
        (b"h:443", b"h:443", ""),
    ];
    for (set, sent, path) in cases {
        let request = RequestHeader::build("GET", set, None);
        let name = String::from_utf8_lossy(set);
        let request = request.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(request.raw_path(), *sent, "{name}");
        assert_eq!(request.uri.path(), *path, "{name}");
        let is_utf8 = std::str::from_utf8(set).is_ok();
        assert_eq!(request.raw_path_is_utf8(), is_utf8, "{name}");
    }
    let long = [b'/'; 65_535];
    let refused: &[&[u8]] = &[
        b"", b"/a b", b"/a\r\n", b"/\0", b"/a#b", b"/\x7f", b"?q", b"http://", &long,
    ];
    for set in refused {
        assert!(get().set_raw_path(set).is_err(), "{set:?}");
    }
}

#[test]
fn a_uri_is_sent_as_path_and_query() {
    let cases = [
        ("http://h/p?q", "/p?q"),
        ("http://h", "/"),
        ("http://h?q", "/?q"),
        ("/p", "/p"),
        ("*", "*"),
        ("h:443", "h:443"),
    ];
    for (uri, sent) in cases {
        let mut request = RequestHeader::build("GET", b"/\xff", None).unwrap();
        request.set_uri(uri.parse().unwrap());
        assert_eq!(request.raw_path(), sent.as_bytes(), "{uri}");
        assert!(request.raw_path_is_utf8());

        let mut parts = request.as_owned_parts();
        parts.uri = uri.parse().unwrap();
        assert_eq!(RequestHeader::from(parts).raw_path(), sent.as_bytes());
    }
}

#[test]
fn parsed_targets() {
    let mut request = get();
    let (host, path) = (Bytes::from_static(b"h:8080"), Bytes::from_static(b"/p?q"));
    request
        .set_parsed_absolute(b"http", host.clone(), path.clone())
        .unwrap();
    assert_eq!(request.uri, "http://h:8080/p?q");
    assert_eq!(request.raw_path(), b"/p?q");
    let raw = Bytes::from_static(b"/\xff");
    request
        .set_parsed_absolute(b"http", host.clone(), raw)
        .unwrap();
    assert_eq!(request.uri, "http://h:8080/%FF");
    assert_eq!(request.raw_path(), b"/\xff");
    request.set_parsed_authority(host).unwrap();
    assert_eq!(request.raw_path(), b"h:8080");
    assert_eq!(request.uri.authority().unwrap(), "h:8080");
    request.set_parsed_path(&path, &path).unwrap();
    assert_eq!(request.raw_path(), path);
    let long = Bytes::from(format!("/{}", "x".repeat(300)));
    request.set_parsed_path(&long, &long).unwrap();
    assert_eq!(request.uri.path().as_ptr(), long.as_ptr(), "shared");
    assert!(request.uri.authority().is_none());
    let bad = Bytes::from_static(b"/a b");
    assert_eq!(
        request.set_parsed_path(&bad, &bad),
        Err(TargetRefused::Malformed)
    );
}

#[test]
fn file_extensions() {
    let cases = [
        ("/a/b.css?v=1.2", Some("css")),
        ("/a.tar.gz", Some("gz")),
        ("/a.b/c", None),
        ("/a.", None),
        ("/.profile", None),
        ("/", None),
        ("*", None),
    ];
    for (path, extension) in cases {
        let request = RequestHeader::build("GET", path.as_bytes(), None).unwrap();
        assert_eq!(request.uri_file_extension(), extension, "{path}");
    }
}

#[test]
fn the_end_of_stream_belongs_to_http_2() {
    let mut request = get();
    assert_eq!(request.send_end_stream(), None);
    request.set_version(Version::HTTP_2);
    assert_eq!(request.send_end_stream(), Some(true));
    request.set_send_end_stream(false);
    assert_eq!(request.send_end_stream(), Some(false));
}

#[test]
fn methods() {
    assert!(RequestHeader::build("G T", b"/", None).is_err());
    let mut request = RequestHeader::build(Method::PUT, b"/", None).unwrap();
    assert_eq!(request.method, Method::PUT);
    request.set_method(Method::from_bytes(b"PURGE").unwrap());
    assert_eq!(request.method, "PURGE");
}

#[test]
fn parts_convert_both_ways() {
    let request = RequestHeader::from(http::Request::get("/p").body(()).unwrap().into_parts().0);
    assert!(!request.has_case());
    assert_eq!(request.as_ref().uri.path(), "/p");
    let parts: http::request::Parts = request.into();
    assert_eq!(parts.uri, "/p");

    let (parts, ()) = http::Response::new(()).into_parts();
    let response = ResponseHeader::from(parts);
    assert!(!response.has_case());
    assert_eq!(response.as_ref().status, 200);
    let parts: http::response::Parts = response.into();
    assert_eq!(parts.status, 200);
}

#[test]
fn responses() {
    let mut response = ResponseHeader::build(200, Some(2)).unwrap();
    assert!(response.has_case());
    response.set_content_length(17).unwrap();
    response.append_header("ETag", "\"1\"").unwrap();
    response.append_header("sEt-Cookie", "a").unwrap();
    response.append_header("Set-Cookie", "b").unwrap();
    response.append_header("Via", "x").unwrap();
    assert_eq!(response.remove_header("via").unwrap(), "x");
    let mut wire = Vec::new();
    response.header_to_h1_wire(&mut wire);
    assert_eq!(
        wire,
        b"Content-Length: 17\r\nETag: \"1\"\r\nsEt-Cookie: a\r\nSet-Cookie: b\r\n"
    );
    assert_eq!(response.case_header_iter().count(), 4);
    assert_eq!(response.as_owned_parts().headers.len(), 4);

    let mut copy = ResponseHeader::build_no_case(404, None).unwrap();
    assert!(!copy.has_case());
    copy.assign_from(&response);
    assert!(copy.has_case());
    copy.reset();
    copy.append_parsed(b"a", Bytes::from_static(b"1")).unwrap();
    assert_eq!(copy.status, 200);
    assert_eq!(copy.headers.len(), 1);
    copy.extensions_mut().insert(1u8);
    copy.insert_header("A", "2").unwrap();
    let mut names = 0;
    copy.map(|name, value| {
        names += 1;
        assert_eq!(name, HeaderNameVariant::Titled("A"));
        assert_eq!(value, "2");
        Ok(())
    })
    .unwrap();
    assert_eq!(names, 1);
}

#[test]
fn status_and_reason() {
    assert!(ResponseHeader::build(99, None).is_err());
    assert!(ResponseHeader::build(1000, None).is_err());
    let mut response = ResponseHeader::build(StatusCode::NOT_FOUND, None).unwrap();
    assert_eq!(response.get_reason_phrase(), Some("Not Found"));
    response.set_reason_phrase(Some("Gone Fishing")).unwrap();
    assert_eq!(response.get_reason_phrase(), Some("Gone Fishing"));
    assert!(response.set_reason_phrase(Some("a\r\nb: c")).is_err());
    response.set_reason_phrase(None).unwrap();
    assert_eq!(response.get_reason_phrase(), Some("Not Found"));
    response.set_reason_phrase(Some("Not Found")).unwrap();
    response.set_status(599).unwrap();
    assert_eq!(response.get_reason_phrase(), None);
    assert!(response.set_status(0).is_err());
    response.set_version(Version::HTTP_10);
    assert_eq!(response.version, Version::HTTP_10);
    let value = HeaderValue::from_static("v");
    response.insert_header(header::AGE, value).unwrap();
    assert_eq!(response.headers[header::AGE], "v");
}

/// The http crate lets a quotation mark pass in a name that is given in lower case.
#[test]
fn a_name_that_is_no_token_is_refused_however_it_is_given() {
    let mark = http::HeaderName::from_static("x\"y");
    let mut request = RequestHeader::build("GET", b"/", None).unwrap();
    assert!(request.insert_header(mark.clone(), "1").is_err());
    assert!(request.append_header(&mark, "1").is_err());
    assert!(request.append_header("x\"y", "1").is_err());
    assert!(request.append_header("x\"y".to_string(), "1").is_err());
    assert!(request.append_header(Bytes::from("x\"y"), "1").is_err());
    assert!(request.append_header("", "1").is_err());
    assert_eq!(wire(&request), "");

    let mut response = ResponseHeader::build(200, None).unwrap();
    assert!(response.insert_header(mark.clone(), "1").is_err());
    assert!(response.append_header(mark.clone(), "1").is_err());

    let parts = http::Request::builder()
        .header("a", "1")
        .header(mark.clone(), "1")
        .header("b", "2")
        .body(())
        .unwrap()
        .into_parts()
        .0;
    assert_eq!(wire(&RequestHeader::from(parts)), "A: 1\r\nB: 2\r\n");
    let parts = http::Response::builder()
        .header(mark, "1")
        .header("b", "2")
        .body(())
        .unwrap()
        .into_parts()
        .0;
    let response = ResponseHeader::from(parts);
    assert_eq!(response.headers.len(), 1);
}

/// RFC 9113 section 8.2.1: HTTP/2 has no whitespace around values, HTTP/1 does not count it.
#[test]
fn whitespace_around_a_value_is_no_part_of_it_however_it_is_given() {
    let mut request = RequestHeader::build("GET", b"/", None).unwrap();
    request.insert_header("A", " \tx y\t ").unwrap();
    request.append_header("A", " ").unwrap();
    let mut secret = HeaderValue::from_static("s ");
    secret.set_sensitive(true);
    request.append_header("B", secret).unwrap();
    assert_eq!(wire(&request), "A: x y\r\nA: \r\nB: s\r\n");
    assert!(request.headers["b"].is_sensitive());

    let parts = http::Request::builder().header("a", " 1 ").body(());
    let request = RequestHeader::from(parts.unwrap().into_parts().0);
    assert_eq!(wire(&request), "A: 1\r\n");
}

#[test]
fn path_and_query_are_had_in_the_form_of_http2() {
    let rows: &[(&str, &[u8], &[u8])] = &[
        ("GET", b"/", b"/"),
        ("GET", b"/a?q=\"<`{|}\\^>\xe9", b"/a?q=\"<`{|}\\^>\xe9"),
        ("GET", b"/\xc3\xa9", b"/\xc3\xa9"),
        ("GET", b"http://a.test", b"/"),
        ("GET", b"http://a.test/b?c", b"/b?c"),
        ("GET", b"http://a.test?c", b"/?c"),
        ("OPTIONS", b"*", b"*"),
        ("OPTIONS", b"http://a.test/", b"/"),
    ];
    for (method, target, expected) in rows {
        let request = RequestHeader::build(*method, target, None).unwrap();
        let name = String::from_utf8_lossy(target);
        assert_eq!(*request.origin_form(), **expected, "{method} {name}");
    }
    let mut request = get();
    request.set_uri(Uri::from_static("http://a.test?c"));
    assert_eq!(*request.origin_form(), *b"/?c");
}

#[test]
fn a_target_without_its_authority_keeps_its_bytes() {
    let rows: &[(&[u8], &[u8])] = &[
        (b"/a?b", b"/a?b"),
        (b"/?q=\"a\"", b"/?q=\"a\""),
        (b"/\xe9`", b"/\xe9`"),
        (b"*", b"*"),
    ];
    for (path, expected) in rows {
        let mut request = get();
        let authority = Bytes::from_static(b"a.test");
        let path = Bytes::copy_from_slice(path);
        let set = request.set_parsed_absolute(b"https", authority, path);
        assert!(set.is_ok(), "{expected:?}");
        assert!(request.uri.authority().is_some());
        request.strip_authority();
        assert!(request.uri.authority().is_none());
        assert_eq!(request.raw_path(), *expected);
        assert_eq!(*request.origin_form(), **expected);
    }
    let mut request = RequestHeader::build("GET", b"http://a.test/b?c", None).unwrap();
    request.strip_authority();
    assert_eq!(request.raw_path(), b"/b?c");
    let mut request = get();
    request.set_uri(Uri::from_static("http://a.test?c"));
    request.strip_authority();
    assert_eq!(request.raw_path(), b"/?c");
}

/// The rules of the http crate that stand in for ours where it has checked already.
#[test]
fn the_http_crate_and_the_grammar_differ_where_it_is_known() {
    use crate::grammar;
    for byte in 0..=u8::MAX {
        let text = [b'a', byte, b'b'];
        let name = HeaderName::from_bytes(&text).is_ok();
        assert_eq!(name, grammar::is_field_name(&text), "{byte}");
        let lower = HeaderName::from_lowercase(&text).is_ok();
        let expected = grammar::is_lower_case_field_name(&text) || byte == b'"';
        assert_eq!(lower, expected, "{byte}");
        assert_eq!(
            Method::from_bytes(&text).is_ok(),
            grammar::is_method(&text),
            "{byte}"
        );
        let value = HeaderValue::from_bytes(&text).is_ok();
        assert_eq!(value, grammar::is_field_value(&text), "{byte}");
    }
    for code in 0..=1000 {
        let text = code.to_string();
        let known = StatusCode::from_bytes(text.as_bytes()).ok();
        let status = known.map(|status| status.as_u16());
        assert_eq!(status, grammar::status_code(text.as_bytes()), "{code}");
    }
}
