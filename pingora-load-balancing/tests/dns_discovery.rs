//! Backends that the DNS names, before a name server whose answers are written by hand.
#![cfg(feature = "dns")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod name_server;

use name_server::{A, AAAA, CNAME, NameServer, SRV};
use pingora_core::server::ShutdownWatch;
use pingora_core::upstreams::peer::Peer;
use pingora_load_balancing::discovery::{DnsDiscovery, DnsResolver, ServiceDiscovery};
use pingora_load_balancing::prelude::*;
use pingora_load_balancing::selection::Priority;
use pingora_load_balancing::{Backend, Backends};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

const TTL: u32 = 60;

fn discovery(server: &NameServer) -> DnsDiscovery {
    DnsDiscovery::with_servers(&[server.address]).unwrap()
}

fn ips(all: &[&str]) -> Vec<IpAddr> {
    all.iter().map(|ip| ip.parse().unwrap()).collect()
}

async fn found(discovery: &DnsDiscovery) -> Vec<Backend> {
    let (found, enabled) = discovery.discover().await.unwrap();
    assert!(enabled.is_empty());
    found.into_iter().collect()
}

async fn addresses(discovery: &DnsDiscovery) -> Vec<String> {
    let found = found(discovery).await;
    found
        .iter()
        .map(|backend| backend.addr.to_string())
        .collect()
}

#[tokio::test]
async fn all_addresses_of_both_kinds_are_backends() {
    let server = NameServer::start().await;
    server.has(
        "app.test.",
        TTL,
        &ips(&["10.0.0.2", "10.0.0.1", "10.0.0.2", "::1"]),
    );
    server.has(
        "more.test.",
        TTL,
        &ips(&["10.0.0.1", "10.0.0.9", "0.0.0.0", "224.0.0.1"]),
    );
    let names = discovery(&server).weight(3);
    let names = names.addresses("app.test.", 80).addresses("more.test.", 80);
    let set = addresses(&names.addresses("10.1.1.1", 81)).await;
    assert_eq!(
        set,
        [
            "10.0.0.1:80",
            "10.0.0.2:80",
            "10.0.0.9:80",
            "10.1.1.1:81",
            "[::1]:80"
        ]
    );

    let names = discovery(&server).weight(3).addresses("app.test.", 80);
    assert!(
        found(&names)
            .await
            .iter()
            .all(|b| b.weight == 3 && b.ext.is_empty())
    );
}

#[tokio::test]
async fn the_last_answer_of_a_name_stays_while_it_fails() {
    let server = NameServer::start().await;
    server.has("one.test.", TTL, &ips(&["10.0.0.1"]));
    server.has("two.test.", TTL, &ips(&["10.0.0.2"]));
    let names = discovery(&server)
        .addresses("one.test.", 80)
        .addresses("two.test.", 80);
    assert_eq!(addresses(&names).await, ["10.0.0.1:80", "10.0.0.2:80"]);

    server.has("two.test.", TTL, &ips(&["10.0.0.3"]));
    let refused = 5;
    let (server_failure, no_such_name, no_error) = (2, 3, 0);
    for code in [server_failure, no_such_name, no_error, refused] {
        server.fails("one.test.", code);
        assert_eq!(
            addresses(&names).await,
            ["10.0.0.1:80", "10.0.0.3:80"],
            "{code}"
        );
    }
    server.is_silent_about("one.test.");
    assert_eq!(addresses(&names).await, ["10.0.0.1:80", "10.0.0.3:80"]);
    server.has("one.test.", TTL, &ips(&["10.0.0.4"]));
    assert_eq!(addresses(&names).await, ["10.0.0.3:80", "10.0.0.4:80"]);
}

#[tokio::test]
async fn a_name_without_any_answer_is_an_error() {
    let server = NameServer::start().await;
    let names = discovery(&server).addresses("nothing.test.", 80);
    let error = names.discover().await.unwrap_err().to_string();
    assert!(error.contains("nothing.test."), "{error}");
    assert!(discovery(&server).discover().await.is_err());
    assert!(DnsDiscovery::with_servers(&[]).is_err());
    for odd in ["", ".", "a..b.", &"x".repeat(300), "ä\u{0}.test."] {
        let names = discovery(&server).addresses(odd, 80);
        assert!(names.discover().await.is_err(), "{odd:?}");
    }
    // It does not keep the others from being found.
    server.has("app.test.", TTL, &ips(&["10.0.0.1"]));
    assert_eq!(
        addresses(&names.addresses("app.test.", 80)).await,
        ["10.0.0.1:80"]
    );
}

#[tokio::test]
async fn one_kind_of_addresses_may_fail_alone() {
    let server = NameServer::start().await;
    server.has("app.test.", TTL, &ips(&["10.0.0.1", "::1"]));
    let names = discovery(&server).addresses("app.test.", 80);
    assert_eq!(addresses(&names).await, ["10.0.0.1:80", "[::1]:80"]);
    server.has("app.test.", TTL, &ips(&["::2"]));
    server.fails_for("app.test.", A, 2);
    assert_eq!(addresses(&names).await, ["10.0.0.1:80", "[::2]:80"]);
    server.fails_for("app.test.", A, 0);
    assert_eq!(addresses(&names).await, ["[::2]:80"]);
}

#[tokio::test]
async fn aliases_are_followed_and_circles_are_errors() {
    let server = NameServer::start().await;
    server.has("app.test.", TTL, &ips(&["10.0.0.1"]));
    server.alias("www.test.", TTL, "app.test.");
    assert_eq!(
        addresses(&discovery(&server).addresses("www.test.", 80)).await,
        ["10.0.0.1:80"]
    );
    server.alias("a.test.", TTL, "b.test.");
    server.alias("b.test.", TTL, "a.test.");
    server.alias("self.test.", TTL, "self.test.");
    for name in ["a.test.", "self.test."] {
        let names = discovery(&server).addresses(name, 80);
        let asked = timeout(Duration::from_secs(20), names.discover()).await;
        assert!(asked.unwrap().is_err(), "{name}");
    }
    assert!(server.questions("a.test.", CNAME) == 0);
    assert!(server.questions("a.test.", A) < 20);
}

#[tokio::test]
async fn a_long_answer_comes_by_tcp_and_only_a_thousand_addresses_count() {
    let server = NameServer::start().await;
    let many: Vec<IpAddr> = (0..1_200_u32)
        .map(|n| IpAddr::from((0x0a00_0001 + n).to_be_bytes()))
        .collect();
    server.has("many.test.", TTL, &many);
    let names = discovery(&server).addresses("many.test.", 80);
    let found = found(&names).await;
    assert_eq!(found.len(), 1_000);
    assert_eq!(found[0].addr.to_string(), "10.0.0.1:80");
    assert!(server.questions_by_tcp() > 0);
}

#[tokio::test]
async fn services_have_weights_priorities_and_ports() {
    let server = NameServer::start().await;
    server.has("a.test.", TTL, &ips(&["10.0.0.1"]));
    server.has("b.test.", TTL, &ips(&["10.0.0.2", "10.0.0.3"]));
    server.has("c.test.", TTL, &ips(&["10.0.0.4"]));
    let records = [
        (20, 0, 81, "a.test."),
        (10, 5, 82, "b.test."),
        (10, 0, 83, "c.test."),
    ];
    server.services("_http._tcp.test.", TTL, &records);
    let names = discovery(&server).services("_http._tcp.test.");
    let all = found(&names).await;
    let seen: Vec<_> = all
        .iter()
        .map(|b| (b.addr.to_string(), b.weight, b.ext.get().copied()))
        .collect();
    let row =
        |address: &str, weight, rank: Option<u32>| (address.into(), weight, rank.map(Priority));
    assert_eq!(
        seen,
        [
            row("10.0.0.1:81", 1, Some(10)),
            row("10.0.0.2:82", 5, None),
            row("10.0.0.3:82", 5, None),
            row("10.0.0.4:83", 1, None),
        ]
    );

    // A target that fails keeps its addresses; one that is not named any more does not.
    server.fails("b.test.", 2);
    server.services("_http._tcp.test.", TTL, &records[1..2]);
    assert_eq!(addresses(&names).await, ["10.0.0.2:82", "10.0.0.3:82"]);
    // "No such service" is a failure, too.
    server.services("_http._tcp.test.", TTL, &[(0, 0, 0, ".")]);
    assert_eq!(addresses(&names).await, ["10.0.0.2:82", "10.0.0.3:82"]);
    assert!(server.questions("_http._tcp.test.", SRV) >= 3);
}

/// Runs a balancer as a background service. The sender stops it.
fn serve(names: DnsDiscovery) -> (Arc<LoadBalancer<RoundRobin>>, watch::Sender<bool>) {
    let set = Backends::new(Box::new(names));
    let balancer = Arc::new(LoadBalancer::<RoundRobin>::from_backends(set));
    let (stop, stopped): (_, ShutdownWatch) = watch::channel(false);
    let service = balancer.clone();
    tokio::spawn(async move { service.run(stopped, None).await });
    (balancer, stop)
}

async fn until(balancer: &LoadBalancer<RoundRobin>, wanted: &str) -> Duration {
    let begun = Instant::now();
    let there = async {
        let is_there = || {
            balancer
                .select(b"", 256)
                .is_some_and(|b| b.addr.to_string() == wanted)
        };
        while !is_there() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), there).await.expect(wanted);
    begun.elapsed()
}

#[tokio::test]
async fn a_running_balancer_asks_again_when_the_answer_has_lived() {
    let server = NameServer::start().await;
    server.has("app.test.", 1, &ips(&["10.0.0.1"]));
    server.has("still.test.", TTL, &ips(&["10.0.0.7"]));
    let names = discovery(&server).addresses("app.test.", 80);
    let (balancer, _stop) = serve(names);
    until(&balancer, "10.0.0.1:80").await;
    let before = server.questions("app.test.", A);
    server.has("app.test.", 1, &ips(&["10.0.0.2"]));
    until(&balancer, "10.0.0.2:80").await;
    assert_eq!(server.questions("app.test.", A), before + 1);

    // One that fails is asked soon again, and what it said stays.
    server.fails("app.test.", 2);
    let before = server.questions("app.test.", A);
    while server.questions("app.test.", A) < before + 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(balancer.backends().get_backend().len(), 1);
    server.has("app.test.", 1, &ips(&["10.0.0.3"]));
    until(&balancer, "10.0.0.3:80").await;
}

#[tokio::test]
async fn answers_that_live_no_time_are_not_asked_for_all_the_time() {
    let server = NameServer::start().await;
    server.has("app.test.", 0, &ips(&["10.0.0.1"]));
    let (balancer, _stop) = serve(discovery(&server).addresses("app.test.", 80));
    until(&balancer, "10.0.0.1:80").await;
    let begun = Instant::now();
    while server.questions("app.test.", A) < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(
        begun.elapsed() > Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_question_that_is_given_up_is_asked_again() {
    let server = NameServer::start().await;
    server.is_silent_about("app.test.");
    let names = discovery(&server).addresses("app.test.", 80);
    assert!(
        timeout(Duration::from_millis(50), names.discover())
            .await
            .is_err()
    );
    let again = names.changed().unwrap();
    timeout(Duration::from_secs(20), again).await.unwrap();
}

async fn peer(resolver: &DnsResolver, to: &str) -> String {
    let peer = resolver.peer(to, false, String::new()).await;
    peer.map_or_else(|e| e.to_string(), |peer| peer.address().to_string())
}

/// Lets the kept answers end, while no question is under way.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_peer_by_name_has_all_addresses_and_asks_when_its_answer_has_ended() {
    let server = NameServer::start().await;
    server.has("app.test.", TTL, &ips(&["10.0.0.1", "10.0.0.2", "::1"]));
    let resolver = DnsResolver::with_servers(&[server.address]).unwrap();
    let found = resolver
        .peer("app.test.:80", true, "app.test".into())
        .await
        .unwrap();
    assert_eq!(found.address().to_string(), "[::1]:80");
    let others = format!("{:?}", found.options.custom_l4);
    assert!(
        others.contains("10.0.0.1") && others.contains("10.0.0.2"),
        "{others}"
    );

    server.has("app.test.", TTL, &ips(&["10.0.0.3"]));
    for _ in 0..3 {
        assert_eq!(peer(&resolver, "app.test.:80").await, "[::1]:80");
    }
    assert_eq!(server.questions("app.test.", AAAA), 1);
    pass(Duration::from_secs(TTL.into())).await;
    assert_eq!(peer(&resolver, "app.test.:81").await, "10.0.0.3:81");
    assert_eq!(server.questions("app.test.", A), 2);
}

#[tokio::test]
async fn the_last_address_of_a_peer_stays_while_its_name_fails() {
    let server = NameServer::start().await;
    let resolver = DnsResolver::with_servers(&[server.address]).unwrap();
    let error = peer(&resolver, "app.test.:80").await;
    assert!(error.contains("app.test."), "{error}");
    let asked = server.questions("app.test.", A);
    server.has("app.test.", TTL, &ips(&["10.0.0.1"]));
    // A failure is kept for a moment, too.
    assert_eq!(peer(&resolver, "app.test.:80").await, error);
    assert_eq!(server.questions("app.test.", A), asked);
    pass(Duration::from_secs(1)).await;
    assert_eq!(peer(&resolver, "app.test.:80").await, "10.0.0.1:80");

    server.fails("app.test.", 2);
    pass(Duration::from_secs(TTL.into())).await;
    assert_eq!(peer(&resolver, "app.test.:80").await, "10.0.0.1:80");
    let long = format!("{}.test.:80", "x".repeat(300));
    for odd in [
        "",
        &long,
        ":80",
        "app.test.",
        "app.test.:",
        "app.test.:65536",
        "a..b.:80",
        "::1:80:x",
    ] {
        assert!(
            peer(&resolver, odd).await.contains("ConnectNoRoute"),
            "{odd}"
        );
    }
    assert_eq!(peer(&resolver, "[::1]:8080").await, "[::1]:8080");
}

#[tokio::test]
async fn those_who_want_the_same_peer_wait_for_one_answer() {
    let server = NameServer::start().await;
    server.has("app.test.", TTL, &ips(&["10.0.0.1"]));
    let resolver = DnsResolver::with_servers(&[server.address]).unwrap();
    let all = (0..100).map(|_| peer(&resolver, "app.test.:80"));
    let all = futures::future::join_all(all).await;
    assert!(all.iter().all(|found| found == "10.0.0.1:80"), "{all:?}");
    assert_eq!(server.questions("app.test.", A), 1);
}

#[tokio::test]
async fn a_resolver_keeps_a_bounded_number_of_names() {
    let server = NameServer::start().await;
    let resolver = DnsResolver::with_servers(&[server.address]).unwrap();
    let names: Vec<String> = (0..1_100).map(|n| format!("10.0.0.{n}.test.:80")).collect();
    for some in names.chunks(100) {
        futures::future::join_all(some.iter().map(|name| peer(&resolver, name))).await;
    }
    assert_eq!(format!("{resolver:?}"), "DnsResolver { names: 1000 }");
}
