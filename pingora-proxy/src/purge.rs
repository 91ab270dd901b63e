//! What came of a request to purge.

use pingora_error::Error;

/// What came of purging something from the cache.
#[derive(Debug)]
pub enum PurgeStatus {
    /// There is no cache.
    NoCache,
    /// It was there, and is gone.
    Found,
    /// It was not there.
    NotFound,
    /// It could not be found out.
    Error(Box<Error>),
}
