//! A timer that costs nothing while its deadlines only move further away.

use super::{Deadline, Deadlines};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::time::{Instant, Sleep, sleep_until};

/// A timer for one connection, armed lazily.
///
/// Arming a timer takes a lock and moves an entry in the runtime's wheel; doing that for each of a
/// request's time-outs would cost more than parsing the request. An armed timer is therefore left
/// alone as long as it fires no later than the next deadline: when it fires early, it is armed anew.
///
/// ```text
/// Unarmed ── a deadline ahead ──▶ Armed ── fires ──▶ a deadline has passed: Ready
///                                   │                └── all of them are later: armed anew
///                                   └── a later deadline: nothing to do; an earlier one: armed anew
/// ```
///
/// In: the deadlines and the time, with each poll. Out: the kind of a deadline that has passed.
///
/// Needs a tokio runtime with its time driver on, at the first poll that finds a deadline.
#[derive(Debug, Default)]
pub struct Alarm {
    armed: Option<Box<Armed>>,
}

#[derive(Debug)]
struct Armed {
    sleep: Pin<Box<Sleep>>,
    /// Whom the sleep will wake: it has to be polled again once the task's waker changed.
    waker: Option<Waker>,
}

impl Alarm {
    /// A timer that is not armed. Costs nothing.
    pub const fn new() -> Self {
        Alarm { armed: None }
    }

    /// Ready with a deadline that has passed at `now`; otherwise sees to it that the task is woken
    /// by the time the next one passes. Cancel-safe: nothing is lost when the caller goes away.
    pub fn poll_expired(
        &mut self,
        cx: &mut Context<'_>,
        deadlines: &Deadlines,
        now: Instant,
    ) -> Poll<Deadline> {
        let Some(next) = deadlines.next() else {
            return Poll::Pending;
        };
        if next <= now
            && let Some(kind) = deadlines.expired(now)
        {
            return Poll::Ready(kind);
        }
        self.arm(cx, next, now);
        Poll::Pending
    }

    /// [`Alarm::poll_expired`] where there is one deadline only: ready once `at` has passed.
    pub fn poll_reached(&mut self, cx: &mut Context<'_>, at: Instant, now: Instant) -> Poll<()> {
        if at <= now {
            return Poll::Ready(());
        }
        self.arm(cx, at, now);
        Poll::Pending
    }

    fn arm(&mut self, cx: &mut Context<'_>, next: Instant, now: Instant) {
        let armed = self.armed.get_or_insert_with(|| {
            Box::new(Armed {
                sleep: Box::pin(sleep_until(next)),
                waker: None,
            })
        });
        let set_for = armed.sleep.deadline();
        if set_for > next || set_for <= now {
            armed.sleep.as_mut().reset(next);
            armed.waker = None;
        }
        if armed
            .waker
            .as_ref()
            .is_some_and(|w| w.will_wake(cx.waker()))
        {
            return;
        }
        match armed.sleep.as_mut().poll(cx) {
            Poll::Pending => armed.waker = Some(cx.waker().clone()),
            // The clock moved between `now` and here; come back at once.
            Poll::Ready(()) => cx.waker().wake_by_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;

    const HEAD: Deadline = Deadline::new(0);
    const PROGRESS: Deadline = Deadline::new(1);
    const TOTAL: Deadline = Deadline::new(2);

    async fn wait(alarm: &mut Alarm, deadlines: &Deadlines) -> Deadline {
        poll_fn(|cx| alarm.poll_expired(cx, deadlines, Instant::now())).await
    }

    #[tokio::test(start_paused = true)]
    async fn fires_at_the_deadline() {
        let start = Instant::now();
        let mut alarm = Alarm::new();
        let mut deadlines = Deadlines::default();
        deadlines.set(HEAD, Some(start + Duration::from_secs(5)));
        assert_eq!(wait(&mut alarm, &deadlines).await, HEAD);
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_deadline_lets_the_armed_timer_fire_and_arms_anew() {
        let start = Instant::now();
        let mut alarm = Alarm::new();
        let mut deadlines = Deadlines::default();
        deadlines.set(PROGRESS, Some(start + Duration::from_secs(1)));
        let early = poll_fn(|cx| Poll::Ready(alarm.poll_expired(cx, &deadlines, Instant::now())));
        assert!(early.await.is_pending());
        deadlines.set(PROGRESS, Some(start + Duration::from_secs(9)));
        assert_eq!(wait(&mut alarm, &deadlines).await, PROGRESS);
        assert_eq!(start.elapsed().as_secs(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_deadline_is_not_missed() {
        let start = Instant::now();
        let mut alarm = Alarm::new();
        let mut deadlines = Deadlines::default();
        deadlines.set(TOTAL, Some(start + Duration::from_secs(60)));
        let early = poll_fn(|cx| Poll::Ready(alarm.poll_expired(cx, &deadlines, Instant::now())));
        assert!(early.await.is_pending());
        deadlines.set(HEAD, Some(start + Duration::from_secs(2)));
        assert_eq!(wait(&mut alarm, &deadlines).await, HEAD);
        assert_eq!(start.elapsed().as_secs(), 2);
    }

    #[test]
    fn an_unarmed_alarm_is_one_pointer() {
        assert_eq!(size_of::<Alarm>(), size_of::<usize>());
    }
}
