//! What a peer may do to a connection besides useful work.
//!
//! The `h2` crate bounds memory: it stops reading while what it has to say is not taken, and counts
//! CONTINUATION frames, empty DATA frames and streams that were reset before anybody accepted them.
//! It does not bound work: a peer may open and reset streams, ping or change its settings for ever.
//! So frames are counted as they pass, by their heads alone, in both directions.
//!
//! [`frames`] finds the heads, [`budget`] judges them; both are pure. [`io`] is the connection around
//! them.

mod budget;
mod frames;
mod io;

pub(crate) use budget::Allowance;
pub(crate) use frames::{END_OR_ACK, FrameHead, FrameScanner, kind};
pub(crate) use io::{Guarded, Watch};
