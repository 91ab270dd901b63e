//! Conditions of clients, and the changes by a confirmation (304).

use super::{Confirmed, Fetched, Hit, Level, Must, Row, Served, Should, row, step};

/// The tag of what is stored, what the client has, and whether it gets 304.
const TAGS: &[(Level, &str, &str, bool)] = &[
    (Should, "\"a\"", "\"a\"", true),
    (Must, "\"a\"", "\"b\"", false),
    (Should, "W/\"a\"", "W/\"a\"", true),
    (Should, "W/\"a\"", "\"a\"", true),
    (Should, "\"a\"", "W/\"a\"", true),
    (Should, "\"a\"", "\"a\", \"1\", \"2\"", true),
    (Should, "\"a\"", "\"1\", \"a\", \"2\"", true),
    (Should, "\"a\"", "\"1\", \"2\", \"a\"", true),
    (Must, "\"a\"", "\"1\", \"2\"", false),
    (Should, "\"a\"", "*", true),
    (Must, "\"a,b\"", "\"a\"", false),
];

pub(super) fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = TAGS
        .iter()
        .map(|(level, tag, asked, matches)| {
            let answer = format!("Cache-Control: max-age=3600\nETag: {tag}");
            let second = step(Hit, "").asking(&format!("If-None-Match: {asked}"));
            let second = if *matches {
                second.gets(304, "")
            } else {
                second.gets(200, "the body")
            };
            row(
                *level,
                format!("ETag: {tag}, If-None-Match: {asked}"),
                [step(Fetched, &answer), second],
            )
        })
        .collect();
    rows.extend(dates());
    rows.extend(validated());
    for (name, old, new) in CHANGED {
        rows.extend(changed(name, old, new));
    }
    rows
}

fn dates() -> Vec<Row> {
    let stored = "Cache-Control: max-age=3600\nLast-Modified: @-5000\nETag: \"a\"";
    let dated = "Cache-Control: max-age=3600\nLast-Modified: @-5000";
    let undated = "Cache-Control: max-age=3600\nDate: @-1000";
    vec![
        row(
            Must,
            "a 304 has the tag",
            [
                step(Fetched, stored),
                step(Hit, "")
                    .asking("If-None-Match: \"a\"")
                    .gets(304, "")
                    .with("ETag: \"a\""),
            ],
        ),
        row(
            Must,
            "tags count before dates",
            [
                step(Fetched, stored),
                step(Hit, "")
                    .asking("If-None-Match: \"a\"\nIf-Modified-Since: @-10000")
                    .gets(304, ""),
            ],
        ),
        row(
            Must,
            "another tag counts before a date",
            [
                step(Fetched, stored),
                step(Hit, "")
                    .asking("If-None-Match: \"b\"\nIf-Modified-Since: @-1")
                    .gets(200, "the body"),
            ],
        ),
        row(
            Should,
            "not modified since",
            [
                step(Fetched, dated),
                step(Hit, "")
                    .asking("If-Modified-Since: @-3000")
                    .gets(304, ""),
            ],
        ),
        row(
            Must,
            "modified since",
            [
                step(Fetched, dated),
                step(Hit, "")
                    .asking("If-Modified-Since: @-8000")
                    .gets(200, "the body"),
            ],
        ),
        row(
            Must,
            "a date that is none",
            [
                step(Fetched, dated),
                step(Hit, "")
                    .asking("If-Modified-Since: yesterday")
                    .gets(200, "the body"),
            ],
        ),
        row(
            Should,
            "without Last-Modified, Date stands in",
            [
                step(Fetched, undated),
                step(Hit, "").asking("If-Modified-Since: @-1").gets(304, ""),
            ],
        ),
    ]
}

fn validated() -> Vec<Row> {
    let by_tag = "Cache-Control: max-age=1\nAge: 5\nETag: \"a\"";
    let by_weak = "Cache-Control: max-age=1\nAge: 5\nETag: W/\"a\"";
    let by_date = "Cache-Control: max-age=1\nAge: 5\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT";
    let varies = "Cache-Control: max-age=1\nAge: 5\nETag: \"a\"\nVary: Abc";
    vec![
        row(
            Should,
            "a stale response is validated by its tag",
            [
                step(Fetched, by_tag),
                step(Confirmed("if-none-match"), by_tag).gets(200, "the body"),
            ],
        ),
        row(
            Should,
            "by its weak tag",
            [
                step(Fetched, by_weak),
                step(Confirmed("if-none-match"), by_weak).gets(200, "the body"),
            ],
        ),
        row(
            Should,
            "by its date",
            [
                step(Fetched, by_date),
                step(Confirmed("if-modified-since"), "Cache-Control: max-age=60")
                    .gets(200, "the body"),
            ],
        ),
        row(
            Must,
            "with the fields that it varies on",
            [
                step(Fetched, varies).asking("Abc: 123"),
                step(Confirmed("if-none-match"), varies)
                    .asking("Abc: 123")
                    .gets(200, "the body"),
            ],
        ),
        row(
            Must,
            "another variant is not confirmed by the tag of this one",
            [
                step(Fetched, varies).asking("Abc: 123"),
                step(Fetched, varies)
                    .asking("Abc: 456")
                    .body("another")
                    .gets(200, "another"),
            ],
        ),
        row(
            Must,
            "a new response replaces the stale one",
            [
                step(Fetched, by_tag),
                step(Fetched, "Cache-Control: max-age=3600\nETag: \"b\"")
                    .body("new")
                    .gets(200, "new"),
                step(Hit, "").gets(200, "new"),
            ],
        ),
        row(
            Must,
            "what a 304 leaves out stays",
            [
                step(
                    Fetched,
                    "Cache-Control: max-age=1\nAge: 5\nLast-Modified: @-5000\nTest-Header: a",
                ),
                step(
                    Confirmed("if-modified-since"),
                    "Cache-Control: max-age=3600",
                )
                .with("Test-Header: a"),
                step(Hit, "").with("Test-Header: a"),
            ],
        ),
        row(
            Must,
            "a 304 does not change the length",
            [
                step(Fetched, by_tag),
                step(
                    Confirmed("if-none-match"),
                    "Cache-Control: max-age=3600\nETag: \"a\"\nContent-Length: 99",
                )
                .gets(200, "the body")
                .with("Content-Length: 8"),
            ],
        ),
        row(
            Should,
            "a confirmed response is fresh again",
            [
                step(Fetched, by_tag),
                step(
                    Confirmed("if-none-match"),
                    "Cache-Control: max-age=3600\nETag: \"a\"",
                ),
                step(Hit, "").gets(200, "the body"),
                step(Served, "").gets(200, "the body"),
            ],
        ),
    ]
}

/// Fields that a 304 changes.
const CHANGED: [(&str, &str, &str); 11] = [
    ("Test-Header", "a", "b"),
    ("X-Test-Header", "a", "b"),
    ("Content-Foo", "a", "b"),
    ("X-Content-Foo", "a", "b"),
    ("Content-Location", "/foo", "/bar"),
    (
        "Content-Security-Policy",
        "default-src 'self'",
        "default-src 'self' cdn.example.com",
    ),
    ("X-Frame-Options", "deny", "sameorigin"),
    ("X-XSS-Protection", "1", "1; mode=block"),
    ("Clear-Site-Data", "cache", "cookies"),
    ("Public-Key-Pins", "a", "b"),
    (
        "Expires",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Mon, 07 Nov 1994 08:49:37 GMT",
    ),
];

fn changed(name: &str, old: &str, new: &str) -> Vec<Row> {
    // The tables are constants, and what is wanted is known for as long as the program runs.
    let wanted: &'static str = format!("{name}: {new}").leak();
    [
        ("ETag: \"a\"", "if-none-match"),
        (
            "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT",
            "if-modified-since",
        ),
    ]
    .map(|(validator, condition)| {
        let first = format!("Cache-Control: max-age=1\nAge: 5\n{validator}\n{name}: {old}");
        let second = format!("Cache-Control: max-age=3600\n{validator}\n{name}: {new}");
        row(
            Must,
            format!("a 304 to {condition} changes {name}"),
            [
                step(Fetched, &first),
                step(Confirmed(condition), &second).with(wanted),
                step(Hit, "").with(wanted),
            ],
        )
    })
    .into()
}
