//! Runs the example `retry_on_status`.

mod running;

use running::Running;

#[test]
fn a_get_is_tried_again_and_a_post_is_not() {
    let proxy = Running::start("retry_on_status", &[]);
    let answer = proxy.get("/a");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.field("X-Tries"), Some("2"));
    assert!(answer.body().starts_with("Hello from the good origin!"));
    proxy.wait_for_line("failed: answered 503");
    let answer = proxy.post("/b", "");
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.field("X-Tries"), Some("1"));
    assert_eq!(answer.body(), "too busy\n");
    assert!(proxy.stop());
}
