//! The timers that [`timeout`](crate::timeout) and [`sleep`](crate::sleep) use.

use crate::{Deadline, Timeout, ToTimeout};
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// The threshold where nothing else was set. See [`set_fast_timeout_to_tokio_threshold`].
pub const DEFAULT_FAST_TIMEOUT_TO_TOKIO_THRESHOLD: Duration = Duration::from_secs(30);

static THRESHOLD: Mutex<Option<Duration>> =
    Mutex::new(Some(DEFAULT_FAST_TIMEOUT_TO_TOKIO_THRESHOLD));

/// Says which timers are to be tokio's: those that are longer; none of them if `None`. It changes nothing here,
/// where all are; it is remembered for [`fast_timeout_to_tokio_threshold`].
pub fn set_fast_timeout_to_tokio_threshold(threshold: Option<Duration>) {
    *THRESHOLD.lock().unwrap_or_else(PoisonError::into_inner) = threshold;
}

/// The threshold that was last [set](set_fast_timeout_to_tokio_threshold), or [the default](DEFAULT_FAST_TIMEOUT_TO_TOKIO_THRESHOLD).
pub fn fast_timeout_to_tokio_threshold() -> Option<Duration> {
    *THRESHOLD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for `future`, for so long at most. The time begins with the call, the first poll makes the timer if
/// the future has to wait. A duration beyond what the clock can tell never ends.
///
/// As safe to cancel as `future`.
///
/// # Errors
/// [`Elapsed`](crate::Elapsed), if `future` was not ready in time. It is dropped with the [`Timeout`].
pub fn fast_timeout<T>(duration: Duration, future: T) -> Timeout<T, FastOrTokioTimeout>
where
    T: Future,
{
    Timeout::new(duration, future)
}

/// Waits for so long, in milliseconds; the time begins when it is first polled. Safe to cancel.
pub async fn fast_sleep(duration: Duration) {
    Deadline::after(duration).passed().await;
}

/// A timer; see the [module](self).
#[derive(Debug)]
pub struct FastTimeout(Deadline);

impl ToTimeout for FastTimeout {
    fn timeout(&self) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        self.0.passed()
    }

    fn create(d: Duration) -> Self {
        FastTimeout(Deadline::after(d))
    }
}

/// The timer of [`fast_timeout`].
#[derive(Debug)]
pub struct FastOrTokioTimeout {
    deadline: Deadline,
}

impl ToTimeout for FastOrTokioTimeout {
    fn timeout(&self) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        self.deadline.passed()
    }

    fn create(d: Duration) -> Self {
        FastOrTokioTimeout {
            deadline: Deadline::after(d),
        }
    }
}

/// Nothing has to pause before a process forks: there is no thread of timers. Kept for programs that call it.
pub fn pause_for_fork() {}

/// The counterpart of [`pause_for_fork`]; it does nothing either.
pub fn unpause() {}
