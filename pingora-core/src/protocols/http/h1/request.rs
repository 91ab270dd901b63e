//! Request heads (RFC 9112 sections 3 and 6).

use bytes::Bytes;
use http::{Method, Version};
use httparse::{EMPTY_HEADER, Header};
use pingora_http::authority::{RawTargetAuthority, raw_target_authority};
use pingora_http::grammar::{is_authority, is_connect_target, is_http_scheme};
use pingora_http::{ControlField, RequestHeader, TargetRefused};
use std::mem::MaybeUninit;

use super::fields::Framing;
use super::head::{
    FIELDS_ON_STACK, Field, NOT_PLAIN, NotPlain, RequestLine, all, ends_lines_with_crlf,
    field_fault, is_folded, most_fields, tokenising_fault, version,
};
use super::lines;
use super::{BodyLength, Fault, HeadLimits};

/// The rules for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestRules {
    /// The limits on the size of the head.
    pub limits: HeadLimits,
    /// Whether CONNECT is served. If not (the default), it gets 405.
    pub allow_connect: bool,
    /// Whether a field may be folded onto several lines (RFC 9112 section 5.2). If so, each fold
    /// becomes one space; if not (the default), it gets 400.
    pub allow_obs_fold: bool,
}

/// The meaning of a request's head for its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestFacts {
    /// How the body is delimited. Never [`BodyLength::UntilClose`].
    pub body: BodyLength,
    /// Whether the client wants to keep the connection.
    pub keep_alive: bool,
    /// Whether the client waits for a 100 before it sends the body (RFC 9110 section 10.1.1).
    pub expects_continue: bool,
    /// Whether this validly asks for another protocol (RFC 9110 section 7.8): `Upgrade` and
    /// `Connection: upgrade` on HTTP/1.1, with any method but CONNECT. A body precedes the switch.
    pub upgrade: bool,
}

impl Default for RequestFacts {
    /// For a request that was not read: no body, and no keep-alive.
    fn default() -> Self {
        Self {
            body: BodyLength::Empty,
            keep_alive: false,
            expects_continue: false,
            upgrade: false,
        }
    }
}

/// Reads the head of a request into `into`, whose previous content is dropped and whose allocations
/// are reused.
///
/// `head` is the whole head as [`HeadScanner`](super::HeadScanner) found it, the empty line at the
/// end included. The target and the values share it, and keep it alive.
///
/// The head in `into` is unambiguous: at most one `Host`, which agrees with the target; at most one
/// `Content-Length`, of plain digits; on HTTP/1 an absolute-form target is forwarded in
/// origin-form.
///
/// # Errors
/// See [`Fault::status`]. In that case `into` holds the part that was read, for the log.
pub fn parse_request(
    head: &Bytes,
    rules: &RequestRules,
    into: &mut RequestHeader,
) -> Result<RequestFacts, Fault> {
    take_request(head.clone(), rules, into).map_err(|(fault, _)| fault)
}

/// [`parse_request`] for a head that the caller passes by value; it is returned with a fault.
pub fn take_request(
    head: Bytes,
    rules: &RequestRules,
    into: &mut RequestHeader,
) -> Result<RequestFacts, (Fault, Bytes)> {
    into.reset();
    if rules.allow_obs_fold && is_folded(&head) {
        return take_folded(head, rules, into);
    }
    match parse(&head, rules, into) {
        Ok(facts) => {
            into.keep_head(head);
            Ok(facts)
        }
        Err(fault) => {
            into.keep_head(head.clone());
            Err((fault, head))
        }
    }
}

#[cold]
fn take_folded(
    head: Bytes,
    rules: &RequestRules,
    into: &mut RequestHeader,
) -> Result<RequestFacts, (Fault, Bytes)> {
    let unfolded = match unfold(&head, &rules.limits) {
        Ok(unfolded) => unfolded,
        Err(fault) => return Err((fault, head)),
    };
    let result = parse(&unfolded, rules, into);
    into.keep_head(unfolded);
    result.map_err(|fault| (fault, head))
}

#[inline]
fn parse(
    head: &Bytes,
    rules: &RequestRules,
    into: &mut RequestHeader,
) -> Result<RequestFacts, Fault> {
    check_size(head, &rules.limits)?;
    if let Some((line, fields)) = lines::request(head, rules.limits.fields)
        && let Ok(facts) = interpret(head, line, fields, rules, into)
    {
        return Ok(facts);
    }
    parse_by_tokens(head, rules, into)
}

#[inline]
fn check_size(head: &[u8], limits: &HeadLimits) -> Result<(), Fault> {
    if head.len() > limits.head_bytes {
        Err(Fault::new(431, "the head is too large"))
    } else {
        Ok(())
    }
}

/// Decides about a head that is not of the plainest form: which fault it has, if any. The head is not
/// stored.
#[cold]
pub fn parse_by_tokens(
    head: &Bytes,
    rules: &RequestRules,
    into: &mut RequestHeader,
) -> Result<RequestFacts, Fault> {
    into.reset();
    let mut slots = [const { MaybeUninit::uninit() }; FIELDS_ON_STACK];
    let stack = slots.len().min(rules.limits.fields);
    match tokenise(head, slots.get_mut(..stack).unwrap_or_default()) {
        Ok((line, fields)) => interpret(head, line, all(fields), rules, into),
        Err(httparse::Error::TooManyHeaders) if rules.limits.fields > FIELDS_ON_STACK => {
            parse_many_fields(head, rules, into)
        }
        Err(httparse::Error::Token) => parse_raw_target(head, rules, into),
        Err(error) => Err(tokenising_fault(error, head)),
    }
}

fn tokenise<'h, 'b>(
    head: &'b [u8],
    slots: &'h mut [MaybeUninit<Header<'b>>],
) -> Result<(RequestLine<'b>, &'h [Header<'b>]), httparse::Error> {
    let mut request = httparse::Request::new(&mut []);
    let end = request.parse_with_uninit_headers(head, slots)?;
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(httparse::Error::NewLine);
    };
    if end != httparse::Status::Complete(head.len())
        || method.as_ptr() != head.as_ptr()
        || !ends_lines_with_crlf(head, request.headers)
    {
        return Err(httparse::Error::NewLine);
    }
    let line = RequestLine {
        method: method.as_bytes(),
        target: target.as_bytes(),
        version: version(minor),
    };
    Ok((line, request.headers))
}

#[cold]
fn parse_many_fields(
    head: &Bytes,
    rules: &RequestRules,
    into: &mut RequestHeader,
) -> Result<RequestFacts, Fault> {
    let mut slots = vec![MaybeUninit::uninit(); most_fields(head, &rules.limits)];
    match tokenise(head, &mut slots) {
        Ok((line, fields)) => interpret(head, line, all(fields), rules, into),
        Err(error) => Err(tokenising_fault(error, head)),
    }
}

/// The tokeniser refuses a target that is not UTF-8. HTTP does not, so the line is split here.
#[cold]
fn parse_raw_target(
    head: &Bytes,
    rules: &RequestRules,
    into: &mut RequestHeader,
) -> Result<RequestFacts, Fault> {
    const REFUSED: Fault = Fault::bad("the request line is malformed");
    let end = head.iter().position(|&b| b == b'\n').ok_or(REFUSED)?;
    let (first, rest) = head.split_at_checked(end + 1).ok_or(REFUSED)?;
    let words = first.strip_suffix(b"\r\n").ok_or(REFUSED)?;
    let mut words = words.split(|&b| b == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(REFUSED);
    };
    if target.is_ascii() {
        return Err(REFUSED);
    }
    let version = match version {
        b"HTTP/1.0" => Version::HTTP_10,
        b"HTTP/1.1" => Version::HTTP_11,
        _ => return Err(tokenising_fault(httparse::Error::Version, head)),
    };
    let mut slots = vec![EMPTY_HEADER; most_fields(head, &rules.limits)];
    let fields = match httparse::parse_headers(rest, &mut slots) {
        Ok(httparse::Status::Complete((end, fields))) if end == rest.len() => fields,
        Ok(_) => return Err(Fault::bad("the head is incomplete")),
        Err(error) => return Err(tokenising_fault(error, head)),
    };
    if !ends_lines_with_crlf(head, fields) {
        return Err(tokenising_fault(httparse::Error::NewLine, head));
    }
    let line = RequestLine {
        method,
        target,
        version,
    };
    interpret(head, line, all(fields), rules, into)
}

/// The meaning of a head's lines. The fault of a field that is not plain is never reported: it tells the
/// caller to parse the head again.
#[inline]
fn interpret<'b>(
    head: &Bytes,
    line: RequestLine<'b>,
    lines: impl Iterator<Item = Result<Field<'b>, NotPlain>>,
    rules: &RequestRules,
    into: &mut RequestHeader,
) -> Result<RequestFacts, Fault> {
    let version = line.version;
    into.set_version(version);
    let method =
        Method::from_bytes(line.method).map_err(|_| Fault::bad("the method is not a token"))?;
    into.set_method(method);
    let authority = read_target(head, &line, rules, into)?;

    let mut framing = Framing::default();
    let mut host_seen = false;
    let mut expects_continue = false;
    let mut fields = into.parsed_fields(head, lines.size_hint().0);
    for field in lines {
        let Field {
            name,
            mut value,
            mut line,
        } = field.map_err(|NotPlain| NOT_PLAIN)?;
        let control = ControlField::of(name);
        match control {
            Some(ControlField::Host) => {
                if host_seen {
                    return Err(Fault::bad("more than one Host"));
                }
                if !is_authority(value) {
                    return Err(Fault::bad("Host is not a host and a port"));
                }
                host_seen = true;
                if let Some(authority) = authority {
                    (value, line) = (authority, None);
                }
            }
            Some(ControlField::Expect) => {
                expects_continue |= value.eq_ignore_ascii_case(b"100-continue");
            }
            Some(ControlField::Upgrade) => framing.upgrade(value),
            Some(ControlField::Connection) => framing.connection.read(value),
            Some(ControlField::TransferEncoding) => framing.transfer_encoding(value)?,
            Some(ControlField::ContentLength) => match framing.content_length(value)? {
                Some(digits) => {
                    line = line.filter(|_| digits.len() == value.len());
                    value = digits;
                }
                None => continue,
            },
            _ => {}
        }
        match line {
            Some(at) => fields.push_line(at, name, control, value),
            None => fields.push(name, control, value),
        }
        .map_err(field_fault)?;
    }
    let current = version != Version::HTTP_10;
    match authority {
        _ if host_seen => {}
        _ if current => return Err(Fault::bad("no Host")),
        Some(authority) => {
            into.keep_head(head.clone());
            into.append_parsed(b"Host", head.slice_ref(authority))
                .map_err(field_fault)?;
        }
        None => {}
    }
    let body = body_length(&framing, into)?;
    let has_body = !matches!(body, BodyLength::Empty | BodyLength::Exact(0));
    Ok(RequestFacts {
        body,
        keep_alive: framing.connection.persistent(version),
        expects_continue: expects_continue && current && has_body,
        upgrade: framing.asks_for_upgrade(&into.line().method, version),
    })
}

/// RFC 9112 section 6.3, rules 3 to 7, for requests.
fn body_length(framing: &Framing<'_>, request: &RequestHeader) -> Result<BodyLength, Fault> {
    let body = match (framing.chunked(request.line().version)?, framing.length) {
        (true, Some(_)) => return Err(Fault::bad("Transfer-Encoding and Content-Length")),
        (true, None) => BodyLength::Chunked,
        (false, Some(length)) => BodyLength::Exact(length.bytes()),
        (false, None) => BodyLength::Empty,
    };
    if request.line().method != Method::CONNECT {
        return Ok(body);
    }
    match body {
        BodyLength::Empty | BodyLength::Exact(0) => Ok(BodyLength::Empty),
        _ => Err(Fault::bad("CONNECT with a body")),
    }
}

/// RFC 9112 section 3.2: determines the form by method and first byte. Returns the authority if the
/// target names one: it belongs in `Host`.
#[inline]
fn read_target<'b>(
    head: &Bytes,
    line: &RequestLine<'b>,
    rules: &RequestRules,
    into: &mut RequestHeader,
) -> Result<Option<&'b [u8]>, Fault> {
    let target = line.target;
    if target.len() > rules.limits.target_bytes {
        return Err(Fault::new(414, "the request target is too long"));
    }
    if into.line().method == Method::CONNECT {
        if !rules.allow_connect {
            return Err(Fault::new(405, "CONNECT is not served"));
        }
        if !is_connect_target(target) {
            return Err(Fault::bad("the target of CONNECT is not a host and a port"));
        }
        into.set_parsed_authority(head.slice_ref(target))
            .map_err(target_fault)?;
        return Ok(Some(target));
    }
    match target {
        [b'/', ..] => {}
        b"*" if into.line().method == Method::OPTIONS => {}
        _ => return read_absolute(head, target, into),
    }
    into.set_parsed_path(head, target).map_err(target_fault)?;
    Ok(None)
}

#[cold]
fn read_absolute<'b>(
    head: &Bytes,
    target: &'b [u8],
    into: &mut RequestHeader,
) -> Result<Option<&'b [u8]>, Fault> {
    let RawTargetAuthority::Absolute {
        scheme,
        authority,
        path_and_query,
    } = raw_target_authority(target)
    else {
        return Err(Fault::bad("the request target has no known form"));
    };
    if !is_http_scheme(scheme) {
        return Err(Fault::bad("the scheme of the target is not http or https"));
    }
    let path = match path_and_query {
        // RFC 9112 section 3.2.4: the request is for the server as a whole.
        [] if into.line().method == Method::OPTIONS => Bytes::from_static(b"*"),
        [] => Bytes::from_static(b"/"),
        [b'/', ..] => head.slice_ref(path_and_query),
        _ => [b"/", path_and_query].concat().into(),
    };
    into.set_parsed_absolute(scheme, head.slice_ref(authority), path)
        .map_err(target_fault)?;
    Ok(Some(authority))
}

/// Each fold and the whitespace around it becomes one space (RFC 9112 section 5.2).
fn unfold(head: &[u8], limits: &HeadLimits) -> Result<Bytes, Fault> {
    check_size(head, limits)?;
    let mut lines = head.split(|&b| b == b'\n');
    let mut unfolded = Vec::with_capacity(head.len());
    unfolded.extend_from_slice(lines.next().unwrap_or_default());
    for (number, line) in lines.enumerate() {
        match line {
            [b' ' | b'\t', ..] if number == 0 => {
                return Err(Fault::bad(
                    "whitespace between request line and first field",
                ));
            }
            [b' ' | b'\t', ..] if unfolded.ends_with(b"\r") => {
                unfolded.pop();
                while unfolded.pop_if(|b| matches!(b, b' ' | b'\t')).is_some() {}
                unfolded.push(b' ');
                unfolded.extend_from_slice(without_leading_blanks(line));
            }
            line => {
                unfolded.push(b'\n');
                unfolded.extend_from_slice(line);
            }
        }
    }
    Ok(unfolded.into())
}

fn without_leading_blanks(mut line: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = line {
        line = rest;
    }
    line
}

#[cold]
fn target_fault(refused: TargetRefused) -> Fault {
    Fault::of_target(refused)
}
