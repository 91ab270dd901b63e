//! Moves the bytes of a connection.

use super::failure::Failure;
use super::shared::{Shared, now};
use crate::machine::Cause;
use bytes::BytesMut;
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Bytes per read.
const READ: usize = 32 * 1024;
/// Bytes produced before they are written, or at most one frame more.
const WRITE: usize = 64 * 1024;
/// Rounds of reading and writing after which other tasks get their turn.
const ROUNDS: usize = 16;

thread_local! {
    /// The buffer for reads, so that an idle connection holds none.
    static INPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// The buffer for output.
    static OUTPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// How long to keep reading from a peer after GOAWAY. Otherwise data that it sends meanwhile would
/// be answered by a TCP reset, which would destroy what the peer has not read yet.
#[derive(Debug, Clone, Copy)]
pub struct Goodbye {
    /// The maximum time.
    pub time: Duration,
    /// End earlier if nothing arrives for this long.
    pub silence: Duration,
}

/// The stages of the end of a connection.
///
/// ```text
///   Running ──the machine is over, all is written──▶ Closing ──shut down──▶ Lingering ──▶ Closed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    Closing,
    /// Until then, received data is dropped.
    Lingering(Instant),
    Closed,
}

/// Moves the bytes of a connection between its transport and its machine.
#[derive(Debug)]
pub(super) struct Driver<T> {
    io: T,
    pub(super) shared: Arc<Shared>,
    /// An incomplete frame.
    input: BytesMut,
    /// Bytes that the transport has not accepted.
    output: Vec<u8>,
    written: usize,
    unflushed: bool,
    stage: Stage,
    pub(super) goodbye: Option<Goodbye>,
    timer: Option<Pin<Box<Sleep>>>,
    wakers: Vec<Waker>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    pub(super) fn new(io: T, shared: Arc<Shared>) -> Self {
        Driver {
            io,
            shared,
            input: BytesMut::new(),
            output: Vec::new(),
            written: 0,
            unflushed: false,
            stage: Stage::Running,
            goodbye: None,
            timer: None,
            wakers: Vec::new(),
        }
    }

    /// Reads and writes until no progress is possible. Ready when the connection is over and
    /// closed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.lock().register(cx);
        for _ in 0..ROUNDS {
            match self.stage {
                Stage::Running => {}
                Stage::Closing => std::task::ready!(self.poll_close(cx)),
                Stage::Lingering(end) => return self.poll_linger(end, cx),
                Stage::Closed => return Poll::Ready(()),
            }
            if self.stage != Stage::Running {
                continue;
            }
            let wrote = self.poll_output(cx);
            let read = self.poll_input(cx);
            self.notify();
            if self.is_done() {
                self.stage = Stage::Closing;
                continue;
            }
            let nothing_to_write = wrote.is_pending() || !self.shared.lock().machine.wants_output();
            if read.is_pending() && nothing_to_write {
                return self.poll_timer(cx);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_done(&self) -> bool {
        self.output.is_empty() && !self.unflushed && self.shared.lock().machine.is_over()
    }

    /// Wakes all waiters whose streams have news.
    fn notify(&mut self) {
        let mut state = self.shared.lock();
        state.take_woken(&mut self.wakers);
        if state.pong.is_some() && (state.machine.has_pong() || state.machine.is_over()) {
            self.wakers.extend(state.pong.take());
        }
        drop(state);
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
        if self.wakers.capacity() > 16 {
            self.wakers = Vec::new();
        }
    }

    fn lost(&mut self, error: &io::Error) {
        self.shared.lock().machine.handle_io_error(error);
        self.output = Vec::new();
        self.unflushed = false;
        self.stage = Stage::Closed;
        self.notify();
    }

    /// Writes the pending output. Ready when all of it was accepted.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.poll_write(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(()),
            Poll::Ready(Err(error)) => {
                self.lost(&error);
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.output.is_empty() {
            let output = std::mem::take(&mut self.output);
            let (written, result) = self.write_from(&output, self.written, cx);
            if result.is_pending() {
                self.output = output;
                self.written = written;
                return Poll::Pending;
            }
            self.written = 0;
            std::task::ready!(result)?;
        }
        let result = OUTPUT.with(|scratch| match scratch.try_borrow_mut() {
            Ok(mut scratch) => self.make_output(&mut scratch, cx),
            // The transport is one of ours, and writes reentrantly.
            Err(_) => self.make_output(&mut Vec::new(), cx),
        });
        std::task::ready!(result)?;
        if self.unflushed {
            std::task::ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn make_output(&mut self, scratch: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        scratch.clear();
        let mut state = self.shared.lock();
        if state.machine.wants_output() {
            state.machine.poll_output(scratch, WRITE, &now);
        }
        drop(state);
        if scratch.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let (written, result) = self.write_from(scratch, 0, cx);
        if result.is_pending() {
            self.output = scratch.get(written..).unwrap_or_default().to_vec();
        }
        result
    }

    /// Writes the bytes after `from`. Returns the new position.
    fn write_from(
        &mut self,
        bytes: &[u8],
        mut from: usize,
        cx: &mut Context<'_>,
    ) -> (usize, Poll<io::Result<()>>) {
        self.unflushed = true;
        loop {
            let rest = bytes.get(from..).unwrap_or_default();
            if rest.is_empty() {
                return (from, Poll::Ready(Ok(())));
            }
            match Pin::new(&mut self.io).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => {
                    let error = io::Error::from(io::ErrorKind::WriteZero);
                    return (from, Poll::Ready(Err(error)));
                }
                Poll::Ready(Ok(n)) => from += n,
                Poll::Ready(Err(error)) => return (from, Poll::Ready(Err(error))),
                Poll::Pending => return (from, Poll::Pending),
            }
        }
    }

    /// Reads once. Pending if nothing arrived, or nothing is to be read.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.stage != Stage::Running || !self.shared.lock().machine.wants_input() {
            return Poll::Pending;
        }
        let read = INPUT.with(|scratch| match scratch.try_borrow_mut() {
            Ok(mut scratch) => self.poll_read(&mut scratch, cx),
            Err(_) => self.poll_read(&mut Vec::new(), cx),
        });
        match read {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => Poll::Ready(()),
            Poll::Ready(Err(error)) => {
                self.lost(&error);
                Poll::Ready(())
            }
        }
    }

    fn poll_read(&mut self, scratch: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if scratch.is_empty() {
            scratch.resize(READ, 0);
        }
        let mut read = ReadBuf::new(scratch);
        std::task::ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
        let new = read.filled();
        let mut state = self.shared.lock();
        if new.is_empty() {
            state.machine.handle_eof();
            return Poll::Ready(Ok(()));
        }
        state.received += new.len() as u64;
        self.input.extend_from_slice(new);
        state.machine.handle_input(&mut self.input, &now);
        drop(state);
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Closes our sending direction.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The result is ignored: there is no one left to report it to.
        let closed = std::task::ready!(Pin::new(&mut self.io).poll_shutdown(cx));
        let offends = self.shared.lock().machine.offence().is_some();
        self.stage = match self.goodbye.filter(|_| closed.is_ok() && !offends) {
            Some(goodbye) => {
                self.timer = None;
                let now = Instant::now();
                Stage::Lingering(now.checked_add(goodbye.time).unwrap_or(now))
            }
            None => Stage::Closed,
        };
        Poll::Ready(())
    }

    /// Drops data that the peer is still sending, until it closes its own direction or its time is
    /// up.
    fn poll_linger(&mut self, end: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let silence = self
            .goodbye
            .map_or(Duration::ZERO, |goodbye| goodbye.silence);
        let mut rounds = 0;
        loop {
            match self.poll_discard(cx) {
                Poll::Ready(true) => self.timer = None,
                Poll::Ready(false) => break,
                Poll::Pending => {
                    let quiet = (Instant::now() + silence).min(end);
                    let timer = self
                        .timer
                        .get_or_insert_with(|| Box::pin(sleep_until(quiet)));
                    std::task::ready!(timer.as_mut().poll(cx));
                    break;
                }
            }
            rounds += 1;
            if Instant::now() >= end {
                break;
            }
            if rounds == ROUNDS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        self.stage = Stage::Closed;
        Poll::Ready(())
    }

    /// Reads and drops some data; `false`: nothing more will come.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut scratch = [0; 2048];
        let mut read = ReadBuf::new(&mut scratch);
        let result = std::task::ready!(Pin::new(&mut self.io).poll_read(cx, &mut read));
        Poll::Ready(result.is_ok() && !read.filled().is_empty())
    }

    /// Bytes that the transport has not accepted yet.
    pub(super) fn unwritten(&self) -> usize {
        self.output.len().saturating_sub(self.written)
    }

    /// Whether all of our output has been produced.
    pub(super) fn is_closing(&self) -> bool {
        self.stage != Stage::Running
    }

    /// Waits for the machine's deadline, if it has one.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let deadline = self.shared.lock().machine.poll_timeout();
            let Some(deadline) = deadline.map(Instant::from_std) else {
                self.timer = None;
                return Poll::Pending;
            };
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.shared.lock().machine.handle_timeout(now());
            cx.waker().wake_by_ref();
        }
    }

    /// Processes bytes that were read by the caller beforehand.
    pub(super) fn take_ahead(&mut self, ahead: &[u8]) {
        if ahead.is_empty() {
            return;
        }
        self.input.extend_from_slice(ahead);
        let mut state = self.shared.lock();
        state.received += ahead.len() as u64;
        state.machine.handle_input(&mut self.input, &now);
    }

    /// The reason why the connection ended.
    pub(super) fn failure(&self) -> Failure {
        match self.shared.lock().machine.cause() {
            Some(cause) => Failure::of(cause),
            None => Failure::of(&Cause::Io(io::ErrorKind::UnexpectedEof, None)),
        }
    }

    /// Whether everything was written and the preface has arrived, so that the connection speaks
    /// HTTP/2.
    pub(super) fn has_begun(&self) -> bool {
        self.shared.lock().machine.has_begun()
    }
}

/// No bytes will be moved any more: wakes everyone who waits for some.
impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.machine.handle_eof();
        state.take_woken(&mut self.wakers);
        self.wakers.extend(state.pong.take());
        drop(state);
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
    }
}
