//! Where to connect to, and how.

pub mod outcome;
pub mod peer;
