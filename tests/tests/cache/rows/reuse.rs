//! Requests that share a response: `Vary`, methods and invalidation, queries, parts, header fields.

use super::{Fetched, Hit, Level, Must, Row, Served, Should, Then, row, step};

/// Fields of the first request, `Vary` of its response, fields of the second request, and the outcome of that.
const VARIES: &[(Level, &str, &str, &str, Then)] = &[
    (Should, "Foo: 1", "Foo", "Foo: 1", Hit),
    (Must, "Foo: 1", "Foo", "Foo: 2", Fetched),
    (Must, "Foo: 1", "Foo", "", Fetched),
    (Must, "", "Foo", "Foo: 1", Fetched),
    (Should, "", "Foo", "", Hit),
    (Should, "Foo: 1", "foo", "FOO: 1", Hit),
    (Should, "Foo: 1\nOther: 2", "Foo", "Foo: 1\nOther: 3", Hit),
    (
        Should,
        "Foo: 1\nBar: abc",
        "Foo, Bar",
        "Foo: 1\nBar: abc",
        Hit,
    ),
    (
        Must,
        "Foo: 1\nBar: abc",
        "Foo, Bar",
        "Foo: 2\nBar: abc",
        Fetched,
    ),
    (
        Must,
        "Foo: 1\nBar: abc",
        "Foo, Bar",
        "Foo: 1\nBar: abcde",
        Fetched,
    ),
    (Must, "Foo: 1\nBar: abc", "Foo, Bar", "Foo: 1", Fetched),
    (Must, "Foo: 1", "Foo, Bar", "", Fetched),
    (
        Should,
        "Foo: 1\nBar: a\nBaz: 7",
        "Foo, Bar, Baz",
        "Foo: 1\nBar: a\nBaz: 7",
        Hit,
    ),
    (
        Must,
        "Foo: 1\nBar: a\nBaz: 7",
        "Foo, Bar, Baz",
        "Foo: 2\nBar: a\nBaz: 7",
        Fetched,
    ),
    (
        Must,
        "Foo: 1\nBar: a4\nBaz: 7",
        "Foo, Bar, Baz",
        "Foo: 1\nBar: a\nBaz: 7",
        Fetched,
    ),
    (
        Should,
        "Foo: 1\nBaz: 7",
        "Foo, Bar, Baz",
        "Foo: 1\nBaz: 7",
        Hit,
    ),
    (
        Should,
        "Foo: 1\nBaz: 7",
        "Foo, Bar, Baz",
        "Baz: 7\nFoo: 1",
        Hit,
    ),
    (Must, "Foo: 1", "*", "Foo: 1", Fetched),
    (Must, "Foo: 1", "Foo, *", "Foo: 1", Fetched),
    (Must, "Foo: 1", "*, Foo", "Foo: 1", Fetched),
    (Must, "Foo: 1", "Foo\nVary: *", "Foo: 1", Fetched),
    (Must, "Foo: 1", "*\nVary: Foo", "Foo: 1", Fetched),
    (Must, "Foo: 1", ", *", "Foo: 1", Fetched),
    (
        Must,
        "Foo: 1\nBar: a",
        "Foo\nVary: Bar",
        "Foo: 1\nBar: b",
        Fetched,
    ),
    (Must, "Foo: 1", ",Foo,", "Foo: 2", Fetched),
    (Should, "Foo: 1, 2", "Foo", "Foo: 1\nFoo: 2", Hit),
];

pub(super) fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = VARIES
        .iter()
        .map(|(level, first, vary, second, then)| {
            let answer = format!("Cache-Control: max-age=3600\nVary: {vary}");
            row(
                *level,
                format!("[{first}] Vary: {vary} [{second}]").replace('\n', " | "),
                [
                    step(Fetched, &answer).asking(first),
                    step(*then, &answer).asking(second),
                ],
            )
        })
        .collect();
    let varies = "Cache-Control: max-age=3600\nVary: Foo";
    rows.push(row(
        Should,
        "one variant does not replace another",
        [
            step(Fetched, varies).asking("Foo: 1").body("one"),
            step(Fetched, varies).asking("Foo: 2").body("two"),
            step(Hit, "").asking("Foo: 1").gets(200, "one"),
            step(Hit, "").asking("Foo: 2").gets(200, "two"),
        ],
    ));
    rows.extend(methods());
    rows.extend(parts());
    rows.extend(fields());
    rows
}

const FRESH: &str = "Cache-Control: max-age=3600";

fn methods() -> Vec<Row> {
    let mut rows = Vec::new();
    for method in ["POST", "PUT", "DELETE", "M-SEARCH"] {
        rows.push(row(
            Must,
            format!("{method} makes its target invalid"),
            [
                step(Fetched, FRESH),
                step(Fetched, "").by(method),
                step(Fetched, FRESH),
            ],
        ));
        rows.push(row(
            Should,
            format!("{method} that fails makes nothing invalid"),
            [
                step(Fetched, FRESH),
                step(Served, "").by(method).status(404),
                step(Hit, FRESH),
            ],
        ));
        rows.push(row(
            Must,
            format!("{method} is not answered from the store"),
            [
                step(Fetched, FRESH).by(method),
                step(Fetched, FRESH).by(method),
                step(Fetched, FRESH),
            ],
        ));
    }
    rows.push(row(
        Should,
        "HEAD is answered from what GET stored",
        [step(Fetched, FRESH), step(Hit, "").by("HEAD").gets(200, "")],
    ));
    rows.push(row(
        Must,
        "OPTIONS makes nothing invalid and is not stored",
        [
            step(Fetched, FRESH),
            step(Fetched, FRESH).by("OPTIONS"),
            step(Fetched, FRESH).by("OPTIONS"),
            step(Hit, ""),
        ],
    ));
    rows
}

fn parts() -> Vec<Row> {
    let whole = || step(Fetched, FRESH).body("0123456789A");
    let part = |range: &str, body| {
        step(Hit, "")
            .asking(&format!("Range: {range}"))
            .gets(206, body)
    };
    vec![
        row(
            Should,
            "a part of what is stored",
            [whole(), part("bytes=0-1", "01")],
        ),
        row(
            Should,
            "without an end",
            [whole(), part("bytes=1-", "123456789A")],
        ),
        row(Should, "the end", [whole(), part("bytes=-1", "A")]),
        row(
            Must,
            "a part that there is not",
            [
                whole(),
                step(Hit, "").asking("Range: bytes=100-").gets(416, ""),
            ],
        ),
        row(
            Must,
            "a unit that nobody knows",
            [
                whole(),
                step(Hit, "")
                    .asking("Range: lines=1-2")
                    .gets(200, "0123456789A"),
            ],
        ),
        row(
            Must,
            "a part is not stored as the whole",
            [
                step(
                    Fetched,
                    "Cache-Control: max-age=3600\nContent-Range: bytes 0-4/10",
                )
                .status(206)
                .body("01234"),
                step(Fetched, FRESH).gets(200, "the body"),
            ],
        ),
    ]
}

fn fields() -> Vec<Row> {
    let mut rows = Vec::new();
    for field in [
        "Test-Header: a",
        "X-Test-Header: a",
        "Content-Type: text/plain",
        "X-Frame-Options: deny",
        "X-XSS-Protection: 1",
        "Clear-Site-Data: cookies",
        "Strict-Transport-Security: max-age=1",
        "Content-Location: /foo",
    ] {
        rows.push(row(
            Should,
            format!("{field} is stored"),
            [
                step(Fetched, &format!("{FRESH}\n{field}")).with(field),
                step(Hit, "").with(field),
            ],
        ));
    }
    for (field, absent) in [
        ("Proxy-Authenticate: Basic", "!Proxy-Authenticate"),
        (
            "Proxy-Authentication-Info: a=b",
            "!Proxy-Authentication-Info",
        ),
        ("Proxy-Connection: a", "!Proxy-Connection"),
        ("Keep-Alive: timeout=7", "!Keep-Alive"),
    ] {
        rows.push(row(
            Must,
            format!("{field} is not stored"),
            [
                step(Fetched, &format!("{FRESH}\n{field}")),
                step(Hit, "").with(absent),
            ],
        ));
    }
    rows.push(row(
        Must,
        "Set-Cookie is nobody else's",
        [
            step(Fetched, &format!("{FRESH}\nSet-Cookie: a=b")),
            step(Fetched, ""),
        ],
    ));
    rows.push(row(
        Must,
        "the age of what is served",
        [
            step(Fetched, "Expires: @3600\nDate: @0\nAge: 30"),
            step(Hit, "").with("Age: 30"),
        ],
    ));
    rows.push(row(
        Must,
        "Date stays what the origin said",
        [
            step(
                Fetched,
                "Cache-Control: max-age=3600\nDate: Sun, 06 Nov 2033 08:49:37 GMT",
            ),
            step(Hit, "").with("Date: Sun, 06 Nov 2033 08:49:37 GMT"),
        ],
    ));
    rows
}
