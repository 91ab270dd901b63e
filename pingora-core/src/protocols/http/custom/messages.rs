//! Messages beside the body, and writers of bodies, of a protocol of one's own: vocabulary that programs share
//! with the crate that implements their protocol. Nothing here calls it.

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use pingora_error::Result;
use std::time::Duration;

/// How many messages a queue between two tasks holds, as a rule: enough to keep both busy, and few enough to
/// hold a fast sender back.
pub const CUSTOM_MESSAGE_QUEUE_SIZE: usize = 128;

/// Where messages beside the body go.
#[async_trait]
pub trait CustomMessageWrite: Send + Sync + Unpin + 'static {
    /// Sets how long a message may take; `None`: without limit.
    fn set_write_timeout(&mut self, timeout: Option<Duration>);

    /// Writes a message. Returns when it was accepted.
    ///
    /// # Errors
    /// If the other end takes no more, or not in time.
    async fn write_custom_message(&mut self, msg: Bytes) -> Result<()>;

    /// Says that there will be no more messages.
    ///
    /// # Errors
    /// If the other end takes no more, or not in time.
    async fn finish_custom(&mut self) -> Result<()>;
}

/// Where the pieces of a body go.
#[async_trait]
pub trait BodyWrite: Send + Sync + Unpin + 'static {
    /// Writes all of `data`, and takes from it what was written.
    ///
    /// # Errors
    /// If the other end takes no more.
    async fn write_all_buf(&mut self, data: &mut Bytes) -> Result<()>;

    /// Says that the body is complete.
    ///
    /// # Errors
    /// If the other end takes no more.
    async fn finish(&mut self) -> Result<()>;

    /// Gives up what is left of the body.
    ///
    /// # Errors
    /// If the other end can't be told.
    async fn cleanup(&mut self) -> Result<()>;

    /// The connection has become a tunnel: what is written from now on is no body any more.
    fn upgrade_body_writer(&mut self);
}

/// Reads messages to their end and drops them, so that their sender is not held back; does nothing without a
/// reader. Holds one message at a time. Cancel-safe.
///
/// # Errors
/// The first error of the reader. Messages after it are not read.
pub async fn drain_custom_messages(
    reader: Option<Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>>,
) -> Result<()> {
    let Some(mut reader) = reader else {
        return Ok(());
    };
    while let Some(message) = reader.next().await {
        message?;
    }
    Ok(())
}

/// Calls a method of the custom session behind a session, and does nothing if there is another kind of session:
/// `custom_session!(session.method(arguments))`, also with `.await` and `?` behind.
///
/// `session` is a variable that holds a [`ServerSession`](crate::protocols::http::ServerSession) or a
/// [`HttpSession`](crate::protocols::http::client::HttpSession) of a client, or whatever else has `as_custom_mut`.
///
/// ```
/// use pingora_core::custom_session;
/// use pingora_core::protocols::http::ServerSession;
///
/// fn forget(session: &mut ServerSession) {
///     custom_session!(session.options_mut());
/// }
/// ```
#[macro_export]
macro_rules! custom_session {
    ($session:ident . $($call:tt)+) => {
        if let Some(custom) = $session.as_custom_mut() {
            let _ = custom.$($call)+;
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use pingora_error::{Error, ErrorType};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn messages_are_drained_to_their_end_or_to_the_first_error() {
        assert!(drain_custom_messages(None).await.is_ok());
        for (fails, expected) in [(false, 4), (true, 2)] {
            let seen = Arc::new(AtomicUsize::new(0));
            let counted = seen.clone();
            let messages = stream::iter(0..4).map(move |number| {
                counted.fetch_add(1, Ordering::Relaxed);
                match number {
                    1 if fails => Err(Error::new(ErrorType::ReadError)),
                    _ => Ok(Bytes::from_static(b"message")),
                }
            });
            let drained = drain_custom_messages(Some(Box::new(messages))).await;
            assert_eq!(drained.is_err(), fails);
            assert_eq!(seen.load(Ordering::Relaxed), expected);
        }
    }

    #[test]
    fn only_a_custom_session_is_called() {
        struct Counter(usize);
        impl Counter {
            fn add(&mut self, number: usize) -> Result<usize> {
                self.0 += number;
                Ok(self.0)
            }
        }
        struct Holder(Option<Counter>);
        impl Holder {
            fn as_custom_mut(&mut self) -> Option<&mut Counter> {
                self.0.as_mut()
            }
        }
        fn call(holder: &mut Holder) -> Result<()> {
            custom_session!(holder.add(2)?);
            custom_session!(holder.add(3));
            Ok(())
        }
        let mut holder = Holder(Some(Counter(0)));
        call(&mut holder).unwrap();
        assert_eq!(holder.0.map(|counter| counter.0), Some(5));
        call(&mut Holder(None)).unwrap();
    }
}
