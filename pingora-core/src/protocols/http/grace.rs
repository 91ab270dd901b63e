//! Waiting briefly for the end of a message that is otherwise complete.
//!
//! An HTTP/2 message ends with its stream, and a body from within the process ends with a piece that
//! says so. A peer that has sent everything it declared, but leaves the end out, has nothing more to
//! say, so the recipient must not wait for it indefinitely. Trailers may still follow, and follow at
//! once if there are any.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// The time that the end of a message may be late once everything declared has arrived.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

/// The time until a message ends without an explicit end. Costs nothing before it is polled.
#[derive(Debug, Default)]
pub(crate) struct Grace(Option<Pin<Box<Sleep>>>);

impl Grace {
    /// Ready [`GRACE`] after the first call. Cancel-safe.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let over = self.0.get_or_insert_with(|| Box::pin(sleep(GRACE)));
        over.as_mut().poll(cx)
    }
}
