//! A selected backend, and the request there.

use crate::outcome::{Attempt, Outcome, Ticket};
use crate::{Backend, Backends, Queue};
use tokio::time::{Instant, timeout_at};

/// A backend that was selected for a request, which counts as in progress there until the lease ends:
/// through [`Lease::end`], or by being dropped. That holds even if the backend leaves the set.
#[derive(Debug)]
#[must_use = "dropping it says that the request was cancelled"]
pub struct Lease {
    backend: Backend,
    ticket: Ticket,
}

impl Lease {
    pub(crate) fn new(backend: Backend, ticket: Ticket) -> Self {
        Lease { backend, ticket }
    }

    /// The backend.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// The head of the response has arrived; see [`Ticket::responded`].
    pub fn responded(&mut self, status: u16) {
        self.ticket.responded(status);
    }

    /// The request has ended.
    pub fn end(self, outcome: Outcome) {
        self.ticket.end(outcome);
    }

    /// The backend, and the observer for the `Session::report_attempt` of a proxied request, with which
    /// the request ends.
    pub fn into_parts(self) -> (Backend, Box<dyn Attempt>) {
        (self.backend, Box::new(self.ticket))
    }
}

/// Begins a request at the first backend that `select` offers and that has room. `select` is told which ones were
/// full.
pub(crate) fn begin(
    backends: &Backends,
    select: impl Fn(&[Backend]) -> Option<Backend>,
) -> Option<Lease> {
    let mut full: Vec<Backend> = Vec::new();
    loop {
        let backend = select(&full)?;
        match backends.begin_admitted(&backend) {
            Some(ticket) => return Some(Lease::new(backend, ticket)),
            // It has filled up meanwhile.
            None => full.push(backend),
        }
    }
}

/// What `begin` returns, at once or after a wait in `queue` for a backend that is full.
///
/// Cancel-safe: its place in the queue becomes free again.
pub(crate) async fn wait(
    backends: &Backends,
    queue: &Queue,
    begin: impl Fn() -> Option<Lease>,
) -> Option<Lease> {
    if let Some(lease) = begin() {
        return Some(lease);
    }
    let _place = queue.enter()?;
    let deadline = Instant::now() + queue.longest();
    loop {
        let mut freed = std::pin::pin!(backends.registry().freed().notified());
        freed.as_mut().enable();
        if let Some(lease) = begin() {
            return Some(lease);
        }
        if !backends.members().has_a_full_one() || timeout_at(deadline, freed).await.is_err() {
            return None;
        }
    }
}
