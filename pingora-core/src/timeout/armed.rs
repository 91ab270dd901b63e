//! A timer in the runtime's wheel.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::runtime::{Handle, Id};
use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep, sleep_until};

/// The timer of an [`Alarm`](super::Alarm), and the task that it wakes.
#[derive(Debug)]
pub(super) struct Armed {
    pub(super) sleep: Pin<Box<Sleep>>,
    /// The waker that the sleep will wake: it has to be polled again once the task's waker changed.
    pub(super) waker: Option<Waker>,
    /// The runtime whose wheel the sleep is in.
    pub(super) runtime: Id,
}

impl Armed {
    pub(super) fn new(at: Instant) -> Box<Self> {
        let sleep = Box::pin(sleep_until(at));
        Box::new(Armed {
            sleep,
            waker: None,
            runtime: Handle::current().id(),
        })
    }

    /// Lets the sleep wake `no_one`. Pending if it does; ready if it has fired, or can't be told.
    pub(super) fn forget_waker(&mut self, no_one: &mut Context<'_>) -> Poll<()> {
        if self.waker.take().is_some() {
            if !has_budget_remaining() {
                return Poll::Ready(());
            }
            return self.sleep.as_mut().poll(no_one);
        }
        Poll::Pending
    }
}
