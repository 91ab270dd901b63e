//! Waiting with a time limit.

use crate::timeout::Alarm;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// A session with a timer of its own.
pub(crate) trait Timed {
    fn timer(&mut self) -> &mut Alarm;

    /// Polls `step` with a time limit; `None` when it expired.
    async fn within<T>(
        &mut self,
        limit: Option<Duration>,
        mut step: impl FnMut(&mut Self, &mut Context<'_>) -> Poll<T>,
    ) -> Option<T> {
        let mut deadline = None;
        poll_fn(|cx| {
            if let Poll::Ready(value) = step(self, cx) {
                return Poll::Ready(Some(value));
            }
            let Some(limit) = limit else {
                return Poll::Pending;
            };
            let now = Instant::now();
            // A limit beyond the clock's range counts as none.
            let Some(at) = *deadline.get_or_insert_with(|| now.checked_add(limit)) else {
                return Poll::Pending;
            };
            self.timer().poll_reached(cx, at, now).map(|()| None)
        })
        .await
    }
}
