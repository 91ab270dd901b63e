//! Runs the example `gateway`.
#![allow(clippy::expect_used, reason = "it is a test")]

mod running;

use running::{Running, until};

const ALICE: &str = "Authorization: Bearer alices-key\r\n";
const BOB: &str = "Authorization: Bearer bobs-key\r\n";

#[test]
fn callers_with_a_key_reach_the_services_under_their_own_paths() {
    let gateway = Running::start("gateway", &[]);
    let users = gateway.get_with("/api/users/7?full=1", &format!("{ALICE}X-Caller: root\r\n"));
    assert_eq!(users.status(), 200);
    let arrived = users.body();
    assert!(arrived.contains("the users' service"), "{arrived}");
    assert!(arrived.contains("GET /v2/people/7?full=1\n"), "{arrived}");
    assert!(arrived.contains("x-caller: alice\n"), "{arrived}");
    assert!(!arrived.contains("root"), "{arrived}");
    assert!(!arrived.contains("alices-key"), "{arrived}");
    let orders = gateway.get_with("/api/orders/5", ALICE);
    assert!(orders.body().contains("GET /5\n"), "{orders:?}");
    let orders = gateway.get_with("/api/orders?open=1", ALICE);
    assert!(orders.body().contains("GET /?open=1\n"), "{orders:?}");
    gateway.wait_for_line("200 alice /api/orders/5");
    assert!(gateway.stop());
}

/// CVE-2026-48020, CVE-2025-66490, CVE-2026-27587: a path is routed in one form, and read in another.
#[test]
fn others_and_detours_are_refused() {
    let gateway = Running::start("gateway", &[]);
    for fields in [
        "",
        "Authorization: Bearer guess\r\n",
        "Authorization: Basic Og==\r\n",
    ] {
        let answer = gateway.get_with("/api/users/7", fields);
        assert_eq!(answer.status(), 401, "{fields}");
        assert_eq!(answer.field("WWW-Authenticate"), Some("Bearer"));
    }
    gateway.wait_for_line("401 nobody /api/users/7");
    for path in ["/", "/api", "/api/usersettings", "/v2/people/7"] {
        assert_eq!(gateway.get_with(path, ALICE).status(), 404, "{path}");
    }
    for path in [
        "/api/users/../orders",
        "/api/users/%2E%2e/orders",
        "/api/users/..%2forders",
        "/api/users/.",
        "/api//users",
        "/api/users\\..\\orders",
        "/api/users/..;/orders",
        "/api/users/%252e%252e/orders",
    ] {
        assert_eq!(gateway.get_with(path, ALICE).status(), 400, "{path}");
    }
    assert!(gateway.stop());
}

#[test]
fn each_caller_has_a_rate_of_its_own() {
    let gateway = Running::start("gateway", &[]);
    assert_eq!(gateway.get_with("/api/orders/1", BOB).status(), 200);
    let refused = until(|| {
        let answer = gateway.get_with("/api/orders/1", BOB);
        (answer.status() == 429).then_some(answer)
    });
    let refused = refused.expect("more than three requests in ten seconds");
    assert_eq!(refused.field("Retry-After"), Some("10"));
    assert_eq!(refused.body(), "not so often\n");
    assert_eq!(gateway.get_with("/api/orders/1", ALICE).status(), 200);
    assert!(gateway.stop());
}
