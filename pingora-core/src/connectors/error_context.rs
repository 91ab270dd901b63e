//! The context that every connection error has in addition to its cause.

use crate::upstreams::peer::Peer;
use pingora_error::BError;

/// Marks the upstream as the error's source, and adds which peer it is.
pub(super) fn of_upstream<P: Peer>(e: BError, peer: &P) -> BError {
    e.more_context(format!("peer: {peer}")).into_up()
}
