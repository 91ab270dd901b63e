//! The flows through the engine: each kind of exchange is a [`Handler`](crate::engine::Handler).
//!
//! | flow | between |
//! |---|---|
//! | [`forward`] | a client and an upstream, through the phases |
//! | [`hit`] | a client and the store |
//! | [`subrequest`] | the parent of a sub-request and the sub-request |

mod behind;
mod dismissed;
mod fill;
pub(crate) mod forward;
pub(crate) mod hit;
mod outgoing;
mod replay;
mod stored;
pub(crate) mod subrequest;

use crate::Session;
use http::{Method, StatusCode};
use pingora_core::modules::http::Surroundings;
use pingora_core::modules::http::compression::ResponseCompression;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::exchange::{DownstreamHalf, UpstreamHalf};
use pingora_error::Result;
use pingora_http::RequestHeader;
use std::any::Any;
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

/// Shows the request's head, and what surrounds it, to the upstream modules, the last of the filters that see
/// it.
pub(crate) async fn pass_upstream_modules(
    session: &mut Session,
    ctx: &mut (dyn Any + Send + Sync),
    upstream: Option<&Digest>,
    request: &mut RequestHeader,
) -> Result<()> {
    let client = &*session.downstream_session;
    let modules = &mut session.upstream_modules_ctx;
    modules.request_begins(&mut Surroundings::new(client, ctx).with_upstream(upstream))?;
    modules.request_header_filter(request).await?;
    if let Some(compression) = modules.get_mut::<ResponseCompression>() {
        // The client's capabilities decide, not the fields sent to the upstream.
        compression.request_filter(client.req_header());
    }
    Ok(())
}
