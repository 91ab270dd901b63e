//! The account of the memory that peers make this process hold: queues and buffers for bodies and heads,
//! on both sides and for every protocol version, and the fixed cost of connections and streams.
//!
//! Each of these is bounded individually, and so is each connection. This account bounds all of them
//! together. Depending on the used part of the limit
//! ([`ServerBounds::memory_limit_bytes`](super::ServerBounds)):
//!
//! | part in use | consequence |
//! |---|---|
//! | a half | nothing more is read for a peer before it has accepted its queued data |
//! | three quarters | new work is turned away: requests get 503, streams `REFUSED_STREAM`, TLS connections are closed before their handshake |
//! | the same, for a second | the holders with the most memory are closed, until new work can be accepted again |
//! | seven eighths | the same at once, and all new connections are closed |
//!
//! # Cost
//! A message whose bytes are sent at once is never entered; waiting data is, from 4 KiB on. Entries are
//! summed up separately for each worker, and are added to the one shared total in batches of 32 KiB.

mod account;
mod available;
pub(crate) mod fallible;
mod figures;

pub(crate) use account::{
    Held, Holder, Level, Turned, held, is_short, level, set_limit, turn_away,
};
pub(crate) use available::default_limit;
pub(crate) use figures::tell_figures;

/// The cost of a connection without waiting data, in bytes: its task, session and socket.
const CONNECTION: usize = 4 * 1024;
/// The additional cost of a TLS handshake, in bytes.
const HANDSHAKE: usize = 48 * 1024;
/// The cost of an HTTP/2 connection's framing, in bytes: its tables and buffers.
pub(crate) const FRAMING: usize = 40 * 1024;
/// The cost of a waiting exchange, in bytes: the upstream session, and the growth of its task.
pub(crate) const EXCHANGE: usize = 4 * 1024;
/// The cost of an HTTP/2 stream without waiting data, in bytes: its task, session and head.
pub(crate) const STREAM: usize = 8 * 1024;

/// A constant part of the account, for the lifetime of this value. Takes no space itself.
#[derive(Debug)]
pub(crate) struct Charge<const BYTES: usize>(());

/// For each client connection.
pub(crate) type ConnectionCharge = Charge<CONNECTION>;
/// For each handshake in progress.
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
