//! Runs the example `grpc`.

mod running;

use running::{Running, run_to_end};

/// The client's output, in order.
const CALLS: [&str; 8] = [
    "one message, one reply: hello, world, status 0, served by greeter",
    "one message, many replies: 3, 2, 1, status 0, served by greeter",
    "many messages, one reply: these are words, status 0, served by greeter",
    "many messages, many replies: ping, PING",
    "many messages, many replies: pong, PONG",
    "many messages, many replies: status 0, served by greeter",
    "a deadline of 50 ms: status 4",
    "no such method: status 12",
];

#[test]
fn calls_of_every_kind_pass_with_trailers_and_deadlines() {
    let output = run_to_end("grpc", &["--listen", "127.0.0.1:0"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let said: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with("proxied ") && !line.starts_with("listening on "))
        .collect();
    assert_eq!(said, CALLS);
    let proxied = |line: &&str| line.starts_with("proxied POST /greeter.Greeter/");
    assert_eq!(text.lines().filter(proxied).count(), 6, "{text}");
    assert!(!text.contains('('), "no error: {text}");
}

#[test]
fn it_goes_on_serving_if_told_to() {
    let server = Running::start("grpc", &["--serve"]);
    server.wait_for_line(CALLS[7]);
    // HTTP/1 on the same port, to a service that it is not for.
    assert_eq!(server.get("/").status(), 200);
    server.wait_for_line("proxied GET /");
    assert!(server.stop());
}
