//! The rhythm of a background service: discover, check, and again.

use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::ServiceReadyNotifier;
use pingora_error::Result;
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long after a first discovery that failed the next one is, where no frequency says so.
const RETRY_DISCOVERY: Duration = Duration::from_secs(1);

/// What a background service does in each round.
#[async_trait]
pub(crate) trait Rounds {
    /// How often to update; `None`: until it succeeded once.
    fn updates_every(&self) -> Option<Duration>;
    /// How often to check; `None`: once.
    fn checks_every(&self) -> Option<Duration>;
    /// Finds out about the set of backends.
    async fn update(&self) -> Result<()>;
    /// Finds out who is healthy.
    async fn check(&self);
}

/// Updates and checks at once, tells that it is ready, and goes on by the frequencies until
/// `shutdown`, or until there is nothing more to do.
///
/// Frequencies count from the beginning of a round to the beginning of the next; a round that takes
/// longer than that is followed by the next at once, and what was missed is not made up for.
pub(crate) async fn run_rounds(
    service: &(impl Rounds + Sync),
    mut shutdown: ShutdownWatch,
    mut ready: Option<ServiceReadyNotifier>,
) {
    let now = Instant::now();
    let (mut next_update, mut next_check) = (Some(now), Some(now));
    let mut known = false;
    while !*shutdown.borrow() {
        let now = Instant::now();
        if next_update.is_some_and(|at| at <= now) {
            let Some(updated) = unless_shutdown(&mut shutdown, service.update()).await else {
                return;
            };
            let mut frequency = service.updates_every();
            match updated {
                Err(e) => {
                    log::error!("the set of backends stays as it was: {e}");
                    frequency = frequency.or(Some(RETRY_DISCOVERY));
                }
                // There may have been nothing to check before.
                Ok(()) if !known => {
                    known = true;
                    next_check = Some(now);
                }
                Ok(()) => {}
            }
            next_update = frequency.map(|f| now + f);
        }
        if next_check.is_some_and(|at| at <= now) {
            if unless_shutdown(&mut shutdown, service.check())
                .await
                .is_none()
            {
                return;
            }
            next_check = service.checks_every().map(|f| now + f);
        }
        if let Some(ready) = ready.take() {
            ready.notify_ready();
        }
        let Some(next) = next_update.into_iter().chain(next_check).min() else {
            return;
        };
        if unless_shutdown(&mut shutdown, sleep_until(next))
            .await
            .is_none()
        {
            return;
        }
    }
}

/// `None` if the shutdown came first. A watch whose sender is gone will never tell of one.
async fn unless_shutdown<T>(
    shutdown: &mut ShutdownWatch,
    work: impl Future<Output = T>,
) -> Option<T> {
    let told = async {
        if shutdown.wait_for(|down| *down).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        () = told => None,
        done = work => Some(done),
    }
}
