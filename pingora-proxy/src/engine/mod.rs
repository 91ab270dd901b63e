//! The one engine: carries an exchange between any two halves, in a single task.
//!
//! [`state::Exchange`] is the pure part: what is open, what may be read, when it is over.
//! [`turn::Turn`] waits on both halves at once and tells what happened next; [`splice::Relay`] moves
//! what nobody wants to see. What the phases make of it all is in [`crate::exchange`].

pub(crate) mod splice;
pub(crate) mod state;
pub(crate) mod turn;

#[cfg(test)]
mod tests;
