//! The rhythm of a background service: two loops side by side, one that discovers and one that checks.
//!
//! ```text
//! updates: update ── succeeded, failed, panicked or timed out ──▶ wait: the frequency, or a change that
//!            ▲                                                       discovery tells of ──┐
//!            └────────────────────────────────────────────────────────────────────────────┘
//! checks:  wait for a set ──▶ check all ── ready, once ──▶ wait: the frequency ──▶ check all …
//! shutdown ends both, wherever they are
//! ```
//!
//! Neither waits for the other, except that there has to be something to check. A round of either ends:
//! with its work, with an error, with a panic, which is an error too, or with its time-out; and is followed
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

/// How long after a first discovery that failed the next one is, where no frequency says so; and how long
/// a discovery that panicked when it was to tell of changes is not asked for any.
const RETRY_DISCOVERY: Duration = Duration::from_secs(1);
/// The least time between the beginnings of two updates, however often discovery tells of changes.
const SHORTEST_UPDATE: Duration = Duration::from_millis(100);
/// The least time between the beginnings of two rounds: a frequency of zero must not fill a thread.
const SHORTEST_ROUND: Duration = Duration::from_millis(1);
/// How long nothing to check is no reason for a warning: whoever updates the sets may be starting too.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a background service does in each round.
#[async_trait]
pub(crate) trait Rounds {
    /// How often to update; `None`: until it succeeded once.
    fn updates_every(&self) -> Option<Duration>;
    /// How often to check; `None`: once.
    fn checks_every(&self) -> Option<Duration>;
    /// Where the set comes from; `None` if others update it.
    fn discovery(&self) -> Option<&(dyn ServiceDiscovery + Send + Sync)>;
    /// Who is healthy.
    fn registry(&self) -> &HealthRegistry;
    /// Whether many are checked at a time.
    fn checks_in_parallel(&self) -> bool;
    /// Finds out about the set of backends; whether it changed.
    async fn update(&self) -> Result<bool>;
}

/// Updates and checks at once, tells that it is ready, and goes on by the frequencies until
/// `shutdown`, or until there is nothing more to do.
///
/// Frequencies count from the beginning of a round to the beginning of the next; a round that takes
/// longer than that is followed by the next at once, and what was missed is not made up for.
pub(crate) async fn run_rounds(
    service: &(impl Rounds + Sync),
    shutdown: ShutdownWatch,
    ready: Option<ServiceReadyNotifier>,
) {
    let (tell, told) = watch::channel(Progress::default());
    tokio::select! {
        biased;
        () = begun(shutdown) => {}
        _ = futures::future::join(updates(service, tell), checks(service, told, ready)) => {}
    }
}

/// Returns when the shutdown begins. A watch whose sender is gone will never tell of one.
async fn begun(mut shutdown: ShutdownWatch) {
    if shutdown.wait_for(|down| *down).await.is_err() {
        pending::<()>().await;
    }
}

/// What the loop that updates tells the one that checks.
#[derive(Clone, Copy, Default)]
struct Progress {
    /// The first update has ended, however it did.
    begun: bool,
    /// An update has succeeded.
    known: bool,
    /// The first update that succeeded brought another set than was known before.
    news: bool,
}

async fn updates(service: &(impl Rounds + Sync), progress: watch::Sender<Progress>) {
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

/// One round, and whether discovery told of a change meanwhile. That is listened for before discovery is
/// asked, so that no change is lost.
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

/// Returns when discovery tells of a change; `None` if it never does.
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

/// Waits for what may be told, once; for ever if nothing will be.
async fn told(push: &mut Option<BoxFuture<'_, ()>>) {
    match push {
        Some(told) => told.await,
        None => pending().await,
    }
    *push = None;
}

async fn checks(
    service: &(impl Rounds + Sync),
    mut progress: watch::Receiver<Progress>,
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

/// Waits until the next round of checks is due: at `next`, or when the set is known at last and was not
/// checked yet. Tells that the service is ready once the first update has ended and what it found is checked.
/// `false`: there won't be another round.
async fn until(
    next: Option<Instant>,
    progress: &mut watch::Receiver<Progress>,
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
    // An error means that the time has come.
    let _ = timeout_at(next, or_never).await;
    true
}

/// Waits until the first update has ended, however it did.
async fn first_update(progress: &mut watch::Receiver<Progress>) {
    // An error means that there will be no update any more.
    let _ = progress.wait_for(|progress| progress.begun).await;
}

/// Waits until the set is known; whether it is news.
async fn late_news(progress: &mut watch::Receiver<Progress>, seen: bool) -> bool {
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

/// When the next round begins; `None`: never.
fn next_round(begun: Instant, every: Option<Duration>) -> Option<Instant> {
    begun.checked_add(every?.max(SHORTEST_ROUND))
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
