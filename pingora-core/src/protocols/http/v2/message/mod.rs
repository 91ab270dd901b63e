//! The rules of messages over HTTP/2 (RFC 9113 section 8), pure: no I/O, no clock.

mod incoming_response;
mod outgoing_request;

pub(crate) use incoming_response::{IncomingResponse, Payload, incoming_response, sound_trailers};
pub(crate) use outgoing_request::{OutgoingRequest, outgoing_request};
