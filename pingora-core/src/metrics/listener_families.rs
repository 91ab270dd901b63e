//! The families of each endpoint's counts.

use super::collect::Kind::{Counter, Gauge, Histogram};
use super::shape::{ONE, Shape, Spec};

pub(super) const LISTENER: &[Spec] = &[
    Spec {
        name: "pingora_connections_accepted_total",
        help: "Connections of clients that were taken in.",
        kind: Counter,
        labels: &[],
        series: ONE,
    },
    Spec {
        name: "pingora_connections_open",
        help: "Connections of clients that are open.",
        kind: Gauge,
        labels: &[],
        series: ONE,
    },
    Spec {
        name: "pingora_connections_refused_total",
        help: "Connections of clients that were closed when they were accepted, by reason.",
        kind: Counter,
        labels: &["reason"],
        series: &[
            &["memory"],
            &["untrusted_proxy"],
            &["limit"],
            &["client_limit"],
            &["listener_limit"],
            &["listener_client_limit"],
            &["filter"],
        ],
    },
    Spec {
        name: "pingora_requests_active",
        help: "Requests that are being worked on.",
        kind: Gauge,
        labels: &[],
        series: ONE,
    },
    Spec {
        name: "pingora_requests_total",
        help: "Requests that have ended, by protocol and class of status; none: the client was not answered.",
        kind: Counter,
        labels: &["protocol", "status_class"],
        series: &[
            &["http1", "1xx"],
            &["http1", "2xx"],
            &["http1", "3xx"],
            &["http1", "4xx"],
            &["http1", "5xx"],
            &["http1", "none"],
            &["http2", "1xx"],
            &["http2", "2xx"],
            &["http2", "3xx"],
            &["http2", "4xx"],
            &["http2", "5xx"],
            &["http2", "none"],
            &["other", "1xx"],
            &["other", "2xx"],
            &["other", "3xx"],
            &["other", "4xx"],
            &["other", "5xx"],
            &["other", "none"],
        ],
    },
    Spec {
        name: "pingora_request_duration_seconds",
        help: "Time from the head of a request to its end.",
        kind: Histogram,
        labels: &[],
        series: ONE,
    },
    Spec {
        name: "pingora_request_first_byte_seconds",
        help: "Time from the head of a request to the head of the upstream's response.",
        kind: Histogram,
        labels: &[],
        series: ONE,
    },
    Spec {
        name: "pingora_request_body_received_bytes_total",
        help: "Bytes of requests' bodies.",
        kind: Counter,
        labels: &[],
        series: ONE,
    },
    Spec {
        name: "pingora_response_body_sent_bytes_total",
        help: "Bytes of responses' bodies.",
        kind: Counter,
        labels: &[],
        series: ONE,
    },
    Spec {
        name: "pingora_request_failures_total",
        help: "Requests that failed, by the side at fault.",
        kind: Counter,
        labels: &["side"],
        series: &[&["client_left"], &["client"], &["upstream"], &["internal"]],
    },
    Spec {
        name: "pingora_upstream_tries_total",
        help: "Tries at upstreams that had a connection: a new one, or one kept from an earlier request.",
        kind: Counter,
        labels: &["connection"],
        series: &[&["new"], &["reused"]],
    },
    Spec {
        name: "pingora_tls_handshake_seconds",
        help: "Time that the TLS handshakes of clients took, those that failed included.",
        kind: Histogram,
        labels: &[],
        series: ONE,
    },
    Spec {
        name: "pingora_tls_connections_total",
        help: "TLS connections of clients, by version.",
        kind: Counter,
        labels: &["version"],
        series: &[&["TLSv1.3"], &["TLSv1.2"], &["other"]],
    },
    Spec {
        name: "pingora_tls_groups_total",
        help: "TLS connections of clients, by the group of their key exchange.",
        kind: Counter,
        labels: &["group"],
        series: &[
            &["X25519MLKEM768"],
            &["X25519"],
            &["P-256"],
            &["P-384"],
            &["other"],
            &["none"],
        ],
    },
];

pub(super) static LISTENERS: Shape = Shape {
    specs: LISTENER,
    most: 64,
};

/// Of requests that came over no listener: sub-requests, and those of tests. The first block of the process.
pub(super) const NO_LISTENER: (&Shape, [(&str, &str); 2]) =
    (&LISTENERS, [("service", "internal"), ("listener", "none")]);
