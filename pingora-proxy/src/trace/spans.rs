//! From the times of a request that is over to its spans.

use super::request::{RequestTrace, cut, derived, shortened};
use super::{Span, SpanKind, SpanValue};
use crate::{FailedTry, Session, TryTimes};
use http::{Method, StatusCode, Version, header};
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_http::RequestHeader;
use std::borrow::Cow;
use std::time::Duration;
use tokio::time::Instant;

/// A part that took less is not worth a span of its own.
const SHORTEST: Duration = Duration::from_micros(100);
/// Most tries that get spans.
const MOST_TRIES: usize = 32;

/// How a request ended.
pub(super) struct Ending<'a> {
    pub(super) status: Option<StatusCode>,
    pub(super) failed: bool,
    pub(super) error: Option<&'a str>,
}

type Attributes = Vec<(Cow<'static, str>, SpanValue)>;

/// The request's span, then those of its parts.
pub(super) fn of(mut trace: RequestTrace, session: &Session, ending: &Ending<'_>) -> Vec<Span> {
    let over = Instant::now();
    let mut attributes = std::mem::take(&mut trace.attributes);
    request_facts(&mut attributes, session, ending);
    let method = known_method(&session.req_header().method);
    let name = trace.name.take().unwrap_or(Cow::Borrowed(method));
    let id = trace.context().span_id();
    let maker = Maker { trace: &trace };
    let mut request = maker.span(id, None, name, (trace.begun.0, over));
    (request.parent, request.kind) = (trace.parent, SpanKind::Server);
    request.attributes = attributes;
    request.error = ending.failed.then(|| reason(ending));
    let mut spans = vec![request];
    if let Some(times) = session.times() {
        maker.tries(
            &mut spans,
            &times.tries,
            session.failed_tries(),
            ending,
            over,
        );
    }
    spans
}

fn reason(ending: &Ending<'_>) -> String {
    match (ending.error, ending.status) {
        (Some(error), _) => error.to_string(),
        (None, Some(status)) => status.as_str().to_string(),
        (None, None) => "no response".to_string(),
    }
}

struct Maker<'a> {
    trace: &'a RequestTrace,
}

impl Maker<'_> {
    /// A part of the span `parent`.
    fn span(
        &self,
        id: u64,
        parent: Option<u64>,
        name: impl Into<Cow<'static, str>>,
        (start, end): (Instant, Instant),
    ) -> Span {
        let context = self.trace.context();
        Span {
            trace_id: context.trace_id(),
            span_id: id,
            parent,
            trace_state: self.trace.state.to_string(),
            name: name.into(),
            kind: SpanKind::Internal,
            start: self.trace.time_at(start),
            end: self.trace.time_at(end.max(start)),
            attributes: vec![],
            error: None,
            sampled: context.is_sampled(),
        }
    }

    /// One for each try, with its parts, and one for each time that went by ahead of a try.
    fn tries(
        &self,
        spans: &mut Vec<Span>,
        tries: &[TryTimes],
        failed: &[FailedTry],
        ending: &Ending<'_>,
        over: Instant,
    ) {
        let request = self.trace.context().span_id();
        let mut free_since = self.trace.begun.0;
        for (number, one) in tries.iter().enumerate().take(MOST_TRIES) {
            let id = self.trace.try_id(number);
            let ahead = one.begun.saturating_duration_since(free_since);
            if ahead >= SHORTEST {
                let name = if number == 0 {
                    "phases"
                } else {
                    "wait to retry"
                };
                let times = (free_since, one.begun);
                spans.push(self.span(derived(id, 0), Some(request), name, times));
            }
            let end = one.total.map_or(over, |total| one.begun + total);
            free_since = free_since.max(end);
            let mut span = self.span(id, Some(request), "try", (one.begun, end));
            span.kind = SpanKind::Client;
            span.attributes = try_facts(one, number);
            span.error = match failed.get(number) {
                Some(failed) => Some(failed.error.as_str().to_string()),
                None => ending.error.map(str::to_string),
            };
            let status = failed
                .get(number)
                .map_or(ending.status, |failed| failed.status);
            if let Some(status) = status.filter(|_| one.first_byte.is_some()) {
                put(
                    &mut span.attributes,
                    "http.response.status_code",
                    i64::from(status.as_u16()),
                );
            }
            spans.push(span);
            self.parts(spans, id, one, end);
        }
    }

    fn parts(&self, spans: &mut Vec<Span>, id: u64, one: &TryTimes, end: Instant) {
        let connected = one.connected.map(|connected| one.begun + connected);
        let answered = one.first_byte.map(|first_byte| one.begun + first_byte);
        let begun = Some(one.begun);
        let parts = [
            ("connect", begun, connected.or(Some(end))),
            (
                "wait for the response",
                connected,
                answered.or(connected.and(Some(end))),
            ),
            ("transfer", answered, Some(end)),
        ];
        for (number, (name, start, end)) in (1..).zip(parts) {
            if let (Some(start), Some(end)) = (start, end)
                && end.saturating_duration_since(start) >= SHORTEST
            {
                spans.push(self.span(derived(id, number), Some(id), name, (start, end)));
            }
        }
    }
}

fn put(attributes: &mut Attributes, key: &'static str, value: impl Into<SpanValue>) {
    attributes.push((key.into(), cut(value.into())));
}

fn put_text(attributes: &mut Attributes, key: &'static str, text: &str) {
    put(attributes, key, shortened(text).to_string());
}

/// By the conventions of OpenTelemetry. The query is left out: there may be secrets in it.
fn request_facts(attributes: &mut Attributes, session: &Session, ending: &Ending<'_>) {
    let request = session.req_header();
    put(
        attributes,
        "http.request.method",
        known_method(&request.method),
    );
    put_text(attributes, "url.path", request.uri.path());
    let tls = session
        .digest()
        .is_some_and(|digest| digest.ssl_digest.is_some());
    put(attributes, "url.scheme", if tls { "https" } else { "http" });
    put(
        attributes,
        "network.protocol.version",
        version(session.version()),
    );
    if let Some(host) = host(request) {
        put_text(attributes, "server.address", host);
    }
    if let Some(agent) = request.headers.get(header::USER_AGENT) {
        let agent = String::from_utf8_lossy(agent.as_bytes());
        put_text(attributes, "user_agent.original", &agent);
    }
    if let Some(client) = session.client_addr().and_then(SocketAddr::as_inet) {
        put(attributes, "client.address", client.ip().to_string());
    }
    if session.is_subrequest() {
        put(attributes, "pingora.subrequest", true);
    }
    if let Some(status) = ending.status {
        put(
            attributes,
            "http.response.status_code",
            i64::from(status.as_u16()),
        );
    }
    if ending.failed {
        put(attributes, "error.type", reason(ending));
    }
}

fn try_facts(one: &TryTimes, number: usize) -> Attributes {
    let mut attributes = vec![];
    match one.address.as_inet() {
        Some(address) => {
            put(&mut attributes, "server.address", address.ip().to_string());
            put(&mut attributes, "server.port", i64::from(address.port()));
        }
        None => put(&mut attributes, "server.address", one.address.to_string()),
    }
    put(&mut attributes, "pingora.connection.reused", one.reused);
    if number > 0 {
        let resends = i64::try_from(number).unwrap_or(i64::MAX);
        put(&mut attributes, "http.request.resend_count", resends);
    }
    attributes
}

fn host(request: &RequestHeader) -> Option<&str> {
    let authority = request.uri.authority().map(|authority| authority.as_str());
    let field = || request.headers.get(header::HOST)?.to_str().ok();
    authority.or_else(field)
}

/// Clients invent methods as they like, and names of spans should be few.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::CONNECT => "CONNECT",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::PATCH => "PATCH",
        _ => "_OTHER",
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}
