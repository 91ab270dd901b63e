//! The task of a connection.

use super::super::turns::Turns;
use super::activity::Activity;
use crate::protocols::UniqueIDType;
use bytes::Bytes;
use pingora_h2::client::Connection;
use pingora_h2::{Failure, PingPong};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch::Sender;
use tokio::time::{Instant, Sleep, sleep_until};

/// The time within which a server has to answer a PING.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// The minimum time between two checks of a connection's idle time.
const SHORTEST_WATCH: Duration = Duration::from_millis(100);
/// The time within which a connection that is no longer used has to notify the server.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(5);

/// Moves a connection's frames, in both directions, until it is closed: because its last reference
/// was dropped, because the server closed it or broke the protocol, or because a PING was not
/// answered within 5 s. Then `closed` becomes true.
///
/// A PING is sent every `ping_interval`; `None`: never.
///
/// Dropping the future closes the connection at once.
pub async fn drive_connection<S>(
    c: Connection<S>,
    id: UniqueIDType,
    closed: Sender<bool>,
    ping_interval: Option<Duration>,
    ping_timeout_occurred: Arc<AtomicBool>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let driver = Driver::new(c, ping_interval, Arc::default());
    driver.drive(id, closed, ping_timeout_occurred, || ()).await;
}

/// Signals that a connection is closed, however its driver ended.
struct Closed {
    sender: Sender<bool>,
    activity: Arc<Activity>,
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.activity.retire();
        self.activity.settle();
        self.sender.send_replace(true);
    }
}

/// The reason why a connection ended.
enum End {
    Closed(Result<(), Failure>),
    PingTimedOut,
    ClosingTimedOut,
}

/// Drives a connection.
pub(crate) struct Driver<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    connection: Connection<S>,
    pings: Option<Pings>,
    idle: IdleTimer,
    activity: Arc<Activity>,
    turns: Turns,
}

impl<S> Driver<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    pub(crate) fn new(
        mut connection: Connection<S, Bytes>,
        ping_interval: Option<Duration>,
        activity: Arc<Activity>,
    ) -> Self {
        let pings = ping_interval
            .filter(|interval| !interval.is_zero())
            .zip(connection.ping_pong());
        Driver {
            pings: pings.map(|(interval, pings)| Pings::new(interval, pings)),
            connection,
            idle: IdleTimer::default(),
            activity,
            turns: Turns::default(),
        }
    }

    /// Drives the connection to its end. `retired` is called once the connection must not be used
    /// any more.
    pub(crate) async fn drive(
        mut self,
        id: UniqueIDType,
        closed: Sender<bool>,
        ping_timeout_occurred: Arc<AtomicBool>,
        mut retired: impl FnMut(),
    ) {
        let closed = Closed {
            sender: closed,
            activity: self.activity.clone(),
        };
        let end = poll_fn(|cx| self.poll(cx, &mut retired)).await;
        match end {
            End::Closed(Ok(())) => log::debug!("connection {id} to an upstream was closed"),
            End::Closed(Err(error)) => log::debug!("connection {id} to an upstream: {error}"),
            End::PingTimedOut => {
                ping_timeout_occurred.store(true, Ordering::Release);
                log::warn!("connection {id} to an upstream: no answer to a PING, it is closed");
            }
            End::ClosingTimedOut => log::debug!("connection {id} to an upstream is cut off"),
        }
        // A task that learns that the connection is closed finds it removed from its pool, and its
        // streams informed.
        retired();
        drop(self);
        drop(closed);
    }

    fn poll(&mut self, cx: &mut Context<'_>, retired: &mut impl FnMut()) -> Poll<End> {
        self.activity.register_driver(cx);
        if self.turns.streams_first(self.activity.streams(), cx) {
            return Poll::Pending;
        }
        if let Poll::Ready(result) = Pin::new(&mut self.connection).poll(cx) {
            return Poll::Ready(End::Closed(result));
        }
        if !self.activity.is_settled() && self.connection.is_settled() {
            self.activity.settle();
        }
        if let Some(pings) = &mut self.pings
            && pings.poll_dead(cx).is_ready()
        {
            return Poll::Ready(End::PingTimedOut);
        }
        match self.idle.poll(cx, &self.activity, retired) {
            Poll::Ready(()) => Poll::Ready(End::ClosingTimedOut),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// The end of an idle connection.
///
/// ```text
///   Waiting ──idle for too long, or retired while idle──▶ Closing ──5 s──▶ cut off
/// ```
#[derive(Default)]
struct IdleTimer {
    timer: Option<Pin<Box<Sleep>>>,
    /// The timeout that the timer was set for.
    timeout: u64,
    closing: bool,
}

impl IdleTimer {
    /// Ready when the connection took too long to close. It closes by itself when the last
    /// reference is dropped, which `retired` ensures.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        activity: &Activity,
        retired: &mut impl FnMut(),
    ) -> Poll<()> {
        loop {
            if self.closing {
                return self.poll_timer(cx);
            }
            if activity.is_retired() && activity.streams() == 0 {
                self.begin_closing(retired);
                continue;
            }
            let timeout = activity.idle_timeout();
            let fired = self.poll_timer(cx).is_ready();
            if !fired && timeout == self.timeout {
                return Poll::Pending;
            }
            self.timeout = timeout;
            let now = Instant::now();
            match activity.idle_until(now) {
                None => {
                    self.timer = None;
                    return Poll::Pending;
                }
                Some(at) if at <= now && activity.retire_if_idle() => self.begin_closing(retired),
                // It has just been used.
                Some(at) if at <= now => self.set_timer(now + SHORTEST_WATCH),
                Some(at) => self.set_timer(at),
            }
        }
    }

    fn begin_closing(&mut self, retired: &mut impl FnMut()) {
        retired();
        self.closing = true;
        self.set_timer(Instant::now() + CLOSING_TIMEOUT);
    }

    fn set_timer(&mut self, at: Instant) {
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(at),
            None => self.timer = Some(Box::pin(sleep_until(at))),
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

/// Checks periodically whether the server is still there.
struct Pings {
    pings: PingPong,
    interval: Duration,
    timer: Pin<Box<Sleep>>,
    awaiting: bool,
}

impl Pings {
    fn new(interval: Duration, pings: PingPong) -> Self {
        Pings {
            pings,
            interval,
            timer: Box::pin(tokio::time::sleep(interval)),
            awaiting: false,
        }
    }

    /// Ready when a PING was not answered in time.
    fn poll_dead(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.awaiting {
                match self.pings.poll_pong(cx) {
                    Poll::Ready(Ok(_)) => {
                        self.awaiting = false;
                        self.wait(self.interval);
                        continue;
                    }
                    // The connection is over, and its own end states the reason.
                    Poll::Ready(Err(_)) => return Poll::Pending,
                    Poll::Pending => return self.timer.as_mut().poll(cx),
                }
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if self.pings.send_ping().is_err() {
                return Poll::Pending;
            }
            self.awaiting = true;
            self.wait(PING_TIMEOUT);
        }
    }

    fn wait(&mut self, time: Duration) {
        // Beyond the clock's range there is nothing to wait for.
        let long = Duration::from_secs(60 * 60 * 24 * 365);
        self.timer.as_mut().reset(Instant::now() + time.min(long));
    }
}
