//! The rules of HTTP/1 (RFC 9112) as pure code: bytes in, decisions out. No I/O, no clock.
//!
//! A message is processed in this order:
//!
//! | step | question |
//! |---|---|
//! | [`skip_leading_crlf`], [`HeadScanner`] | where does the head end? |
//! | [`parse_request`], [`parse_response`] | is it valid, and what does it mean: body, persistence, upgrade |
//! | [`BodyDecoder`] | which bytes are payload, and is the body over? |
//! | [`outgoing_request_length`], [`outgoing_response_length`] | how will the body that we send be delimited? |
//! | [`encode_request`], [`encode_response`], [`BodyEncoder`] | the bytes to send |
//!
//! If the same bytes can be read in two ways, the message is refused ([`Fault`]), because the next
//! hop may read it the other way. Each rule is documented with the function that enforces it:
//!
//! - Lines end with CRLF. A bare LF or CR in a head or in chunk framing is refused, not repaired.
//! - A request has at most one way to be delimited: one `Content-Length`, or `chunked`, or neither
//!   for no body. A response with both is read as `chunked`, and its connection is not used again.
//! - The rules for names, values, targets and lengths are the same in all versions:
//!   [`pingora_http::grammar`].
//! - `Host` is present exactly once and is an authority; the authority of the target takes
//!   precedence over it.
#![warn(clippy::indexing_slicing)]

mod decode;
mod encode;
mod fault;
mod fields;
mod head;
mod lines;
mod persistence;
mod request;
mod response;
mod scan;
mod trailers;

pub use decode::{BodyDecoder, Step};
pub use encode::{
    BodyEncoder, OutgoingRequest, OutgoingResponse, encode_request, encode_response,
    outgoing_request, outgoing_request_length, outgoing_response, outgoing_response_length,
};
pub use fault::Fault;
pub use persistence::{keep_alive, names_close};
pub use request::{RequestFacts, RequestRules, parse_request, take_request};
pub use response::{
    ResponseContext, ResponseFacts, parse_response, parse_response_with_unsound_length,
    take_response,
};
/// The slow path through a head, which almost none takes: public for comparing the two.
#[doc(hidden)]
pub mod by_tokens {
    pub use super::request::parse_by_tokens as parse_request;
    pub use super::response::parse_by_tokens as parse_response;
}
pub use pingora_http::grammar::{
    host_and_port as authority_host_and_port, is_authority as is_valid_authority, is_token,
    list_elements,
};
pub use scan::{HeadScanner, skip_leading_crlf};
pub(crate) use trailers::Nominated;
pub use trailers::may_be_trailer;

/// The limits on the size of a message head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head, from the first line to the empty one. 64 KiB by default; a request
    /// over it gets 431.
    pub head_bytes: usize,
    /// Header fields. 128 by default; a request over it gets 431.
    pub fields: usize,
    /// Bytes of the request target. 16 KiB by default; a request over it gets 414.
    pub target_bytes: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            head_bytes: 64 * 1024,
            fields: 128,
            target_bytes: 16 * 1024,
        }
    }
}

/// How a body is delimited (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// There is no body, whatever the fields say.
    Empty,
    /// By `Content-Length`: this many bytes, possibly 0.
    Exact(u64),
    /// By `Transfer-Encoding: chunked`.
    Chunked,
    /// By the end of the connection: responses only.
    UntilClose,
}

#[cfg(test)]
mod tests;
