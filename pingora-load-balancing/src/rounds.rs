//! The rhythm of a background service: two parallel loops, one that discovers and one that checks.
//!
//! ```text
//! updates: update ── succeeded, failed, panicked or timed out ──▶ wait: the frequency, or a change that
//!            ▲                                                       discovery tells of ──┐
//!            └────────────────────────────────────────────────────────────────────────────┘
//! checks:  wait for a set ──▶ check all ── ready, once ──▶ wait: the frequency ──▶ check all …
//! shutdown ends both, wherever they are
//! ```
//!
//! Neither waits for the other, except that there has to be something to check. A round of either one ends
//! with its work, with an error, with a panic (which is an error too), or with its timeout, and is followed
//! by the next one.

use crate::discovery::ServiceDiscovery;
use crate::floor::{caught, caught_async, within};
use crate::registry::HealthRegistry;
use async_trait::async_trait;
use futures::future::{BoxFuture, FutureExt, pending};
use pingora_core::server::ShutdownWatch;
use pingora_core::services::ServiceReadyNotifier;
use pingora_error::Result;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

/// The pause before a failed first discovery is retried, unless a frequency is set; and the pause before
/// a discovery whose wait for changes panicked is asked to wait again.
const RETRY_DISCOVERY: Duration = Duration::from_secs(1);
/// The least time between the beginnings of two updates, however often discovery reports changes.
const SHORTEST_UPDATE: Duration = Duration::from_millis(100);
/// The least time between the beginnings of two rounds: a frequency of zero must not keep a thread busy.
const SHORTEST_ROUND: Duration = Duration::from_millis(1);
/// How long an empty set causes no warning: the service that updates the sets may still be starting.
const PATIENCE: Duration = Duration::from_secs(10);

/// The work of a background service in each round.
#[async_trait]
pub(crate) trait Rounds {
    /// How often to update; `None`: until the first success.
    fn updates_every(&self) -> Option<Duration>;
    /// How often to check; `None`: once.
    fn checks_every(&self) -> Option<Duration>;
    /// The source of the set; `None` if others update it.
    fn discovery(&self) -> Option<&(dyn ServiceDiscovery + Send + Sync)>;
    /// The health of the backends.
    fn registry(&self) -> &HealthRegistry;
    /// Whether to run many checks at a time.
    fn checks_in_parallel(&self) -> bool;
    /// Asks discovery for the set of backends; returns whether it changed.
    async fn update(&self) -> Result<bool>;
}

/// Updates and checks at once, reports that it is ready, and continues at its frequencies until
/// `shutdown`, or until there is nothing more to do.
///
/// Frequencies count from the beginning of a round to the beginning of the next. If a round takes longer
/// than that, the next one follows at once, and missed rounds are not made up for.
pub(crate) async fn run_rounds(
    service: &(impl Rounds + Sync),
    shutdown: ShutdownWatch,
    ready: Option<ServiceReadyNotifier>,
) {
    let (tell, told) = watch::channel(UpdateProgress::default());
    tokio::select! {
        biased;
        () = begun(shutdown) => {}
        _ = futures::future::join(updates(service, tell), checks(service, told, ready)) => {}
    }
}

/// Returns when the shutdown begins. A watch whose sender is gone will never report one.
async fn begun(mut shutdown: ShutdownWatch) {
    if shutdown.wait_for(|down| *down).await.is_err() {
        pending::<()>().await;
    }
}

/// The progress that the update loop reports to the check loop.
#[derive(Clone, Copy, Default)]
struct UpdateProgress {
    /// The first update has ended, whether or not it succeeded.
    begun: bool,
    /// An update has succeeded.
    known: bool,
    /// The first successful update brought a different set than was known before.
    news: bool,
}

async fn updates(service: &(impl Rounds + Sync), progress: watch::Sender<UpdateProgress>) {
    let mut push = None;
    loop {
        let begun = Instant::now();
        let (outcome, pushed) = update(service, &mut push).await;
        let pushes = pushed || push.is_some();
        let changed = outcome.as_ref().ok().copied();
        progress.send_modify(|progress| {
            progress.begun = true;
            progress.news |= !progress.known && changed == Some(true);
            progress.known |= changed.is_some();
        });
        let mut every = service.updates_every();
        if let Err(e) = outcome {
            log::error!("discovery failed, the set of backends stays as it was: {e}");
            let soon = |every: Duration| {
                if pushes {
                    every.min(RETRY_DISCOVERY)
                } else {
                    every
                }
            };
            every = Some(every.map_or(RETRY_DISCOVERY, soon));
        }
        let next = next_round(begun, every);
        if next.is_none() && !pushes {
            return;
        }
        if !pushed {
            tokio::select! {
                () = at(next) => continue,
                () = told(&mut push) => {}
            }
        }
        sleep_until(begun + SHORTEST_UPDATE).await;
    }
}

/// Runs one round, and returns whether discovery reported a change in the meantime. Listening starts
/// before discovery is asked, so that no change is lost.
async fn update<'a>(
    service: &'a (impl Rounds + Sync),
    push: &mut Option<BoxFuture<'a, ()>>,
) -> (Result<bool>, bool) {
    let limit = service.discovery().and_then(|discovery| {
        if push.is_none() {
            *push = changed(discovery);
        }
        caught("the time-out of discovery", || discovery.timeout()).unwrap_or_default()
    });
    let round = caught_async("an update", || service.update());
    let mut round = std::pin::pin!(within(limit, "discovery", round));
    let mut pushed = false;
    loop {
        tokio::select! {
            biased;
            () = told(push), if !pushed => pushed = true,
            outcome = &mut round => return (outcome, pushed),
        }
    }
}

/// Returns when discovery reports a change; `None` if it never does.
fn changed(discovery: &(dyn ServiceDiscovery + Send + Sync)) -> Option<BoxFuture<'_, ()>> {
    const WHAT: &str = "a discovery that was to tell of changes";
    let changed = match caught(WHAT, || discovery.changed()) {
        Ok(changed) => changed?.map(Ok).boxed(),
        Err(e) => futures::future::err(e).boxed(),
    };
    Some(Box::pin(async move {
        if let Err(e) = caught_async(WHAT, || changed).await {
            log::error!("{e}");
            tokio::time::sleep(RETRY_DISCOVERY).await;
        }
    }))
}

/// Waits for an event that may come, once; for ever if it never will.
async fn told(push: &mut Option<BoxFuture<'_, ()>>) {
    match push {
        Some(told) => told.await,
        None => pending().await,
    }
    *push = None;
}

async fn checks(
    service: &(impl Rounds + Sync),
    mut progress: watch::Receiver<UpdateProgress>,
    mut ready: Option<ServiceReadyNotifier>,
) {
    let registry = service.registry();
    if registry.target_count() == 0 {
        first_update(&mut progress).await;
    }
    if registry.target_count() == 0 && service.discovery().is_none() {
        // Others update the sets, and they may wait for this service.
        drop(ready.take());
        until_there_are_targets(registry).await;
    }
    let mut news_seen = false;
    loop {
        let begun = Instant::now();
        news_seen |= progress.borrow().news;
        registry.check_all(service.checks_in_parallel(), true).await;
        let next = next_round(begun, service.checks_every());
        if !until(next, &mut progress, news_seen, &mut ready).await {
            return;
        }
    }
}

/// Waits until the next round of checks is due: at `next`, or when the set has become known and has not
/// been checked yet. Reports that the service is ready once the first update has ended and its result has
/// been checked. `false`: there won't be another round.
async fn until(
    next: Option<Instant>,
    progress: &mut watch::Receiver<UpdateProgress>,
    news_seen: bool,
    ready: &mut Option<ServiceReadyNotifier>,
) -> bool {
    let news = async {
        first_update(progress).await;
        if news_seen || !progress.borrow().news {
            drop(ready.take());
        }
        late_news(progress, news_seen).await
    };
    let Some(next) = next else {
        return news.await;
    };
    let or_never = async {
        if !news.await {
            pending::<()>().await;
        }
    };
    // An error means that the time has passed.
    let _ = timeout_at(next, or_never).await;
    true
}

/// Waits until the first update has ended, whether or not it succeeded.
async fn first_update(progress: &mut watch::Receiver<UpdateProgress>) {
    // An error means that no update will follow.
    let _ = progress.wait_for(|progress| progress.begun).await;
}

/// Waits until the set is known; returns whether it is new.
async fn late_news(progress: &mut watch::Receiver<UpdateProgress>, seen: bool) -> bool {
    let known = progress.wait_for(|progress| progress.known).await;
    known.is_ok_and(|progress| progress.news && !seen)
}

async fn until_there_are_targets(registry: &HealthRegistry) {
    let mut there_are = std::pin::pin!(registry.until_there_are_targets());
    if timeout_at(Instant::now() + PATIENCE, &mut there_are)
        .await
        .is_err()
    {
        log::warn!(
            "health checks have found nothing to check for {PATIENCE:?}: no set of backends that shares \
             this registry has any. A set whose discovery has to be asked stays empty until its \
             `update()` is called, or its load balancer runs as a background service"
        );
        there_are.await;
    }
}

/// The beginning of the next round; `None`: never.
fn next_round(begun: Instant, every: Option<Duration>) -> Option<Instant> {
    begun.checked_add(every?.max(SHORTEST_ROUND))
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
