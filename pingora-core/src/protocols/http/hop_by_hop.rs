//! tmp
use pingora_http::{RequestHeader,ResponseHeader};
use pingora_error::Result;
use crate::upstreams::peer::HttpUpstreamRequestPolicy;
/// tmp
pub fn prepare_upstream_request(r: &mut RequestHeader, _p: &HttpUpstreamRequestPolicy) -> Result<()> { r.remove_header("connection"); Ok(()) }
/// tmp
pub fn prepare_downstream_response(r: &mut ResponseHeader) { r.remove_header("connection"); r.remove_header("transfer-encoding"); }
