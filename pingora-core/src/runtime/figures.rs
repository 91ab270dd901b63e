//! The metrics of a runtime.

use super::Handle;
use crate::metrics::{Collect, Collected, register};
use std::sync::{Arc, Weak};

/// Tells what the threads of one runtime do.
#[derive(Debug)]
pub(super) struct Figures {
    name: String,
    handle: Handle,
}

impl Figures {
    pub(super) fn register(name: &str, handle: &Handle) -> Arc<Self> {
        let figures = Arc::new(Figures {
            name: name.to_owned(),
            handle: handle.clone(),
        });
        let weak: Weak<Self> = Arc::downgrade(&figures);
        register(weak);
        figures
    }
}

impl Collect for Figures {
    fn collect(&self, out: &mut Collected) {
        let own = [("runtime", &*self.name)];
        for runtime in self.handle.all() {
            let metrics = runtime.metrics();
            let workers = metrics.num_workers();
            let gauges = [
                (
                    "pingora_runtime_workers",
                    "Threads that work on tasks.",
                    workers,
                ),
                (
                    "pingora_runtime_tasks",
                    "Tasks that have not ended.",
                    metrics.num_alive_tasks(),
                ),
                (
                    "pingora_runtime_queue_length",
                    "Tasks that are ready and wait in the queue that all workers share.",
                    metrics.global_queue_depth(),
                ),
            ];
            for (name, help, value) in gauges {
                out.gauge(name, help, &own, value as f64);
            }
            #[cfg(target_has_atomic = "64")]
            {
                let busy = (0..workers).map(|worker| metrics.worker_total_busy_duration(worker));
                out.fractional_counter(
                    "pingora_runtime_busy_seconds_total",
                    "Time that workers have spent on tasks, in seconds; of all workers together.",
                    &own,
                    busy.map(|busy| busy.as_secs_f64()).sum(),
                );
            }
        }
    }
}
