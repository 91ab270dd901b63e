//! Counting the ends of idle connections.

use crate::metrics::Upstream;

/// Why an idle connection was given up.
#[derive(Clone, Copy, Debug)]
pub(super) enum IdleEnd {
    ClosedByPeer,
    UnexpectedData,
    Expired,
    PoolFull,
}

#[cold]
pub(super) fn idle_closed(why: IdleEnd, n: usize) {
    Upstream::idle_closed(why as usize, n);
}
