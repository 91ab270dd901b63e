//! The futures of a connection's streams, polled by the task of the connection.
//!
//! A future of its own for each stream, but no task: what wakes a stream marks it here and wakes the connection, which
//! polls all marked streams and then writes the frames of all of them at once. Places, with their memory and their wakers,
//! are used again by later streams.
//!
//! ```text
//!            begin                 wake                     poll
//!   free ───────────▶ marked ◀──────────────── waiting ◀──────────── polled
//!     ▲                  │                                             ▲ │
//!     │                  └─────────────────────────────────────────────┘ │
//!     └──────────────────────── ready, or panicked ──────────────────────┘
//! ```

use futures::task::AtomicWaker;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use tokio::task::coop::has_budget_remaining;

/// The places that a connection keeps from one burst of streams to the next: less than 12 KB.
const KEPT: usize = 32;

/// The marked places of a connection, in the order in which they were woken.
#[derive(Debug, Default)]
struct Marked {
    places: Mutex<Vec<usize>>,
    connection: AtomicWaker,
}

impl Marked {
    fn add(&self, place: usize) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.push(place);
    }

    fn swap(&self, with: &mut Vec<usize>) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *places, with);
    }

    fn is_empty(&self) -> bool {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.is_empty()
    }
}

/// The waker of one place. One that outlives its stream wakes the next stream of the place, for nothing.
#[derive(Debug)]
struct Mark {
    place: usize,
    is_set: AtomicBool,
    marked: Arc<Marked>,
}

impl Wake for Mark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_set.swap(true, Ordering::AcqRel) {
            self.marked.add(self.place);
            self.marked.connection.wake();
        }
    }
}

/// A place for the future of one stream.
struct Place<F> {
    future: Pin<Box<Option<F>>>,
    mark: Arc<Mark>,
    waker: Waker,
}

/// The result of a round through the marked streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    /// No stream could go on.
    Idle,
    /// All marked streams were polled.
    Ran,
    /// The task's budget ended first: the connection has to let other tasks run.
    Exhausted,
}

/// The futures of the streams of one connection. Their number is bounded by the connection's limit of streams.
pub(super) struct Tasks<F> {
    places: Vec<Place<F>>,
    free: Vec<usize>,
    marked: Arc<Marked>,
    /// The places that are being polled, empty between two rounds.
    round: Vec<usize>,
}

impl<F: Future<Output = ()>> Tasks<F> {
    pub(super) fn new() -> Self {
        Tasks {
            places: Vec::new(),
            free: Vec::new(),
            marked: Arc::default(),
            round: Vec::new(),
        }
    }

    /// The number of streams that have not ended.
    pub(super) fn open(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Adds a stream, which the next round polls for the first time.
    pub(super) fn begin(&mut self, future: F) {
        let place = self.free.pop().unwrap_or(self.places.len());
        match self.places.get_mut(place) {
            Some(known) => known.future.set(Some(future)),
            None => self.places.push(self.place_for(place, future)),
        }
        if let Some(place) = self.places.get(place) {
            place.mark.wake_by_ref();
        }
    }

    fn place_for(&self, place: usize, future: F) -> Place<F> {
        let mark = Arc::new(Mark {
            place,
            is_set: AtomicBool::new(false),
            marked: self.marked.clone(),
        });
        Place {
            future: Box::pin(Some(future)),
            waker: mark.clone().into(),
            mark,
        }
    }

    /// Polls the streams that have been woken. From here on, others that are woken wake the task of `cx`.
    pub(super) fn poll_marked(&mut self, cx: &Context<'_>) -> Round {
        self.marked.connection.register(cx.waker());
        let mut round = std::mem::take(&mut self.round);
        self.marked.swap(&mut round);
        let mut result = Round::Idle;
        for (done, &place) in round.iter().enumerate() {
            if !has_budget_remaining() {
                round
                    .get(done..)
                    .into_iter()
                    .flatten()
                    .for_each(|&left| self.marked.add(left));
                result = Round::Exhausted;
                break;
            }
            self.poll_place(place);
            result = Round::Ran;
        }
        round.clear();
        self.round = round;
        if self.open() == 0 && self.places.len() > KEPT {
            self.shrink(KEPT);
        }
        result
    }

    /// Waits for all streams to end. Those of a connection that is gone notice it by themselves; their last phases run.
    pub(super) async fn ended(mut self) {
        poll_fn(|cx| {
            for _ in 0..super::ROUNDS {
                match self.poll_marked(cx) {
                    Round::Ran => {}
                    Round::Exhausted => break,
                    Round::Idle if self.open() == 0 => return Poll::Ready(()),
                    Round::Idle => return Poll::Pending,
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Whether a stream waits for the next round.
    pub(super) fn is_marked(&self) -> bool {
        !self.marked.is_empty()
    }

    fn poll_place(&mut self, at: usize) {
        let Some(place) = self.places.get_mut(at) else {
            return;
        };
        // Before the poll: what happens during it has to be seen by another one.
        place.mark.is_set.store(false, Ordering::Release);
        let Some(future) = place.future.as_mut().as_pin_mut() else {
            return;
        };
        let mut cx = Context::from_waker(&place.waker);
        // A panic ends its own stream. The hook has reported it.
        let polled = catch_unwind(AssertUnwindSafe(|| future.poll(&mut cx)));
        if matches!(polled, Ok(Poll::Pending)) {
            return;
        }
        let dropped = catch_unwind(AssertUnwindSafe(|| place.future.set(None)));
        if dropped.is_err() {
            log::debug!("the end of a stream panicked");
        }
        self.free.push(at);
    }

    /// Gives back all memory if no stream is open.
    pub(super) fn rest(&mut self) {
        if self.open() == 0 {
            self.shrink(0);
        }
    }

    fn shrink(&mut self, places: usize) {
        self.places.truncate(places);
        self.places.shrink_to_fit();
        self.free.clear();
        self.free.shrink_to(places);
        self.free.extend(0..self.places.len());
        self.round = Vec::new();
        self.marked.swap(&mut Vec::new());
    }
}

#[cfg(test)]
mod tests;
