//! The outcome of a request to purge.

use pingora_error::Error;

/// The result of purging something from the cache.
#[derive(Debug)]
pub enum PurgeStatus {
    /// There is no cache.
    NoCache,
    /// It was there, and has been removed.
    Found,
    /// It was not there.
    NotFound,
    /// The cache could not determine it.
    Error(Box<Error>),
}
