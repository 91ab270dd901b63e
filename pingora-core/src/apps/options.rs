//! How applications that speak HTTP treat their connections.

use crate::protocols::http::h1::RequestRules;
use crate::protocols::http::v1::server::{HEADER_TIMEOUT, HttpSession as SessionV1};
use crate::protocols::http::v2::server::H2Limits;
use std::time::Duration;
use tokio::time::Instant;

/// The default time that an HTTP/2 connection without streams stays open.
const H2_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How an HTTP application treats its connections.
#[derive(Debug, Clone)]
pub struct HttpServerOptions {
    /// Whether HTTP/2 without TLS is spoken with clients that begin with it (RFC 9113 section 3.3), on
    /// the same endpoints as HTTP/1. Off by default. Over TLS, the handshake decides.
    pub h2c: bool,
    /// Whether CONNECT requests are accepted; otherwise they are answered with 405. Off by default.
    pub allow_connect_method_proxying: bool,
    /// The number of requests that one connection may carry; `None` (the default): any number. After
    /// that an HTTP/2 connection gets a GOAWAY, and streams that the client opens before it has seen
    /// it are served.
    pub keepalive_request_limit: Option<u32>,
    /// The idle time of an HTTP/2 connection without streams: it stays open for at least this time, and
    /// is closed before twice that time has passed. A connection with streams whose client is silent
    /// for that time is pinged, and abandoned after the same time without an answer. 60 s by default;
    /// `None`: no limit, no pings.
    pub h2_idle_timeout: Option<Duration>,
    rules: RequestRules,
    header_timeout: Option<Duration>,
    max_body_size: Option<u64>,
    max_connection_age: Option<Duration>,
    h2_limits: H2Limits,
}

impl Default for HttpServerOptions {
    fn default() -> Self {
        HttpServerOptions {
            h2c: false,
            allow_connect_method_proxying: false,
            keepalive_request_limit: None,
            h2_idle_timeout: Some(H2_IDLE_TIMEOUT),
            rules: RequestRules::default(),
            header_timeout: Some(HEADER_TIMEOUT),
            max_body_size: None,
            max_connection_age: None,
            h2_limits: H2Limits::default(),
        }
    }
}

impl HttpServerOptions {
    /// Sets the rules for request heads: their sizes, and the deviations that are tolerated.
    pub fn set_request_rules(&mut self, rules: RequestRules) {
        self.rules = rules;
    }

    /// The time for a request's head, from its first byte to its last; also the time that a new
    /// connection may stay silent. 60 s by default; `None`: no limit.
    pub fn set_header_timeout(&mut self, timeout: Option<Duration>) {
        self.header_timeout = timeout;
    }

    /// The maximum payload of a request, in bytes; more is answered with 413. No limit by default.
    pub fn set_max_body_size(&mut self, limit: Option<u64>) {
        self.max_body_size = limit;
    }

    /// How long a connection is used for new requests, from its handshake on. No limit by default.
    ///
    /// Requests under way go on after that; `Session::limit_request` of the proxy bounds them. Over
    /// HTTP/1, an idle connection is closed when its time is over, and the first request that begins later
    /// is the last one: its response says `Connection: close`. Over HTTP/2, the client is told to open no
    /// more streams (GOAWAY). So clients come back, and may find another server.
    pub fn set_max_connection_age(&mut self, limit: Option<Duration>) {
        self.max_connection_age = limit;
    }

    /// Limits on what a client may do to an HTTP/2 connection. They take precedence over the
    /// options that [`HttpServerApp::h2_options`](super::HttpServerApp::h2_options) returns.
    pub fn set_h2_limits(&mut self, limits: H2Limits) {
        self.h2_limits = limits;
    }

    pub(super) fn h2_limits(&self) -> &H2Limits {
        &self.h2_limits
    }

    pub(super) fn header_timeout(&self) -> Option<Duration> {
        self.header_timeout
    }

    /// When a connection that begins now takes no more requests.
    pub(super) fn connection_ends(&self) -> ConnectionEnd {
        let limit = self.max_connection_age;
        ConnectionEnd(limit.and_then(|limit| Instant::now().checked_add(limit)))
    }

    pub(super) fn max_body_size(&self) -> Option<u64> {
        self.max_body_size
    }

    /// The rules for request heads.
    pub(super) fn request_rules(&self) -> RequestRules {
        let mut rules = self.rules;
        rules.allow_connect = self.allow_connect_method_proxying;
        rules
    }

    /// Applies these options to the session of a request that is about to be read.
    pub(super) fn apply(&self, session: &mut SessionV1) {
        session.set_request_rules(self.request_rules());
        session.set_header_timeout(self.header_timeout);
        session.set_max_body_size(self.max_body_size);
    }
}

/// The instant from which on a connection takes no more requests, if there is one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ConnectionEnd(Option<Instant>);

impl ConnectionEnd {
    /// How much time is left.
    pub(super) fn left(self) -> Option<Duration> {
        let at = self.0?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// Whether it has passed.
    pub(super) fn is_past(self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// How long to wait for a request: up to the end, unless it has passed.
    pub(super) fn shorten(self, patience: Option<Duration>) -> Option<Duration> {
        let left = self.left().filter(|left| !left.is_zero());
        left.into_iter().chain(patience).min()
    }
}
