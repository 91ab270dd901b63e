//! A limit on the size of what is stored.

use pingora_error::ErrorType;

/// The type of the error that ends storing a response which is larger than the limit that was set for it
/// (`HttpCache::set_max_file_size_bytes`). The client still gets the response.
pub const ERR_RESPONSE_TOO_LARGE: ErrorType = ErrorType::Custom("response too large");
