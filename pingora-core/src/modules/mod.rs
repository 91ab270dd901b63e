//! Filters between a connection and its application.

pub mod http;
