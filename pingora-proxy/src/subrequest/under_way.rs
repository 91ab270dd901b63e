//! Counting the sub-requests that have not ended, so that a shutdown can wait for them.

use std::sync::Arc;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

/// The sub-requests in progress. Each holds the lock for reading; to wait for the last of them, a task
/// locks it for writing.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnderWay(Arc<RwLock<()>>);

/// A sub-request in progress; dropping this ends it.
pub(super) type Counted = OwnedRwLockReadGuard<()>;

impl UnderWay {
    /// Counts one more. `None` if a task already waits for the end.
    pub(super) fn enter(&self) -> Option<Counted> {
        self.0.clone().try_read_owned().ok()
    }

    /// Waits until none is in progress. Cancel-safe.
    pub(crate) async fn ended(&self) {
        drop(self.0.write().await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn the_end_is_when_the_last_has_ended() {
        let under_way = UnderWay::default();
        under_way.ended().await;
        let (one, two) = (under_way.enter(), under_way.enter());
        assert!(one.is_some() && two.is_some());
        let mut ended = Box::pin(under_way.ended());
        drop(one);
        assert!(ended.as_mut().now_or_never().is_none());
        assert!(under_way.enter().is_none());
        drop(two);
        ended.await;
        assert!(under_way.enter().is_some());
    }
}
