//! Runs the example `cache`.

mod running;

use running::Running;

#[test]
fn the_second_answer_comes_from_memory() {
    let proxy = Running::start("cache", &[]);
    let first = proxy.get("/a?b");
    assert_eq!(first.status(), 200);
    let stored = "example; fwd=uri-miss; stored";
    assert_eq!(first.field("Cache-Status"), Some(stored));
    assert!(first.field("Age").is_none());
    for _ in 0..2 {
        let next = proxy.get("/a?b");
        assert_eq!(next.status(), 200);
        let status = next.field("Cache-Status").unwrap();
        assert!(status.starts_with("example; hit; ttl="), "{status}");
        assert!(next.field("Age").is_some());
        assert_eq!(next.body(), first.body());
    }
    let other = proxy.get("/a?c");
    assert_eq!(other.field("Cache-Status"), Some(stored));
    assert!(proxy.stop());
}
