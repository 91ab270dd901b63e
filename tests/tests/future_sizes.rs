//! The sizes of a connection's futures. An idle connection holds the outer ones, a busy one also
//! the inner one; state that one of them keeps across an `await` is kept by thousands of
//! connections.

#![allow(
    clippy::expect_used,
    reason = "a test that can't go on ends by panicking"
)]
#![allow(
    clippy::print_stdout,
    reason = "the sizes are to be seen, with --nocapture"
)]

use bytes::Bytes;
use pingora::apps::{HttpServerApp, ServerApp};
use pingora::http::ResponseHeader;
use pingora::prelude::*;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::server::configuration::ServerConf;
use pingora::services::listening::Service;
use pingora_tests::FixedUpstream;
use std::sync::Arc;

/// The future that only waits for a request, in bytes.
const IDLE: usize = 512;
/// The future that carries a request through the phases of the smallest proxy.
const REQUEST: usize = 2048;

fn stream() -> Stream {
    Box::new(tokio::io::duplex(64).0)
}

#[test]
fn the_futures_of_a_connection_stay_small() {
    let upstream = FixedUpstream(([127, 0, 0, 1], 80).into());
    let app = Arc::new(http_proxy(&Arc::new(ServerConf::default()), upstream));
    let (_sender, shutdown) = tokio::sync::watch::channel(false);

    let task = size_of_val(&Service::handle_event(
        stream(),
        app.clone(),
        shutdown.clone(),
    ));
    let connection = size_of_val(&*app.process_new(stream(), &shutdown));
    let session = ServerSession::new_http1(stream());
    let request = size_of_val(&*app.process_new_http(session, &shutdown));

    println!("task {task}, connection {connection}, request {request} bytes");
    assert!(task + connection <= IDLE, "idle: {task} + {connection}");
    assert!(request <= REQUEST, "request: {request}");
}

/// What one of a phase's own awaits may add to the memory that each request takes, in bytes.
const ANSWER: usize = 512;

#[test]
fn a_phase_that_may_answer_stays_small() {
    let mut session = Session::new_h1(stream());
    let head = Box::new(ResponseHeader::build(200, None).expect("a status"));
    let none = Bytes::new;
    keeps_to_it("respond_error", &session.respond_error(403));
    keeps_to_it(
        "respond_error_with_body",
        &session.respond_error_with_body(403, none()),
    );
    keeps_to_it(
        "write_response_header",
        &session.write_response_header(head.clone(), false),
    );
    keeps_to_it(
        "write_response_header_ref",
        &session.write_response_header_ref(&head, false),
    );
    keeps_to_it(
        "write_response_body",
        &session.write_response_body(None, true),
    );
    keeps_to_it(
        "write_response",
        &session.write_response(head.clone(), none()),
    );
    keeps_to_it("read_request_body", &session.read_request_body());
}

fn keeps_to_it<F: Future>(method: &str, future: &F) {
    let size = size_of_val(future);
    println!("{method} {size}");
    assert!(size <= ANSWER, "{method}: {size} bytes");
}
