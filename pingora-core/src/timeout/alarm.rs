//! A timer that costs nothing while its deadlines only move further away.

use super::armed::Armed;
use super::{Deadline, Deadlines, kept};
use std::future::Future;
use std::task::{Context, Poll};
use tokio::task::coop::has_budget_remaining;
use tokio::time::Instant;

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
        let armed = self
            .armed
            .get_or_insert_with(|| kept::take().unwrap_or_else(|| Armed::new(next)));
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
        if !has_budget_remaining() {
            // The sleep would not look at the waker, and not say so.
            cx.waker().wake_by_ref();
            return;
        }
        match armed.sleep.as_mut().poll(cx) {
            Poll::Pending => armed.waker = Some(cx.waker().clone()),
            // The clock moved between `now` and here; come back at once.
            Poll::Ready(()) => cx.waker().wake_by_ref(),
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(armed) = self.armed.take() {
            kept::give(armed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::time::Duration;
    use tokio::task::coop::consume_budget;

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

    /// The runtime lets a task do so much in one poll; then every source says that it has to wait, and does not
    /// note for whom.
    #[tokio::test(start_paused = true)]
    async fn a_task_that_has_done_much_is_woken_all_the_same() {
        let start = Instant::now();
        let mut alarm = Alarm::new();
        let at = start + Duration::from_secs(5);
        let mut busy = true;
        poll_fn(|cx| {
            if std::mem::take(&mut busy) {
                while pin!(consume_budget()).poll(cx).is_ready() {}
            }
            alarm.poll_reached(cx, at, Instant::now())
        })
        .await;
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    /// In whatever state a timer is kept, the next session is woken in time.
    #[tokio::test(start_paused = true)]
    async fn a_worker_uses_timers_again() {
        kept::keep_timers();
        let start = Instant::now();
        let poll_once = async |alarm: &mut Alarm, at| {
            let now = Instant::now();
            poll_fn(|cx| Poll::Ready(alarm.poll_reached(cx, at, now))).await
        };
        let mut first = Alarm::new();
        let in_seconds = |n| start + Duration::from_secs(n);
        assert!(poll_once(&mut first, in_seconds(10)).await.is_pending());
        drop(first);
        assert_eq!(kept::count(), 1);
        for (seconds, is_kept) in [(20, 0), (5, 0), (15, 0)] {
            let mut next = Alarm::new();
            let at = in_seconds(seconds);
            assert!(poll_once(&mut next, at).await.is_pending());
            assert_eq!(kept::count(), is_kept);
            drop(next);
            assert_eq!(kept::count(), 1);
        }
        let mut next = Alarm::new();
        let at = in_seconds(30);
        poll_fn(|cx| next.poll_reached(cx, at, Instant::now())).await;
        assert_eq!(start.elapsed().as_secs(), 30, "it was set for 15 s");
        drop(next);
        let mut later = Alarm::new();
        let at = in_seconds(40);
        poll_fn(|cx| later.poll_reached(cx, at, Instant::now())).await;
        assert_eq!(start.elapsed().as_secs(), 40, "what had fired is of no use");
        drop(later);

        let at = Instant::now() + Duration::from_secs(60);
        let mut many: Vec<_> = (0..1000).map(|_| Alarm::new()).collect();
        for alarm in &mut many {
            assert!(poll_once(alarm, at).await.is_pending());
        }
        drop(many);
        assert_eq!(kept::count(), 256);
    }

    #[test]
    fn a_timer_stays_with_its_runtime() {
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_time().start_paused(true).build().unwrap()
        };
        let (own, other) = (runtime(), runtime());
        let arm = |alarm: &mut Alarm, runtime: &tokio::runtime::Runtime| {
            runtime.block_on(async {
                let at = Instant::now() + Duration::from_secs(1);
                poll_fn(|cx| Poll::Ready(alarm.poll_reached(cx, at, Instant::now()))).await
            })
        };
        own.block_on(async { kept::keep_timers() });
        let (mut first, mut second) = (Alarm::new(), Alarm::new());
        assert!(arm(&mut first, &other).is_pending());
        drop(first);
        assert_eq!(kept::count(), 0);
        assert!(arm(&mut second, &own).is_pending());
        drop(second);
        assert_eq!(kept::count(), 1);
        let mut third = Alarm::new();
        assert!(arm(&mut third, &other).is_pending());
        assert_eq!(kept::count(), 1, "a foreign one has its own");
    }

    #[test]
    fn an_unarmed_alarm_is_one_pointer() {
        assert_eq!(size_of::<Alarm>(), size_of::<usize>());
    }
}
