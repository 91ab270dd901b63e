//! The threads of a runtime, from their start to their end.

use super::figures::Figures;
use super::{Handle, RuntimeOpts, local};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// The threads of one service, named after it (Linux shows the first 15 bytes).
///
/// Dropping a runtime ends its tasks without waiting for anything; [`Runtime::shutdown`] waits for
/// work that can't be interrupted.
#[derive(Debug)]
pub struct Runtime {
    handle: Handle,
    threads: Threads,
    /// Tells what the threads do, for as long as they are there.
    _figures: Arc<Figures>,
}

#[derive(Debug)]
enum Threads {
    /// `None` only while it is being shut down.
    Stealing(Option<tokio::runtime::Runtime>),
    /// Dropping the senders ends the threads.
    Pinned {
        stop: Vec<oneshot::Sender<Duration>>,
        ended: mpsc::Receiver<()>,
    },
}

impl Runtime {
    /// Starts `threads` threads, at least one.
    ///
    /// # Errors
    /// If the system has no thread or no descriptor left.
    pub fn new(name: &str, threads: usize, options: &RuntimeOpts) -> io::Result<Self> {
        let threads = threads.max(1);
        if options.work_stealing {
            Runtime::stealing(name, threads, options)
        } else {
            Runtime::pinned(name, threads, options)
        }
    }

    fn stealing(name: &str, threads: usize, options: &RuntimeOpts) -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        // The first threads are the workers; those for blocking calls are started on demand.
        let started = AtomicUsize::new(0);
        let runtime = configure(&mut builder, name, options)
            .worker_threads(threads)
            .on_thread_start(move || {
                if started.fetch_add(1, Ordering::Relaxed) < threads {
                    local::belong_to_runtime();
                }
            })
            .build()?;
        let handle = Handle::stealing(runtime.handle().clone());
        Ok(Runtime {
            _figures: Figures::register(name, &handle),
            handle,
            threads: Threads::Stealing(Some(runtime)),
        })
    }

    fn pinned(name: &str, threads: usize, options: &RuntimeOpts) -> io::Result<Self> {
        // All are built before the first one runs: a task must be able to reach every thread.
        let runtimes = (0..threads)
            .map(|_| configure(&mut Builder::new_current_thread(), name, options).build())
            .collect::<io::Result<Vec<_>>>()?;
        let handle = Handle::pinned(runtimes.iter().map(|r| r.handle().clone()).collect());
        let (end, ended) = mpsc::channel();
        let mut stop = Vec::with_capacity(threads);
        for runtime in runtimes {
            let (stop_this, stopped) = oneshot::channel();
            let (end, handle) = (end.clone(), handle.clone());
            thread::Builder::new().name(name.into()).spawn(move || {
                handle.enter_thread();
                {
                    let _inside = runtime.enter();
                    local::belong_to_runtime();
                }
                let timeout = runtime.block_on(stopped).unwrap_or(Duration::ZERO);
                runtime.shutdown_timeout(timeout);
                drop(end);
            })?;
            stop.push(stop_this);
        }
        Ok(Runtime {
            _figures: Figures::register(name, &handle),
            handle,
            threads: Threads::Pinned { stop, ended },
        })
    }

    /// Access to the threads.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends all tasks at their next await, and waits for blocking calls and for tasks that don't
    /// await, but at most for `timeout`; work that still runs then is left behind. Blocks the
    /// calling thread, so it must not be called from a task.
    pub fn shutdown(mut self, timeout: Duration) {
        match &mut self.threads {
            Threads::Stealing(runtime) => {
                if let Some(runtime) = runtime.take() {
                    runtime.shutdown_timeout(timeout);
                }
            }
            Threads::Pinned { stop, ended } => {
                let deadline = Instant::now() + timeout;
                for stop in stop.drain(..) {
                    let _ = stop.send(timeout);
                }
                // Nothing is ever sent: the channel closes when the last thread ends.
                let _ = ended.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            }
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // tokio's own drop waits, and panics if waiting is not allowed.
        if let Threads::Stealing(runtime) = &mut self.threads
            && let Some(runtime) = runtime.take()
        {
            runtime.shutdown_background();
        }
    }
}

fn configure<'a>(builder: &'a mut Builder, name: &str, options: &RuntimeOpts) -> &'a mut Builder {
    builder.enable_all().thread_name(name);
    if let Some(most) = options.max_blocking_threads {
        builder.max_blocking_threads(most.max(1));
    }
    if let Some(ttl) = options.blocking_threads_ttl {
        builder.thread_keep_alive(ttl);
    }
    builder
}
