//! The account of the memory that peers make this process hold: queues and buffers for bodies and heads,
//! on both sides and for every version of the protocols, and what connections and streams cost as such.
//!
//! Each of them is bounded by itself, and so is each connection. This bounds all of them together. Of the
//! limit ([`ServerBounds::memory_limit_bytes`](super::ServerBounds)),
//!
//! | part in use | what happens |
//! |---|---|
//! | a half | nothing more is read for a peer before it has taken what waits for it |
//! | three quarters | new work is turned away: requests get 503, streams `REFUSED_STREAM`, TLS connections are closed before their handshake |
//! | the same, for a second | what holds most is closed, as far as it takes to let new work in again |
//! | seven eighths | the same at once, and all new connections are closed |
//!
//! # What it costs
//! A message whose bytes leave at once is never entered: what waits is, from 4 KiB on. Entries are added
//! up for each worker by itself, and meet in the one number that all share in batches of 32 KiB.

mod account;
mod available;
pub(crate) mod fallible;

pub(crate) use account::{
    Held, Holder, Level, Turned, held, is_short, level, set_limit, turn_away,
};
pub(crate) use available::default_limit;

/// The cost of a connection before anything waits on it, in bytes: its task, session and socket.
const CONNECTION: usize = 4 * 1024;
/// The additional cost of a TLS handshake, in bytes.
const HANDSHAKE: usize = 48 * 1024;
/// The cost of an HTTP/2 connection's framing, in bytes: its tables and buffers.
pub(crate) const FRAMING: usize = 40 * 1024;
/// The cost of an exchange that is kept waiting, in bytes: the session towards the upstream, and the growth of
/// its task.
pub(crate) const EXCHANGE: usize = 4 * 1024;
/// The cost of an HTTP/2 stream before anything waits on it, in bytes: its task, session and head.
pub(crate) const STREAM: usize = 8 * 1024;

/// A part of the account that does not change as long as it lives. Takes no room of its own.
#[derive(Debug)]
pub(crate) struct Charge<const BYTES: usize>(());

/// Of each connection of a client.
pub(crate) type ConnectionCharge = Charge<CONNECTION>;
/// Of each handshake that is under way.
pub(crate) type HandshakeCharge = Charge<HANDSHAKE>;

impl<const BYTES: usize> Default for Charge<BYTES> {
    fn default() -> Self {
        account::PROCESS.add(BYTES);
        Charge(())
    }
}

impl<const BYTES: usize> Drop for Charge<BYTES> {
    fn drop(&mut self) {
        account::PROCESS.sub(BYTES);
    }
}
