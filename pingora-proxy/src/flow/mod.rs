//! What flows through the engine: each kind of exchange is a [`Handler`](crate::engine::Handler).
//!
//! | flow | between |
//! |---|---|
//! | [`forward`] | a client and an upstream, through the phases |
//! | [`subrequest`] | the parent of a sub-request and the sub-request |

pub(crate) mod forward;
pub(crate) mod subrequest;

use crate::Session;
use http::{Method, StatusCode};
use pingora_core::protocols::http::exchange::{DownstreamHalf, UpstreamHalf};
use std::future::poll_fn;
use std::task::Poll;

/// Whether bytes have no frame behind a head of this status (RFC 9110 sections 7.8 and 9.3.6).
pub(crate) fn opens_tunnel(session: &Session, status: StatusCode) -> bool {
    let connects = || session.req_header().line().method == Method::CONNECT;
    status == StatusCode::SWITCHING_PROTOCOLS || status.is_success() && connects()
}

/// Gives what is queued one chance to leave before a phase of the user may keep it waiting. An error
/// comes again at the next turn, which knows what to do about it.
pub(crate) async fn flush_downstream(down: &mut impl DownstreamHalf) {
    if down.wants_flush() {
        let _ = poll_fn(|cx| Poll::Ready(down.poll_flush(cx))).await;
    }
}

/// The same, towards the server.
pub(crate) async fn flush_upstream(up: &mut impl UpstreamHalf) {
    if up.wants_flush() {
        let _ = poll_fn(|cx| Poll::Ready(up.poll_flush(cx))).await;
    }
}
