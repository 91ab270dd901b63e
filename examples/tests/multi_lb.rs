//! Runs the example `multi_lb`.

mod running;

use running::Running;
use std::collections::BTreeSet;

#[test]
fn each_path_has_its_balancer_and_each_balancer_its_turns() {
    let proxy = Running::start("multi_lb", &[]);
    let answered_by = |path: &str| -> BTreeSet<String> {
        let answers = (0..6).map(|_| proxy.get(path));
        let first_line = |body: &str| body.lines().next().unwrap_or_default().to_string();
        answers.map(|answer| first_line(answer.body())).collect()
    };
    let hello =
        |names: [&str; 2]| BTreeSet::from(names.map(|n| format!("Hello from {n}! It got:")));
    for path in ["/api", "/api/users?page=2"] {
        assert_eq!(answered_by(path), hello(["API one", "API two"]), "{path}");
    }
    for path in ["/", "/apis", "/pages/api"] {
        assert_eq!(
            answered_by(path),
            hello(["pages one", "pages two"]),
            "{path}"
        );
    }
    proxy.wait_for_line("api: 127.0.0.1:");
    proxy.wait_for_line("pages: 127.0.0.1:");
    assert!(proxy.stop());
}
