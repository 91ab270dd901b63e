//! Runs the example `modify_requests`.

mod running;

use running::Running;

#[test]
fn headers_are_edited_in_both_directions_and_every_request_is_logged() {
    let proxy = Running::start("modify_requests", &[]);
    let answer = proxy.get_with("/a", "Cookie: secret\r\nX-Forwarded-For: 8.8.8.8\r\n");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.field("Server"), Some("example"));
    assert_eq!(answer.field("X-Request-Id"), Some("1"));
    let arrived = answer.body();
    assert!(
        arrived.contains("x-forwarded-for: 127.0.0.1\n"),
        "{arrived}"
    );
    assert!(arrived.contains("x-request-id: 1\n"), "{arrived}");
    assert!(
        !arrived.contains("secret") && !arrived.contains("8.8.8.8"),
        "{arrived}"
    );
    let logged = proxy.wait_for_line("/a");
    let expected = format!("1 200 {} bytes from the origin in ", arrived.len());
    assert!(logged.starts_with(&expected), "{logged}");

    let teapot = proxy.get("/teapot");
    assert_eq!(teapot.status(), 418);
    assert_eq!(teapot.body(), "short and stout\n");
    let logged = proxy.wait_for_line("/teapot");
    assert!(logged.starts_with("2 418 0 bytes"), "{logged}");
    assert!(proxy.stop());
}
