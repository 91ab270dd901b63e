//! Response heads (RFC 9112 sections 4 and 6).

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{StatusCode, Version};
use httparse::Header;
use pingora_http::{ControlField, ResponseHeader};
use std::mem::MaybeUninit;

use super::fields::{Framing, TransferCoding};
use super::request::{
    FIELDS_ON_STACK, ends_lines_with_crlf, field_fault, most_fields, tokenising_fault, version,
};
use super::{BodyLength, Fault, HeadLimits};

/// What a response is the answer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResponseContext {
    /// It was HEAD.
    pub head_request: bool,
    /// It was CONNECT.
    pub connect_request: bool,
    /// It asked for another protocol, so that a 101 may come.
    pub upgrade_requested: bool,
}

/// What the head of a response means for the connection it came on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseFacts {
    /// How the body is delimited.
    pub body: BodyLength,
    /// Whether the connection can take another request after this response, as far as this head
    /// says. Never with [`BodyLength::UntilClose`], and not if the framing fields contradict.
    pub keep_alive: bool,
    /// An interim response (1xx, but not 101): the real one is still to come.
    pub informational: bool,
    /// From here on the connection speaks another protocol: a 101 that was asked for, or 2xx to
    /// CONNECT.
    pub upgraded: bool,
}

/// A head cut into its parts.
struct Line<'h, 'b> {
    version: Version,
    status: StatusCode,
    reason: &'b str,
    fields: &'h [Header<'b>],
}

/// Reads the head of a response into `into`, whose earlier content is dropped and whose
/// allocations are kept.
///
/// `head` is the whole head as [`HeadScanner`](super::HeadScanner) found it, the empty line at the
/// end included. Values share it: they keep it alive.
///
/// What ends up in `into` is unambiguous: not both `Transfer-Encoding` and `Content-Length`, one
/// `Content-Length` at most, of plain digits, and neither where the status allows none (RFC 9110
/// section 8.6).
///
/// # Errors
/// Always 502. `into` then holds what was read so far, for the log.
pub fn parse_response(
    head: Bytes,
    limits: &HeadLimits,
    context: ResponseContext,
    into: &mut ResponseHeader,
) -> Result<ResponseFacts, Fault> {
    parse(&head, limits, context, false, into).map_err(Fault::of_response)
}

/// As [`parse_response`], but a `Content-Length` that is no number, or several that differ, do not
/// make the response unsound: all of them are removed, and the end of the connection delimits the
/// body.
///
/// For origins that are known to be broken and trusted nevertheless: where such an origin can be
/// made to send a value of the client's, this invites response splitting.
///
/// # Errors
/// As [`parse_response`], for everything else.
pub fn parse_response_with_unsound_length(
    head: Bytes,
    limits: &HeadLimits,
    context: ResponseContext,
    into: &mut ResponseHeader,
) -> Result<ResponseFacts, Fault> {
    parse(&head, limits, context, true, into).map_err(Fault::of_response)
}

fn parse(
    head: &Bytes,
    limits: &HeadLimits,
    context: ResponseContext,
    forgive_length: bool,
    into: &mut ResponseHeader,
) -> Result<ResponseFacts, Fault> {
    into.reset();
    if head.len() > limits.head_bytes {
        return Err(Fault::bad("the head is too large"));
    }
    let mut slots = [const { MaybeUninit::uninit() }; FIELDS_ON_STACK];
    let stack = slots.len().min(limits.fields);
    match tokenise(head, slots.get_mut(..stack).unwrap_or_default()) {
        Ok(line) => interpret(head, line, context, forgive_length, into),
        Err(httparse::Error::TooManyHeaders) if limits.fields > FIELDS_ON_STACK => {
            let mut slots = vec![MaybeUninit::uninit(); most_fields(head, limits)];
            let line = tokenise(head, &mut slots).map_err(|e| tokenising_fault(e, head))?;
            interpret(head, line, context, forgive_length, into)
        }
        Err(error) => Err(tokenising_fault(error, head)),
    }
}

#[inline]
fn tokenise<'h, 'b>(
    head: &'b [u8],
    slots: &'h mut [MaybeUninit<Header<'b>>],
) -> Result<Line<'h, 'b>, httparse::Error> {
    let mut response = httparse::Response::new(&mut []);
    let end = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        head,
        slots,
    )?;
    let (Some(minor), Some(code), Some(reason)) =
        (response.version, response.code, response.reason)
    else {
        return Err(httparse::Error::NewLine);
    };
    if end != httparse::Status::Complete(head.len())
        || !head.starts_with(b"HTTP/")
        || !ends_lines_with_crlf(head, response.headers)
    {
        return Err(httparse::Error::NewLine);
    }
    Ok(Line {
        version: version(minor),
        status: StatusCode::from_u16(code).map_err(|_| httparse::Error::Status)?,
        reason,
        fields: response.headers,
    })
}

#[inline]
fn interpret(
    head: &Bytes,
    line: Line<'_, '_>,
    context: ResponseContext,
    forgive_length: bool,
    into: &mut ResponseHeader,
) -> Result<ResponseFacts, Fault> {
    into.set_version(line.version);
    into.set_status(line.status)
        .and_then(|()| into.set_reason_phrase(Some(line.reason)))
        .map_err(|_| Fault::bad("the status line is malformed"))?;

    let mut framing = Framing::default();
    let mut unsound_length = false;
    let mut fields = into.parsed_fields(head, line.fields.len());
    for field in line.fields {
        let mut value = field.value;
        let control = ControlField::of(field.name.as_bytes());
        match control {
            Some(ControlField::Upgrade) => framing.upgrade(value),
            Some(ControlField::Connection) => framing.connection.read(value),
            Some(ControlField::TransferEncoding) => framing.transfer_encoding(value)?,
            Some(ControlField::ContentLength) => match framing.content_length(value) {
                Ok(Some(digits)) => value = digits,
                Ok(None) => continue,
                Err(_) if forgive_length => {
                    unsound_length = true;
                    continue;
                }
                Err(fault) => return Err(fault),
            },
            _ => {}
        }
        fields
            .push(field.name.as_bytes(), control, value)
            .map_err(field_fault)?;
    }
    if unsound_length {
        framing.length = None;
        into.remove_header(&CONTENT_LENGTH);
    }
    facts(&framing, context, into)
}

/// RFC 9112 section 6.3, for responses.
fn facts(
    framing: &Framing<'_>,
    context: ResponseContext,
    response: &mut ResponseHeader,
) -> Result<ResponseFacts, Fault> {
    let chunked = framing.chunked(response.line().version)?;
    let mut keep_alive = framing.connection.persistent(response.line().version);
    if chunked && framing.length.is_some() {
        // Rule 3: someone may have been at work in between, so the connection is not trusted on.
        response.remove_header(&CONTENT_LENGTH);
        keep_alive = false;
    }
    let status = response.line().status;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        if !context.upgrade_requested {
            return Err(Fault::bad("a 101 that nobody asked for"));
        }
        if framing.upgrade != Some(true) {
            return Err(Fault::bad("a 101 that names no protocol"));
        }
    }
    let tunnel = context.connect_request && status.is_success();
    let upgraded = tunnel || status == StatusCode::SWITCHING_PROTOCOLS;
    if status.is_informational() || status == StatusCode::NO_CONTENT || tunnel {
        keep_alive &= !remove_framing(framing, response);
        return Ok(ResponseFacts {
            body: BodyLength::Empty,
            keep_alive: keep_alive && !upgraded,
            informational: status.is_informational() && !upgraded,
            upgraded,
        });
    }
    let body = match framing.length {
        _ if context.head_request || status == StatusCode::NOT_MODIFIED => BodyLength::Empty,
        _ if chunked => BodyLength::Chunked,
        Some(length) => BodyLength::Exact(length.bytes),
        None => BodyLength::UntilClose,
    };
    Ok(ResponseFacts {
        body,
        keep_alive: keep_alive && body != BodyLength::UntilClose,
        informational: false,
        upgraded: false,
    })
}

/// Removes the framing fields of a response that must not have any. Returns whether they promised
/// a body, which may then be under way.
fn remove_framing(framing: &Framing<'_>, response: &mut ResponseHeader) -> bool {
    if framing.coding != TransferCoding::Absent {
        response.remove_header(&TRANSFER_ENCODING);
    }
    if framing.length.is_some() {
        response.remove_header(&CONTENT_LENGTH);
    }
    framing.coding != TransferCoding::Absent || framing.length.is_some_and(|l| l.bytes > 0)
}
