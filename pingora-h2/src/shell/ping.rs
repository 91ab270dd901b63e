//! PING (RFC 9113 section 6.7).

use super::failure::Failure;
use super::shared::{Shared, now};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Checks whether the peer is alive, and measures the round trip. One PING at a time.
#[derive(Debug)]
pub struct PingPong {
    pub(super) shared: Arc<Shared>,
}

impl PingPong {
    /// Sends a PING.
    ///
    /// # Errors
    /// The last PING has not been answered yet or its answer was not polled, or the connection is
    /// over.
    pub fn send_ping(&mut self) -> Result<(), Failure> {
        self.shared.with(|state| {
            if state.machine.ping(now()) {
                Ok(())
            } else {
                Err(Failure::user("no PING can be sent now"))
            }
        })
    }

    /// The round-trip time. Cancel-safe.
    ///
    /// # Errors
    /// The connection is over.
    pub fn poll_pong(&mut self, cx: &mut Context<'_>) -> Poll<Result<Duration, Failure>> {
        self.shared.with(|state| {
            if let Some(round_trip) = state.machine.poll_pong() {
                return Poll::Ready(Ok(round_trip));
            }
            if state.machine.is_over() {
                return Poll::Ready(Err(Failure::user("the connection is over")));
            }
            state.pong = Some(cx.waker().clone());
            Poll::Pending
        })
    }
}
