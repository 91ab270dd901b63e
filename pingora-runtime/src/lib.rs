//! The runtime of a service, and the way to its threads.
//!
//! These are the types of `pingora_core::runtime` under a name of their own, and [`current_handle`].
//!
//! # Example
//! ```
//! use pingora_runtime::{Runtime, RuntimeOpts, current_handle};
//! use std::time::Duration;
//!
//! let options = RuntimeOpts::default();
//! let runtime = Runtime::new("work", 2, &options).unwrap();
//! let (answer, answered) = std::sync::mpsc::channel();
//! runtime.handle().spawn(async move {
//!     // From within: to whichever thread of the same runtime.
//!     current_handle().spawn(async move { answer.send(7) });
//! });
//! assert_eq!(answered.recv(), Ok(7));
//! runtime.shutdown(Duration::from_secs(1));
//! ```
//!
//! Page in the repository: `docs/migrating.md`, for differences from the crate of the same name.
#![forbid(unsafe_code)]

pub use pingora_core::runtime::{
    Handle, Runtime, RuntimeMetricsOpts, RuntimeMetricsPollTimeHistogramScale, RuntimeOpts,
};

/// A way to spawn a task on the runtime that the calling thread works for. Where threads don't steal work from one
/// another, it leads to one of them, the next one with each call; so a task that has to stay with its sockets
/// is spawned by `tokio::spawn` instead.
///
/// # Panics
/// Outside of any runtime. [`Handle::current`] returns `None` there.
pub fn current_handle() -> tokio::runtime::Handle {
    match Handle::current() {
        Some(handle) => handle.next_worker().clone(),
        None => tokio::runtime::Handle::current(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn tasks_go_round_the_threads_that_dont_steal() {
        let mut options = RuntimeOpts::default();
        options.work_stealing = false;
        let runtime = Runtime::new("round", 2, &options).unwrap();
        let (send, receive) = mpsc::channel();
        runtime.handle().spawn(async move {
            for _ in 0..2 {
                let send = send.clone();
                current_handle().spawn(async move { send.send(std::thread::current().id()) });
            }
        });
        let threads: HashSet<_> = receive.iter().collect();
        assert_eq!(threads.len(), 2);
        runtime.shutdown(Duration::from_secs(1));
    }

    #[test]
    fn a_runtime_of_somebody_else_is_one_too() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let id = runtime.block_on(async { current_handle().id() });
        assert_eq!(id, runtime.handle().id());
    }
}
