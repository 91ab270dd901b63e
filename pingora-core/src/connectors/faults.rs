//! The context that every error of connecting has besides its cause.

use crate::upstreams::peer::Peer;
use pingora_error::BError;

/// Adds that the upstream is at fault, and which peer it is.
pub(super) fn of_upstream<P: Peer>(e: BError, peer: &P) -> BError {
    e.more_context(format!("peer: {peer}")).into_up()
}
