//! Decides which steps are due, and when. No I/O, no clock: the time is an argument, and so is chance.

mod admission;
mod challenge;
mod schedule;

pub(crate) use admission::{Admission, Admitted};
pub use challenge::Challenge;
pub(crate) use challenge::choose;
pub(crate) use schedule::{Schedule, Step, Validity, Window};
