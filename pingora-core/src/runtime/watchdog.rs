//! Notices phases that keep a worker from all other work, while they do, and phases that take long.
//!
//! ```text
//! worker    ── poll of a phase: what runs is noted ── poll ── and taken back
//! watchdog  ── looks at all workers' notes, several times within the limit, from a thread of its own
//! ```
//!
//! While no watchdog is there, a phase costs one look at a flag.

use crate::metrics::{IncidentKind, Process, note_incident};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// A watchdog that is gone is noticed within this time.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Whether a watchdog runs.
static ON: AtomicBool = AtomicBool::new(false);
/// In nanoseconds.
static SLOW_AFTER: AtomicU64 = AtomicU64::new(u64::MAX);
static BLOCKED_AFTER: AtomicU64 = AtomicU64::new(u64::MAX);

/// The note of each thread. An entry lives as long as its thread.
static THREADS: Mutex<Vec<Weak<Note>>> = Mutex::new(Vec::new());

thread_local! {
    static OWN: Arc<Note> = enter();
}

/// The phase that one thread is polling.
#[derive(Default)]
struct Note {
    thread: String,
    running: Mutex<Option<Running>>,
}

struct Running {
    phase: &'static str,
    request: Arc<str>,
    since: Instant,
    /// That it is blocked was said.
    told: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cold]
fn enter() -> Arc<Note> {
    let note = Arc::new(Note {
        thread: thread::current().name().unwrap_or("unnamed").to_owned(),
        running: Mutex::default(),
    });
    let mut threads = lock(&THREADS);
    threads.retain(|one| one.strong_count() > 0);
    threads.push(Arc::downgrade(&note));
    note
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn limit(of: &AtomicU64) -> Duration {
    Duration::from_nanos(of.load(Ordering::Relaxed))
}

/// Whether a watchdog is there, which wants phases to be [watched](watch).
#[inline]
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Lets the watchdog see this phase of this request. Cancel-safe if the phase is.
pub async fn watch<F: Future>(phase: &'static str, request: String, future: F) -> F::Output {
    if PENDING.load(Ordering::Relaxed) && PENDING.swap(false, Ordering::SeqCst) {
        start_thread();
    }
    let request: Arc<str> = request.into();
    let mut future = pin!(future);
    let begun = Instant::now();
    let output = poll_fn(|cx| {
        let _noted = Noted::new(phase, request.clone());
        future.as_mut().poll(cx)
    })
    .await;
    let took = begun.elapsed();
    if took >= limit(&SLOW_AFTER) {
        slow(phase, &request, took);
    }
    output
}

#[cold]
fn slow(phase: &str, request: &str, took: Duration) {
    Process::slow_phase();
    log::warn!("{phase} of {request:?} took {took:?}");
    note_incident(IncidentKind::Slow, request, phase, 0, took);
}

/// The note of the calling thread, for as long as this lives; also where the phase panics.
struct Noted(());

impl Noted {
    fn new(phase: &'static str, request: Arc<str>) -> Self {
        let running = Running {
            phase,
            request,
            since: Instant::now(),
            told: false,
        };
        let _ = OWN.try_with(|own| *lock(&own.running) = Some(running));
        Noted(())
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        let ended = OWN.try_with(|own| (lock(&own.running).take(), own.thread.clone()));
        let Ok((Some(running), thread)) = ended else {
            return;
        };
        let took = running.since.elapsed();
        if running.told {
            let phase = running.phase;
            log::warn!("{phase} lets the worker {thread} go on, after {took:?}");
        } else if took >= limit(&BLOCKED_AFTER) {
            blocked(&thread, &running, took);
        }
    }
}

#[cold]
fn blocked(thread: &str, running: &Running, took: Duration) {
    let (phase, request) = (running.phase, &*running.request);
    Process::blocked();
    log::warn!(
        "{phase} of {request:?} keeps the worker {thread} from all other work, for {took:?} so far; what blocks \
         belongs into tokio::task::spawn_blocking"
    );
    note_incident(IncidentKind::Blocked, request, phase, 0, took);
}

/// Looks at all threads once.
fn look(blocked_after: Duration) {
    let notes: Vec<_> = lock(&THREADS).iter().filter_map(Weak::upgrade).collect();
    for note in notes {
        let mut running = lock(&note.running);
        if let Some(running) = running.as_mut().filter(|running| !running.told) {
            let took = running.since.elapsed();
            if took >= blocked_after {
                running.told = true;
                blocked(&note.thread, running, took);
            }
        }
    }
}

/// Notices, while it happens, that a phase keeps a worker from all other work, and phases that take long; each with the name of
/// the phase and of the request, in the log, in the metrics `pingora_blocked_total` and `pingora_slow_phases_total`, and among
/// [`recent_incidents`](crate::metrics::recent_incidents).
///
/// Dropping it ends that. There is one in a process: if several are started, the last one counts, and the others have no
/// effect any more. Watched are the asynchronous phases of proxies up to the head of the response, and `logging`. Each poll of
/// one then costs two readings of the clock and two uncontended locks, and each phase the name of its request.
///
/// ```
/// use pingora_core::runtime::Watchdog;
/// use std::time::Duration;
///
/// // For as long as the server runs.
/// let watchdog = Watchdog::start(Duration::from_millis(100), Duration::from_secs(5));
/// # drop(watchdog);
/// ```
#[derive(Debug)]
pub struct Watchdog {
    generation: u64,
}

/// That of the watchdog that counts.
static GENERATION: AtomicU64 = AtomicU64::new(0);
/// Its thread is yet to be started.
static PENDING: AtomicBool = AtomicBool::new(false);

impl Watchdog {
    /// Watches from now on: `blocked_after` is how long one poll of a phase may take, at least a millisecond, `slow_after`
    /// how long a phase may take in all. The thread starts with the first phase, so a server may go into the background
    /// after this. Where no thread can be started, that is logged as an error, and what is blocked is noticed when it is
    /// over.
    pub fn start(blocked_after: Duration, slow_after: Duration) -> Self {
        let blocked_after = blocked_after.max(Duration::from_millis(1));
        BLOCKED_AFTER.store(nanos(blocked_after), Ordering::Relaxed);
        SLOW_AFTER.store(nanos(slow_after), Ordering::Relaxed);
        let generation = GENERATION.fetch_add(1, Ordering::SeqCst) + 1;
        PENDING.store(true, Ordering::SeqCst);
        ON.store(true, Ordering::SeqCst);
        Watchdog { generation }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let (own, none) = (self.generation, self.generation + 1);
        let is_last = GENERATION.compare_exchange(own, none, Ordering::SeqCst, Ordering::SeqCst);
        if is_last.is_ok() {
            ON.store(false, Ordering::SeqCst);
        }
    }
}

/// Starts the thread, which ends with its watchdog.
#[cold]
fn start_thread() {
    let generation = GENERATION.load(Ordering::SeqCst);
    let watching = move || {
        while GENERATION.load(Ordering::SeqCst) == generation {
            let blocked_after = limit(&BLOCKED_AFTER);
            look(blocked_after);
            thread::sleep((blocked_after / 4).min(LONGEST_PAUSE));
        }
    };
    let started = thread::Builder::new()
        .name("watchdog".into())
        .spawn(watching);
    if let Err(error) = started {
        log::error!("the watchdog has no thread: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::recent_incidents;

    fn incident(request: &str) -> Option<(IncidentKind, String)> {
        let mut recent = recent_incidents().into_iter();
        let found = recent.find(|incident| incident.request == request)?;
        Some((found.kind, found.what))
    }

    #[tokio::test]
    async fn who_blocks_is_named_while_it_does() {
        assert!(!is_on());
        let watchdog = Watchdog::start(Duration::from_millis(10), Duration::from_secs(3600));
        assert!(is_on());
        // It blocks until it was noticed: if that failed, this would not end.
        let phase = async {
            while incident("GET /blocked").is_none() {
                thread::sleep(Duration::from_millis(1));
            }
            7
        };
        assert_eq!(
            watch("request_filter", "GET /blocked".into(), phase).await,
            7
        );
        let expected = (IncidentKind::Blocked, "request_filter".to_owned());
        assert_eq!(incident("GET /blocked"), Some(expected));

        SLOW_AFTER.store(0, Ordering::Relaxed);
        watch(
            "upstream_peer",
            "GET /slow".into(),
            tokio::task::yield_now(),
        )
        .await;
        let expected = (IncidentKind::Slow, "upstream_peer".to_owned());
        assert_eq!(incident("GET /slow"), Some(expected));
        SLOW_AFTER.store(u64::MAX, Ordering::Relaxed);

        let panicking = tokio::spawn(watch("logging", "GET /panic".into(), async {
            panic!("in a phase");
        }));
        assert!(panicking.await.is_err());
        let is_idle = OWN.with(|own| lock(&own.running).is_none());
        assert!(is_idle, "nothing is left behind");
        let later = Watchdog::start(Duration::from_secs(3600), Duration::from_secs(3600));
        drop(watchdog);
        assert!(is_on(), "the last one counts");
        drop(later);
        assert!(!is_on());
    }
}
