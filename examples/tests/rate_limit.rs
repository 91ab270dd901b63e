//! Runs the example `rate_limit`.

mod running;

use running::Running;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

#[test]
fn each_client_has_a_burst_and_is_told_when_to_come_back() {
    let arguments = ["--per-minute", "1", "--burst", "3"];
    let proxy = Running::start("rate_limit", &arguments);
    for left in ["2", "1", "0"] {
        let answer = proxy.get("/");
        assert_eq!(answer.status(), 200);
        let policy = "\"client\";q=3;w=180";
        assert_eq!(answer.field("RateLimit-Policy"), Some(policy));
        let limit = answer.field("RateLimit").unwrap();
        assert!(
            limit.starts_with(&format!("\"client\";r={left};t=")),
            "{limit}"
        );
    }
    let refused = proxy.get("/");
    assert_eq!(refused.status(), 429);
    let seconds: u32 = refused.field("Retry-After").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert!(proxy.stop());
}

#[test]
fn each_client_has_so_many_connections() {
    let proxy = Running::start("rate_limit", &["--connections-per-client", "1"]);
    let ask = |client: &mut TcpStream| {
        // Either call may report that the client is turned away.
        let _ = client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut begin = [0; 12];
        client.read_exact(&mut begin).is_ok() && begin == *b"HTTP/1.1 200"
    };
    let connect = || {
        let client = TcpStream::connect(proxy.address).unwrap();
        client.set_read_timeout(Some(running::PATIENCE)).unwrap();
        client
    };
    let mut first = connect();
    assert!(ask(&mut first));
    assert!(!ask(&mut connect()));
    drop(first);
    let end = Instant::now() + running::PATIENCE;
    while !ask(&mut connect()) {
        assert!(Instant::now() < end, "nobody is served any more");
    }
    assert!(proxy.stop());
}
