//! Streams that are woken, panic, end in bursts, and never wait.

use super::*;
use futures::task::noop_waker;
use std::sync::atomic::AtomicUsize;

/// A stream of a test: what it was told, and what it did.
#[derive(Default)]
struct Stream {
    polls: AtomicUsize,
    is_over: AtomicBool,
    panics: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Stream {
    fn run(self: &Arc<Self>) -> impl Future<Output = ()> + use<> {
        let stream = self.clone();
        poll_fn(move |cx| {
            stream.polls.fetch_add(1, Ordering::SeqCst);
            assert!(!stream.panics.load(Ordering::SeqCst), "as it was told");
            *stream.waker.lock().unwrap() = Some(cx.waker().clone());
            if stream.is_over.load(Ordering::SeqCst) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
    }

    fn wake(&self) {
        self.waker.lock().unwrap().as_ref().unwrap().wake_by_ref();
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.wake();
    }

    fn polls(&self) -> usize {
        self.polls.swap(0, Ordering::SeqCst)
    }
}

fn round<F: Future<Output = ()>>(tasks: &mut Tasks<F>) -> Round {
    tasks.poll_marked(&Context::from_waker(&noop_waker()))
}

#[test]
fn only_streams_that_were_woken_are_polled() {
    let streams: Vec<Arc<Stream>> = (0..3).map(|_| Arc::default()).collect();
    let mut tasks = Tasks::new();
    assert_eq!(round(&mut tasks), Round::Idle);
    streams.iter().for_each(|stream| tasks.begin(stream.run()));
    assert_eq!(tasks.open(), 3);
    assert_eq!(round(&mut tasks), Round::Ran);
    let polls = || {
        streams
            .iter()
            .map(|stream| stream.polls())
            .collect::<Vec<_>>()
    };
    assert_eq!(polls(), [1, 1, 1]);
    assert_eq!(round(&mut tasks), Round::Idle);
    streams[1].wake();
    streams[1].wake();
    assert!(tasks.is_marked());
    assert_eq!(round(&mut tasks), Round::Ran);
    assert_eq!(polls(), [0, 1, 0]);
    streams[2].end();
    round(&mut tasks);
    assert_eq!((polls(), tasks.open()), (vec![0, 0, 1], 2));
    // Its waker may outlive it.
    streams[2].wake();
    round(&mut tasks);
    assert_eq!(polls(), [0, 0, 0]);
}

#[test]
fn a_panic_ends_its_own_stream() {
    let (good, bad) = (Arc::new(Stream::default()), Arc::new(Stream::default()));
    bad.panics.store(true, Ordering::SeqCst);
    let mut tasks = Tasks::new();
    tasks.begin(bad.run());
    tasks.begin(good.run());
    assert_eq!(round(&mut tasks), Round::Ran);
    assert_eq!((tasks.open(), good.polls()), (1, 1));
    good.end();
    round(&mut tasks);
    assert_eq!(tasks.open(), 0);
}

/// What a burst took is given back, and a place is used again.
#[test]
fn an_idle_connection_keeps_few_places() {
    let mut tasks = Tasks::new();
    for burst in [1, 100, KEPT, 3, 1000, 0] {
        let streams: Vec<Arc<Stream>> = (0..burst).map(|_| Arc::default()).collect();
        streams.iter().for_each(|stream| tasks.begin(stream.run()));
        round(&mut tasks);
        assert_eq!(tasks.open(), burst);
        streams.iter().for_each(|stream| stream.end());
        round(&mut tasks);
        assert_eq!(tasks.open(), 0);
        assert!(
            tasks.places.capacity() <= KEPT.max(4),
            "{}",
            tasks.places.capacity()
        );
        // A waker of a place that is gone marks nothing that exists.
        streams.iter().for_each(|stream| stream.wake());
        assert_ne!(round(&mut tasks), Round::Exhausted);
    }
    tasks.rest();
    assert_eq!(tasks.places.capacity() + tasks.free.capacity(), 0);
}

/// A stream that never waits leaves the rest of the budget's owner alone: what is left is polled in the next round.
#[tokio::test]
async fn a_round_ends_with_the_budget_of_the_task() {
    let mut tasks = Tasks::new();
    let polls = Arc::new(AtomicUsize::new(0));
    for _ in 0..300 {
        let polls = polls.clone();
        tasks.begin(async move {
            tokio::task::coop::consume_budget().await;
            polls.fetch_add(1, Ordering::SeqCst);
        });
    }
    assert_eq!(round(&mut tasks), Round::Exhausted);
    assert!(tasks.is_marked() && polls.load(Ordering::SeqCst) < 300);
    tasks.ended().await;
    assert_eq!(polls.load(Ordering::SeqCst), 300);
}
