//! Deadlines for futures, whose timer is set when it is first waited for.
//!
//! [`timeout`] asks the future first. If it is ready at once, as reads of a busy connection mostly are, no timer is
//! ever made; only where it has to wait, one is registered with the runtime, for what then is left of the time.
//!
//! The timers are tokio's, which count in milliseconds. So a future with a deadline has to run on a tokio
//! runtime with time enabled, as every service does; elsewhere the first wait panics. Under tokio's paused
//! clock they follow it. The names that tell fast timers from tokio's ([`fast_timeout`], [`tokio_timeout`])
//! mean the same timer here; they are kept for programs that use them.
//!
//! # Example
//! ```
//! use pingora_timeout::{sleep, timeout};
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! assert_eq!(timeout(Duration::from_secs(1), async { 7 }).await, Ok(7));
//!
//! let slow = sleep(Duration::from_secs(60));
//! assert!(timeout(Duration::from_secs(1), slow).await.is_err());
//! # }
//! ```
//!
//! Page in the repository: `docs/migrating.md`, for differences from the crate of the same name.
#![forbid(unsafe_code)]

pub mod fast_timeout;
pub mod timer;

pub use fast_timeout::fast_sleep as sleep;
pub use fast_timeout::fast_timeout as timeout;

use pin_project_lite::pin_project;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// A timer that a [`Timeout`] can wait for.
pub trait ToTimeout {
    /// A future that is ready when the time has passed. It is asked for when it is first waited for.
    fn timeout(&self) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>>;
    /// The timer of this duration, which begins now.
    fn create(d: Duration) -> Self;
}

/// A timer of tokio's.
#[derive(Debug)]
pub struct TokioTimeout(Deadline);

impl ToTimeout for TokioTimeout {
    fn timeout(&self) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        self.0.passed()
    }

    fn create(d: Duration) -> Self {
        TokioTimeout(Deadline::after(d))
    }
}

/// When a time is over; never, where that lies beyond what the clock can tell.
#[derive(Debug, Clone, Copy)]
struct Deadline(Option<Instant>);

impl Deadline {
    fn after(duration: Duration) -> Self {
        Deadline(Instant::now().checked_add(duration))
    }

    fn passed(self) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        match self.0 {
            Some(deadline) => Box::pin(sleep_until(deadline)),
            None => Box::pin(std::future::pending()),
        }
    }
}

/// The time was over before the future was ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time is over")
    }
}

impl Error for Elapsed {}

/// Waits for `future`, for so long at most; the same as [`timeout`]. The time begins with the call.
///
/// # Errors
/// [`Elapsed`], if `future` was not ready in time. It is dropped with the [`Timeout`].
pub fn tokio_timeout<T>(duration: Duration, future: T) -> Timeout<T, TokioTimeout>
where
    T: Future,
{
    Timeout::new(duration, future)
}

pin_project! {
    /// A future with a deadline: its output, or [`Elapsed`]. What is ready in time wins where both are.
    ///
    /// As safe to cancel as the future within.
    pub struct Timeout<T, F> {
        #[pin]
        future: T,
        #[pin]
        passed: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
        timer: F,
    }
}

impl<T, F: ToTimeout> Timeout<T, F> {
    fn new(duration: Duration, future: T) -> Self {
        Timeout {
            future,
            passed: None,
            timer: F::create(duration),
        }
    }
}

impl<T: Future, F: ToTimeout> Future for Timeout<T, F> {
    type Output = Result<T::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let passed = this.passed.get_mut();
        let passed = passed.get_or_insert_with(|| this.timer.timeout());
        ready!(passed.as_mut().poll(cx));
        Poll::Ready(Err(Elapsed))
    }
}

impl<T: fmt::Debug, F: fmt::Debug> fmt::Debug for Timeout<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout")
            .field("future", &self.future)
            .field("timer", &self.timer)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
