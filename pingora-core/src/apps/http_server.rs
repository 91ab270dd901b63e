//! A connection of an application that speaks HTTP: its HTTP/1 sessions, one after the other, or the
//! switch to HTTP/2.
//!
//! ```text
//! accepted ── request_begins ─┬─ process_new_http ── kept? ── request_begins ...
//!                             └─ the preface of HTTP/2: http2_server
//! ```

use super::http_server_app::HttpServerApp;
use super::options::ConnectionEnd;
use super::shutdown::{ShutdownNotice, request_begins};
use super::{ServerApp, http2_server};
use crate::process::ShutdownWatch;
use crate::process::memory::{self, Level, Turned};
use crate::protocols::http::v1::server::{HEADER_TIMEOUT, HttpSession as SessionV1};
use crate::protocols::http::v2::server::PREFACE;
use crate::protocols::http::{ServerSession, error_resp};
use crate::protocols::{ALPN, Stream};
use async_trait::async_trait;
use bytes::Bytes;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;

/// Whether a connection on which data has arrived begins with these bytes. Reads until that is
/// certain, which takes no more than their length; the data is not consumed.
async fn begins_with(session: &mut SessionV1, expected: &[u8], patience: Option<Duration>) -> bool {
    let mut deadline = None;
    poll_fn(|cx| {
        if let Poll::Ready(decided) = session.poll_begins_with(cx, expected) {
            return Poll::Ready(decided);
        }
        let now = Instant::now();
        deadline = deadline.or(patience.and_then(|patience| now.checked_add(patience)));
        match deadline {
            // Too late for the expected bytes; reading the head detects that the client is late.
            Some(at) => session.poll_keepalive(cx, at, now).map(|()| false),
            None => Poll::Pending,
        }
    })
    .await
}

/// Answers a request for which memory is too scarce, before storing anything of it.
#[cold]
async fn turn_away(mut session: SessionV1) {
    memory::turn_away(Turned::Request);
    session.refuse_unread();
    session.set_server_keepalive(None);
    let answer = Box::new(error_resp::gen_error_response(503));
    // A client that is gone needs no answer.
    if session.queue_response_header(answer, true).is_ok() && session.queue_end(None).is_ok() {
        session.shutdown().await;
    }
}

#[async_trait]
impl<SV> ServerApp for SV
where
    SV: HttpServerApp + Send + Sync + 'static,
{
    async fn process_new(self: &Arc<Self>, io: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        match io.selected_alpn_proto() {
            Some(ALPN::H2) => {
                Box::pin(http2_server::serve(self, io, Bytes::new(), shutdown)).await;
                return None;
            }
            Some(ALPN::Custom(_)) => return self.process_custom_session(io, shutdown).await,
            _ => {}
        }
        let mut session = SessionV1::new(io);
        if let Some(options) = self.server_options() {
            let limit = options.keepalive_request_limit;
            session.set_keepalive_reuses_remaining(limit.map(|n| n.saturating_sub(1)));
        }
        let mut patience = self
            .server_options()
            .map_or(Some(HEADER_TIMEOUT), |o| o.header_timeout());
        let options = self.server_options();
        let end = options.map_or(ConnectionEnd::default(), |o| o.connection_ends());
        // A connection that was accepted while the process was shutting down gets one exchange.
        let late = *shutdown.borrow();
        let mut notice = ShutdownNotice::default();
        let mut may_be_http2 = self.server_options().is_some_and(|o| o.h2c)
            && session.stream().selected_alpn_proto().is_none();
        loop {
            let wait = end.shorten(patience);
            if !request_begins(&mut session, wait, shutdown, &mut notice).await {
                return None;
            }
            if std::mem::take(&mut may_be_http2)
                && begins_with(&mut session, &PREFACE, patience).await
            {
                let (io, ahead) = session.into_parts();
                Box::pin(http2_server::serve(self, io, ahead, shutdown)).await;
                return None;
            }
            if memory::level() >= Level::Scarce {
                Box::pin(turn_away(session)).await;
                return None;
            }
            if let Some(options) = self.server_options() {
                options.apply(&mut session);
            }
            if late || end.is_past() {
                session.set_keepalive_reuses_remaining(Some(0));
            }
            session.heed_shutdown(shutdown);
            let reused = self
                .process_new_http(ServerSession::H1(session), shutdown)
                .await?;
            let ServerSession::H1(next) = reused.into_session() else {
                return None;
            };
            session = next;
            patience = match session.get_keepalive_timeout() {
                Some(0) => None,
                Some(seconds) => Some(Duration::from_secs(seconds)),
                None => return None,
            };
        }
    }

    fn client_speaks_first(&self) -> bool {
        true
    }

    async fn cleanup(&self) {
        self.http_cleanup().await;
    }

    async fn drained(&self) {
        self.http_drained().await;
    }
}

#[cfg(test)]
mod tests;
