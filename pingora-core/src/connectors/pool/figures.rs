//! The metrics of a pool.

use super::Poolable;
use super::stripe::Stripe;
use crate::metrics::{Collect, Collected, register};
use std::sync::{Arc, Weak};

/// Tells how many connections of one pool are idle.
pub(super) struct Figures<S: Poolable> {
    stripes: Box<[Arc<Stripe<S>>]>,
}

impl<S: Poolable> Figures<S> {
    pub(super) fn register(stripes: &[Arc<Stripe<S>>]) -> Arc<Self> {
        let figures = Arc::new(Figures {
            stripes: stripes.into(),
        });
        let weak: Weak<Self> = Arc::downgrade(&figures);
        register(weak);
        figures
    }
}

impl<S: Poolable> Collect for Figures<S> {
    fn collect(&self, out: &mut Collected) {
        let idle: usize = self.stripes.iter().map(|stripe| stripe.len()).sum();
        out.gauge(
            "pingora_upstream_idle_connections",
            "Connections to upstreams that are kept for later requests and not in use; without those of HTTP/2.",
            &[],
            idle as f64,
        );
    }
}
