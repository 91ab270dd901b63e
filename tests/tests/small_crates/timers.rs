//! `pingora-timeout`.

use pingora_timeout::fast_timeout::{
    DEFAULT_FAST_TIMEOUT_TO_TOKIO_THRESHOLD, FastOrTokioTimeout, FastTimeout, fast_sleep,
    fast_timeout, fast_timeout_to_tokio_threshold, pause_for_fork,
    set_fast_timeout_to_tokio_threshold, unpause,
};
use pingora_timeout::timer::{TimerManager, TimerStub};
use pingora_timeout::{Elapsed, Timeout, ToTimeout, TokioTimeout, sleep, timeout, tokio_timeout};
use std::future::{Future, Ready, pending, ready};
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(1);

/// A custom timer.
struct Never;

impl ToTimeout for Never {
    fn timeout(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        Box::pin(pending())
    }

    fn create(_: Duration) -> Self {
        Never
    }
}

#[tokio::test]
async fn the_items_of_timeout() {
    let typed: Timeout<Ready<i32>, FastOrTokioTimeout> = timeout(SHORT, ready(1));
    assert_eq!(typed.await, Ok(1));
    let typed: Timeout<Ready<i32>, TokioTimeout> = tokio_timeout(SHORT, ready(1));
    assert_eq!(typed.await.unwrap(), 1);
    let elapsed: Elapsed = fast_timeout(SHORT, pending::<()>()).await.unwrap_err();
    let error: Box<dyn std::error::Error> = Box::new(elapsed);
    assert!(!error.to_string().is_empty());
    sleep(SHORT).await;
    fast_sleep(SHORT).await;
    FastTimeout::create(SHORT).timeout().await;
    FastOrTokioTimeout::create(SHORT).timeout().await;
    TokioTimeout::create(SHORT).timeout().await;
    assert!(
        timeout(SHORT, Never::create(SHORT).timeout())
            .await
            .is_err()
    );

    let timers = TimerManager::new();
    let stub: TimerStub = timers.register_timer(SHORT);
    timers.pause_for_fork();
    timers.unpause();
    stub.poll().await;
    TimerManager::default().register_timer(SHORT).poll().await;
}

#[test]
fn the_items_of_fast_timeout() {
    let _: fn() = pause_for_fork;
    let _: fn() = unpause;
    let default: Duration = DEFAULT_FAST_TIMEOUT_TO_TOKIO_THRESHOLD;
    set_fast_timeout_to_tokio_threshold(Some(default));
    assert_eq!(fast_timeout_to_tokio_threshold(), Some(default));
}
