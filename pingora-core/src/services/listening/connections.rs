//! Detects when the last connection has ended.

use crate::listeners::OfClient;
use crate::process::memory::ConnectionCharge;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// The open connections of a service.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    live: AtomicUsize,
    drained: Notify,
}

/// One open connection; dropping it ends it, even if its task panics.
#[derive(Debug)]
pub(super) struct Live {
    count: Arc<Count>,
    of_client: OfClient,
    _memory: ConnectionCharge,
}

impl Connections {
    /// Counts one more connection.
    pub(super) fn enter(&self, of_client: OfClient) -> Live {
        self.0.live.fetch_add(1, Ordering::Relaxed);
        Live {
            count: self.0.clone(),
            of_client,
            _memory: ConnectionCharge::default(),
        }
    }

    /// Waits until none is open. Cancel-safe. Call it when no more are entered.
    pub(super) async fn drained(&self) {
        loop {
            let mut drained = std::pin::pin!(self.0.drained.notified());
            drained.as_mut().enable();
            if self.0.live.load(Ordering::Acquire) == 0 {
                return;
            }
            drained.await;
        }
    }
}

impl Live {
    /// The client that it counts for, to be changed if that is determined later.
    pub(super) fn of_client(&mut self) -> &mut OfClient {
        &mut self.of_client
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.count.live.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.count.drained.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn drained_when_the_last_has_ended() {
        let connections = Connections::default();
        assert!(connections.drained().now_or_never().is_some());
        let enter = || connections.enter(OfClient::unlimited());
        let (one, two) = (enter(), enter());
        let mut drained = Box::pin(connections.drained());
        drop(one);
        assert!(drained.as_mut().now_or_never().is_none());
        drop(two);
        assert!(drained.now_or_never().is_some());
    }
}
