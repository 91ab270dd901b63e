//! tmp
use http::HeaderValue;
/// tmp
pub fn get_cached_date() -> HeaderValue { HeaderValue::from_static("x") }
