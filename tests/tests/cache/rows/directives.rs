//! The statements of responses and requests besides freshness: `Cache-Control`, `Pragma`, `Authorization`, stale responses.

use super::{
    Confirmed, Failed, Fetched, Hit, Level, Must, Row, Served, Should, Then, pair, row, step,
};

const RESPONSES: &[(Level, &str, Then)] = &[
    (Must, "Cache-Control: private, max-age=3600", Fetched),
    (Must, "Cache-Control: no-store", Fetched),
    (Must, "Cache-Control: No-StOrE", Fetched),
    (
        Must,
        "Cache-Control: max-age=3600, no-store\nExpires: @7200\nDate: @0",
        Fetched,
    ),
    (
        Must,
        "Cache-Control: max-age=3600, no-cache\nExpires: @7200\nDate: @0",
        Fetched,
    ),
    (Must, "Cache-Control: max-age=3600, No-CaChE", Fetched),
    (
        Should,
        "Cache-Control: max-age=3600, must-revalidate\nETag: \"a\"",
        Hit,
    ),
    (
        Should,
        "Cache-Control: max-age=3600, proxy-revalidate\nETag: \"a\"",
        Hit,
    ),
    (Should, "Cache-Control: max-age=3600, immutable", Hit),
    (Should, "Cache-Control: max-age=3600\nPragma: no-cache", Hit),
    (
        Should,
        "Cache-Control: must-understand, no-store, max-age=3600",
        Hit,
    ),
    (
        Should,
        "Cache-Control: max-age=3600\nWWW-Authenticate: Basic",
        Hit,
    ),
];

/// A client's own statements about a response that is stored for an hour, and two seconds old.
const REQUESTS: &[(Level, &str, Then)] = &[
    (Should, "Cache-Control: max-age=0", Fetched),
    (Should, "Cache-Control: max-age=1", Fetched),
    (Should, "Cache-Control: max-age=1000", Hit),
    (Should, "Cache-Control: min-fresh=7200", Fetched),
    (Should, "Cache-Control: min-fresh=10", Hit),
    (Should, "Cache-Control: no-cache", Fetched),
    (Should, "Cache-Control: no-store", Fetched),
    (Should, "Pragma: no-cache", Fetched),
    (Should, "Pragma: foo", Hit),
    (Should, "Cache-Control: foo", Hit),
    (Should, "Cache-Control: only-if-cached", Hit),
    (Should, "Cookie: a=b", Hit),
    (Should, "User-Agent: another", Hit),
];

pub(super) fn rows() -> Vec<Row> {
    let table = RESPONSES.iter();
    let mut rows: Vec<Row> = table
        .map(|(level, answer, then)| pair(*level, answer, *then))
        .collect();
    for (level, ask, then) in REQUESTS {
        let answer = "Cache-Control: max-age=3600\nAge: 2";
        rows.push(row(
            *level,
            format!("stored, and then: {ask}"),
            [step(Fetched, answer), step(*then, answer).asking(ask)],
        ));
    }
    rows.extend(of_responses());
    rows.extend(of_requests());
    rows.extend(authorized());
    rows.extend(stale());
    rows
}

fn of_responses() -> Vec<Row> {
    let no_cache = "Cache-Control: no-cache\nETag: \"a\"";
    let fresh_no_cache = "Cache-Control: max-age=3600, no-cache\nETag: \"a\"";
    let listed = "Cache-Control: no-cache=\"a, b\", max-age=3600\nA: 1\nB: 2\nC: 3";
    let connection = "Cache-Control: max-age=3600\nConnection: a, b\nA: 1\nB: 2\nC: 3";
    vec![
        row(
            Should,
            "no-cache is validated",
            [
                step(Fetched, no_cache),
                step(Confirmed("if-none-match"), no_cache),
            ],
        ),
        row(
            Should,
            "no-cache is validated even if it is fresh",
            [
                step(Fetched, fresh_no_cache),
                step(Confirmed("if-none-match"), fresh_no_cache),
            ],
        ),
        row(
            Must,
            "must-revalidate is validated when it is stale",
            [
                step(
                    Fetched,
                    "Cache-Control: max-age=2, must-revalidate\nETag: \"a\"\nAge: 5",
                ),
                step(
                    Confirmed("if-none-match"),
                    "Cache-Control: max-age=2, must-revalidate\nETag: \"a\"",
                ),
            ],
        ),
        row(
            Must,
            "fields that no-cache lists are not served from the store",
            [
                step(Fetched, listed),
                step(Hit, "").with("C: 3").with("!A").with("!B"),
            ],
        ),
        row(
            Must,
            "fields that Connection lists are not stored",
            [
                step(Fetched, connection),
                step(Hit, "").with("C: 3").with("!A").with("!B"),
            ],
        ),
        row(
            Must,
            "once a newer response can't be stored, the older one is not used",
            [
                step(Fetched, "Cache-Control: max-age=3600\nA: 1"),
                step(Fetched, "Cache-Control: no-store\nA: 2").asking("Cache-Control: no-cache"),
                step(Fetched, ""),
            ],
        ),
        row(
            Must,
            "what was said of one field counts if it is the whole",
            [
                step(
                    Fetched,
                    "Cache-Control: private=\"content-type\", max-age=3600\nContent-Type: a/b",
                ),
                step(Fetched, ""),
            ],
        ),
    ]
}

fn of_requests() -> Vec<Row> {
    let stale = "Cache-Control: max-age=1\nAge: 5\nETag: \"a\"";
    vec![
        row(
            Should,
            "max-stale takes what is stale",
            [
                step(Fetched, stale),
                step(Hit, "").asking("Cache-Control: max-stale=1000"),
            ],
        ),
        row(
            Should,
            "max-stale takes nothing staler",
            [
                step(Fetched, stale),
                step(Confirmed("if-none-match"), stale).asking("Cache-Control: max-stale=2"),
            ],
        ),
        row(
            Must,
            "max-stale does not overrule must-revalidate",
            [
                step(
                    Fetched,
                    "Cache-Control: max-age=1, must-revalidate\nAge: 5\nETag: \"a\"",
                ),
                step(Confirmed("if-none-match"), stale).asking("Cache-Control: max-stale"),
            ],
        ),
        row(
            Should,
            "no-cache is a question whether it still holds",
            [
                step(Fetched, "Cache-Control: max-age=3600\nETag: \"a\""),
                step(Confirmed("if-none-match"), stale).asking("Cache-Control: no-cache"),
            ],
        ),
        row(
            Should,
            "no-cache with a date",
            [
                step(
                    Fetched,
                    "Cache-Control: max-age=3600\nLast-Modified: @-1000",
                ),
                step(Confirmed("if-modified-since"), "").asking("Cache-Control: no-cache"),
            ],
        ),
        row(
            Should,
            "only-if-cached without anything stored",
            [step(Failed, "")
                .asking("Cache-Control: only-if-cached")
                .gets(504, "")],
        ),
        row(
            Must,
            "no-store in the first request",
            [
                step(Fetched, "Cache-Control: max-age=3600").asking("Cache-Control: no-store"),
                step(Fetched, ""),
            ],
        ),
    ]
}

fn authorized() -> Vec<Row> {
    let rows = [
        (Must, "max-age=3600", Fetched),
        (Should, "max-age=3600, public", Hit),
        (Should, "s-maxage=3600", Hit),
        (Should, "max-age=3600, must-revalidate", Hit),
    ];
    let mut rows: Vec<Row> = rows
        .into_iter()
        .map(|(level, said, then)| {
            row(
                level,
                format!("to an authorized request: {said}"),
                [
                    step(Fetched, &format!("Cache-Control: {said}"))
                        .asking("Authorization: Basic eA=="),
                    step(then, ""),
                ],
            )
        })
        .collect();
    rows.push(row(
        Must,
        "authorized, with Expires only",
        [
            step(Fetched, "Expires: @3600").asking("Authorization: Basic eA=="),
            step(Fetched, "Expires: @3600").asking("Authorization: Basic eA=="),
        ],
    ));
    rows
}

/// Stale responses when the origin fails.
fn stale() -> Vec<Row> {
    let stored = |said: &str| format!("Cache-Control: max-age=2{said}\nAge: 5\nETag: \"a\"");
    let mut rows = vec![
        row(
            Should,
            "stale-if-error, and the origin closes",
            [
                step(Fetched, &stored(", stale-if-error=60")),
                step(Served, "").drops().gets(200, "the body"),
            ],
        ),
        row(
            Should,
            "stale-if-error, and 503",
            [
                step(Fetched, &stored(", stale-if-error=60")),
                step(Served, "").status(503).gets(200, "the body"),
            ],
        ),
        row(
            Should,
            "stale-while-revalidate",
            [
                step(Fetched, &stored(", stale-while-revalidate=3600")),
                step(Served, "").body("a newer one").gets(200, "the body"),
            ],
        ),
        row(
            Must,
            "too stale for stale-while-revalidate",
            [
                step(
                    Fetched,
                    "Cache-Control: max-age=2, stale-while-revalidate=1\nAge: 10\nETag: \"a\"",
                ),
                step(Confirmed("if-none-match"), "Cache-Control: max-age=2"),
            ],
        ),
    ];
    for said in [
        "",
        ", must-revalidate",
        ", proxy-revalidate",
        ", no-cache",
        ", s-maxage=2",
    ] {
        rows.push(row(
            Must,
            format!("stale, and the origin closes: max-age=2{said}"),
            [step(Fetched, &stored(said)), step(Failed, "").drops()],
        ));
    }
    rows
}
