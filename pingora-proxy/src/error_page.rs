//! The answer to a request that failed.

use crate::Session;
use crate::failures::panicked;
use bytes::Bytes;
use futures::FutureExt;
use pingora_core::protocols::http::ServerSession;
use std::panic::AssertUnwindSafe;

/// Sends the error page with this status, through the modules. If one of them fails or panics before anything
/// was sent, the page goes past them: it may be the module that is at fault. `false`: it could not be sent.
#[cold]
pub(crate) async fn send_error_page(session: &mut Session, status: u16) -> bool {
    let page = AssertUnwindSafe(session.respond_error(status)).catch_unwind();
    let failed = match page.await {
        Ok(Ok(())) => return true,
        Ok(Err(failed)) => failed,
        Err(panic) => panicked(&*panic),
    };
    log::debug!("the error page could not be sent: {failed}");
    if session.response_written().is_some() {
        return false;
    }
    let header = ServerSession::generate_error(status);
    let downstream = &mut session.downstream_session;
    let written = downstream.write_error_response(header, Bytes::new());
    written.await.is_ok()
}
