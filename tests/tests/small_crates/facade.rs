//! The modules and the prelude of `pingora`.

use pingora::prelude::*;
use std::future::pending;
use std::time::Duration;

#[tokio::test]
async fn the_prelude_has_the_timers() {
    const SHORT: Duration = Duration::from_millis(1);
    sleep(SHORT).await;
    let elapsed: Elapsed = timeout(SHORT, pending::<()>()).await.unwrap_err();
    assert_eq!(tokio_timeout(SHORT, pending::<()>()).await, Err(elapsed));
    fast_timeout::fast_sleep(SHORT).await;
    timer::TimerManager::new()
        .register_timer(SHORT)
        .poll()
        .await;
}

#[test]
fn the_modules_are_the_crates() {
    let _: fn(Duration) -> _ = pingora::time::sleep;
    let _: Option<pingora::time::Elapsed> = None::<pingora_timeout::Elapsed>;
    let _: Option<pingora::cache::CacheKey> = None;
    let _: Option<pingora::cache::RespCacheable> = None;
    let _: Option<pingora::http::RequestHeader> = None::<RequestHeader>;
    let _: Option<pingora::proxy::Session> = None::<Session>;
    let _: Option<pingora::lb::Backend> = None;
    let _: Option<pingora::upstreams::peer::HttpPeer> = None::<HttpPeer>;
    let _: Result<(), BError> =
        Error::e_explain(InternalError, "as from the root").or_err(ConnectTimedout, "");
}
