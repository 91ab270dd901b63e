//! The queue in front of a channel: tasks that were accepted but have not found room yet.

use super::super::{HttpTask, faults};
use crate::process::memory::Held;
use pingora_error::{BError, Error, ErrorSource, ErrorType};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc::{OwnedPermit, Sender, error::SendError, error::TrySendError};

/// The minimum size that a piece counts, in bytes, because ten thousand pieces of one byte each
/// take memory, too.
const LEAST_PIECE: usize = 128;

type Reserve =
    Pin<Box<dyn Future<Output = Result<OwnedPermit<HttpTask>, SendError<()>>> + Send + Sync>>;
type Closed = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// The tasks that wait for room in one channel.
///
/// Pieces are accepted completely and are sent in order. Nothing is lost when a future that flushes
/// is dropped: the queue belongs to the session.
pub(super) struct TaskQueue {
    channel: Sender<HttpTask>,
    waiting: VecDeque<HttpTask>,
    bytes: usize,
    /// A place in the line for room. Created only if the channel is full.
    reserve: Option<Reserve>,
    /// Created only if the reader is being watched.
    closed: Option<Closed>,
    held: Held,
}

impl fmt::Debug for TaskQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskQueue")
            .field("waiting", &self.waiting.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl TaskQueue {
    pub(super) fn new(channel: Sender<HttpTask>) -> Self {
        TaskQueue {
            channel,
            waiting: VecDeque::new(),
            bytes: 0,
            reserve: None,
            closed: None,
            held: Held::default(),
        }
    }

    /// The number of waiting bytes. An end or a head that waits alone counts as well.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn push(&mut self, task: HttpTask) {
        self.bytes += cost(&task);
        self.waiting.push_back(task);
    }

    /// Drops the waiting tasks.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.bytes = 0;
        self.held.forget();
        self.reserve = None;
    }

    /// Whether the receiver is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.channel.is_closed()
    }

    /// Ready when the receiver is gone.
    pub(super) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let channel = &self.channel;
        let closed = self.closed.get_or_insert_with(|| {
            let channel = channel.clone();
            Box::pin(async move { channel.closed().await })
        });
        ready!(closed.as_mut().poll(cx));
        self.closed = None;
        Poll::Ready(())
    }

    /// Hands over waiting tasks, as far as there is room. Ready when none is waiting. Cancel-safe.
    ///
    /// # Errors
    /// If the receiver is gone. The waiting tasks are lost in that case.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BError>> {
        let flushed = self.poll_hand_over(cx);
        self.held.set(self.bytes);
        if flushed.is_pending() && self.held.poll_given_up(cx) {
            self.clear();
            return Poll::Ready(Err(faults::given_up(ErrorSource::Internal)));
        }
        flushed
    }

    fn poll_hand_over(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BError>> {
        while !self.waiting.is_empty() {
            if self.hand_over() {
                continue;
            }
            if self.is_closed() {
                return Poll::Ready(Err(self.unread()));
            }
            let channel = &self.channel;
            let reserve = self
                .reserve
                .get_or_insert_with(|| Box::pin(channel.clone().reserve_owned()));
            let permit = ready!(reserve.as_mut().poll(cx));
            self.reserve = None;
            match (permit, self.take()) {
                (Ok(permit), Some(task)) => drop(permit.send(task)),
                (Ok(_), None) => {}
                (Err(_), _) => return Poll::Ready(Err(self.unread())),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Hands over the tasks for which there is room at once.
    pub(super) fn flush_now(&mut self) {
        while self.hand_over() {}
    }

    /// Hands over the first piece; `false` if there is none, or no room.
    fn hand_over(&mut self) -> bool {
        if self.reserve.is_some() {
            return false;
        }
        let Some(task) = self.take() else {
            return false;
        };
        match self.channel.try_send(task) {
            Ok(()) => true,
            Err(TrySendError::Full(task) | TrySendError::Closed(task)) => {
                self.bytes += cost(&task);
                self.waiting.push_front(task);
                false
            }
        }
    }

    fn take(&mut self) -> Option<HttpTask> {
        let task = self.waiting.pop_front()?;
        self.bytes -= cost(&task);
        Some(task)
    }

    fn unread(&mut self) -> BError {
        self.clear();
        let context = "the other end of the sub-request takes nothing more";
        Error::explain(ErrorType::WriteError, context)
    }
}

fn cost(task: &HttpTask) -> usize {
    let payload = match task {
        HttpTask::Body(Some(data), _) | HttpTask::UpgradedBody(Some(data), _) => data.len(),
        _ => 0,
    };
    payload.max(LEAST_PIECE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures::FutureExt;
    use std::future::poll_fn;
    use tokio::sync::mpsc::channel;

    fn piece(data: &'static str) -> HttpTask {
        HttpTask::Body(Some(Bytes::from_static(data.as_bytes())), false)
    }

    fn text(task: Option<HttpTask>) -> String {
        match task {
            Some(HttpTask::Body(Some(data), _)) => String::from_utf8(data.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn pieces_leave_whole_and_in_order_as_room_comes() {
        let (sender, mut receiver) = channel(1);
        let mut queue = TaskQueue::new(sender);
        for data in ["a", "b", "c"] {
            queue.push(piece(data));
        }
        assert_eq!(queue.len(), 3 * LEAST_PIECE);
        for left in ["a", "b"] {
            let flushed = poll_fn(|cx| queue.poll_flush(cx)).now_or_never();
            assert!(flushed.is_none(), "the channel is full");
            assert_eq!(text(receiver.recv().await), left);
        }
        poll_fn(|cx| queue.poll_flush(cx)).await.unwrap();
        assert!(queue.is_empty());
        assert_eq!(queue.len(), 0);
        assert_eq!(text(receiver.recv().await), "c");
    }

    #[tokio::test]
    async fn a_flush_that_is_given_up_loses_no_piece() {
        let (sender, mut receiver) = channel(1);
        let mut queue = TaskQueue::new(sender);
        (0..3).for_each(|_| queue.push(piece("x")));
        for _ in 0..5 {
            let _ = poll_fn(|cx| queue.poll_flush(cx)).now_or_never();
        }
        let reading = tokio::spawn(async move {
            let mut pieces = 0;
            while let Some(task) = receiver.recv().await {
                assert_eq!(text(Some(task)), "x");
                pieces += 1;
            }
            pieces
        });
        poll_fn(|cx| queue.poll_flush(cx)).await.unwrap();
        drop(queue);
        assert_eq!(reading.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_reader_that_goes_away_is_noticed_by_those_who_wait() {
        let (sender, receiver) = channel(1);
        let mut queue = TaskQueue::new(sender);
        assert!(poll_fn(|cx| queue.poll_closed(cx)).now_or_never().is_none());
        queue.push(piece("a"));
        queue.push(piece("b"));
        let flushing = poll_fn(|cx| queue.poll_flush(cx)).now_or_never();
        assert!(flushing.is_none());
        drop(receiver);
        let error = poll_fn(|cx| queue.poll_flush(cx)).await.unwrap_err();
        assert_eq!(error.etype(), &ErrorType::WriteError);
        assert!(queue.is_empty() && queue.is_closed());
        poll_fn(|cx| queue.poll_closed(cx)).await;
    }
}
