//! Sends one message to a collector, over the framework's own connector, and interprets the answer.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER, TE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::ALPN;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use std::time::Duration;

/// The longest answer that is read, in bytes; the connection is closed if it is longer.
const LONGEST_ANSWER: usize = 64 * 1024;
/// How long a connection is kept for the next message.
const IDLE: Duration = Duration::from_secs(90);
/// The longest wait that a collector may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The two forms of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Grpc,
}

/// The result of sending a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepted,
    /// It may be sent again, after this time if the collector has set one.
    Later(Option<Duration>, String),
    Refused(String),
}

pub(crate) struct Client {
    endpoint: Uri,
    protocol: Protocol,
    fields: Vec<(HeaderName, HeaderValue)>,
    connector: Connector,
}

impl Client {
    pub(crate) fn new(
        endpoint: Uri,
        protocol: Protocol,
        fields: Vec<(HeaderName, HeaderValue)>,
        options: Option<ConnectorOptions>,
    ) -> Self {
        let options = options.unwrap_or_else(|| ConnectorOptions::new(2));
        Client {
            endpoint,
            protocol,
            fields,
            connector: Connector::new(Some(options)),
        }
    }

    /// Where the messages go, for logs.
    pub(crate) fn endpoint(&self) -> &Uri {
        &self.endpoint
    }

    /// Sends a message. The caller sets the deadline.
    pub(crate) async fn send(&self, message: Vec<u8>) -> Answer {
        match self.exchange(message).await {
            Ok(answer) => answer,
            Err(e) => Answer::Later(None, e.to_string()),
        }
    }

    async fn exchange(&self, message: Vec<u8>) -> Result<Answer> {
        let peer = self.peer().await?;
        let body = match self.protocol {
            Protocol::Http => Bytes::from(message),
            Protocol::Grpc => framed(&message),
        };
        let head = self.head(body.len())?;
        let (mut session, _) = self.connector.get_http_session(&peer).await?;
        session.write_request_header(Box::new(head)).await?;
        session.write_request_body(body, true).await?;
        session.finish_request_body().await?;
        let (head, trailers, is_read) = read(&mut session).await?;
        if is_read {
            self.connector.release_session(session, &peer, Some(IDLE));
        }
        Ok(match self.protocol {
            Protocol::Http => http_answer(&head),
            Protocol::Grpc => grpc_answer(&head, trailers.as_ref()),
        })
    }

    async fn peer(&self) -> Result<HttpPeer> {
        let tls = self.endpoint.scheme_str() == Some("https");
        let host = self.endpoint.host().unwrap_or_default();
        let port = self
            .endpoint
            .port_u16()
            .unwrap_or(if tls { 443 } else { 80 });
        let name = host.trim_matches(['[', ']']).to_string();
        let mut peer = HttpPeer::resolve(&format!("{host}:{port}"), tls, name).await?;
        peer.options.alpn = match (self.protocol, tls) {
            (Protocol::Grpc, _) => ALPN::H2,
            (Protocol::Http, true) => ALPN::H2H1,
            (Protocol::Http, false) => ALPN::H1,
        };
        Ok(peer)
    }

    fn head(&self, length: usize) -> Result<RequestHeader> {
        let path = match self.protocol {
            Protocol::Http => self.http_path(),
            Protocol::Grpc => {
                "/opentelemetry.proto.collector.trace.v1.TraceService/Export".to_string()
            }
        };
        let mut head = RequestHeader::build(Method::POST, path.as_bytes(), None)?;
        let host = self
            .endpoint
            .authority()
            .map_or("", |authority| authority.as_str());
        head.insert_header(HOST, host)?;
        match self.protocol {
            Protocol::Http => {
                head.insert_header(CONTENT_TYPE, "application/x-protobuf")?;
                head.insert_header(CONTENT_LENGTH, length)?;
            }
            Protocol::Grpc => {
                head.insert_header(CONTENT_TYPE, "application/grpc")?;
                head.insert_header(TE, "trailers")?;
            }
        }
        for (name, value) in &self.fields {
            head.append_header(name.clone(), value.clone())?;
        }
        Ok(head)
    }

    /// If the endpoint has no path of its own, the one of the protocol.
    fn http_path(&self) -> String {
        match self.endpoint.path_and_query() {
            Some(path) if path.as_str() != "/" => path.as_str().to_string(),
            _ => "/v1/traces".to_string(),
        }
    }
}

/// A message of gRPC: not compressed, with its length in front.
fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(message);
    framed.freeze()
}

/// The head and the trailers, and whether the whole body was read.
async fn read(session: &mut HttpSession) -> Result<(ResponseHeader, Option<HeaderMap>, bool)> {
    let head = loop {
        session.read_response_header().await?;
        match session.response_header() {
            Some(head) if head.status.is_informational() => {}
            Some(head) => break head.clone(),
            None => {
                return Error::e_explain(ErrorType::ReadError, "no response");
            }
        }
    };
    let mut length = 0;
    while let Some(part) = session.read_response_body().await? {
        length += part.len();
        if length > LONGEST_ANSWER {
            return Ok((head, None, false));
        }
    }
    let trailers = match session {
        HttpSession::H2(session) => session.read_trailers().await?,
        _ => None,
    };
    Ok((head, trailers, true))
}

/// See the section "Failures" of the OTLP specification.
fn http_answer(head: &ResponseHeader) -> Answer {
    match head.status.as_u16() {
        200..=299 => Answer::Accepted,
        status @ (429 | 502 | 503 | 504) => {
            let wait = head.headers.get(RETRY_AFTER);
            let wait = wait.and_then(|wait| wait.to_str().ok()?.parse().ok());
            let wait = wait.map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT));
            Answer::Later(wait, format!("status {status}"))
        }
        status => Answer::Refused(format!("status {status}")),
    }
}

fn grpc_answer(head: &ResponseHeader, trailers: Option<&HeaderMap>) -> Answer {
    if head.status != 200 {
        return http_answer(head);
    }
    let status = trailers.and_then(|trailers| trailers.get("grpc-status"));
    // An answer without a message has it in its head.
    let status = status.or_else(|| head.headers.get("grpc-status"));
    match status.map(HeaderValue::as_bytes) {
        Some(b"0") => Answer::Accepted,
        // Cancelled, deadline exceeded, resource exhausted, aborted, out of range, unavailable, data loss.
        Some(b"1" | b"4" | b"8" | b"10" | b"11" | b"14" | b"15") => {
            let status = status.map(HeaderValue::as_bytes).unwrap_or_default();
            Answer::Later(None, format!("gRPC status {}", status.escape_ascii()))
        }
        Some(status) => Answer::Refused(format!("gRPC status {}", status.escape_ascii())),
        None => Answer::Later(None, "no gRPC status".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(endpoint: &'static str) -> Client {
        Client::new(Uri::from_static(endpoint), Protocol::Http, vec![], None)
    }

    #[test]
    fn the_path_is_the_protocols_where_the_endpoint_has_none() {
        for (endpoint, path) in [
            ("http://collector:4318", "/v1/traces"),
            ("http://collector:4318/", "/v1/traces"),
            (
                "https://collector/otlp/v1/traces?x=y",
                "/otlp/v1/traces?x=y",
            ),
        ] {
            assert_eq!(client(endpoint).http_path(), path);
        }
    }

    #[test]
    fn answers_say_whether_to_try_again() {
        let head = |status: u16, fields: &[(&'static str, &'static str)]| {
            let mut head = ResponseHeader::build(status, None).unwrap();
            for (name, value) in fields {
                head.insert_header(*name, *value).unwrap();
            }
            head
        };
        let later = |head: &ResponseHeader| match http_answer(head) {
            Answer::Later(wait, _) => Some(wait.map(|wait| wait.as_secs())),
            _ => None,
        };
        assert_eq!(http_answer(&head(200, &[])), Answer::Accepted);
        assert_eq!(later(&head(503, &[])), Some(None));
        assert_eq!(later(&head(429, &[("retry-after", "7")])), Some(Some(7)));
        assert_eq!(
            later(&head(429, &[("retry-after", "9999999")])),
            Some(Some(60))
        );
        assert!(matches!(http_answer(&head(400, &[])), Answer::Refused(_)));
        assert_eq!(
            grpc_answer(&head(200, &[("grpc-status", "0")]), None),
            Answer::Accepted
        );
        let refused = grpc_answer(&head(200, &[("grpc-status", "3")]), None);
        assert!(matches!(refused, Answer::Refused(_)));
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("14"));
        let later = grpc_answer(&head(200, &[]), Some(&trailers));
        assert!(matches!(later, Answer::Later(None, _)));
        assert!(matches!(
            grpc_answer(&head(200, &[]), None),
            Answer::Later(..)
        ));
    }
}
