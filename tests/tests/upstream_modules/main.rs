//! Modules on the upstream side: their place among the phases, and what they see, change and refuse,
//! over both HTTP versions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

mod adjusted;
mod noting;
mod surroundings;

use noting::behind;
use pingora_tests::{Ask, Connection, Version, eventually, pattern};

const PAIRS: [(Version, Version); 4] = [
    (Version::H1, Version::H1),
    (Version::H1, Version::H2),
    (Version::H2, Version::H1),
    (Version::H2, Version::H2),
];

#[tokio::test]
async fn they_stand_next_to_the_upstream() {
    for (from, to) in PAIRS {
        let behind = behind(to).await;
        let ask = Ask::by("POST", "/echo-trailers").pieces("one two", 0);
        let answer = behind.ask(from, &ask.trailer("x-sum", "7")).await;
        let pair = format!("{from:?} to {to:?}");
        assert_eq!(
            behind.journal.order(),
            [
                "upstream_request_filter",
                "module request begins",
                "module request header",
                "module request body begins",
                "request_body_filter",
                "module request body",
                "adjust_upstream_modules",
                "module response header",
                "upstream_response_filter",
                "module response body",
                "upstream_response_body_filter",
                "module response trailer",
                "upstream_response_trailer_filter",
                "logging 1 false",
            ],
            "{pair}"
        );
        assert_eq!(answer.header("x-module"), Some("200 false"), "{pair}");
        assert_eq!(answer.text(), "ONE TWO+trailer", "{pair}");
        for trailer in [("x-sum", "7"), ("x-added", "module")] {
            let trailer = (trailer.0.to_string(), trailer.1.to_string());
            assert!(answer.trailers.contains(&trailer), "{pair}: {answer:?}");
        }
        let request = behind.origin.last_request();
        assert_eq!(request.header("x-try"), Some("1"), "{pair}");
        assert_eq!(request.text(), "ONE TWO", "{pair}");
    }
}

#[tokio::test]
async fn the_end_of_a_body_is_told_once() {
    for (from, to) in PAIRS {
        for path in ["/length/9", "/chunked/9", "/drip/9"] {
            let answer = behind(to).await.ask(from, &Ask::get(path)).await;
            let mut expected = pattern(9);
            expected.extend_from_slice(b"+body");
            assert!(answer.body == expected, "{from:?} {to:?} {path} {answer:?}");
            assert!(answer.is_complete());
        }
    }
}

#[tokio::test]
async fn responses_without_a_body_end_with_their_head() {
    for (from, to) in PAIRS {
        for (method, path, status) in [
            ("HEAD", "/length/5", 200),
            ("GET", "/status/204", 204),
            ("GET", "/status/304", 304),
        ] {
            let behind = behind(to).await;
            let answer = behind.ask(from, &Ask::by(method, path)).await;
            let case = format!("{from:?} {to:?} {method} {path}: {answer:?}");
            assert_eq!((answer.status(), answer.text()), (status, ""), "{case}");
            let seen = format!("{status} true");
            assert_eq!(answer.header("x-module"), Some(seen.as_str()), "{case}");
            assert_eq!(behind.journal.count("module response body"), 0, "{case}");
            assert_eq!(behind.journal.count("adjust_upstream_modules"), 1, "{case}");
        }
    }
}

#[tokio::test]
async fn informational_and_early_responses_pass_them() {
    for (from, to) in PAIRS {
        let behind = behind(to).await;
        let hinted = Ask::get("/hints").over(from, behind.proxy.address()).await;
        let seen: Vec<_> = hinted.iter().map(|m| m.header("x-module")).collect();
        assert_eq!(seen, [Some("103 false"), Some("200 false")], "{from:?}");
        assert_eq!(behind.journal.count("module response header"), 2);
    }
    for (from, to) in PAIRS {
        let behind = behind(to).await;
        let early = Ask::by("POST", "/early").body(pattern(100_000));
        let answer = behind.ask(from, &early).await;
        let pair = format!("{from:?} to {to:?}");
        assert_eq!(answer.status(), 413, "{pair}");
        assert_eq!(answer.header("x-module"), Some("413 false"), "{pair}");
        assert_eq!(answer.text(), "early+body", "{pair}");
    }
}

#[tokio::test]
async fn each_try_passes_the_same_modules() {
    for (from, to) in PAIRS {
        let behind = behind(to).await;
        // The module sends the second try elsewhere.
        let ask = Ask::by("POST", "/reset-head").with("x-retry", "1");
        let answer = behind.ask(from, &ask.body("body")).await;
        let pair = format!("{from:?} to {to:?}");
        assert_eq!(
            (answer.status(), answer.text()),
            (200, "BODY+body"),
            "{pair}"
        );
        let count = |line: &str| behind.journal.count(line);
        assert_eq!(count("module request header"), 2, "{pair}");
        assert_eq!(count("module request body begins"), 2, "{pair}");
        assert_eq!(count("module response discarded"), 1, "{pair}");
        assert_eq!(count("module response header"), 1, "{pair}");
        assert_eq!(behind.logged(), ["logging 2 false"], "{pair}");
        let request = behind.origin.last_request();
        assert_eq!(request.header("x-try"), Some("2"), "{pair}");
        assert_eq!(request.text(), "BODY", "{pair}");
    }
}

#[tokio::test]
async fn an_error_of_theirs_ends_the_request() {
    for (from, to) in PAIRS {
        for hook in [
            "request begins",
            "request header",
            "request body",
            "response header",
            "response body",
            "response trailer",
        ] {
            let behind = behind(to).await;
            let ask = Ask::by("POST", "/echo-trailers").with("x-fail", hook);
            let ask = ask.pieces("body", 0).trailer("x-sum", "7");
            let answer = behind.ask(from, &ask).await;
            let case = format!("{from:?} {to:?} {hook}: {answer:?}");
            // A head is sent if its body is not there yet; the failure is then a truncation, which over
            // HTTP/2 may overtake the head.
            let may_have_begun = hook == "response body" || hook == "response trailer";
            let refused = answer.status() == 418 && answer.is_complete();
            let cut = may_have_begun && matches!(answer.status(), 0 | 200) && !answer.is_complete();
            assert!(refused || cut, "{case}");
            assert_eq!(behind.logged(), ["logging 1 true"], "{case}");
            let lines = behind.journal.lines();
            assert_eq!(
                behind.journal.count("module response discarded"),
                usize::from(refused),
                "{case}"
            );
            let at = lines
                .iter()
                .position(|line| *line == format!("module {hook}"));
            let later = lines.get(at.unwrap() + 1..).unwrap();
            assert!(
                later
                    .iter()
                    .all(|line| !line.starts_with("upstream_response")),
                "{case}: {lines:?}"
            );
            // The abandoned connection is not reused; the next request works normally.
            let next = Ask::get("/length/2");
            let next = next.answered_over(from, behind.proxy.address()).await;
            let mut expected = pattern(2);
            expected.extend_from_slice(b"+body");
            assert!(next.body == expected, "{case}, then {next:?}");
        }
        let behind = behind(to).await;
        let ask = Ask::get("/x").with("x-fail-to-adjust", "1");
        assert_eq!(behind.ask(from, &ask).await.status(), 418);
        assert_eq!(behind.journal.count("module response header"), 0);
    }
}

#[tokio::test]
async fn sub_requests_have_their_own() {
    let behind = behind(Version::H1).await;
    let ask = Ask::get("/x").with("x-spawn", "1");
    let answer = ask.answered_over(Version::H1, behind.proxy.address()).await;
    assert_eq!(answer.text(), "/x+body");
    eventually("both are logged", || behind.logged().len() == 2).await;
    assert_eq!(behind.logged(), ["logging 1 false"; 2]);
    assert_eq!(behind.journal.count("module request header"), 2);
    let requests = behind.origin.requests();
    assert!(requests.iter().all(|r| r.header("x-try") == Some("1")));
}

#[tokio::test]
async fn a_tunnel_passes_by_them() {
    let behind = behind(Version::H1).await;
    let mut client = Connection::to(behind.proxy.address()).await;
    let request = "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let answer = client.ask(request).await;
    assert_eq!(answer.status(), 101);
    assert!(
        answer
            .header("x-module")
            .is_some_and(|seen| seen.starts_with("101"))
    );
    client.send(b"\x00raw").await;
    assert_eq!(client.bytes(4).await, b"\x00raw");
    assert_eq!(behind.journal.count("module response body"), 0);
    let before = behind.journal.count("module request body");
    client.send(b"more").await;
    assert_eq!(client.bytes(4).await, b"more");
    assert_eq!(behind.journal.count("module request body"), before);
}
