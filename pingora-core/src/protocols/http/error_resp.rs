//! tmp
use pingora_http::ResponseHeader;
/// tmp
pub fn gen_error_response(code: u16) -> ResponseHeader { let mut r = ResponseHeader::build(code, None).unwrap(); r.insert_header("Content-Length", "0").unwrap(); r }
