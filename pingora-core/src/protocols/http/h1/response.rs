//! Response heads (RFC 9112 sections 4 and 6).

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderName, StatusCode};
use httparse::Header;
use pingora_http::{ControlField, ResponseHeader};
use std::mem::MaybeUninit;

use super::fields::{Framing, TransferCoding};
use super::head::{
    FIELDS_ON_STACK, Field, NOT_PLAIN, NotPlain, StatusLine, all, ends_lines_with_crlf,
    field_fault, most_fields, tokenising_fault, version,
};
use super::lines;
use super::{BodyLength, Fault, HeadLimits};

/// The request that a response answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResponseContext {
    /// The method was HEAD.
    pub head_request: bool,
    /// The method was CONNECT.
    pub connect_request: bool,
    /// It asked for another protocol, so a 101 is allowed.
    pub upgrade_requested: bool,
}

/// The meaning of a response's head for its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseFacts {
    /// How the body is delimited.
    pub body: BodyLength,
    /// Whether the connection can take another request after this response, according to this head.
    /// Never with [`BodyLength::UntilClose`], and not if the framing fields contradict each other.
    pub keep_alive: bool,
    /// An interim response (1xx, but not 101): the final one is still to come.
    pub informational: bool,
    /// From here on the connection speaks another protocol: a 101 that was asked for, or 2xx to
    /// CONNECT.
    pub upgraded: bool,
}

/// Reads the head of a response into `into`, whose previous content is dropped and whose
/// allocations are reused.
///
/// `head` is the whole head as [`HeadScanner`](super::HeadScanner) found it, the empty line at the
/// end included. The values share it, and keep it alive.
///
/// The head in `into` is unambiguous: not both `Transfer-Encoding` and `Content-Length`; at most
/// one `Content-Length`, of plain digits; and neither if the status allows none (RFC 9110 section
/// 8.6).
///
/// # Errors
/// Always 502. In that case `into` holds the part that was read, for the log.
pub fn parse_response(
    head: &Bytes,
    limits: &HeadLimits,
    context: ResponseContext,
    into: &mut ResponseHeader,
) -> Result<ResponseFacts, Fault> {
    take_response(head.clone(), limits, context, false, into)
}

/// Like [`parse_response`], but a `Content-Length` that is not a number, or several that differ, do
/// not make the response invalid: all of them are removed, and the end of the connection delimits
/// the body.
///
/// For origins that are known to be broken and trusted nevertheless. If such an origin can be made
/// to send a value of the client's, this invites response splitting.
///
/// # Errors
/// The same as [`parse_response`], for everything else.
pub fn parse_response_with_unsound_length(
    head: &Bytes,
    limits: &HeadLimits,
    context: ResponseContext,
    into: &mut ResponseHeader,
) -> Result<ResponseFacts, Fault> {
    take_response(head.clone(), limits, context, true, into)
}

/// [`parse_response`], or [`parse_response_with_unsound_length`] if that is tolerated, for a head that
/// the caller passes by value.
pub fn take_response(
    head: Bytes,
    limits: &HeadLimits,
    context: ResponseContext,
    forgive_length: bool,
    into: &mut ResponseHeader,
) -> Result<ResponseFacts, Fault> {
    into.reset();
    let result = parse(&head, limits, context, forgive_length, into);
    into.keep_head(head);
    result.map_err(Fault::of_response)
}

fn parse(
    head: &Bytes,
    limits: &HeadLimits,
    context: ResponseContext,
    forgive_length: bool,
    into: &mut ResponseHeader,
) -> Result<ResponseFacts, Fault> {
    if head.len() > limits.head_bytes {
        return Err(Fault::bad("the head is too large"));
    }
    if let Some((line, fields)) = lines::response(head, limits.fields)
        && let Ok(facts) = interpret(head, line, fields, context, forgive_length, into)
    {
        return Ok(facts);
    }
    parse_by_tokens(head, limits, context, forgive_length, into)
}

/// Decides about a head that is not of the plainest form: which fault it has, if any. The head is not
/// stored.
#[cold]
pub fn parse_by_tokens(
    head: &Bytes,
    limits: &HeadLimits,
    context: ResponseContext,
    forgive_length: bool,
    into: &mut ResponseHeader,
) -> Result<ResponseFacts, Fault> {
    into.reset();
    let mut slots = [const { MaybeUninit::uninit() }; FIELDS_ON_STACK];
    let stack = slots.len().min(limits.fields);
    match tokenise(head, slots.get_mut(..stack).unwrap_or_default()) {
        Ok((line, fields)) => interpret(head, line, all(fields), context, forgive_length, into),
        Err(httparse::Error::TooManyHeaders) if limits.fields > FIELDS_ON_STACK => {
            let mut slots = vec![MaybeUninit::uninit(); most_fields(head, limits)];
            let tokens = tokenise(head, &mut slots);
            let (line, fields) = tokens.map_err(|e| tokenising_fault(e, head))?;
            interpret(head, line, all(fields), context, forgive_length, into)
        }
        Err(error) => Err(tokenising_fault(error, head)),
    }
}

fn tokenise<'h, 'b>(
    head: &'b [u8],
    slots: &'h mut [MaybeUninit<Header<'b>>],
) -> Result<(StatusLine<'b>, &'h [Header<'b>]), httparse::Error> {
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
    let line = StatusLine {
        version: version(minor),
        code,
        reason,
    };
    Ok((line, response.headers))
}

/// The meaning of a head's lines. The fault of a field that is not plain is never reported: it tells the
/// caller to parse the head again.
#[inline]
fn interpret<'b>(
    head: &Bytes,
    line: StatusLine<'b>,
    lines: impl Iterator<Item = Result<Field<'b>, NotPlain>>,
    context: ResponseContext,
    forgive_length: bool,
    into: &mut ResponseHeader,
) -> Result<ResponseFacts, Fault> {
    into.set_version(line.version);
    into.set_status(line.code)
        .and_then(|()| into.set_reason_phrase(Some(line.reason)))
        .map_err(|_| Fault::bad("the status line is malformed"))?;

    let mut framing = Framing::default();
    let mut unsound_length = false;
    let mut fields = into.parsed_fields(head, lines.size_hint().0);
    for field in lines {
        let Field {
            name,
            mut value,
            mut line,
        } = field.map_err(|NotPlain| NOT_PLAIN)?;
        let control = ControlField::of(name);
        match control {
            Some(ControlField::Upgrade) => framing.upgrade(value),
            Some(ControlField::Connection) => framing.connection.read(value),
            Some(ControlField::TransferEncoding) => framing.transfer_encoding(value)?,
            Some(ControlField::ContentLength) => match framing.content_length(value) {
                Ok(Some(digits)) => {
                    line = line.filter(|_| digits.len() == value.len());
                    value = digits;
                }
                Ok(None) => continue,
                Err(_) if forgive_length => {
                    unsound_length = true;
                    continue;
                }
                Err(fault) => return Err(fault),
            },
            _ => {}
        }
        match line {
            Some(at) => fields.push_line(at, name, control, value),
            None => fields.push(name, control, value),
        }
        .map_err(field_fault)?;
    }
    if unsound_length {
        framing.length = None;
        remove(CONTENT_LENGTH, head, into);
    }
    facts(&framing, context, head, into)
}

/// RFC 9112 section 6.3, for responses.
fn facts(
    framing: &Framing<'_>,
    context: ResponseContext,
    head: &Bytes,
    response: &mut ResponseHeader,
) -> Result<ResponseFacts, Fault> {
    let chunked = framing.chunked(response.line().version)?;
    let mut keep_alive = framing.connection.persistent(response.line().version);
    if chunked && framing.length.is_some() {
        // Rule 3: the message may have been tampered with on the way, so the connection is not
        // trusted any further.
        remove(CONTENT_LENGTH, head, response);
        keep_alive = false;
    }
    let status = response.line().status;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        if !context.upgrade_requested {
            return Err(Fault::bad("a 101 without a request for an upgrade"));
        }
        if framing.upgrade != Some(true) {
            return Err(Fault::bad("a 101 that names no protocol"));
        }
    }
    let tunnel = context.connect_request && status.is_success();
    let upgraded = tunnel || status == StatusCode::SWITCHING_PROTOCOLS;
    if status.is_informational() || status == StatusCode::NO_CONTENT || tunnel {
        keep_alive &= !remove_framing(framing, head, response);
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
        Some(length) => BodyLength::Exact(length.bytes()),
        None => BodyLength::UntilClose,
    };
    Ok(ResponseFacts {
        body,
        keep_alive: keep_alive && body != BodyLength::UntilClose,
        informational: false,
        upgraded: false,
    })
}

/// Removes a field of a head that was just parsed.
#[cold]
fn remove(name: HeaderName, head: &Bytes, response: &mut ResponseHeader) {
    response.keep_head(head.clone());
    response.remove_header(&name);
}

/// Removes the framing fields of a response that must not have any. Returns whether they promised a
/// body, which may be in flight.
fn remove_framing(framing: &Framing<'_>, head: &Bytes, response: &mut ResponseHeader) -> bool {
    if framing.coding != TransferCoding::Absent {
        remove(TRANSFER_ENCODING, head, response);
    }
    if framing.length.is_some() {
        remove(CONTENT_LENGTH, head, response);
    }
    framing.coding != TransferCoding::Absent || framing.length.is_some_and(|l| l.bytes() > 0)
}
