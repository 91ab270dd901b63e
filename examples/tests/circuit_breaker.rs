//! Runs the example `circuit_breaker`.

mod running;

use running::{Asked, Origin, Running};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const EXAMPLE: &str = "circuit_breaker";

/// Stops the requests even if the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn an_upstream_that_dies_is_ejected_and_probed_and_comes_back() {
    let (one, two) = (Origin::start("one"), Origin::start("two"));
    let (first, second) = (one.address.to_string(), two.address.to_string());
    let upstreams = [
        "--upstream",
        &first,
        "--upstream",
        &second,
        "--ejection",
        "50",
    ];
    let balancer = Running::start(EXAMPLE, &upstreams);
    let (done, proxy) = (AtomicBool::new(false), balancer.address);
    thread::scope(|scope| {
        let requests = scope.spawn(|| {
            let mut count = 0_usize;
            while !done.load(Ordering::Relaxed) {
                let answer = Asked::new(proxy, "/", "").answer();
                assert_eq!(answer.status(), 200, "{answer:?}");
                count += 1;
            }
            count
        });
        let stop = Stop(&done);
        let address = one.address;
        drop(one);
        balancer.wait_for_line(&format!("{address} is ejected"));
        balancer.wait_for_line(&format!("{address} is probed"));
        let _one = Origin::start_at("one", address);
        balancer.wait_for_line(&format!("{address} is back"));
        drop(stop);
        assert!(requests.join().unwrap() > 3);
    });
    assert!(balancer.stop());
}

#[test]
fn it_brings_origins_of_its_own() {
    let balancer = Running::start(EXAMPLE, &[]);
    assert!(balancer.get("/").body().starts_with("Hello from the "));
    assert!(balancer.stop());
}
