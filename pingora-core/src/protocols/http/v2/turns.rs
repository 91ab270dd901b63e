//! Combines the frames of many streams in one write.

use std::task::Context;

/// Makes the task of a connection run after those of its streams.
///
/// A stream that has something to write wakes the connection, and a runtime runs the most recently woken
/// task first. Each response would therefore be sent separately, in a write and a TLS record of its own,
/// while other streams that could continue at the same time still wait for their turn. A task that wakes
/// itself goes to the end of the queue instead: when it runs, it finds the output of all of them.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    put_off: bool,
}

impl Turns {
    /// Whether the connection should do nothing this time, because it has been woken again, after all
    /// tasks that can run now. Never twice in a row, and never if only one stream is `open`.
    pub(crate) fn streams_first(&mut self, open: usize, cx: &Context<'_>) -> bool {
        self.put_off = !self.put_off && open > 1;
        if self.put_off {
            cx.waker().wake_by_ref();
        }
        self.put_off
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::{ArcWake, waker};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl ArcWake for Wakes {
        fn wake_by_ref(this: &Arc<Self>) {
            this.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_connection_waits_once_for_its_streams() {
        let wakes = Arc::new(Wakes::default());
        let waker = waker(wakes.clone());
        let cx = Context::from_waker(&waker);
        let mut turns = Turns::default();
        let mut put_off = |open| {
            let put_off = turns.streams_first(open, &cx);
            (put_off, wakes.0.swap(0, Ordering::Relaxed))
        };
        assert_eq!(put_off(0), (false, 0));
        assert_eq!(put_off(1), (false, 0));
        assert_eq!(put_off(2), (true, 1));
        assert_eq!(put_off(2), (false, 0), "its turn");
        assert_eq!(put_off(2), (true, 1));
        assert_eq!(
            put_off(1),
            (false, 0),
            "its turn, whatever became of the streams"
        );
        assert_eq!(put_off(1), (false, 0));
    }
}
