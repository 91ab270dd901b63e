//! Runs futures in any order, and only once they were woken; and an in-memory connection.

use bytes::{Buf, BytesMut};
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

type Task = Pin<Box<dyn Future<Output = ()>>>;

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Used by tasks to spawn others.
#[derive(Clone, Default)]
pub(crate) struct Spawner(Rc<RefCell<Vec<Task>>>);

impl Spawner {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.0.borrow_mut().push(Box::pin(task));
    }
}

#[derive(Default)]
pub(crate) struct Executor {
    pub(crate) spawner: Spawner,
    tasks: Vec<(Task, Arc<Flag>)>,
}

impl Executor {
    /// The indices of all tasks that were woken.
    pub(crate) fn woken(&mut self) -> Vec<usize> {
        for task in self.spawner.0.borrow_mut().drain(..) {
            self.tasks
                .push((task, Arc::new(Flag(AtomicBool::new(true)))));
        }
        let woken = |place: &usize| self.tasks[*place].1.0.load(Ordering::Relaxed);
        (0..self.tasks.len()).filter(woken).collect()
    }

    pub(crate) fn poll(&mut self, place: usize) {
        let (task, flag) = &mut self.tasks[place];
        flag.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(flag.clone());
        if task
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            drop(self.tasks.swap_remove(place));
        }
    }
}

#[derive(Default)]
struct Pipe {
    /// Arrived but not read.
    incoming: BytesMut,
    /// Written but not taken.
    outgoing: Vec<u8>,
    /// The number of bytes that may still be written.
    room: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// A connection whose other end is the test. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Connection(Rc<RefCell<Pipe>>);

impl Connection {
    pub(crate) fn deliver(&self, bytes: &[u8]) {
        let mut pipe = self.0.borrow_mut();
        pipe.incoming.extend_from_slice(bytes);
        if let Some(waker) = pipe.reader.take() {
            waker.wake();
        }
    }

    /// Takes the written bytes, and allows this many more to be written.
    pub(crate) fn take(&self, room: usize) -> Vec<u8> {
        let mut pipe = self.0.borrow_mut();
        pipe.room = room;
        if let Some(waker) = pipe.writer.take() {
            waker.wake();
        }
        std::mem::take(&mut pipe.outgoing)
    }

    pub(crate) fn has_output(&self) -> bool {
        let pipe = self.0.borrow();
        !pipe.outgoing.is_empty() || pipe.writer.is_some()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut pipe = self.0.borrow_mut();
        if pipe.incoming.is_empty() {
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let length = pipe.incoming.len().min(buffer.remaining());
        buffer.put_slice(&pipe.incoming[..length]);
        pipe.incoming.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.0.borrow_mut();
        let length = bytes.len().min(pipe.room);
        if length == 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        pipe.room -= length;
        pipe.outgoing.extend_from_slice(&bytes[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
