use super::*;
use crate::fast_timeout::{
    DEFAULT_FAST_TIMEOUT_TO_TOKIO_THRESHOLD, FastTimeout, fast_timeout_to_tokio_threshold,
    set_fast_timeout_to_tokio_threshold,
};
use crate::timer::TimerManager;
use std::future::{pending, ready};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn what_is_ready_needs_no_timer() {
    let mut both = Box::pin(timeout(SECOND, ready(7)));
    assert_eq!(both.as_mut().await, Ok(7));
    assert!(both.passed.is_none());
    assert_eq!(timeout(Duration::ZERO, ready(7)).await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn the_time_begins_with_the_call() {
    let start = Instant::now();
    let waiting = (
        timeout(SECOND, pending::<()>()),
        tokio_timeout(SECOND, pending::<()>()),
    );
    tokio::time::advance(SECOND / 2).await;
    assert_eq!(waiting.0.await, Err(Elapsed));
    assert_eq!(start.elapsed(), SECOND);
    assert_eq!(waiting.1.await, Err(Elapsed));
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_future_that_moves_on_is_not_given_more_time() {
    let start = Instant::now();
    let slow = async {
        for _ in 0..10 {
            sleep(SECOND / 4).await;
        }
    };
    assert_eq!(timeout(SECOND, slow).await, Err(Elapsed));
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_time_without_end_is_no_deadline() {
    let slow = async {
        sleep(1_000_000 * SECOND).await;
        7
    };
    assert_eq!(timeout(Duration::MAX, slow).await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn a_timer_runs_before_anybody_waits_for_it() {
    let timers = TimerManager::new();
    let start = Instant::now();
    timers.pause_for_fork();
    let timer = timers.register_timer(SECOND);
    timers.unpause();
    tokio::time::advance(2 * SECOND).await;
    timer.poll().await;
    assert!(start.elapsed() < 3 * SECOND);
    FastTimeout::create(SECOND).timeout().await;
    assert!(start.elapsed() >= 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_moves_between_threads_and_tells_why_it_ended() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let error = is_send(timeout(SECOND, pending::<()>())).await.unwrap_err();
    assert_eq!(error.to_string(), "the time is over");
}

#[test]
fn the_threshold_is_remembered() {
    let default = Some(DEFAULT_FAST_TIMEOUT_TO_TOKIO_THRESHOLD);
    assert_eq!(fast_timeout_to_tokio_threshold(), default);
    set_fast_timeout_to_tokio_threshold(None);
    assert_eq!(fast_timeout_to_tokio_threshold(), None);
    set_fast_timeout_to_tokio_threshold(default);
}
