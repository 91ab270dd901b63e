//! The decisions, as a table.

#![cfg(feature = "compression")]

use super::*;
use crate::protocols::http::compression::CompressionSettings;
use ContentCoding::{Deflate, Gzip};
use http::HeaderMap;

/// Settings, by name.
fn policy(name: &str) -> Policy {
    let mut policy = CompressionSettings::new(0).0;
    for word in name.split(' ') {
        match word {
            "off" => {}
            "gzip" => policy.levels[Gzip.index()] = 6,
            "deflate" => policy.levels[Deflate.index()] = 6,
            "decompress" => policy.decompress.fill(true),
            "filters" => policy.ahead_of_filters = true,
            "large" => policy.min_size = 1000,
            "pdf" => policy.types = Some([Box::from("application/pdf"), "x/*".into()].into()),
            "all" => policy.types = Some([Box::from("*/*")].into()),
            other => panic!("{other}"),
        }
    }
    policy
}

fn headers(lines: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.split('|').filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap();
        let name: http::HeaderName = name.parse().unwrap();
        headers.append(name, value.parse().unwrap());
    }
    headers
}

fn decided(settings: &str, request: &str, status: u16, response: &str) -> Plan {
    let mut resp = ResponseHeader::build(status, None).unwrap();
    for (name, value) in &headers(response) {
        resp.append_header(name, value).unwrap();
    }
    let accepted = AcceptEncoding::from_headers(&headers(request));
    policy(settings).plan(&accepted, false, &resp)
}

fn change(undo: Option<ContentCoding>, apply: Option<ContentCoding>) -> Plan {
    Plan {
        undo,
        apply,
        varies: true,
    }
}

const TEXT: &str = "content-type: text/plain";

#[test]
fn compression() {
    let gzip = change(None, Some(Gzip));
    let deflate = change(None, Some(Deflate));
    let with = |more: &str| format!("{TEXT}|{more}");
    for (settings, request, status, response, expected) in [
        ("gzip", "accept-encoding: gzip", 200, with(""), gzip),
        (
            "gzip deflate",
            "accept-encoding: deflate, gzip",
            200,
            with(""),
            gzip,
        ),
        (
            "gzip deflate",
            "accept-encoding: deflate, gzip;q=0.9",
            200,
            with(""),
            deflate,
        ),
        (
            "gzip",
            "accept-encoding: identity;q=0, *",
            404,
            with(""),
            gzip,
        ),
        ("off", "accept-encoding: gzip", 200, with(""), LEAVE),
        (
            "deflate",
            "accept-encoding: gzip",
            200,
            with(""),
            LEAVE_THIS_TIME,
        ),
        ("gzip", "", 200, with(""), LEAVE_THIS_TIME),
        (
            "gzip",
            "accept-encoding: identity;q=0",
            200,
            with(""),
            LEAVE_THIS_TIME,
        ),
        (
            "gzip",
            "accept-encoding: *;q=0",
            200,
            with(""),
            LEAVE_THIS_TIME,
        ),
        (
            "gzip",
            "accept-encoding: gzip|cache-control: no-transform",
            200,
            with(""),
            LEAVE_THIS_TIME,
        ),
        // Not worth it, by type and by size.
        (
            "gzip",
            "accept-encoding: gzip",
            200,
            "content-type: image/png".into(),
            LEAVE,
        ),
        ("gzip", "accept-encoding: gzip", 200, String::new(), LEAVE),
        (
            "gzip all",
            "accept-encoding: gzip",
            200,
            "content-type: image/png".into(),
            gzip,
        ),
        (
            "gzip all",
            "accept-encoding: gzip",
            200,
            "content-type: application/grpc+proto".into(),
            LEAVE,
        ),
        (
            "gzip pdf",
            "accept-encoding: gzip",
            200,
            "content-type: Application/PDF; a=b".into(),
            gzip,
        ),
        (
            "gzip pdf",
            "accept-encoding: gzip",
            200,
            "content-type: x/y".into(),
            gzip,
        ),
        (
            "gzip pdf",
            "accept-encoding: gzip",
            200,
            "content-type: xx/y".into(),
            LEAVE,
        ),
        ("gzip pdf", "accept-encoding: gzip", 200, with(""), LEAVE),
        (
            "gzip",
            "accept-encoding: gzip",
            200,
            with("content-length: 19"),
            LEAVE,
        ),
        (
            "gzip",
            "accept-encoding: gzip",
            200,
            with("content-length: 20"),
            gzip,
        ),
        (
            "gzip large",
            "accept-encoding: gzip",
            200,
            with("content-length: 999"),
            LEAVE,
        ),
        (
            "gzip large",
            "accept-encoding: gzip",
            200,
            with("content-length: 1000"),
            gzip,
        ),
        ("gzip large", "accept-encoding: gzip", 200, with(""), gzip),
        // Never twice.
        (
            "gzip",
            "accept-encoding: gzip",
            200,
            with("content-encoding: gzip"),
            LEAVE,
        ),
        (
            "gzip",
            "accept-encoding: gzip",
            200,
            with("content-encoding: made-up"),
            LEAVE,
        ),
        (
            "gzip",
            "accept-encoding: gzip",
            200,
            with("content-encoding: identity"),
            gzip,
        ),
        // Never at all.
        ("gzip", "accept-encoding: gzip", 206, with(""), LEAVE),
        ("gzip", "accept-encoding: gzip", 204, with(""), LEAVE),
        ("gzip", "accept-encoding: gzip", 304, with(""), LEAVE),
        (
            "gzip",
            "accept-encoding: gzip",
            200,
            with("content-range: bytes 0-9/99"),
            LEAVE,
        ),
        (
            "gzip",
            "accept-encoding: gzip",
            200,
            with("cache-control: no-transform"),
            LEAVE,
        ),
        (
            "gzip",
            "accept-encoding: gzip",
            200,
            with("digest: sha-256=AA=="),
            LEAVE,
        ),
        (
            "gzip",
            "accept-encoding: gzip",
            200,
            with("repr-digest: sha-256=:AA==:"),
            LEAVE,
        ),
        (
            "gzip",
            "accept-encoding: gzip",
            200,
            with("content-digest: sha-256=:AA==:"),
            LEAVE,
        ),
        (
            "gzip",
            "accept-encoding: gzip",
            200,
            with("content-md5: AA=="),
            LEAVE,
        ),
        (
            "gzip",
            "accept-encoding: gzip",
            200,
            with("trailer: x-a, Repr-Digest"),
            LEAVE,
        ),
        (
            "gzip",
            "accept-encoding: gzip",
            200,
            with("trailer: x-a"),
            gzip,
        ),
    ] {
        let plan = decided(settings, request, status, &response);
        assert_eq!(plan, expected, "{settings} {request} {status} {response}");
    }
}

#[test]
fn decompression() {
    let coded = format!("{TEXT}|content-encoding: gzip");
    let plain = change(Some(Gzip), None);
    let for_filters = Plan {
        varies: false,
        ..plain
    };
    for (settings, accepted, expected) in [
        // For the client.
        ("decompress", "gzip", LEAVE_THIS_TIME),
        ("decompress", "br", plain),
        ("decompress", "gzip;q=0", plain),
        ("decompress", "identity;q=0", LEAVE_THIS_TIME),
        ("off", "br", LEAVE),
        (
            "decompress deflate",
            "deflate",
            change(Some(Gzip), Some(Deflate)),
        ),
        (
            "decompress deflate",
            "deflate, identity;q=0",
            change(Some(Gzip), Some(Deflate)),
        ),
        ("decompress deflate", "deflate, gzip;q=0.1", LEAVE_THIS_TIME),
        // For filters.
        ("decompress filters", "gzip", for_filters),
        ("decompress filters", "", for_filters),
        ("decompress filters", "identity;q=0", for_filters),
        ("decompress filters gzip", "gzip", LEAVE_THIS_TIME),
        ("decompress filters gzip", "br", plain),
    ] {
        let request = format!("accept-encoding: {accepted}");
        let plan = decided(settings, &request, 200, &coded);
        assert_eq!(plan, expected, "{settings} {accepted}");
    }
    let settings = "decompress filters";
    let request = "accept-encoding: gzip|cache-control: no-transform";
    assert_eq!(decided(settings, request, 200, &coded), for_filters);
    for fixed in [
        "content-encoding: gzip|cache-control: no-transform",
        "content-encoding: gzip|digest: sha-256=AA==",
        "content-encoding: gzip, gzip",
        "content-encoding: made-up",
        "content-encoding: dcb",
    ] {
        assert_eq!(decided(settings, "", 200, fixed), LEAVE, "{fixed}");
    }
}
