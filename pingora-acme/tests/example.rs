//! Runs the example `acme`.

#[path = "../../examples/tests/running/mod.rs"]
mod running;

use pingora_tests::Pebble;
use running::{Running, run_to_end, until};

const EXAMPLE: &str = "acme";

#[test]
fn the_proxy_is_believed_by_configured_names_and_by_those_that_clients_ask_for() {
    let (pebble, storage) = (Pebble::start(), tempfile::tempdir().unwrap());
    let (ca, http) = (
        pebble.ca_file(),
        format!("127.0.0.1:{}", pebble.http_port()),
    );
    let directory = pebble.directory();
    let proxy = Running::start(
        EXAMPLE,
        &[
            "--listen-http",
            &http,
            "--directory",
            &directory,
            "--ca-file",
            ca.to_str().unwrap(),
            "--storage",
            storage.path().to_str().unwrap(),
            "--agree",
            "--name",
            "one.example",
            "--on-demand",
            "tenants.example",
        ],
    );
    let port = proxy.address.port();
    for name in ["one.example", "a.tenants.example"] {
        let answer = until(|| pebble.ask_at(port, name));
        assert!(
            answer.is_some_and(|text| text.contains("the origin")),
            "{name}"
        );
    }
    assert!(pebble.ask_at(port, "stranger.example").is_none());
    let refused = running::Asked::new(http.parse().unwrap(), "/x?y", "").answer();
    assert_eq!(refused.status(), 308);
    assert!(proxy.stop());
}

#[test]
fn nobody_agrees_to_terms_without_being_told_to() {
    let storage = tempfile::tempdir().unwrap();
    let directory = storage.path().to_str().unwrap();
    let ended = run_to_end(EXAMPLE, &["--name", "one.example", "--storage", directory]);
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("terms"), "{said}");
}
