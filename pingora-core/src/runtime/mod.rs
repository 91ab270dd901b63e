//! Runtimes, and what is local to one.

pub mod local;
