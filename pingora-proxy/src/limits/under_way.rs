//! So many requests at once.

use crate::Session;
use bytes::Bytes;
use http::header::RETRY_AFTER;
use pingora_core::metrics::Process;
use pingora_error::Result;
use pingora_http::ResponseHeader;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::timeout;

/// How many requests may be under way at once. One more is refused at once, or waits for its turn in a queue
/// that is bounded in length and in time.
///
/// ```
/// # use async_trait::async_trait;
/// # use pingora_core::upstreams::peer::HttpPeer;
/// # use pingora_error::Result;
/// # use pingora_proxy::{ProxyHttp, Session};
/// use pingora_proxy::limits::{RequestLimit, UnderWay};
///
/// struct Gateway {
///     /// `RequestLimit::new(1000).waiting(200, Duration::from_millis(500))`, for instance.
///     limit: RequestLimit,
/// }
///
/// #[async_trait]
/// impl ProxyHttp for Gateway {
///     /// Keeps the request's place until it is over.
///     type CTX = Option<UnderWay>;
/// #   fn new_ctx(&self) -> Self::CTX { None }
///
///     async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
///         *ctx = self.limit.enter(session).await?;
///         Ok(ctx.is_none())
///     }
/// #   async fn upstream_peer(&self, _: &mut Session, _: &mut Self::CTX) -> Result<Box<HttpPeer>> {
/// #       Ok(Box::new(HttpPeer::new("192.0.2.1:80", false, String::new())))
/// #   }
/// }
/// ```
#[derive(Debug)]
pub struct RequestLimit {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    most_waiting: usize,
    patience: Duration,
}

/// A request that is under way, until this is dropped.
#[derive(Debug)]
pub struct UnderWay {
    _place: OwnedSemaphorePermit,
}

/// One that waits.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl RequestLimit {
    /// So many at once; one more is refused.
    pub fn new(most: usize) -> Self {
        RequestLimit {
            places: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            most_waiting: 0,
            patience: Duration::ZERO,
        }
    }

    /// Lets up to this many more requests wait for their turn, in order of arrival, each for at most this long.
    #[must_use]
    pub fn waiting(mut self, most: usize, patience: Duration) -> Self {
        self.most_waiting = most;
        self.patience = patience;
        self
    }

    /// Takes a place, waiting for it if necessary. `None`: there is no room, and the request was answered with
    /// 503 and `Retry-After`.
    ///
    /// # Errors
    /// When the answer can't be written.
    ///
    /// # Cancel safety
    /// A request that stops waiting gives up its turn.
    pub async fn enter(&self, session: &mut Session) -> Result<Option<UnderWay>> {
        if let Some(under_way) = self.place().await {
            return Ok(Some(under_way));
        }
        Process::refused_by_concurrency();
        let mut header = ResponseHeader::build(503, Some(2))?;
        let seconds = self.patience.as_secs().max(1);
        header.insert_header(RETRY_AFTER, seconds)?;
        session
            .write_response(Box::new(header), Bytes::new())
            .await?;
        Ok(None)
    }

    /// [`enter`](Self::enter) without the answer.
    pub async fn place(&self) -> Option<UnderWay> {
        let place = match self.places.clone().try_acquire_owned() {
            Ok(place) => Some(place),
            Err(TryAcquireError::Closed) => None,
            Err(TryAcquireError::NoPermits) => self.wait().await,
        };
        place.map(|_place| UnderWay { _place })
    }

    #[cold]
    async fn wait(&self) -> Option<OwnedSemaphorePermit> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= self.most_waiting {
            return None;
        }
        let begun = Instant::now();
        let place = self.places.clone().acquire_owned();
        let place = timeout(self.patience, place).await;
        Process::queued(begun.elapsed());
        place.ok()?.ok()
    }

    /// How many more requests could begin at this moment.
    pub fn available(&self) -> usize {
        self.places.available_permits()
    }

    /// How many requests wait for their turn.
    pub fn queued(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_is_refused_at_once() {
        let limit = RequestLimit::new(2);
        let two = (limit.place().await, limit.place().await);
        assert!(two.0.is_some() && two.1.is_some());
        assert!(limit.place().now_or_never().unwrap().is_none());
        drop(two);
        assert_eq!(limit.available(), 2);
        assert!(RequestLimit::new(0).place().await.is_none());
        assert!(RequestLimit::new(usize::MAX).place().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_is_bounded_in_length_and_time() {
        let patience = Duration::from_secs(2);
        let limit = RequestLimit::new(1).waiting(2, patience);
        let first = limit.place().await.unwrap();
        let mut second = Box::pin(limit.place());
        let mut third = Box::pin(limit.place());
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        assert!(
            limit.place().now_or_never().unwrap().is_none(),
            "too many wait"
        );
        drop(first);
        let second = second.await.expect("it is the second one's turn");
        let begun = Instant::now();
        assert!(third.await.is_none());
        assert_eq!(begun.elapsed(), patience);
        drop(second);
        assert_eq!(limit.available(), 1);
        assert_eq!(limit.queued(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_gives_up_its_turn() {
        let limit = RequestLimit::new(1).waiting(1, Duration::from_secs(2));
        let first = limit.place().await;
        let mut gone = Box::pin(limit.place());
        assert!(gone.as_mut().now_or_never().is_none());
        drop(gone);
        assert_eq!(limit.queued(), 0);
        drop(first);
        assert!(limit.place().await.is_some());
    }
}
