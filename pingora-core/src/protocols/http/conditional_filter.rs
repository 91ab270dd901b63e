//! tmp
use pingora_http::{RequestHeader,ResponseHeader};
/// tmp
pub fn not_modified_filter(_req: &RequestHeader, _resp: &ResponseHeader) -> bool { false }
