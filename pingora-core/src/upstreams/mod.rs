//! Where to connect to, and how.

pub mod peer;
