//! How long a response is fresh: `max-age`, `s-maxage`, `Expires`, `Age`, heuristics, `CDN-Cache-Control`.

use super::{Confirmed, Fetched, Hit, Level, Must, Row, Should, Then, pair, row, step};

const TABLE: &[(Level, &str, Then)] = &[
    // max-age and s-maxage
    (Should, "Cache-Control: max-age=3600", Hit),
    (Should, "Cache-Control: max-age=2147483648", Hit),
    (Should, "Cache-Control: max-age=99999999999", Hit),
    (Should, "Cache-Control: foobar, max-age=3600", Hit),
    (Should, "Cache-Control: MaX-aGe=3600", Hit),
    (Should, "Cache-Control: max-age=003600", Hit),
    (Should, "Cache-Control: s-maxage=3600", Hit),
    (
        Should,
        "Cache-Control: max-age=1, s-maxage=3600\nAge: 2",
        Hit,
    ),
    (Must, "Cache-Control: max-age=0", Fetched),
    (Must, "Cache-Control: max-age=1\nAge: 2", Fetched),
    (Must, "Cache-Control: max-age=-3600", Fetched),
    (Must, "Cache-Control: max-age='3600'", Fetched),
    (
        Must,
        "Cache-Control: max-age=3600, s-maxage=1\nAge: 2",
        Fetched,
    ),
    (
        Must,
        "Cache-Control: s-maxage=1, max-age=3600\nAge: 2",
        Fetched,
    ),
    (
        Must,
        "Cache-Control: max-age=3600\nCache-Control: s-maxage=1\nAge: 2",
        Fetched,
    ),
    (
        Must,
        "Date: @0\nCache-Control: max-age=3600\nAge: 7200",
        Fetched,
    ),
    (
        Must,
        "Cache-Control: extension=\"max-age=3600\", max-age=1\nAge: 2",
        Fetched,
    ),
    (
        Must,
        "Cache-Control: max-age=1, extension=\"max-age=3600\"\nAge: 2",
        Fetched,
    ),
    // With Expires
    (
        Should,
        "Cache-Control: max-age=3600\nExpires: @-7200\nDate: @0",
        Hit,
    ),
    (
        Should,
        "Cache-Control: max-age=3600\nExpires: 0\nDate: @0",
        Hit,
    ),
    (
        Must,
        "Cache-Control: max-age=0\nExpires: @7200\nDate: @0",
        Fetched,
    ),
    (
        Should,
        "Cache-Control: max-age=3600, s-maxage=3600\nExpires: @-10",
        Hit,
    ),
    // Expires
    (Should, "Expires: @3600\nDate: @0", Hit),
    (Should, "Expires: @3600", Hit),
    (Should, "Expires: Sun, 06 Nov 2044 08:49:37 GMT", Hit),
    (Must, "Expires: @-7200\nDate: @0", Fetched),
    (Must, "Expires: @0\nDate: @0", Fetched),
    (Must, "Expires: @3600\nDate: @0\nAge: 7200", Fetched),
    (Must, "Expires: 0\nDate: @0", Fetched),
    (Must, "Expires: -1", Fetched),
    (Must, "Expires: tomorrow", Fetched),
    (
        Must,
        "Expires: Sun, 06 Nov 1994 08:49:37 GMT\nDate: @0",
        Fetched,
    ),
    (Must, "Expires: @3600\nExpires: @-3600\nDate: @0", Fetched),
    // Age
    (
        Must,
        "Cache-Control: max-age=3600\nAge: 7200\nAge: 0",
        Fetched,
    ),
    (Must, "Cache-Control: max-age=3600\nAge: 7200, 0", Fetched),
    (
        Must,
        "Cache-Control: max-age=3600\nAge: 99999999999",
        Fetched,
    ),
    (Should, "Cache-Control: max-age=3600\nAge: 0\nDate: @0", Hit),
    (Should, "Cache-Control: max-age=3600\nAge: 1800", Hit),
    // Nothing explicit
    (Must, "", Fetched),
    (Must, "Date: @0", Fetched),
    (Should, "Last-Modified: @-100000\nDate: @0", Hit),
    (
        Should,
        "Last-Modified: @-100000\nDate: @0\nContent-Disposition: attachment",
        Hit,
    ),
    // CDN-Cache-Control
    (Should, "CDN-Cache-Control: max-age=3600", Hit),
    (Should, "CDN-Cache-Control: max-age=2147483648", Hit),
    (Should, "CDN-Cache-Control: max-age=99999999999", Hit),
    (Should, "CDN-Cache-Control: foobar, max-age=3600", Hit),
    (
        Should,
        "CDN-Cache-Control: max-age=3600\nExpires: @-7200\nDate: @0",
        Hit,
    ),
    (
        Should,
        "CDN-Cache-Control: max-age=3600\nExpires: 0\nDate: @0",
        Hit,
    ),
    (
        Should,
        "Cache-Control: max-age=1\nCDN-Cache-Control: max-age=3600\nAge: 2",
        Hit,
    ),
    (
        Should,
        "Cache-Control: no-store\nCDN-Cache-Control: max-age=3600",
        Hit,
    ),
    (
        Must,
        "CDN-Cache-Control: max-age=3600\nAge: 7200\nDate: @0",
        Fetched,
    ),
    (Must, "CDN-Cache-Control: max-age=0", Fetched),
    (
        Must,
        "CDN-Cache-Control: max-age=0\nExpires: @7200\nDate: @0",
        Fetched,
    ),
    (
        Must,
        "Cache-Control: max-age=3600\nCDN-Cache-Control: max-age=1\nAge: 2",
        Fetched,
    ),
    (
        Must,
        "CDN-Cache-Control: private\nCache-Control: max-age=3600\nExpires: @7200",
        Fetched,
    ),
    (
        Must,
        "CDN-Cache-Control: no-cache\nCache-Control: max-age=3600",
        Fetched,
    ),
    (
        Must,
        "CDN-Cache-Control: no-store\nCache-Control: max-age=3600",
        Fetched,
    ),
    (
        Must,
        "CDN-Cache-Control: max-age=3600, &&&&&\nCache-Control: no-store",
        Fetched,
    ),
    (
        Must,
        "CDN-Cache-Control: max-age=\"3600\"\nCache-Control: no-store",
        Fetched,
    ),
    // If several say different things, or something that can't be read, the strictest decides here.
    (
        Must,
        "Cache-Control: max-age=1800, max-age=1\nAge: 2",
        Fetched,
    ),
    (
        Must,
        "Cache-Control: max-age=1\nCache-Control: max-age=1800\nAge: 2",
        Fetched,
    ),
    (Must, "Cache-Control: max-age=a3600", Fetched),
    (Must, "Cache-Control: max-age=3600a", Fetched),
    // Nobody means anything else by these.
    (Should, "Cache-Control: max-age =3600", Hit),
    (Should, "Cache-Control: max-age= 3600", Hit),
    (Should, "Cache-Control: max-age=\"3600\"", Hit),
];

/// The statuses that the suite asks about.
const STATUSES: [u16; 18] = [
    200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599,
];

pub(super) fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = TABLE
        .iter()
        .map(|(level, answer, then)| pair(*level, answer, *then))
        .collect();
    for status in STATUSES {
        let of = |then, answer| step(then, answer).status(status);
        let fresh = "Cache-Control: max-age=3600";
        rows.push(row(
            Should,
            format!("a fresh {status}"),
            [of(Fetched, fresh), of(Hit, fresh)],
        ));
        let stale = "Cache-Control: max-age=1\nAge: 5";
        rows.push(row(
            Must,
            format!("a stale {status}"),
            [of(Fetched, stale), of(Fetched, stale)],
        ));
    }
    for status in [200, 203, 204, 404, 405, 410, 414, 501] {
        let old = "Last-Modified: @-100000\nDate: @0";
        rows.push(row(
            Should,
            format!("a {status} that has not changed for long"),
            [
                step(Fetched, old).status(status),
                step(Hit, old).status(status),
            ],
        ));
    }
    for status in [201, 202, 403, 502, 503, 504, 599] {
        let old = "Last-Modified: @-100000\nDate: @0";
        rows.push(row(
            Must,
            format!("a {status} that has not changed for long"),
            [
                step(Fetched, old).status(status),
                step(Fetched, old).status(status),
            ],
        ));
    }
    for status in [599, 299] {
        let answer = "Cache-Control: public\nLast-Modified: @-100000\nDate: @0";
        rows.push(row(
            Should,
            format!("an unknown {status} that is public"),
            [
                step(Fetched, answer).status(status),
                step(Hit, answer).status(status),
            ],
        ));
    }
    let stale = "Cache-Control: max-age=1\nAge: 5\nETag: \"a\"";
    rows.push(row(
        Should,
        "a stale response with a tag",
        [
            step(Fetched, stale),
            step(
                Confirmed("if-none-match"),
                "Cache-Control: max-age=3600\nETag: \"a\"",
            ),
            step(Hit, ""),
        ],
    ));
    rows
}
