//! Runs the example `discovery_dns` with a name server from Debian's packages.
#![cfg(feature = "dns")]
#![allow(clippy::unwrap_used, reason = "it is part of the tests")]

mod running;

use running::{Origin, Running, until};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

const EXAMPLE: &str = "discovery_dns";

/// dnsmasq with custom records; it is killed when this is dropped.
struct Dnsmasq {
    child: Child,
    address: String,
}

impl Dnsmasq {
    fn start(records: &[String]) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let child = Command::new("/usr/sbin/dnsmasq")
            .args([
                "--no-daemon",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
            ])
            .args([
                "--listen-address=127.0.0.1",
                "--bind-interfaces",
                "--pid-file=",
            ])
            .arg(format!("--port={}", address.port()))
            .args(records)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        assert!(until(|| TcpStream::connect(address).ok()).is_some());
        let address = address.to_string();
        Dnsmasq { child, address }
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_balances_over_all_addresses_of_a_name_and_skips_the_dead() {
    let origin = Origin::start("one");
    let port = origin.address.port().to_string();
    // Nothing listens on the second one.
    let addresses = ["127.0.0.1", "127.0.0.2"];
    let dns = Dnsmasq::start(&addresses.map(|ip| format!("--address=/app.test/{ip}")));
    let arguments = [
        "--name",
        "app.test.",
        "--port",
        &port,
        "--name-server",
        &dns.address,
    ];
    let balancer = Running::start(EXAMPLE, &arguments);
    for _ in 0..20 {
        let answer = balancer.get("/");
        assert_eq!((answer.status(), answer.body()), (200, "one"));
    }
    assert!(balancer.stop());
}

#[test]
fn it_follows_the_priorities_of_services() {
    let (main, backup) = (Origin::start("main"), Origin::start("backup"));
    let record = |origin: &Origin, priority: u16| {
        let port = origin.address.port();
        format!("--srv-host=_http._tcp.test,app.test,{port},{priority},1")
    };
    let dns = Dnsmasq::start(&[
        "--host-record=app.test,127.0.0.1".into(),
        record(&main, 10),
        record(&backup, 20),
    ]);
    let arguments = [
        "--service",
        "_http._tcp.test.",
        "--name-server",
        &dns.address,
    ];
    let balancer = Running::start(EXAMPLE, &arguments);
    for _ in 0..10 {
        assert_eq!(balancer.get("/").body(), "main");
    }
    drop(main);
    assert_eq!(balancer.get("/").body(), "backup");
    assert!(balancer.stop());
}
