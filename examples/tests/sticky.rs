//! Runs the example `sticky`.
#![allow(clippy::unwrap_used, reason = "it is part of the tests")]

mod running;

use running::{Origin, Running};

const EXAMPLE: &str = "sticky";
const KEYS: [&str; 2] = ["the new key, of 16 bytes", "the old key, of 16 bytes"];

/// The field with which a client returns the cookie of an answer.
fn returned(set_cookie: &str) -> String {
    let pair = set_cookie.split(';').next().unwrap();
    format!("Cookie: other=1; {pair}\r\n")
}

#[test]
fn a_client_stays_with_its_upstream_until_that_is_gone() {
    let names = ["one", "two", "three"];
    let mut origins: Vec<Origin> = names.map(Origin::start).into();
    let addresses: Vec<String> = origins.iter().map(|o| o.address.to_string()).collect();
    let mut arguments: Vec<&str> = addresses.iter().flat_map(|a| ["--upstream", a]).collect();
    arguments.extend(KEYS.iter().flat_map(|key| ["--key", key]));
    let balancer = Running::start(EXAMPLE, &arguments);

    let first = balancer.get("/");
    let issued = first.field("Set-Cookie").unwrap();
    assert!(
        issued.ends_with("; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax"),
        "{issued}"
    );
    let cookie = returned(issued);
    for _ in 0..10 {
        let answer = balancer.get_with("/", &cookie);
        assert_eq!(answer.body(), first.body());
        assert_eq!(answer.field("Set-Cookie"), None);
    }

    let gone = names.iter().position(|name| *name == first.body()).unwrap();
    drop(origins.remove(gone));
    let moved = balancer.get_with("/", &cookie);
    assert_eq!(moved.status(), 200);
    assert_ne!(moved.body(), first.body());
    let cookie = returned(moved.field("Set-Cookie").unwrap());
    assert_eq!(balancer.get_with("/", &cookie).body(), moved.body());
    assert!(balancer.stop());
}

#[test]
fn it_brings_origins_of_its_own() {
    let balancer = Running::start(EXAMPLE, &[]);
    assert!(balancer.get("/").body().starts_with("Hello from the "));
    assert!(balancer.stop());
}
