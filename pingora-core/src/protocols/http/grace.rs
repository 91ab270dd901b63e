//! Waiting a moment for the end of a message of which nothing is missing.
//!
//! A message of HTTP/2 ends with its stream, and a body that came from within the process with a piece
//! that says so. A peer that has sent all that it declared, and then leaves the end out, has said all
//! there is to say: whoever waits for the message must not wait for that peer. Trailers may still
//! follow, and follow at once where there are any.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// How long the end of a message may be late once all that was declared is there.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

/// The time until a message ends without its end having come. Costs nothing before it is polled.
#[derive(Debug, Default)]
pub(crate) struct Grace(Option<Pin<Box<Sleep>>>);

impl Grace {
    /// Ready [`GRACE`] after the first call. Cancel-safe.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let over = self.0.get_or_insert_with(|| Box::pin(sleep(GRACE)));
        over.as_mut().poll(cx)
    }
}
