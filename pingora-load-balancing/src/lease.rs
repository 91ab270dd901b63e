//! A selected backend, and the request there.

use crate::Backend;
use crate::outcome::{Attempt, Outcome, Ticket};

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
