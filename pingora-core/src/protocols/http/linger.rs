//! Reading what a client is still sending though its answer is complete, so that it gets to see the
//! answer: many clients write until they are done and only then read, and a connection that closes on
//! them, or a stream that is reset, is an error to them (RFC 9112 section 9.6).
//!
//! How long that takes depends on how much the client wants to send and on how fast it is, so what
//! bounds it is time, and not a number of bytes. What arrives is dropped where it was read.

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

/// How long a client may go on sending, however fast or slow it is.
const TIME: Duration = Duration::from_secs(30);
/// How long it may be silent meanwhile: it is waiting for something else than for us to read.
const SILENCE: Duration = Duration::from_secs(5);
/// The bytes that are dropped before other tasks of the worker get their turn.
const PER_TURN: usize = 256 * 1024;
/// How many exchanges of this process may linger at a time.
const MOST: usize = 1024;
/// And they take at most this part of the descriptors that the process may open.
const SHARE_OF_DESCRIPTORS: usize = 4;

/// How many do.
static LINGERING: AtomicUsize = AtomicUsize::new(0);

/// How long a client that is still sending is read from after its answer.
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

/// One of the places of those who linger. Dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Place(());

impl Place {
    /// `None` where all are taken.
    pub(crate) fn take() -> Option<Self> {
        static MOST_HERE: OnceLock<usize> = OnceLock::new();
        let most = *MOST_HERE.get_or_init(|| {
            let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
            let share = usize::try_from(descriptors).unwrap_or(usize::MAX) / SHARE_OF_DESCRIPTORS;
            share.clamp(1, MOST)
        });
        // Counted before it is looked at, so that it is given back whichever way this ends.
        let place = Place(());
        let others = LINGERING.fetch_add(1, Ordering::Relaxed);
        (others < most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        LINGERING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The result of one look at a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// So many bytes.
    Bytes(usize),
    /// That it sends nothing more.
    All,
}

/// How a client is being lingered for.
#[derive(Debug)]
pub(crate) struct Lingering {
    place: Option<Place>,
    patience: Patience,
    begun: Instant,
    heard: Instant,
}

impl Lingering {
    /// Begins now.
    pub(crate) fn begin(patience: Patience) -> Self {
        let now = Instant::now();
        Lingering {
            place: Place::take(),
            patience,
            begun: now,
            heard: now,
        }
    }

    /// Polls `step`, which drops what has arrived; ready when it has dropped all, or when the client has
    /// exhausted the patience. Where too many are lingered for already: after one look.
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
            // Beyond the end of time.
            None => Poll::Pending,
        }
    }
}

/// [`Lingering::poll`] until it is ready. Cancel-safe: what was dropped is dropped.
pub(crate) async fn linger<S: Timed>(
    session: &mut S,
    patience: Patience,
    mut step: impl FnMut(&mut S, &mut Context<'_>) -> Poll<Dropped>,
) {
    let mut lingering = Lingering::begin(patience);
    poll_fn(|cx| lingering.poll(session, cx, &mut step)).await;
}

/// Reads from a connection and drops what was read.
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

    /// How many seconds a client is lingered for that sends a piece each `pause` seconds, `pieces` times.
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
        while let Some(place) = Place::take() {
            places.push(place);
            assert!(places.len() <= MOST);
        }
        assert!(!places.is_empty());
        places.pop();
        // Another test may be faster at one place, not at all of them.
        places.clear();
        assert!(Place::take().is_some());
    }
}
