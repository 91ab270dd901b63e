//! A health check that sends a request and judges the answer.

use super::tcp::CONNECT_TIMEOUT;
use super::{BackendSummary, Expected, HealthCheck, HealthObserveCallback, longer_than};
use crate::Backend;
use async_trait::async_trait;
use http::header::HOST;
use pingora_core::connectors::http::Connector as HttpConnector;
use pingora_core::connectors::http::custom::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::protocols::http::custom::ClientSessionCustom;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use std::fmt;
use std::future::Future;
use std::time::Duration;

/// A backend that does not answer within this time is unhealthy.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

type Validator = Box<dyn Fn(&ResponseHeader) -> Result<()> + Send + Sync>;

/// A backend is healthy if it answers a request with 200, or as the [validator](Self::validator) and the
/// [expectations](Self::set_expected) decide.
///
/// The body of the response is ignored, unless there are expectations of it. HTTP/2: through the options
/// of [`peer_template`](Self::peer_template), `set_http_version(2, 2)`.
pub struct HttpHealthCheck<C = ()>
where
    C: Connector,
{
    /// How many checks in a row must succeed before a backend counts as healthy again; 1 by
    /// default.
    pub consecutive_success: usize,
    /// How many checks in a row must fail before a backend counts as unhealthy; 1 by default.
    pub consecutive_failure: usize,
    /// How to connect. Its address is replaced by the backend's. By default connecting may take 1 second,
    /// a TLS handshake one more, and the response 1 second (its `read_timeout`).
    pub peer_template: HttpPeer,
    /// Whether to keep the connection for the next check. Off by default, because a new connection
    /// detects more faults. A kept connection that turns out to be closed is replaced by a new one.
    pub reuse_connection: bool,
    /// The request; `GET /` by default. It must have no body.
    pub req: RequestHeader,
    /// Decides whether a response is a good one; by default, if its status is 200.
    pub validator: Option<Validator>,
    /// The port to connect to instead of the backend's.
    pub port_override: Option<u16>,
    /// Called when a backend's health changes.
    pub health_changed_callback: Option<HealthObserveCallback>,
    /// Describes a backend for the log; by default, by its address.
    pub backend_summary_callback: Option<BackendSummary>,
    connector: HttpConnector<C>,
    expected: Option<Expected>,
}

impl HttpHealthCheck<()> {
    /// Requests `/` from `host`, which is also the name for the TLS handshake, if there is one.
    pub fn new(host: &str, tls: bool) -> Self {
        HttpHealthCheck::with_connector(host, tls, HttpConnector::new(None))
    }
}

/// The name in a Host field, without port and brackets: TLS allows neither.
pub(super) fn name_of(host: &str) -> &str {
    if let Some(address) = host.strip_prefix('[') {
        return address.split_once(']').map_or(host, |(address, _)| address);
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

impl<C: Connector> HttpHealthCheck<C> {
    /// [`HttpHealthCheck::new`] with a connector for a custom protocol.
    pub fn new_custom(host: &str, tls: bool, custom: HttpConnector<C>) -> Self {
        HttpHealthCheck::with_connector(host, tls, custom)
    }

    fn with_connector(host: &str, tls: bool, connector: HttpConnector<C>) -> Self {
        let mut req = RequestHeader::from(http::Request::new(()).into_parts().0);
        if let Err(e) = req.insert_header(HOST, host) {
            log::error!("a health check without a Host field: {host:?} can't be one: {e}");
        }
        let sni = if tls { name_of(host) } else { "" }.to_string();
        // A placeholder, which the backend's address replaces.
        let mut peer_template = HttpPeer::new("0.0.0.0:1", tls, sni);
        peer_template.options.connection_timeout = Some(CONNECT_TIMEOUT);
        peer_template.options.total_connection_timeout = Some(2 * CONNECT_TIMEOUT);
        peer_template.options.read_timeout = Some(ANSWER_TIMEOUT);
        HttpHealthCheck {
            consecutive_success: 1,
            consecutive_failure: 1,
            peer_template,
            reuse_connection: false,
            req,
            validator: None,
            port_override: None,
            health_changed_callback: None,
            backend_summary_callback: None,
            connector,
            expected: None,
        }
    }

    /// Sets the expectations of an answer, in addition to the validator, if there is one.
    pub fn set_expected(&mut self, expected: Expected) {
        self.expected = Some(expected);
    }

    /// Connects through `connector`, for its options.
    pub fn set_connector(&mut self, connector: HttpConnector<C>) {
        self.connector = connector;
    }

    /// Describes backends for the log with `callback`.
    pub fn set_backend_summary<F>(&mut self, callback: F)
    where
        F: Fn(&Backend) -> String + Send + Sync + 'static,
    {
        self.backend_summary_callback = Some(Box::new(callback));
    }

    fn peer(&self, target: &Backend) -> HttpPeer {
        let mut peer = self.peer_template.clone();
        peer._address = target.addr.clone();
        if let Some(port) = self.port_override {
            peer._address.set_port(port);
        }
        peer
    }

    async fn ask(&self, peer: &HttpPeer, mut session: HttpSession<C::Session>) -> Result<()> {
        let limit = peer.options.read_limit();
        session.set_read_timeout(limit);
        session.set_write_timeout(peer.options.write_timeout.or(limit));
        within(limit, exchange(&self.req, &mut session)).await?;
        let mut verdict = match session.response_header() {
            Some(answer) => self.judge(answer),
            None => Error::e_explain(ErrorType::InternalError, "an answer without a head"),
        };
        if let Some(expected) = &self.expected
            && let Some(most) = expected.body_limit()
            && verdict.is_ok()
        {
            let body = within(limit, beginning(&mut session, most)).await?;
            verdict = expected.judge_body(&body);
        }
        // An endless body does not make the backend unhealthy; only its connection is dropped.
        if self.reuse_connection && within(limit, drain(&mut session)).await.is_ok() {
            let idle_timeout = peer.options.idle_timeout;
            self.connector
                .release_http_session(session, peer, idle_timeout)
                .await;
        } else {
            session.shutdown().await;
        }
        verdict
    }

    fn judge(&self, answer: &ResponseHeader) -> Result<()> {
        if let Some(expected) = &self.expected {
            expected.judge_head(answer)?;
        }
        if let Some(validator) = &self.validator {
            return validator(answer);
        }
        if self.expected.is_some() {
            return Ok(());
        }
        match answer.status.as_u16() {
            200 => Ok(()),
            status => Error::e_explain(
                ErrorType::CustomCode("UnexpectedStatus", status),
                "the health check expects 200",
            ),
        }
    }
}

/// Sends the request and reads up to the head of the final response.
async fn exchange<S: ClientSessionCustom>(
    req: &RequestHeader,
    session: &mut HttpSession<S>,
) -> Result<()> {
    session.write_request_header(Box::new(req.clone())).await?;
    session.finish_request_body().await?;
    loop {
        session.read_response_header().await?;
        let informational = session
            .response_header()
            .is_some_and(|head| head.status.is_informational() && head.status != 101);
        if !informational {
            return Ok(());
        }
    }
}

async fn drain<S: ClientSessionCustom>(session: &mut HttpSession<S>) -> Result<()> {
    while session.read_response_body().await?.is_some() {}
    Ok(())
}

/// The body, or as much of it as needed.
async fn beginning<S: ClientSessionCustom>(
    session: &mut HttpSession<S>,
    most: usize,
) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while body.len() < most {
        let Some(piece) = session.read_response_body().await? else {
            break;
        };
        body.extend_from_slice(&piece);
    }
    body.truncate(most);
    Ok(body)
}

/// A peer that sends a byte now and then must not keep the check busy forever.
pub(super) async fn within<T>(
    limit: Option<Duration>,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let Some(limit) = limit else {
        return work.await;
    };
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => {
            let context = format!("no answer within {limit:?}");
            Err(Error::explain(ErrorType::ReadTimedout, context).into_up())
        }
    }
}

#[async_trait]
impl<C: Connector> HealthCheck for HttpHealthCheck<C> {
    async fn check(&self, target: &Backend) -> Result<()> {
        let peer = self.peer(target);
        let (session, reused) = self.connector.get_http_session(&peer).await?;
        let mut result = self.ask(&peer, session).await;
        if reused && result.is_err() {
            // The backend may have closed the connection since the last check.
            let (session, _) = self.connector.get_http_session(&peer).await?;
            result = self.ask(&peer, session).await;
        }
        result
    }

    async fn health_status_change(&self, target: &Backend, healthy: bool) {
        if let Some(callback) = &self.health_changed_callback {
            callback.observe(target, healthy).await;
        }
    }

    fn backend_summary(&self, target: &Backend) -> String {
        match &self.backend_summary_callback {
            Some(summary) => summary(target),
            None => format!("backend {}", target.addr),
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
        // The time to request, read and drain, twice, in case a kept connection turns out to be closed.
        let answer = options.read_timeout.map(|limit| limit.saturating_mul(3));
        longer_than([
            options.connection_timeout,
            options.total_connection_timeout,
            answer,
        ])
    }
}

impl<C: Connector> fmt::Debug for HttpHealthCheck<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpHealthCheck")
            .field("consecutive_success", &self.consecutive_success)
            .field("consecutive_failure", &self.consecutive_failure)
            .field("peer_template", &self.peer_template.to_string())
            .field("reuse_connection", &self.reuse_connection)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::name_of;

    #[test]
    fn a_name_for_tls_has_neither_port_nor_brackets() {
        for (host, name) in [
            ("one.example", "one.example"),
            ("one.example:8443", "one.example"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("[::1]", "::1"),
            ("[::1]:443", "::1"),
            ("one.example:http", "one.example:http"),
            ("", ""),
        ] {
            assert_eq!(name_of(host), name);
        }
    }
}
