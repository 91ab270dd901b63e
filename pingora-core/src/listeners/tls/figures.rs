//! How the handshakes of an endpoint went, for metrics.

use super::{HandshakeCounters, HandshakeFailure};
use crate::metrics::{Collect, Collected, register};
use std::sync::{Arc, Weak};

/// Tells the counts of one endpoint.
#[derive(Debug)]
pub(crate) struct Figures {
    counters: Arc<HandshakeCounters>,
    service: String,
    address: String,
}

impl Figures {
    pub(super) fn register(
        counters: Arc<HandshakeCounters>,
        service: &str,
        address: &str,
    ) -> Arc<Self> {
        let figures = Arc::new(Figures {
            counters,
            service: service.to_owned(),
            address: address.to_owned(),
        });
        let weak: Weak<Self> = Arc::downgrade(&figures);
        register(weak);
        figures
    }
}

impl Collect for Figures {
    fn collect(&self, out: &mut Collected) {
        let (counters, own) = (
            &self.counters,
            [("service", &*self.service), ("listener", &*self.address)],
        );
        let [service, listener] = own;
        for (kind, n) in [("full", counters.full()), ("resumed", counters.resumed())] {
            out.counter(
                "pingora_tls_handshakes_total",
                "TLS handshakes of clients that were completed.",
                &[service, listener, ("kind", kind)],
                n,
            );
        }
        for failure in HandshakeFailure::ALL {
            out.counter(
                "pingora_tls_handshake_failures_total",
                "TLS handshakes of clients that came to nothing, by reason.",
                &[service, listener, ("reason", failure.label())],
                counters.failed(failure),
            );
        }
        out.counter(
            "pingora_tls_handshake_waits_total",
            "TLS handshakes of clients that had to wait, because there were too many at once.",
            &own,
            counters.waited(),
        );
        out.gauge(
            "pingora_tls_handshakes_active",
            "TLS handshakes of clients that are under way.",
            &own,
            counters.under_way() as f64,
        );
    }
}
