//! Connections that wait: for their next request, for the end of their idle time, for the shutdown.

use crate::process::drain::quiet_time;
use crate::process::{ShutdownWatch, is_shutting_down};
use crate::protocols::http::v1::server::HttpSession as SessionV1;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::Instant;

/// Wakes an idle connection when the process begins to shut down.
///
/// Subscribing again for each request would take a lock each time. The future is therefore kept for
/// the lifetime of the connection and polled again only when the task's waker changed.
#[derive(Default)]
pub(super) struct ShutdownNotice {
    changed: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    waker: Option<Waker>,
}

impl ShutdownNotice {
    async fn wait(mut shutdown: ShutdownWatch) {
        // An error means that the sender is gone: no shutdown will be announced.
        if shutdown.wait_for(|down| *down).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Ready at least once after the shutdown began.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, shutdown: &ShutdownWatch) -> Poll<()> {
        if self
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            return Poll::Pending;
        }
        self.waker = Some(cx.waker().clone());
        let wait = || Box::pin(Self::wait(shutdown.clone())) as Pin<Box<_>>;
        let waited = self.changed.get_or_insert_with(wait).as_mut().poll(cx);
        if waited.is_ready() {
            *self = ShutdownNotice::default();
        }
        waited
    }
}

/// A connection between two requests.
pub(super) trait Awaited {
    /// Ready once part of the next request has arrived, or the connection has ended without one
    /// (`false`).
    fn poll_request_begins(&mut self, cx: &mut Context<'_>) -> Poll<bool>;

    /// Ready when this instant has passed.
    fn poll_keepalive(&mut self, cx: &mut Context<'_>, at: Instant, now: Instant) -> Poll<()>;
}

impl Awaited for SessionV1 {
    fn poll_request_begins(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        SessionV1::poll_request_begins(self, cx)
    }

    fn poll_keepalive(&mut self, cx: &mut Context<'_>, at: Instant, now: Instant) -> Poll<()> {
        SessionV1::poll_keepalive(self, cx, at, now)
    }
}

/// Waits for the first byte of a request; `false` if the connection should be closed instead.
///
/// When the process begins to shut down, a request that is already in flight is still waited for: a
/// client can't know that the connection is about to be closed. The wait is short, and longer if
/// another server has taken over (see [`quiet_time`]).
pub(super) async fn request_begins(
    session: &mut impl Awaited,
    patience: Option<Duration>,
    shutdown: &ShutdownWatch,
    notice: &mut ShutdownNotice,
) -> bool {
    let (mut deadline, mut closing) = (None, false);
    poll_fn(|cx| {
        if let Poll::Ready(begun) = session.poll_request_begins(cx) {
            return Poll::Ready(begun);
        }
        let now = Instant::now();
        let patience = patience.and_then(|patience| now.checked_add(patience));
        deadline = deadline.or(patience);
        if !closing && (notice.poll(cx, shutdown).is_ready() || is_shutting_down(shutdown)) {
            closing = true;
            let quiet = now + quiet_time(shutdown);
            deadline = Some(deadline.map_or(quiet, |at| at.min(quiet)));
        }
        match deadline {
            Some(at) => session.poll_keepalive(cx, at, now).map(|()| false),
            None => Poll::Pending,
        }
    })
    .await
}
