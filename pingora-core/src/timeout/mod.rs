//! Deadlines, and the one timer that watches them.
//!
//! A connection has many limits (time for the head, for the body, for a write, for the whole
//! request) but only one timer. [`Deadlines`] is the pure part: absolute instants by kind.
//! [`Alarm`] is the part that sleeps: it re-arms its timer only when a deadline comes earlier than
//! what is armed, so a busy connection touches the timer wheel about once per time-out instead of
//! several times per request.

mod alarm;
mod armed;
mod deadlines;
mod kept;

pub use alarm::Alarm;
pub use deadlines::{Deadline, Deadlines};
pub(crate) use kept::keep_timers;
