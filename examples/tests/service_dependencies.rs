//! Runs the example `service_dependencies`.

mod running;

use running::Running;

#[test]
fn services_start_in_the_order_of_their_dependencies() {
    let proxy = Running::start_until(
        "service_dependencies",
        &["--delay", "50"],
        &["the loader is ready: 1 origins", "the proxy has warmed up"],
    );
    let answer = proxy.get("/path");
    assert_eq!(answer.status(), 200);
    assert!(answer.body().contains("GET /path"), "{answer:?}");
    assert!(proxy.stop());
}

#[test]
fn a_server_that_still_starts_can_be_stopped() {
    let proxy = Running::start_without_address("service_dependencies", &["--delay", "3600000"]);
    proxy.wait_for_line("loading the list of origins");
    assert!(proxy.stop());
}
