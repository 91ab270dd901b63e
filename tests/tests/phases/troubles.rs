//! Errors, panics and clients that leave, in each phase.

use super::*;
use pingora_tests::http2::RawHttp2;
use pingora_tests::http2::frames::{self, Frame};
use pingora_tests::{Running, keep_log, logged};

/// The request that reaches each row of the page's table, and the results of its tries.
fn request_for(phase: &str) -> (Ask, Tries) {
    let failing = |unreachable, reset, again| Tries {
        unreachable,
        reset,
        again,
    };
    match phase {
        "fail_to_connect" => (full(), failing(1, 0, false)),
        "error_while_proxy" | "fail_to_proxy" | "suppress_error_log" | "request_summary" => {
            (full(), failing(0, 1, false))
        }
        "allow_retry" | "suppress_proxy_warn_log" => (full(), failing(0, 1, true)),
        _ => (full(), Tries::default()),
    }
}

/// Whether the client may have the response's head by then.
fn may_have_begun(phase: &str) -> bool {
    ["response body", "response_body", "trailer"]
        .iter()
        .any(|part| phase.contains(part))
}

fn phases(from: Version) -> impl Iterator<Item = &'static str> {
    let rows = page::rows().into_iter();
    // Values are stored with HTTP/1 connections, for the next request: see below.
    rows.map(|row| &*row.phase.leak())
        .filter(move |phase| match *phase {
            "on_connection_reuse" => false,
            "persist_connection_context" => from == Version::H1,
            _ => true,
        })
}

#[track_caller]
fn assert_answered(answer: &Message, status: u16, phase: &str, case: &str) {
    let answered = answer.status() == status && answer.is_complete();
    let cut = may_have_begun(phase) && matches!(answer.status(), 0 | 200) && !answer.is_complete();
    assert!(answered || cut, "{case}: {answer:?}");
}

/// Another request is served, and logged.
async fn is_as_good_as_before(behind: &Behind, from: Version, case: &str) {
    behind.journal.clear();
    let answer = behind.ask(from, &Ask::get("/answered")).await;
    assert!(matches!(answer.status(), 403 | 500), "{case}: {answer:?}");
}

/// CVE-2026-47221, -47205, -47204: filters run after a local reply.
#[tokio::test]
async fn an_error_gets_its_answer() {
    for (from, to) in PAIRS {
        for row in page::rows().iter().filter(|row| row.after_an_error != "-") {
            let phase: &'static str = row.phase.clone().leak();
            let behind = Behind::acting(to, phase, Act::Fail).await;
            let answer = behind.ask(from, &full()).await;
            let case = format!("{from:?} to {to:?}, an error in {phase}");
            assert_answered(&answer, 418, phase, &case);
        }
    }
}

#[tokio::test]
async fn a_panic_ends_the_request_and_is_logged_once() {
    for (from, to) in PAIRS {
        for phase in phases(from) {
            let (ask, tries) = request_for(phase);
            let behind = Behind::with(to, Some((phase, Act::Panic)), tries).await;
            let case = format!("{from:?} to {to:?}, a panic in {phase}");
            let answer = ask.answered_over(from, behind.proxy.address()).await;
            match phase {
                "new_ctx" => assert_answered(&answer, 500, phase, &case),
                _ => {
                    behind.logged(1).await;
                    let status = match phase {
                        "logging" | "persist_connection_context" => 200,
                        // The upstream had failed before.
                        "suppress_error_log" | "request_summary" => 502,
                        _ => 500,
                    };
                    assert_answered(&answer, status, phase, &case);
                }
            }
            let calls = behind.journal.calls();
            let logged = usize::from(phase != "new_ctx");
            assert_eq!(behind.journal.count("logging"), logged, "{case}: {calls:?}");
            let at = calls.iter().position(|call| call == phase);
            let next = at.and_then(|at| calls.get(at + 1)).map(String::as_str);
            let expected = match phase {
                // The error page passes the modules, whatever its cause.
                "new_ctx" | "fail_to_proxy" => Some("downstream modules: response head"),
                "persist_connection_context" => None,
                "logging" => next.filter(|next| *next == "persist_connection_context"),
                "suppress_error_log" | "request_summary" => Some("logging"),
                _ => Some("fail_to_proxy"),
            };
            assert_eq!(next, expected, "{case}: {calls:?}");
            if !matches!(phase, "new_ctx" | "logging") {
                is_as_good_as_before(&behind, from, &case).await;
            }
        }
    }
}

/// CVE-2026-47221, -47205, -47204: filters run after a reset.
#[tokio::test]
async fn a_client_that_leaves_is_logged_once() {
    for (from, to) in PAIRS {
        for phase in phases(from) {
            let (ask, tries) = request_for(phase);
            let behind = Behind::with(to, Some((phase, Act::Wait)), tries).await;
            let case = format!("{from:?} to {to:?}, the client leaves in {phase}");
            let mut running = Running::begin(from, behind.proxy.address(), &ask).await;
            running.send(b"body").await;
            running.finish_with(&ask.trailers).await;
            eventually(&case, || behind.journal.waits()).await;
            let rest_of_connection = running.abort().await;
            behind.journal.let_go();
            behind.logged(1).await;
            drop(rest_of_connection);
            is_as_good_as_before(&behind, from, &case).await;
            // All remaining calls of the first request came before the end of the second.
            assert_eq!(behind.journal.count("logging"), 1, "{case}");
        }
    }
}

#[tokio::test]
async fn the_value_that_a_request_left_may_be_trouble_too() {
    for act in [Act::Panic, Act::Wait] {
        let behind = Behind::acting(Version::H1, "on_connection_reuse", act).await;
        let mut client = behind.proxy.connect().await;
        let head = "GET /length/1 HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(client.ask(head).await.status(), 200);
        match act {
            Act::Wait => {
                client.send(head).await;
                eventually("the value arrives", || behind.journal.waits()).await;
                client.reset();
                behind.journal.let_go();
            }
            _ => assert_eq!(client.ask(head).await.status(), 500),
        }
        behind.logged(2).await;
        is_as_good_as_before(&behind, Version::H1, "a value").await;
    }
}

/// The status of the only answer to a request for this path that has a field which is none.
async fn malformed(from: Version, proxy: &TestServer, path: &str) -> u16 {
    match from {
        Version::H1 => {
            let mut client = proxy.connect().await;
            client
                .send(format!(
                    "GET {path} HTTP/1.1\r\nHost: a\r\nNo Field: x\r\n\r\n"
                ))
                .await;
            let answer = client.response().await;
            assert_eq!(client.rest().await, b"");
            answer.status()
        }
        Version::H2 => {
            let mut client = RawHttp2::client(proxy.address(), &[]).await;
            let block = [
                frames::request("GET", path),
                frames::literal("no field", "x"),
            ];
            client.send([Frame::headers(1, block.concat(), true)]).await;
            let answer = client.answer(1).await;
            assert_eq!(answer.statuses.len(), 1, "{answer:?}");
            answer.statuses[0]
        }
    }
}

#[tokio::test]
async fn a_malformed_request_is_told_to_the_error_hook_and_logged() {
    keep_log();
    for from in [Version::H1, Version::H2] {
        let behind = Behind::new(Version::H1).await;
        let path = format!("/no-request-{from:?}");
        let status = malformed(from, &behind.proxy, &path).await;
        assert_eq!(status, 400, "{from:?}");
        behind.logged(1).await;
        let calls = behind.journal.calls();
        let told = [
            "new_ctx",
            "fail_to_proxy",
            "downstream modules: response head",
            "suppress_error_log",
            "request_summary",
            "logging",
        ];
        assert_eq!(calls, told, "{from:?}");
        let line = logged(&path).await;
        assert!(line.contains("400"), "{line}");
        assert_eq!(behind.origin.requests().len(), 0, "{from:?}");
    }
}
