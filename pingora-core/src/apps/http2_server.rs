//! An HTTP/2 connection: one task that drives it and polls its streams.

mod tasks;

use super::http_server_app::HttpServerApp;
use super::options::{ConnectionEnd, HttpServerOptions};
use super::pace::{Pace, Seen, Step};
use super::shutdown::ShutdownNotice;
use crate::metrics::Process;
use crate::process::drain::quiet_time;
use crate::process::memory::{self, Level, Turned};
use crate::process::{ShutdownWatch, is_shutting_down};
use crate::protocols::http::ServerSession;
use crate::protocols::http::v2::ledger::Ledger;
use crate::protocols::http::v2::server::{HttpSession, accept, limited_handshake};
use crate::protocols::l4::socket::SocketAddr;
use crate::protocols::{Digest, Stream};
use bytes::Bytes;
use pingora_h2::server::{Connection, Goodbye, Incoming, SendResponse};
use pingora_h2::{PingPong, Reason};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tasks::{Round, Tasks};
use tokio::time::{Instant, Sleep, sleep_until};

/// The time that a connection that is being closed has to write its last frames.
const CLOSE_GRACE: Duration = Duration::from_secs(2);
/// The same for a connection that is closed to free its memory.
const SHED_GRACE: Duration = Duration::from_millis(100);
/// The interval at which a connection that was sent GOAWAY is checked.
const DRAINING: Duration = Duration::from_secs(1);

/// How long to keep reading from a peer after GOAWAY. It may still be receiving the last response, and
/// anything that it sends meanwhile (a WINDOW_UPDATE, for example) would be answered by a TCP reset
/// once the socket is closed: the rest of the response would be lost (RFC 9112 section 9.6).
const GOODBYE: Goodbye = Goodbye {
    time: Duration::from_secs(30),
    silence: Duration::from_secs(2),
};

/// Rounds of streams and of the connection after which other tasks get their turn.
const ROUNDS: usize = 16;

/// Drives one connection.
struct Driver {
    shutdown: ShutdownWatch,
    options: HttpServerOptions,
    connection: Connection<Stream, Bytes>,
    ledger: Arc<Ledger>,
    digest: Arc<Digest>,
    notice: ShutdownNotice,
    pings: Option<PingPong>,
    pace: Pace,
    timer: Option<Timer>,
    /// From then on, no more streams are to come.
    end: ConnectionEnd,
    /// The number of streams accepted so far.
    accepted: u64,
    /// GOAWAY was sent, or is about to be: no stream may follow the active ones.
    draining: bool,
    /// The connection is being closed, even if streams are active.
    ending: bool,
    /// The streams that have not ended.
    open: usize,
    /// The task's budget ended before the connection had its turn.
    overdue: bool,
    /// No stream was open when the timer looked.
    rests: bool,
}

/// Receives the session of each stream that begins.
type Begin<'a> = &'a mut dyn FnMut(HttpSession);

/// Serves a connection from which `ahead` was already read. Returns when all of its streams have
/// ended.
pub(super) async fn serve<SV>(app: &Arc<SV>, io: Stream, ahead: Bytes, shutdown: &ShutdownWatch)
where
    SV: HttpServerApp + Send + Sync + 'static,
{
    if memory::level() >= Level::Scarce {
        // All of its streams would be refused.
        return memory::turn_away(Turned::Connection);
    }
    Process::http2_begins();
    let digest = Arc::new(Digest::of(&io));
    let options = app.server_options().cloned().unwrap_or_default();
    let limits = options.h2_limits();
    let ledger = Ledger::new(limits.response_bytes as usize);
    let handshake = limited_handshake(io, ahead, app.h2_options(), limits);
    let begun = match options.header_timeout() {
        Some(limit) => match tokio::time::timeout(limit, handshake).await {
            Ok(begun) => begun,
            Err(_) => return log::debug!("a client did not begin its HTTP/2 connection in time"),
        },
        None => handshake.await,
    };
    let mut connection = match begun {
        Ok(begun) => begun,
        Err(error) => return log::debug!("a connection of HTTP/2 did not begin: {error}"),
    };
    connection.set_goodbye(GOODBYE);
    let mut driver = Driver {
        shutdown: shutdown.clone(),
        pings: connection.ping_pong(),
        connection,
        ledger,
        digest,
        notice: ShutdownNotice::default(),
        pace: Pace::default(),
        timer: None,
        end: options.connection_ends(),
        options,
        accepted: 0,
        draining: false,
        ending: false,
        open: 0,
        overdue: false,
        rests: false,
    };
    driver.look_again();
    let serve_stream = |session| {
        let (app, shutdown) = (app.clone(), shutdown.clone());
        async move {
            // There is no connection to give back: it does not belong to the stream.
            let _ = app
                .process_new_http(ServerSession::H2(session), &shutdown)
                .await;
        }
    };
    let mut streams = Tasks::new();
    poll_fn(|cx| driver.poll_with(&mut streams, &serve_stream, cx)).await;
    // The socket is closed before the last streams have noticed.
    let ledger = driver.ledger.clone();
    drop(driver);
    ledger.close();
    streams.ended().await;
}

impl Driver {
    /// Lets streams and the connection go on in turns, until neither can. Ready when the connection is over.
    ///
    /// The connection comes after the streams: it writes what all of them have for it at once.
    fn poll_with<F>(
        &mut self,
        streams: &mut Tasks<F>,
        serve: &impl Fn(HttpSession) -> F,
        cx: &mut Context<'_>,
    ) -> Poll<()>
    where
        F: Future<Output = ()>,
    {
        let mut round = Round::Idle;
        if !std::mem::take(&mut self.overdue) {
            // The connection's turn follows: it does not have to be woken.
            self.connection.mute();
            round = streams.poll_marked(cx);
        }
        for _ in 0..ROUNDS {
            if round == Round::Exhausted {
                break;
            }
            self.open = streams.open();
            let mut begin = |session| streams.begin(serve(session));
            let over = self.poll_observed(&mut begin, cx);
            if over.is_ready() {
                return over;
            }
            if std::mem::take(&mut self.rests) {
                streams.rest();
            }
            if !streams.is_marked() {
                return Poll::Pending;
            }
            self.connection.mute();
            round = streams.poll_marked(cx);
        }
        self.overdue = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_observed(&mut self, begin: Begin<'_>, cx: &mut Context<'_>) -> Poll<()> {
        let over = self.poll(begin, cx);
        let written = self.connection.progress();
        self.ledger
            .observe(written.unwritten, written.sent, written.blocked);
        self.ledger.turn_ended(self.open);
        if over.is_pending() && !self.ending && self.ledger.poll_given_up(cx) {
            self.end_for_memory();
            cx.waker().wake_by_ref();
        }
        over
    }

    /// Ends the connection because it holds most of the memory while memory is scarce.
    #[cold]
    fn end_for_memory(&mut self) {
        log::debug!(
            "a connection of HTTP/2 is ended: it holds most: {:?}",
            self.client()
        );
        Process::http2_ended(3);
        self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        self.ending = true;
        self.look_again_in(SHED_GRACE);
    }

    fn client(&self) -> Option<&SocketAddr> {
        self.digest.socket_digest.as_ref()?.peer_addr()
    }

    /// Ready when the connection is over.
    fn poll(&mut self, begin: Begin<'_>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let accepted = accept(&mut self.connection, cx);
            self.note_offence();
            match accepted {
                Poll::Ready(Ok(Some((request, respond)))) => {
                    self.begin_stream(request, respond, begin);
                }
                Poll::Ready(Ok(None)) => return Poll::Ready(()),
                Poll::Ready(Err(error)) => {
                    if !self.ending {
                        Process::http2_ended(4);
                    }
                    log::debug!("a connection of HTTP/2 failed: {error}");
                    return Poll::Ready(());
                }
                Poll::Pending if self.drains_for_shutdown(cx) => {}
                Poll::Pending => match self.poll_timer(cx) {
                    Poll::Ready(Step::Close) => self.drain(DRAINING),
                    Poll::Ready(Step::Abandon) => return Poll::Ready(()),
                    Poll::Ready(Step::Ping) => self.ping(cx),
                    Poll::Ready(Step::Wait) => {}
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    fn begin_stream(
        &mut self,
        request: Incoming,
        mut respond: SendResponse<Bytes>,
        begin: Begin<'_>,
    ) {
        self.accepted += 1;
        Process::http2_stream();
        if memory::level() >= Level::Scarce {
            memory::turn_away(Turned::Stream);
            respond.send_reset(Reason::REFUSED_STREAM);
            return;
        }
        let rules = self.options.request_rules();
        let (digest, ledger) = (self.digest.clone(), Some(self.ledger.clone()));
        let mut session = HttpSession::new(request, respond, digest, &rules, ledger);
        session.set_max_body_size(self.options.max_body_size());
        self.open += 1;
        begin(session);
        let limit = self.options.keepalive_request_limit;
        if limit.is_some_and(|limit| self.accepted >= u64::from(limit)) {
            self.drain(DRAINING);
        }
    }

    /// Logs, once, that the connection ends because its peer caused too much useless work.
    fn note_offence(&mut self) {
        if self.ending {
            return;
        }
        let Some(offence) = self.connection.offence() else {
            return;
        };
        Process::http2_ended(offence as usize);
        log::warn!(
            "a connection of HTTP/2 is ended: {}: {:?}",
            offence.describe(),
            self.client()
        );
        self.ending = true;
        self.look_again_in(CLOSE_GRACE);
    }

    fn drains_for_shutdown(&mut self, cx: &mut Context<'_>) -> bool {
        if self.draining {
            return false;
        }
        let shutdown = &self.shutdown;
        let begun = self.notice.poll(cx, shutdown).is_ready() || is_shutting_down(shutdown);
        if begun {
            let quiet = quiet_time(&self.shutdown);
            self.drain(quiet);
        }
        begun
    }

    /// Tells the client to open no more streams here; active ones continue (RFC 9113 section 6.8).
    fn drain(&mut self, look_again: Duration) {
        if !self.draining {
            self.draining = true;
            self.connection.graceful_shutdown();
            self.look_again_in(look_again);
        }
    }

    /// Sets the timer for the next look at the connection.
    fn look_again(&mut self) {
        let end = self.end.left().filter(|_| !self.draining);
        let look = if self.draining {
            Some(DRAINING)
        } else {
            self.options.h2_idle_timeout
        };
        match look.into_iter().chain(end).min() {
            Some(again) => self.look_again_in(again),
            None => self.timer = None,
        }
    }

    fn look_again_in(&mut self, time: Duration) {
        match &mut self.timer {
            Some(timer) => timer.set(time),
            None => self.timer = Timer::after(time),
        }
    }

    fn ping(&mut self, cx: &mut Context<'_>) {
        if let Some(pings) = &mut self.pings {
            // Consumes the last answer; the received bytes show that there was one.
            let _ = pings.poll_pong(cx);
            let _ = pings.send_ping();
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let Some(timer) = &mut self.timer else {
            return Poll::Pending;
        };
        if timer.poll(cx).is_pending() {
            return Poll::Pending;
        }
        if self.ending {
            return Poll::Ready(Step::Abandon);
        }
        if self.connection.is_closing() {
            // It has its own bound.
            self.timer = None;
            return Poll::Pending;
        }
        if !self.draining && self.end.is_past() {
            return Poll::Ready(Step::Close);
        }
        let seen = Seen {
            open: self.open,
            accepted: self.accepted,
            received: self.connection.received(),
            written: self.ledger.written(),
            blocked: self.ledger.is_blocked(),
            draining: self.draining,
        };
        self.look_again();
        self.rests = self.open == 0;
        Poll::Ready(self.pace.tick(seen))
    }
}

/// A timer that is polled only when the result matters.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    waker: Option<Waker>,
}

impl Timer {
    /// `None` if that is beyond the clock's range.
    fn after(time: Duration) -> Option<Self> {
        Some(Timer {
            sleep: Box::pin(sleep_until(Instant::now().checked_add(time)?)),
            waker: None,
        })
    }

    fn set(&mut self, time: Duration) {
        if let Some(at) = Instant::now().checked_add(time) {
            self.sleep.as_mut().reset(at);
            self.waker = None;
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let known = |waker: &Waker| waker.will_wake(cx.waker());
        if self.waker.as_ref().is_some_and(known) && !self.sleep.is_elapsed() {
            return Poll::Pending;
        }
        self.waker = Some(cx.waker().clone());
        self.sleep.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests;
