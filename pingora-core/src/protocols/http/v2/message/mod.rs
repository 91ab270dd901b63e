//! The rules for HTTP/2 messages, and their conversion to and from our types (RFC 9113 section 8).
//! Pure: no I/O, no clock.
//!
//! The grammar of the elements is the same in all versions; see [`pingora_http::grammar`].

mod counts;
mod fields;
mod incoming_request;
mod incoming_response;
mod length;
mod outgoing_request;
mod outgoing_response;
mod trailers;

pub(crate) use counts::{MOST_CRUMBS, check_trailers, has_too_many_fields};
pub(crate) use fields::{Field, classify, join_cookies, judge_fields};
pub(crate) use incoming_request::{IncomingRequest, incoming_request};
#[cfg(test)]
pub(crate) use incoming_request::{head_of, new_request};
#[cfg(test)]
pub(crate) use incoming_response::judged_response;
pub(crate) use incoming_response::{IncomingResponse, Payload, incoming_response};
pub(crate) use length::{PayloadLength, declared_length, settle_length};
pub(crate) use outgoing_request::{OutgoingRequest, outgoing_request};
pub(crate) use outgoing_response::{outgoing_informational, outgoing_response};
pub(crate) use trailers::{incoming_trailers, outgoing_trailers};
