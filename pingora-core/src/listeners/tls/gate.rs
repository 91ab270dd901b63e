//! How many handshakes go on at once.

use crate::protocols::tls::HandshakeCounters;
use tokio::sync::{Semaphore, SemaphorePermit};

/// How a client is treated that connects while there are too many handshakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenBusy {
    /// It waits for its turn, within the time that it has for its handshake.
    #[default]
    Wait,
    /// Its connection is closed.
    Close,
}

/// Bounds the number of concurrent handshakes.
#[derive(Debug)]
pub(super) struct Gate {
    places: Semaphore,
    when_busy: WhenBusy,
}

impl Gate {
    pub(super) fn new(places: usize, when_busy: WhenBusy) -> Self {
        Gate {
            places: Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS)),
            when_busy,
        }
    }

    /// Takes a place, to be held during the handshake; `None` if the client is turned away.
    /// Cancel-safe.
    pub(super) async fn enter(&self, counters: &HandshakeCounters) -> Option<SemaphorePermit<'_>> {
        if let Ok(place) = self.places.try_acquire() {
            return Some(place);
        }
        match self.when_busy {
            WhenBusy::Close => None,
            WhenBusy::Wait => {
                counters.count_wait();
                // It is never closed.
                self.places.acquire().await.ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::poll;
    use std::pin::pin;
    use std::task::Poll;

    #[tokio::test]
    async fn who_comes_too_many_waits_or_is_turned_away() {
        let counters = HandshakeCounters::default();
        let patient = Gate::new(1, WhenBusy::Wait);
        let first = patient.enter(&counters).await;
        let mut second = pin!(patient.enter(&counters));
        assert!(poll!(&mut second).is_pending());
        assert_eq!(counters.waited(), 1);
        drop(first);
        assert!(matches!(poll!(&mut second), Poll::Ready(Some(_))));

        let strict = Gate::new(0, WhenBusy::Close);
        let first = strict.enter(&counters).await;
        assert!(first.is_some() && strict.enter(&counters).await.is_none());
        drop(first);
        assert!(strict.enter(&counters).await.is_some());
        assert_eq!(counters.waited(), 1);
    }
}
