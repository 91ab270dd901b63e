//! Runs the example `tracing`.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on ends by panicking"
)]

#[path = "../../examples/tests/running/mod.rs"]
mod running;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use running::{Running, run_to_end};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

const EXAMPLE: &str = "tracing";

/// Reads one message and accepts it.
fn receive(mut stream: TcpStream) -> ExportTraceServiceRequest {
    let mut read = vec![];
    let mut part = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&read).to_lowercase();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head.split("content-length: ").nth(1).unwrap();
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            let begin = read
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
                .unwrap()
                + 4;
            if let Some(body) = read.get(begin..begin + length) {
                let accepted = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                stream.write_all(accepted).unwrap();
                return ExportTraceServiceRequest::decode(body).unwrap();
            }
        }
        let count = stream.read(&mut part).unwrap();
        assert!(count > 0, "the message is cut off: {text}");
        read.extend_from_slice(&part[..count]);
    }
}

#[test]
fn a_collector_gets_the_spans_of_a_request() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", collector.local_addr().unwrap());
    let proxy = Running::start(EXAMPLE, &["--collector", &url]);
    let fields = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
    assert_eq!(proxy.get_with("/x", fields).status(), 200);
    let message = receive(collector.accept().unwrap().0);
    let spans = &message.resource_spans[0].scope_spans[0].spans;
    let expected = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128;
    assert!(
        spans
            .iter()
            .all(|span| span.trace_id == expected.to_be_bytes())
    );
    assert_eq!(
        spans[0].parent_span_id,
        0x00f0_67aa_0ba9_02b7_u64.to_be_bytes()
    );
    assert!(spans.iter().any(|span| span.name == "try"));
    assert!(proxy.stop());
}

#[test]
fn a_collector_that_is_no_url_stops_the_start() {
    let ended = run_to_end(
        EXAMPLE,
        &["--listen", "127.0.0.1:0", "--collector", "collector"],
    );
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("collector"), "{said}");
}
