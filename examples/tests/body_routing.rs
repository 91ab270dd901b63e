//! Runs the example `body_routing`.

mod running;

use running::Running;

#[test]
fn the_body_decides_who_answers() {
    let proxy = Running::start("body_routing", &[]);
    for (body, expected) in [
        (r#"{"model": "small"}"#, "Hello from the small model!"),
        (r#"{"model": "large"}"#, "Hello from the large model!"),
        ("", "Hello from the small model!"),
    ] {
        let answer = proxy.post("/chat", body);
        assert_eq!(answer.status(), 200);
        assert!(answer.body().starts_with(expected), "{}", answer.body());
        let length = format!("content-length: {}\n", body.len());
        assert!(answer.body().contains(&length), "{}", answer.body());
    }
    let too_long = "a".repeat((1 << 20) + 1);
    assert_eq!(proxy.post("/chat", &too_long).status(), 413);
    assert!(proxy.stop());
}
