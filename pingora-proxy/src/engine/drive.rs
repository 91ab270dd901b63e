//! The loop around an exchange, independent of what flows through it.

use super::deadline;
use super::state::Exchange;
use super::turn::{Event, Failure, Limits, Turn};
use bytes::Bytes;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::exchange::{DownstreamHalf, UpstreamHalf};
use std::future::{Future, poll_fn};
use std::task::{Context, Poll};

/// An exchange in progress: its state, and the wait for the next event.
#[derive(Debug)]
pub struct Flow {
    /// The directions that are open.
    pub exchange: Exchange,
    /// Waits for the next event.
    pub turn: Turn,
}

impl Flow {
    /// A new exchange.
    pub fn new(exchange: Exchange, limits: Limits) -> Self {
        Flow {
            exchange,
            turn: Turn::new(limits),
        }
    }
}

/// Defines how one kind of exchange reacts to the engine's events.
///
/// ```text
/// comes in    on_own      the flow's own event (see poll_own)
///             on_body     a piece of the request, or its end
///             on_task     a piece of the response
///             on_held     nothing more comes together with what is held back
///             on_failure  one side fails, or time is up
/// is polled   poll_own
/// goes out    into the halves (queue, queue_body, queue_end), and into the exchange:
///             request_ended, head_passed_on, response_ended, became_tunnel, client_left
/// ```
///
/// The engine reads a side only while the other has room, writes queued data, and ends when the
/// [`Exchange`] is [finished](Exchange::finished). An error from a method ends it at once. The future of
/// [`drive`] is `Send` if those of the handler's methods are.
pub trait Handler {
    /// The side that sends requests.
    type Down: DownstreamHalf;
    /// The side that sends the response.
    type Up: UpstreamHalf;
    /// The reason why an exchange ends early.
    type Error;

    /// The exchange, and its two sides.
    fn parts(&mut self) -> (&mut Flow, &mut Self::Down, &mut Self::Up);

    /// Polled ahead of each turn, and again if the turn has no event, for an event that comes from neither
    /// side. When it is ready,
    /// [`Handler::on_own`] runs.
    fn poll_own(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    /// The flow's own event.
    fn on_own(&mut self) -> impl Future<Output = Result<(), Self::Error>> {
        std::future::ready(Ok(()))
    }

    /// A piece of the request's body; `None` at its end.
    fn on_body(&mut self, piece: Option<Bytes>) -> impl Future<Output = Result<(), Self::Error>>;

    /// A piece of the response.
    fn on_task(&mut self, task: HttpTask) -> impl Future<Output = Result<(), Self::Error>>;

    /// No more can be read together with the data that the flow [holds back](Turn::hold_back), which has
    /// to leave now.
    ///
    /// # Errors
    /// If the held-back data can't be queued.
    fn on_held(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    /// One side failed, or a time limit was reached. `Ok` continues with whatever is still open.
    ///
    /// # Errors
    /// Ends the exchange.
    fn on_failure(&mut self, failure: Failure) -> Result<(), Self::Error>;
}

/// Carries an exchange to its end: one task, no channel.
///
/// Not cancel-safe in the middle of a handler's method; data queued before that stays in the halves.
///
/// # Errors
/// Those of the handler.
pub async fn drive<H: Handler>(handler: &mut H) -> Result<(), H::Error> {
    loop {
        let next = poll_fn(|cx| {
            if handler.poll_own(cx).is_ready() {
                return Poll::Ready(Event::Own);
            }
            let (flow, down, up) = handler.parts();
            let event = flow.turn.poll(cx, &flow.exchange, down, up);
            // The turn may have written enough to make the room that the flow waits for.
            if event.is_pending() && handler.poll_own(cx).is_ready() {
                return Poll::Ready(Event::Own);
            }
            event
        })
        .await;
        match next {
            Event::Own => handler.on_own().await?,
            Event::Task(task) => handler.on_task(task).await?,
            Event::Body(piece) => handler.on_body(piece).await?,
            Event::Held => handler.on_held()?,
            Event::Complete => return Ok(()),
            Event::Failed(failure) => {
                if let Failure::Expired(kind) = failure
                    && deadline::client_is_stuck(kind)
                {
                    handler.parts().1.discard_queued();
                }
                handler.on_failure(failure)?;
            }
        }
    }
}
