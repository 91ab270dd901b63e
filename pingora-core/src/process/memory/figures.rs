//! The metrics of the account.

use super::account::{held, level, limit};
use crate::metrics::{Collect, Collected, register};
use std::sync::{Arc, LazyLock, Weak};

struct Figures;

impl Collect for Figures {
    fn collect(&self, out: &mut Collected) {
        out.gauge(
            "pingora_memory_held_bytes",
            "Bytes that peers make this process hold: queues, buffers, connections, streams.",
            &[],
            held() as f64,
        );
        // Without a limit there is no figure: a share of infinity is none.
        if let Some(limit) = limit() {
            let help = "The most bytes that peers may make this process hold.";
            out.gauge("pingora_memory_limit_bytes", help, &[], limit as f64);
        }
        out.gauge(
            "pingora_memory_level",
            "How scarce memory is: 0 plenty, 1 short, 2 scarce (new work is turned away), 3 exhausted.",
            &[],
            f64::from(level() as u8),
        );
    }
}

/// Tells the figures of the account from now on. Again, nothing changes.
pub(crate) fn tell_figures() {
    static TOLD: LazyLock<Arc<Figures>> = LazyLock::new(|| {
        let figures = Arc::new(Figures);
        let weak: Weak<Figures> = Arc::downgrade(&figures);
        register(weak);
        figures
    });
    LazyLock::force(&TOLD);
}
