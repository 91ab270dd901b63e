//! The phases that run, case by case.

use super::*;
use pingora_tests::{Connection, Running, pattern};

const KEPT: &str = "persist_connection_context";
const AFTER_HEAD: &str = "the upstream fails after its head";
const IN_BODY: &str = "the upstream fails in its body";

/// Calls in the notation of the page: for modules, only the side; for the pieces of a body, the first one;
/// no queries.
fn in_short(calls: &[String]) -> Vec<String> {
    let mut short: Vec<String> = Vec::new();
    let mut pieces = Vec::new();
    for call in calls {
        if call == "upstream_peer" {
            pieces.clear();
        }
        if matches!(call.as_str(), "body_filters" | "allow_spawning_subrequest") {
            continue;
        }
        if call.contains("body") {
            if pieces.contains(call) {
                continue;
            }
            pieces.push(call.clone());
        }
        let name = call.split(':').next().unwrap_or_default();
        short.push(name.to_string());
    }
    short
}

struct Recorded {
    case: &'static str,
    from: Version,
    to: Version,
    calls: Vec<String>,
}

impl Recorded {
    async fn of(case: &'static str, (from, to): (Version, Version), behind: &Behind) -> Self {
        behind.logged(1).await;
        let mut recorded = Recorded {
            case,
            from,
            to,
            calls: in_short(&behind.journal.calls()),
        };
        if matches!(case, AFTER_HEAD | IN_BODY) {
            recorded.forgive_what_came_together();
        }
        // Whether the connection with the client is kept is tested elsewhere.
        recorded.calls.retain(|call| call != KEPT);
        recorded
    }

    /// A failure that is seen together with preceding data may leave time for an error page, or hide the
    /// body.
    fn forgive_what_came_together(&mut self) {
        let failed = self.calls.iter().position(|call| call == "fail_to_proxy");
        let next = failed.map_or(0, |failed| failed + 1);
        if self
            .calls
            .get(next)
            .is_some_and(|call| call == "downstream modules")
        {
            self.calls.remove(next);
        }
        let body = "upstream_response_body_filter".to_string();
        if !self.calls.contains(&body) {
            self.case = AFTER_HEAD;
        }
    }
}

async fn asked(ask: &Ask, tries: Tries, (from, to): (Version, Version)) -> Behind {
    let behind = Behind::with(to, None, tries).await;
    behind.ask(from, ask).await;
    behind
}

async fn upgraded() -> Behind {
    let behind = Behind::new(Version::H1).await;
    let mut client = Connection::to(behind.proxy.address()).await;
    let request = "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    assert_eq!(client.ask(request).await.status(), 101);
    client.send(b"raw").await;
    assert_eq!(client.bytes(3).await, b"raw");
    client.finish().await;
    client.closed().await;
    behind
}

/// The answer is there before the client sends anything of the body.
async fn answered_early((from, to): (Version, Version)) -> Behind {
    let behind = Behind::new(to).await;
    let ask = Ask::by("POST", "/early").body(pattern(10));
    let mut running = Running::begin(from, behind.proxy.address(), &ask).await;
    assert_eq!(running.answer().await.status(), 413);
    behind.logged(1).await;
    behind
}

async fn refused() -> Behind {
    let behind = Behind::new(Version::H1).await;
    let mut client = Connection::to(behind.proxy.address()).await;
    let answer = client.ask("GET / HTTP/1.1\r\nNo Host: x\r\n\r\n").await;
    assert_eq!(answer.status(), 400);
    behind
}

async fn recorded() -> Vec<Recorded> {
    let again = |unreachable, reset| Tries {
        unreachable,
        reset,
        again: true,
    };
    let unreachable = Tries {
        unreachable: 1,
        ..Tries::default()
    };
    let (none, get) = (Tries::default(), Ask::get);
    let mut all = Vec::new();
    for pair in PAIRS {
        for (case, ask, tries) in [
            ("all goes well", full(), none),
            ("`request_filter` answers", get("/answered"), none),
            ("the connection fails", get("/x"), unreachable),
            ("another connection is tried", get("/length/1"), again(1, 0)),
            (
                "the upstream fails ahead of its head",
                get("/reset-head"),
                none,
            ),
            ("another exchange is tried", get("/length/1"), again(0, 1)),
            (AFTER_HEAD, get("/reset-body/100"), none),
            (IN_BODY, get("/reset-trailers/100"), none),
            (
                "the response has no body",
                Ask::by("HEAD", "/length/1"),
                none,
            ),
            ("an informational response comes first", get("/hints"), none),
        ] {
            let behind = asked(&ask, tries, pair).await;
            all.push(Recorded::of(case, pair, &behind).await);
        }
        let behind = answered_early(pair).await;
        all.push(Recorded::of("the answer is early", pair, &behind).await);
    }
    let http1 = (Version::H1, Version::H1);
    let (upgraded, refused) = (upgraded().await, refused().await);
    all.push(Recorded::of("the connection becomes a tunnel", http1, &upgraded).await);
    all.push(Recorded::of("the head is refused", http1, &refused).await);
    all
}

#[tokio::test]
async fn the_page_has_each_case_as_it_is() {
    let mut page = page::cases();
    let mut wrong = String::new();
    let mut seen = Vec::new();
    for recorded in recorded().await {
        seen.push(recorded.case);
        let expected = page.get(recorded.case).cloned().unwrap_or_default();
        if recorded.calls != expected {
            let (from, to) = (recorded.from, recorded.to);
            wrong += &format!(
                "{from:?} to {to:?}:\n| {} | `{}` |\n",
                recorded.case,
                recorded.calls.join("` → `")
            );
        }
    }
    page.retain(|case, _| !seen.contains(&case.as_str()));
    assert!(page.is_empty(), "not recorded: {page:?}");
    assert!(wrong.is_empty(), "recorded:\n{wrong}");
}
