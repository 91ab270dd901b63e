//! Threads for the costly part of handshakes, so that connections which are established don't wait for
//! it.
//!
//! A socket stays with the reactor that it was registered on: only the calls into the TLS library move. A
//! stream travels to a thread of the pool, which makes one call, and back; if that call found nothing to
//! read, the task waits where it always does, in its own runtime.

use futures::task::AtomicWaker;
use pingora_error::{Error, ErrorType, OrErr, Result};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Threads in groups, each group with a queue of its own. They are started when they are first needed and
/// end with this value.
pub struct Offload {
    groups: usize,
    threads_per_group: usize,
    queues: OnceLock<Vec<Arc<Queue>>>,
    /// Held while the threads are started.
    starting: Mutex<()>,
    next: AtomicUsize,
}

impl Offload {
    /// `groups` groups of `threads_per_group` threads; at least one of each.
    pub fn new(groups: usize, threads_per_group: usize) -> Self {
        Offload {
            groups: groups.max(1),
            threads_per_group: threads_per_group.max(1),
            queues: OnceLock::new(),
            starting: Mutex::new(()),
            next: AtomicUsize::new(0),
        }
    }

    /// Calls `poll` with `value`, on threads of the pool, until it is ready. Also tells for how long that
    /// waited for a thread, all together.
    ///
    /// Dropped, it gives `value` up; a call that is under way ends first.
    ///
    /// # Errors
    /// `InternalError` when no thread can be started, or when `poll` panicked.
    pub async fn run<T, R, P>(&self, value: T, poll: P) -> Result<(T, R, Duration)>
    where
        T: Send + 'static,
        R: Send + 'static,
        P: Fn(&mut T, &mut Context<'_>) -> Poll<R> + Copy + Send + 'static,
    {
        let queue = self.queue()?;
        let wakeups = Arc::new(Wakeups::default());
        let (mut value, mut waited) = (value, Duration::ZERO);
        loop {
            wakeups.woken.store(false, Ordering::Release);
            let (reply, outcome) = oneshot::channel();
            let (queued, waker) = (Instant::now(), Waker::from(wakeups.clone()));
            queue.push(Box::new(move || {
                let waited = queued.elapsed();
                let polled = poll(&mut value, &mut Context::from_waker(&waker));
                // After the deadline the reply is no longer waited for.
                let _ = reply.send((value, polled, waited));
            }));
            let lost = "a thread for TLS handshakes panicked";
            let (returned, polled, this_time) =
                outcome.await.or_err(ErrorType::InternalError, lost)?;
            waited += this_time;
            match polled {
                Poll::Ready(result) => return Ok((returned, result, waited)),
                Poll::Pending => value = returned,
            }
            wakeups.wait().await;
        }
    }

    /// The queue whose turn it is.
    fn queue(&self) -> Result<Arc<Queue>> {
        if self.queues.get().is_none() {
            let _one_at_a_time = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
            if self.queues.get().is_none() {
                let started = self.start()?;
                self.queues.get_or_init(|| started);
            }
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.groups;
        let queue = self.queues.get().and_then(|queues| queues.get(turn));
        let none = || Error::explain(ErrorType::InternalError, "no threads for TLS handshakes");
        queue.cloned().ok_or_else(none)
    }

    fn start(&self) -> Result<Vec<Arc<Queue>>> {
        let group = |group: usize| {
            let queue = Arc::new(Queue::default());
            for index in 0..self.threads_per_group {
                let worker = queue.clone();
                std::thread::Builder::new()
                    .name(format!("tls-{group}-{index}"))
                    .spawn(move || worker.work())
                    .or_err(
                        ErrorType::InternalError,
                        "starting a thread for TLS handshakes",
                    )?;
            }
            Ok(queue)
        };
        (0..self.groups).map(group).collect()
    }
}

impl Drop for Offload {
    fn drop(&mut self) {
        for queue in self.queues.get().into_iter().flatten() {
            queue.close();
        }
    }
}

impl fmt::Debug for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {} threads", self.groups, self.threads_per_group)
    }
}

/// Remembers whether the transport called while the stream was away.
#[derive(Default)]
struct Wakeups {
    woken: AtomicBool,
    task: AtomicWaker,
}

impl Wakeups {
    async fn wait(&self) {
        poll_fn(|cx| {
            self.task.register(cx.waker());
            if self.woken.load(Ordering::Acquire) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

impl Wake for Wakeups {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// The work of one group of threads.
#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) {
        self.state().jobs.push_back(job);
        self.changed.notify_one();
    }

    fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    fn work(&self) {
        loop {
            let idle = |state: &mut QueueState| state.jobs.is_empty() && !state.closed;
            let waited = self.changed.wait_while(self.state(), idle);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner);
            let Some(job) = state.jobs.pop_front() else {
                return;
            };
            drop(state);
            // The task that waits for it finds that it is gone.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::ThreadId;

    /// Ready at the third call; wakes its task from elsewhere, before or after the call has returned.
    #[derive(Debug, Default)]
    struct Stepwise {
        calls: usize,
        early: bool,
        threads: Vec<ThreadId>,
    }

    fn poll_step(value: &mut Stepwise, cx: &mut Context<'_>) -> Poll<usize> {
        value.calls += 1;
        value.threads.push(std::thread::current().id());
        if value.calls == 3 {
            return Poll::Ready(value.calls);
        }
        let waker = cx.waker().clone();
        if value.early {
            waker.wake()
        } else {
            drop(std::thread::spawn(move || waker.wake()))
        }
        Poll::Pending
    }

    #[tokio::test]
    async fn calls_run_on_other_threads_until_one_is_ready() {
        let offload = Offload::new(2, 2);
        for early in [true, false, true, false] {
            let value = Stepwise {
                early,
                ..Stepwise::default()
            };
            let (value, result, _) = offload.run(value, poll_step).await.unwrap();
            assert_eq!((result, value.threads.len()), (3, 3));
            assert!(!value.threads.contains(&std::thread::current().id()));
        }
        assert_eq!(format!("{offload:?}"), "2 x 2 threads");
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_thread_goes_on() {
        let offload = Offload::new(1, 1);
        fn panics(_: &mut (), _: &mut Context<'_>) -> Poll<()> {
            panic!("as asked for")
        }
        let error = offload.run((), panics).await.unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
        offload.run(Stepwise::default(), poll_step).await.unwrap();
    }

    #[tokio::test]
    async fn threads_end_with_the_pool() {
        let offload = Offload::new(1, 3);
        offload.run(Stepwise::default(), poll_step).await.unwrap();
        let queue = Arc::downgrade(&offload.queue().unwrap());
        drop(offload);
        for _ in 0..1000 {
            if queue.strong_count() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("a thread goes on");
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_dropped() {
        let offload = Offload::new(1, 1);
        fn never(_: &mut Arc<()>, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }
        let value = Arc::new(());
        let run = offload.run(value.clone(), never);
        assert!(
            tokio::time::timeout(Duration::from_millis(5), run)
                .await
                .is_err()
        );
        for _ in 0..1000 {
            if Arc::strong_count(&value) == 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("the value lives on");
    }
}
