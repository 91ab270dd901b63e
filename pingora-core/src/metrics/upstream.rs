//! Counts of all upstreams together: connecting, the pool, retries.

use super::block::Block;
use super::collect::Kind::{Counter, Histogram};
use super::shape::{ONE, Shape, Spec};
use std::sync::LazyLock;
use std::time::Duration;

pub(super) const UPSTREAM: &[Spec] = &[
    Spec {
        name: "pingora_upstream_connect_seconds",
        help: "Time that connecting to upstreams took, without TLS.",
        kind: Histogram,
        labels: &[],
        series: ONE,
    },
    Spec {
        name: "pingora_upstream_tls_handshake_seconds",
        help: "Time that TLS handshakes with upstreams took.",
        kind: Histogram,
        labels: &[],
        series: ONE,
    },
    Spec {
        name: "pingora_upstream_connect_failures_total",
        help: "Connections to upstreams that came to nothing, by reason.",
        kind: Counter,
        labels: &["reason"],
        series: &[
            &["timeout"],
            &["refused"],
            &["no_route"],
            &["tls"],
            &["certificate"],
            &["other"],
        ],
    },
    Spec {
        name: "pingora_upstream_idle_closed_total",
        help: "Idle connections to upstreams that were given up, by reason.",
        kind: Counter,
        labels: &["reason"],
        series: &[
            &["closed_by_peer"],
            &["unexpected_data"],
            &["expired"],
            &["pool_full"],
        ],
    },
    Spec {
        name: "pingora_retries_total",
        help: "Requests that were tried again, by where the try before had failed.",
        kind: Counter,
        labels: &["after"],
        series: &[
            &["choosing"],
            &["connecting"],
            &["exchanging"],
            &["response"],
        ],
    },
    Spec {
        name: "pingora_retries_refused_total",
        help: "Failed tries that might have been repeated and were not, by reason.",
        kind: Counter,
        labels: &["reason"],
        series: &[
            &["response_begun"],
            &["body_too_long"],
            &["none_left"],
            &["too_late"],
            &["vetoed"],
            &["budget_spent"],
        ],
    },
];

const CONNECT: usize = Shape::place(UPSTREAM, 0);
const UPSTREAM_TLS: usize = Shape::place(UPSTREAM, 1);
const CONNECT_FAILURES: usize = Shape::place(UPSTREAM, 2);
const IDLE_CLOSED: usize = Shape::place(UPSTREAM, 3);
const RETRIES: usize = Shape::place(UPSTREAM, 4);
const RETRIES_REFUSED: usize = Shape::place(UPSTREAM, 5);

static UPSTREAMS: Shape = Shape {
    specs: UPSTREAM,
    most: 1,
};

static UPSTREAM_BLOCK: LazyLock<Block> = LazyLock::new(|| Block::only(&UPSTREAMS));

/// Why there is no connection to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectFailed {
    /// It took too long.
    Timeout,
    /// No server listens.
    Refused,
    /// There is no way to it.
    NoRoute,
    /// The TLS handshake failed.
    Tls,
    /// Its certificate can't be trusted.
    Certificate,
    /// Anything else.
    Other,
}

/// Counts of all upstreams together.
#[derive(Clone, Copy, Debug)]
pub struct Upstream;

impl Upstream {
    pub(crate) fn connected(took: Duration) {
        UPSTREAM_BLOCK.here().observe(CONNECT, took);
    }

    pub(crate) fn shook_hands(took: Duration) {
        UPSTREAM_BLOCK.here().observe(UPSTREAM_TLS, took);
    }

    #[cold]
    pub(crate) fn connect_failed(why: ConnectFailed) {
        UPSTREAM_BLOCK
            .here()
            .add(CONNECT_FAILURES + why as usize, 1);
    }

    /// The positions are those of the series.
    #[cold]
    pub(crate) fn idle_closed(why: usize, n: usize) {
        UPSTREAM_BLOCK
            .here()
            .add(IDLE_CLOSED + why.min(3), n as u64);
    }

    /// A request is tried again; `after` is the position among `choosing`, `connecting`, `exchanging`, `response`.
    #[cold]
    pub fn retried(after: usize) {
        UPSTREAM_BLOCK.here().add(RETRIES + after.min(3), 1);
    }

    /// A failed try is not repeated; `why` is the position among `response_begun`, `body_too_long`, `none_left`,
    /// `too_late`, `vetoed`, `budget_spent`.
    #[cold]
    pub fn not_retried(why: usize) {
        UPSTREAM_BLOCK.here().add(RETRIES_REFUSED + why.min(5), 1);
    }

    /// Makes the series, so that they are there from the start with nothing in them.
    pub(super) fn enter() {
        LazyLock::force(&UPSTREAM_BLOCK);
    }
}
