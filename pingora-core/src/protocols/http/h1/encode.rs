//! Encodes the messages that we send.

use http::{HeaderMap, Method, StatusCode, Version};
use pingora_http::grammar::trim;
use pingora_http::{ControlField, RequestHeader, ResponseHeader};

use super::super::date;
use super::fields::Framing;
use super::trailers::may_be_trailer;
use super::{BodyLength, Fault};

/// Appends a request head: request line, fields, empty line. Names keep their spelling.
///
/// The version is written as HTTP/1.1, unless it is HTTP/1.0.
pub fn encode_request(req: &RequestHeader, out: &mut Vec<u8>) {
    let line = req.line();
    let (method, target) = (line.method.as_str(), req.raw_path());
    out.reserve(method.len() + target.len() + 16 + req.written_len());
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(match line.version {
        Version::HTTP_10 => b" HTTP/1.0\r\n",
        _ => b" HTTP/1.1\r\n",
    });
    req.header_to_h1_wire(out);
    out.extend_from_slice(b"\r\n");
}

/// Appends a response head: status line, fields, empty line. Names keep their spelling.
///
/// The version is written as HTTP/1.1, unless it is HTTP/1.0.
pub fn encode_response(resp: &ResponseHeader, out: &mut Vec<u8>) {
    let line = resp.line();
    let reason = resp.get_reason_phrase().unwrap_or_default();
    out.reserve(reason.len() + 20 + resp.written_len());
    out.extend_from_slice(match line.version {
        Version::HTTP_10 => b"HTTP/1.0 ",
        _ => b"HTTP/1.1 ",
    });
    out.extend_from_slice(line.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    resp.header_to_h1_wire(out);
    out.extend_from_slice(b"\r\n");
}

/// Properties of a request that we are about to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutgoingRequest {
    /// How its body is delimited.
    pub body: BodyLength,
    /// Whether it asks for the connection to be closed after it.
    pub closes: bool,
    /// Whether it asks to switch protocols.
    pub upgrade: bool,
    /// Whether a `Content-Length: 0` must be added: no field declares a length, and servers expect
    /// one with this method (RFC 9110 section 8.6).
    pub lacks_length: bool,
}

/// Properties of a response that we are about to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutgoingResponse {
    /// How its body is delimited.
    pub body: BodyLength,
    /// Whether its fields declare how the body is delimited.
    pub delimited: bool,
    /// Whether it asks for the connection to be closed after it.
    pub closes: bool,
    /// Whether a date must be added because it has none.
    pub lacks_date: bool,
}

/// Reads the fields of a request that we are about to send, in one pass.
///
/// # Errors
/// 500: the fields contradict each other, are malformed, or can't be sent to an HTTP/1.0 peer.
pub fn outgoing_request(req: &RequestHeader) -> Result<OutgoingRequest, Fault> {
    let line = req.line();
    let framing = outgoing_framing(|f| req.for_each_control_field(f))?;
    let body = match (framing.chunked(line.version).map_err(own)?, framing.length) {
        (true, Some(_)) => Err(Fault::new(500, "Transfer-Encoding and Content-Length")),
        (true, None) => Ok(BodyLength::Chunked),
        (false, Some(length)) => Ok(BodyLength::Exact(length.bytes())),
        (false, None) => Ok(BodyLength::Empty),
    }?;
    match body {
        BodyLength::Empty | BodyLength::Exact(0) => {}
        _ if line.method == Method::CONNECT => return Err(Fault::new(500, "CONNECT with a body")),
        _ => {}
    }
    Ok(OutgoingRequest {
        body,
        closes: framing.connection.close,
        upgrade: framing.asks_for_upgrade(&line.method, line.version),
        lacks_length: body == BodyLength::Empty && anticipates_content(&line.method),
    })
}

/// Whether this method defines a meaning for content (RFC 9110 section 9.3, RFC 5789).
fn anticipates_content(method: &Method) -> bool {
    matches!(method.as_str(), "POST" | "PUT" | "PATCH")
}

/// How the body of a request that we are about to send is delimited according to its fields.
///
/// # Errors
/// The same as [`outgoing_request`].
pub fn outgoing_request_length(req: &RequestHeader) -> Result<BodyLength, Fault> {
    outgoing_request(req).map(|outgoing| outgoing.body)
}

/// Reads the status and the fields of a response that we are about to send, in one pass.
/// `head_request`: it answers a HEAD.
///
/// An HTTP/1.0 peer can't read the chunked coding: with `peer_is_http10` a chunked response is
/// [`BodyLength::UntilClose`], and the caller removes its `Transfer-Encoding` before it sends the
/// head.
///
/// # Errors
/// 500: the fields contradict each other or are malformed.
#[inline(always)]
pub fn outgoing_response(
    resp: &ResponseHeader,
    head_request: bool,
    peer_is_http10: bool,
) -> Result<OutgoingResponse, Fault> {
    let status = resp.line().status;
    let framing = outgoing_framing(|f| resp.for_each_control_field(f))?;
    let chunked = framing.chunked(Version::HTTP_11).map_err(own)?;
    let body = match framing.length {
        _ if head_request
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) =>
        {
            BodyLength::Empty
        }
        Some(_) if chunked => return Err(Fault::new(500, "Transfer-Encoding and Content-Length")),
        None if chunked && !peer_is_http10 => BodyLength::Chunked,
        Some(length) => BodyLength::Exact(length.bytes()),
        None => BodyLength::UntilClose,
    };
    let delimited = framing.length.is_some() || chunked;
    Ok(OutgoingResponse {
        body,
        delimited,
        closes: framing.connection.close,
        lacks_date: date::is_missing(status, resp.is_dated()),
    })
}

/// How the body of a response that we are about to send is delimited; see [`outgoing_response`].
///
/// # Errors
/// The same as [`outgoing_response`].
pub fn outgoing_response_length(
    resp: &ResponseHeader,
    head_request: bool,
    peer_is_http10: bool,
) -> Result<BodyLength, Fault> {
    outgoing_response(resp, head_request, peer_is_http10).map(|outgoing| outgoing.body)
}

/// Collects the framing information in `fields`.
fn outgoing_framing<'a>(
    fields: impl FnOnce(&mut dyn FnMut(ControlField, &'a [u8])),
) -> Result<Framing<'a>, Fault> {
    let mut framing = Framing::default();
    let mut sound = Ok(());
    fields(&mut |field, value| {
        let read = match field {
            ControlField::ContentLength => framing.own_content_length(value),
            ControlField::TransferEncoding => framing.transfer_encoding(value),
            ControlField::Connection => {
                framing.connection.read(value);
                return;
            }
            ControlField::Upgrade => {
                framing.upgrade(value);
                return;
            }
            _ => return,
        };
        if let Err(fault) = read {
            sound = Err(own(fault));
        }
    });
    sound.map(|()| framing)
}

/// The same fault in a message of our own.
fn own(fault: Fault) -> Fault {
    Fault::new(500, fault.reason())
}

/// Writes the framing of a body. The payload itself does not pass through the encoder.
///
/// ```text
/// Open ──(before · payload · after)*── finish ──▶ Finished
///   └───── advance, for payload that leaves by another way
/// ```
///
/// Payload after the end, or beyond an exact length, is our own fault (500) and leaves the state
/// unchanged.
#[derive(Debug, Clone)]
pub struct BodyEncoder {
    length: BodyLength,
    /// For an exact length: the missing bytes.
    left: u64,
    finished: bool,
}

impl Default for BodyEncoder {
    /// An encoder for a message without a body.
    fn default() -> Self {
        Self::new(BodyLength::Empty)
    }
}

impl BodyEncoder {
    /// An encoder for a body delimited in this way.
    pub fn new(length: BodyLength) -> Self {
        let left = match length {
            BodyLength::Exact(bytes) => bytes,
            _ => 0,
        };
        Self {
            length,
            left,
            finished: false,
        }
    }

    /// Appends the framing that precedes `len` bytes of payload. Returns whether to send the
    /// payload at all: not if the body is [`Empty`](BodyLength::Empty) (the answer to a HEAD), and
    /// not if it has no bytes (an empty chunk would end the body).
    ///
    /// # Errors
    /// 500: more than the declared length, or anything after [`finish`](Self::finish). Nothing is
    /// written in that case.
    #[inline]
    pub fn before(&mut self, len: usize, out: &mut Vec<u8>) -> Result<bool, Fault> {
        if len == 0 || self.length == BodyLength::Empty {
            return Ok(false);
        }
        if self.finished {
            return Err(Fault::new(500, "payload after the end of the body"));
        }
        match self.length {
            BodyLength::Exact(_) => {
                self.left = self.left.checked_sub(len as u64).ok_or(Fault::new(
                    500,
                    "the body is longer than its Content-Length",
                ))?;
            }
            BodyLength::Chunked => put_chunk_size(len, out),
            BodyLength::Empty | BodyLength::UntilClose => {}
        }
        Ok(true)
    }

    /// The number of payload bytes that may follow without framing: the missing bytes of an exact
    /// length; none if each piece is framed or there is no body. `None`: any amount.
    #[inline]
    pub fn room(&self) -> Option<u64> {
        match self.length {
            BodyLength::Exact(_) if !self.finished => Some(self.left),
            BodyLength::UntilClose if !self.finished => None,
            _ => Some(0),
        }
    }

    /// Accounts for payload that is sent without passing through here: `bytes` of it, at most the
    /// amount that [`room`](Self::room) returns.
    ///
    /// # Errors
    /// 500: more than that. The state is unchanged.
    pub fn advance(&mut self, bytes: u64) -> Result<(), Fault> {
        if let Some(room) = self.room() {
            let beyond = Fault::new(500, "the body is longer than its Content-Length");
            let left = room.checked_sub(bytes).ok_or(beyond)?;
            if bytes > 0 {
                self.left = left;
            }
        }
        Ok(())
    }

    /// Appends the framing that follows the payload.
    #[inline]
    pub fn after(&mut self, out: &mut Vec<u8>) {
        if self.length == BodyLength::Chunked {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Ends the body. If it is chunked, trailers are sent, except for those that [may not be
    /// trailers](super::may_be_trailer). A second call does nothing.
    ///
    /// # Errors
    /// 500: the body is shorter than its declared length. The connection can't be used any more.
    pub fn finish(&mut self, trailers: Option<&HeaderMap>, out: &mut Vec<u8>) -> Result<(), Fault> {
        if self.left > 0 {
            return Err(Fault::new(
                500,
                "the body is shorter than its Content-Length",
            ));
        }
        if self.length == BodyLength::Chunked && !self.finished {
            out.extend_from_slice(b"0\r\n");
            if let Some(trailers) = trailers {
                put_trailers(trailers, out);
            }
            out.extend_from_slice(b"\r\n");
        }
        self.finished = true;
        Ok(())
    }

    /// Whether the body is complete: it was finished, or has all declared bytes.
    pub fn is_done(&self) -> bool {
        match self.length {
            BodyLength::Empty => true,
            BodyLength::Exact(_) => self.left == 0,
            BodyLength::Chunked | BodyLength::UntilClose => self.finished,
        }
    }
}

fn put_chunk_size(len: usize, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        let digit = HEX.get((len >> (place * 4)) & 15);
        out.extend(digit);
    }
    out.extend_from_slice(b"\r\n");
}

#[cold]
fn put_trailers(trailers: &HeaderMap, out: &mut Vec<u8>) {
    for (name, value) in trailers.iter().filter(|(name, _)| may_be_trailer(name)) {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(trim(value.as_bytes()));
        out.extend_from_slice(b"\r\n");
    }
}
