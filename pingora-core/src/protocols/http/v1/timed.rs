use crate::timeout::{Alarm, Deadline, Deadlines};
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// A session that has a timer of its own.
pub(super) trait Timed {
    fn timer(&mut self) -> (&mut Alarm, &mut Deadlines);

    /// Polls `step` under a limit of time; `None` when it ran out.
    async fn within<T>(
        &mut self,
        limit: Option<Duration>,
        kind: Deadline,
        mut step: impl FnMut(&mut Self, &mut Context<'_>) -> Poll<T>,
    ) -> Option<T> {
        // A wait that was given up has left its deadline behind.
        self.timer().1.clear();
        let mut at = None;
        let done = poll_fn(|cx| {
            if let Poll::Ready(value) = step(self, cx) {
                return Poll::Ready(Some(value));
            }
            let Some(limit) = limit else {
                return Poll::Pending;
            };
            let now = Instant::now();
            let (alarm, deadlines) = self.timer();
            // A limit beyond the end of time is none.
            deadlines.set(kind, *at.get_or_insert_with(|| now.checked_add(limit)));
            alarm.poll_expired(cx, deadlines, now).map(|_| None)
        })
        .await;
        self.timer().1.clear();
        done
    }
}
