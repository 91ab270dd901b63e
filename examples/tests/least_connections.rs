//! Runs the example `least_connections`.

mod running;

use running::{Asked, Origin, Running};
use std::io::{Read, Write};
use std::net::TcpListener;

const EXAMPLE: &str = "least_connections";

#[test]
fn requests_avoid_an_upstream_that_is_still_busy() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = Origin::start("free");
    let busy_address = busy.local_addr().unwrap().to_string();
    let free_address = free.address.to_string();
    let upstreams = ["--upstream", &busy_address, "--upstream", &free_address];
    let balancer = Running::start(EXAMPLE, &upstreams);

    // A client sees the end of its answer before the balancer has counted the request off.
    let counted_off = format!("{free_address} has 0 ");
    // Equals take turns, so one of two requests waits for the busy one.
    let mut asked = Vec::new();
    for _ in 0..2 {
        asked.push(Asked::new(balancer.address, "/", ""));
        if balancer.wait_for_line(" now has 1").contains(&free_address) {
            balancer.wait_for_line(&counted_off);
        }
    }
    let (mut held, _) = busy.accept().unwrap();
    for _ in 0..10 {
        assert_eq!(balancer.get("/").body(), "free");
        balancer.wait_for_line(&counted_off);
    }

    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        held.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbusy";
    held.write_all(answer).unwrap();
    let mut bodies: Vec<String> = asked
        .into_iter()
        .map(|asked| asked.answer().body().to_string())
        .collect();
    bodies.sort();
    assert_eq!(bodies, ["busy", "free"]);
    assert!(balancer.stop());
}

#[test]
fn it_brings_a_fast_and_a_slow_origin() {
    let balancer = Running::start(EXAMPLE, &[]);
    let bodies = [(); 2].map(|()| balancer.get("/").body().to_string());
    assert!(
        bodies.iter().any(|b| b.contains("the slow origin")),
        "{bodies:?}"
    );
    assert!(
        bodies.iter().any(|b| b.contains("the fast origin")),
        "{bodies:?}"
    );
    assert!(balancer.stop());
}
