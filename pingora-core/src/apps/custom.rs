//! Serving sessions over a custom protocol.

use super::http_server_app::HttpServerApp;
use super::options::ConnectionEnd;
use super::shutdown::{Awaited, ShutdownNotice, request_begins};
use crate::process::ShutdownWatch;
use crate::protocols::http::ServerSession;
use crate::protocols::http::custom::SessionCustom;
use crate::protocols::http::v1::server::HEADER_TIMEOUT;
use crate::timeout::Alarm;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

struct Waiting {
    session: Box<dyn SessionCustom>,
    alarm: Alarm,
}

impl Awaited for Waiting {
    fn poll_request_begins(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.session.poll_request_begins(cx)
    }

    fn poll_keepalive(&mut self, cx: &mut Context<'_>, at: Instant, now: Instant) -> Poll<()> {
        self.alarm.poll_reached(cx, at, now)
    }
}

/// Serves the exchanges of one connection, one after the other, until it ends or the process shuts
/// down: the equivalent of [`ServerApp`](super::ServerApp) for HTTP/1, for a session that another
/// crate implements.
///
/// A new connection may stay silent for the [header
/// timeout](super::HttpServerOptions::set_header_timeout), and a kept one for as long as its session's
/// [options](crate::protocols::http::custom::SessionOptions::keepalive) say. Dropping the future ends
/// the exchange in progress.
pub async fn serve_custom<A>(
    app: &Arc<A>,
    session: Box<dyn SessionCustom>,
    shutdown: &ShutdownWatch,
) where
    A: HttpServerApp + Send + Sync + 'static,
{
    let options = app.server_options();
    let mut patience = options.map_or(Some(HEADER_TIMEOUT), |o| o.header_timeout());
    let limit = options.and_then(|o| o.keepalive_request_limit);
    let end = options.map_or(ConnectionEnd::default(), |o| o.connection_ends());
    let mut notice = ShutdownNotice::default();
    let mut waiting = Waiting {
        session,
        alarm: Alarm::new(),
    };
    let session = &mut waiting.session;
    session.options_mut().reuses_remaining = limit.map(|n| n.saturating_sub(1));
    // A connection that was accepted while the process was shutting down gets one exchange.
    let late = *shutdown.borrow();
    loop {
        let wait = end.shorten(patience);
        if !request_begins(&mut waiting, wait, shutdown, &mut notice).await {
            waiting.session.shutdown().await;
            return;
        }
        if late || end.is_past() {
            waiting.session.options_mut().reuses_remaining = Some(0);
        }
        let session = ServerSession::Custom(waiting.session);
        let Some(reused) = app.process_new_http(session, shutdown).await else {
            return;
        };
        let ServerSession::Custom(next) = reused.into_session() else {
            return;
        };
        waiting.session = next;
        patience = match waiting.session.options().keepalive {
            Some(0) => None,
            Some(seconds) => Some(Duration::from_secs(seconds)),
            None => return,
        };
    }
}
