//! Reads data that a client is still sending after its answer is complete, so that it gets to see the
//! answer. Many clients write until they are done and only then read; to them, a connection that
//! closes meanwhile, or a stream that is reset, is an error (RFC 9112 section 9.6).
//!
//! The duration depends on how much the client wants to send and on how fast it is, so the bound is
//! a time and not a number of bytes. Received data is dropped where it was read.

use super::timed::Timed;
use crate::protocols::Stream;
use crate::runtime::local::with_scratch;
use nix::sys::resource::{Resource, getrlimit};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

/// The time for which a client may continue to send, at any rate.
const TIME: Duration = Duration::from_secs(30);
/// The time for which it may be silent meanwhile. A client that is silent for longer is waiting for
/// something other than our reads.
const SILENCE: Duration = Duration::from_secs(5);
/// The number of bytes that are dropped before other tasks of the worker get their turn.
const PER_TURN: usize = 256 * 1024;
/// The number of exchanges of this process that may linger at the same time.
const MOST: usize = 1024;
/// They also take at most this fraction of the descriptors that the process may open.
const SHARE_OF_DESCRIPTORS: usize = 4;

/// The number of exchanges that are lingering.
static LINGERING: AtomicUsize = AtomicUsize::new(0);

/// How long to read from a client that is still sending after its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    /// In total.
    pub(crate) time: Duration,
    /// Between two reads.
    pub(crate) silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            time: TIME,
            silence: SILENCE,
        }
    }
}

/// One of the places for lingering exchanges. Dropping it frees the place.
#[derive(Debug)]
pub(crate) struct LingerPermit(());

impl LingerPermit {
    /// `None` if all places are taken.
    pub(crate) fn take() -> Option<Self> {
        static MOST_HERE: OnceLock<usize> = OnceLock::new();
        let most = *MOST_HERE.get_or_init(|| {
            let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
            let share = usize::try_from(descriptors).unwrap_or(usize::MAX) / SHARE_OF_DESCRIPTORS;
            share.clamp(1, MOST)
        });
        // Counted before it is checked, so that it is given back on every path.
        let place = LingerPermit(());
        let others = LINGERING.fetch_add(1, Ordering::Relaxed);
        (others < most).then_some(place)
    }
}

impl Drop for LingerPermit {
    fn drop(&mut self) {
        LINGERING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The result of polling a client once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// This many bytes were dropped.
    Bytes(usize),
    /// The client sends nothing more.
    All,
}

/// The state of lingering for a client.
#[derive(Debug)]
pub(crate) struct Lingering {
    place: Option<LingerPermit>,
    patience: Patience,
    begun: Instant,
    heard: Instant,
}

impl Lingering {
    /// Starts lingering now.
    pub(crate) fn begin(patience: Patience) -> Self {
        let now = Instant::now();
        Lingering {
            place: LingerPermit::take(),
            patience,
            begun: now,
            heard: now,
        }
    }

    /// Polls `step`, which drops received data. Ready when it has dropped everything, or when the client
    /// has exhausted the patience; if too many exchanges are lingering already, after one poll.
    pub(crate) fn poll<S: Timed>(
        &mut self,
        session: &mut S,
        cx: &mut Context<'_>,
        mut step: impl FnMut(&mut S, &mut Context<'_>) -> Poll<Dropped>,
    ) -> Poll<()> {
        let mut dropped = 0;
        while dropped < PER_TURN {
            match step(session, cx) {
                Poll::Ready(Dropped::Bytes(n)) => dropped += n.max(1),
                Poll::Ready(Dropped::All) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        if self.place.is_none() {
            return Poll::Ready(());
        }
        let now = Instant::now();
        if dropped > 0 {
            self.heard = now;
        }
        if dropped >= PER_TURN {
            cx.waker().wake_by_ref();
        }
        let Patience { time, silence } = self.patience;
        let ends = [
            self.begun.checked_add(time),
            self.heard.checked_add(silence),
        ];
        match ends.into_iter().flatten().min() {
            Some(at) => session.timer().poll_reached(cx, at, now),
            // Beyond the clock's range, so it never ends.
            None => Poll::Pending,
        }
    }
}

/// [`Lingering::poll`] until it is ready. Cancel-safe: nothing needs to be restored.
pub(crate) async fn linger<S: Timed>(
    session: &mut S,
    patience: Patience,
    mut step: impl FnMut(&mut S, &mut Context<'_>) -> Poll<Dropped>,
) {
    let mut lingering = Lingering::begin(patience);
    poll_fn(|cx| lingering.poll(session, cx, &mut step)).await;
}

/// Reads from a connection and drops the data.
pub(crate) fn poll_discard(io: &mut Stream, cx: &mut Context<'_>) -> Poll<Dropped> {
    with_scratch(|scratch| {
        let mut buf = ReadBuf::new(scratch);
        let read = ready!(Pin::new(io).poll_read(cx, &mut buf));
        Poll::Ready(match (read, buf.filled().len()) {
            (Err(_), _) | (_, 0) => Dropped::All,
            (Ok(()), n) => Dropped::Bytes(n),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeout::Alarm;
    use std::pin::pin;

    #[derive(Default)]
    struct Clock(Alarm);

    impl Timed for Clock {
        fn timer(&mut self) -> &mut Alarm {
            &mut self.0
        }
    }

    /// The number of seconds spent lingering for a client that sends a piece each `pause` seconds,
    /// `pieces` times.
    async fn seconds(pause: u64, pieces: usize) -> u64 {
        let mut clock = Clock::default();
        let (begun, mut sent) = (Instant::now(), 0);
        let mut next = Box::pin(tokio::time::sleep(Duration::from_secs(pause)));
        linger(&mut clock, Patience::default(), |_, cx| {
            std::task::ready!(next.as_mut().poll(cx));
            next = Box::pin(tokio::time::sleep(Duration::from_secs(pause)));
            sent += 1;
            Poll::Ready(if sent > pieces {
                Dropped::All
            } else {
                Dropped::Bytes(1 << 30)
            })
        })
        .await;
        begun.elapsed().as_secs()
    }

    /// The other tests of this process may linger meanwhile; they don't take all places.
    #[tokio::test(start_paused = true)]
    async fn time_ends_it_and_bytes_do_not() {
        for (pause, pieces, expected) in [
            (1, 0, 1),
            (1, 20, 21),
            (4, 100, 30),
            (1, 100, 30),
            (6, 100, 5),
        ] {
            let took = seconds(pause, pieces).await;
            assert_eq!(took, expected, "{pieces} pieces, one each {pause} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn others_get_their_turn_while_a_client_floods() {
        let mut clock = Clock::default();
        let mut flood = pin!(linger(&mut clock, Patience::default(), |_, _| {
            Poll::Ready(Dropped::Bytes(64 * 1024))
        }));
        let first = poll_fn(|cx| Poll::Ready(flood.as_mut().poll(cx))).await;
        assert!(first.is_pending());
    }

    #[test]
    fn places_are_few_and_given_back() {
        let mut places = Vec::new();
        while let Some(place) = LingerPermit::take() {
            places.push(place);
            assert!(places.len() <= MOST);
        }
        assert!(!places.is_empty());
        places.pop();
        // Another test may take one place first, but not all of them.
        places.clear();
        assert!(LingerPermit::take().is_some());
    }
}
