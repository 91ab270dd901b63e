//! The flows through the engine: each kind of exchange is a [`Handler`](crate::engine::Handler).
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

/// Whether unframed bytes follow a head with this status (RFC 9110 sections 7.8 and 9.3.6).
#[inline]
pub(crate) fn opens_tunnel(session: &Session, status: StatusCode) -> bool {
    let connects = || session.req_header().line().method == Method::CONNECT;
    status == StatusCode::SWITCHING_PROTOCOLS || status.is_success() && connects()
}

/// Gives queued data one chance to leave before a user's phase may delay it. An error recurs in the next
/// turn, which handles it.
pub(crate) async fn flush_downstream(down: &mut impl DownstreamHalf) {
    if down.wants_flush() {
        let _ = poll_fn(|cx| Poll::Ready(down.poll_flush(cx))).await;
    }
}

/// Likewise, towards the server.
pub(crate) async fn flush_upstream(up: &mut impl UpstreamHalf) {
    if up.wants_flush() {
        let _ = poll_fn(|cx| Poll::Ready(up.poll_flush(cx))).await;
    }
}
