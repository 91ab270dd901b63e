//! The sizes of a connection's futures. An idle connection holds the outer ones, a busy one also
//! the inner one; state that one of them keeps across an `await` is kept by thousands of
//! connections.

use pingora::apps::{HttpServerApp, ServerApp};
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
