//! A health check with gRPC's health-checking protocol.

use super::tcp::CONNECT_TIMEOUT;
use super::{HealthCheck, HealthObserveCallback, longer_than};
use crate::Backend;
use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, HOST, TE};
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use std::fmt;
use std::time::Duration;

/// A backend that does not answer within this time is unhealthy.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
const PATH: &str = "/grpc.health.v1.Health/Check";
/// The flag and the length before a message.
const FRAME_HEAD: usize = 5;
/// An answer is a few bytes; anything longer is not one.
const LONGEST_ANSWER: usize = 4096;
/// The status of a service that accepts requests.
const SERVING: u64 = 1;

/// A backend is healthy if its gRPC health service (`grpc.health.v1.Health/Check`) reports that a service
/// is `SERVING`. Unary, over HTTP/2: with TLS by ALPN, without it by prior knowledge. Each check makes its
/// own connection and closes it.
pub struct GrpcHealthCheck {
    /// How many checks in a row must succeed before a backend counts as healthy again; 1 by
    /// default.
    pub consecutive_success: usize,
    /// How many checks in a row must fail before a backend counts as unhealthy; 1 by default.
    pub consecutive_failure: usize,
    /// How to connect. Its address is replaced by the backend's. By default connecting may take 1 second,
    /// a TLS handshake one more, and the answer 1 second (its `read_timeout`).
    pub peer_template: HttpPeer,
    /// The port to connect to instead of the backend's.
    pub port_override: Option<u16>,
    /// Called when a backend's health changes.
    pub health_changed_callback: Option<HealthObserveCallback>,
    authority: String,
    service: String,
    connector: Connector,
}

impl GrpcHealthCheck {
    /// Checks `service`, by its full name such as `shop.v1.Orders`; empty: the server as a whole.
    /// `authority` is the requested host, and the name for the TLS handshake, if there is one.
    pub fn new(authority: &str, tls: bool, service: &str) -> Box<Self> {
        let sni = if tls {
            super::http::name_of(authority)
        } else {
            ""
        };
        // A placeholder, which the backend's address replaces.
        let mut peer_template = HttpPeer::new("0.0.0.0:1", tls, sni.to_string());
        peer_template.options.set_http_version(2, 2);
        peer_template.options.connection_timeout = Some(CONNECT_TIMEOUT);
        peer_template.options.total_connection_timeout = Some(2 * CONNECT_TIMEOUT);
        peer_template.options.read_timeout = Some(ANSWER_TIMEOUT);
        Box::new(GrpcHealthCheck {
            consecutive_success: 1,
            consecutive_failure: 1,
            peer_template,
            port_override: None,
            health_changed_callback: None,
            authority: authority.to_string(),
            service: service.to_string(),
            connector: Connector::new(None),
        })
    }

    fn request(&self) -> Result<RequestHeader> {
        let mut request = RequestHeader::build(Method::POST, PATH.as_bytes(), None)?;
        request.insert_header(HOST, &self.authority)?;
        request.insert_header(CONTENT_TYPE, "application/grpc")?;
        request.insert_header(TE, "trailers")?;
        Ok(request)
    }

    async fn ask(&self, session: &mut HttpSession) -> Result<()> {
        session
            .write_request_header(Box::new(self.request()?))
            .await?;
        session
            .write_request_body(question(&self.service), true)
            .await?;
        session.finish_request_body().await?;
        session.read_response_header().await?;
        let head = session.response_header();
        let status = head.map_or(0, |head| head.status.as_u16());
        if status != 200 {
            return no(format!("the status {status}"));
        }
        // An error without a message has its status in the head.
        let code = head.and_then(|head| head.headers.get("grpc-status"));
        if let Some(code) = code.filter(|code| code.as_bytes() != b"0") {
            return no(format!("grpc-status {code:?}"));
        }
        let mut answer = Vec::new();
        while let Some(piece) = session.read_response_body().await? {
            answer.extend_from_slice(&piece);
            if answer.len() > LONGEST_ANSWER {
                return no("a long message".into());
            }
        }
        match serving_status(&answer) {
            Some(SERVING) => Ok(()),
            Some(status) => no(format!("the serving status {status}")),
            None => no("no message".into()),
        }
    }
}

fn no<T>(what: String) -> Result<T> {
    let context = format!("the health check expects SERVING, not {what}");
    Error::e_explain(ErrorType::Custom("NotServing"), context)
}

/// The message `HealthCheckRequest { service }` in its frame.
fn question(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        // The field 1, of a length that follows.
        message.push(0x0a);
        push_varint(&mut message, service.len());
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&message);
    frame.into()
}

fn push_varint(message: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        message.push(number as u8 | 0x80);
        number >>= 7;
    }
    message.push(number as u8);
}

/// The field `status` of a message `HealthCheckResponse` in its frame; `None` if it is not one.
fn serving_status(frame: &[u8]) -> Option<u64> {
    let (head, message) = frame.split_at_checked(FRAME_HEAD)?;
    let (flag, length) = head.split_first()?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    if *flag != 0 || usize::try_from(length).ok()? != message.len() {
        return None;
    }
    let mut rest = message;
    // An omitted field is 0: UNKNOWN.
    let mut status = 0;
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        match key & 7 {
            0 => {
                let value = varint(&mut rest)?;
                if key >> 3 == 1 {
                    status = value;
                }
            }
            1 => rest = rest.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            5 => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, more) = rest.split_first()?;
        *rest = more;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[async_trait]
impl HealthCheck for GrpcHealthCheck {
    async fn check(&self, target: &Backend) -> Result<()> {
        let mut peer = self.peer_template.clone();
        peer._address = target.addr.clone();
        if let Some(port) = self.port_override {
            peer._address.set_port(port);
        }
        let (mut session, _) = self.connector.get_http_session(&peer).await?;
        let limit = peer.options.read_limit();
        session.set_read_timeout(limit);
        session.set_write_timeout(peer.options.write_timeout.or(limit));
        let answer = super::http::within(limit, self.ask(&mut session)).await;
        session.shutdown().await;
        answer
    }

    async fn health_status_change(&self, target: &Backend, healthy: bool) {
        if let Some(callback) = &self.health_changed_callback {
            callback.observe(target, healthy).await;
        }
    }

    fn health_threshold(&self, success: bool) -> usize {
        if success {
            self.consecutive_success
        } else {
            self.consecutive_failure
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let options = &self.peer_template.options;
        longer_than([
            options.connection_timeout,
            options.total_connection_timeout,
            options.read_timeout,
        ])
    }
}

impl fmt::Debug for GrpcHealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcHealthCheck")
            .field("service", &self.service)
            .field("peer_template", &self.peer_template.to_string())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_framed_messages() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("ab")[..], *b"\0\0\0\0\x04\x0a\x02ab");
        let long = question(&"x".repeat(300));
        assert_eq!(&long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 2]);
    }

    #[test]
    fn answers_are_read_and_broken_ones_refused() {
        for (answer, status) in [
            (&b"\0\0\0\0\x02\x08\x01"[..], Some(1)),
            (b"\0\0\0\0\x02\x08\x02", Some(2)),
            (b"\0\0\0\0\0", Some(0)),
            // Unknown fields of every kind before it.
            (b"\0\0\0\0\x06\x12\x02xy\x08\x01", Some(1)),
            (b"\0\0\0\0\x0b\x19\0\0\0\0\0\0\0\0\x08\x01", Some(1)),
            (b"\0\0\0\0\x07\x1d\0\0\0\0\x08\x01", Some(1)),
            (b"", None),
            (b"\0\0\0\0", None),
            (b"\x01\0\0\0\x02\x08\x01", None),
            (b"\0\0\0\0\x03\x08\x01", None),
            (b"\0\0\0\0\x01\x08", None),
            (b"\0\0\0\0\x02\x12\x7f", None),
            (b"\0\0\0\0\x02\x0b\x01", None),
            (
                b"\0\0\0\0\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                None,
            ),
        ] {
            assert_eq!(serving_status(answer), status, "{answer:?}");
        }
    }
}
