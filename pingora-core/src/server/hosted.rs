//! The services of a server, before they run and while they do.

use crate::metrics::{Panicked, Process};
use crate::services::{ServiceReadyNotifier, ServiceReadyWatch, ServiceWithDependents};
use futures::stream::FuturesUnordered;
use log::{error, info};
use std::any::Any;
use tokio::sync::watch;
use tokio::task::JoinError;

/// A service before it runs.
pub(super) struct Hosted {
    pub(super) service: Box<dyn ServiceWithDependents>,
    pub(super) notifier: ServiceReadyNotifier,
    pub(super) ready: ServiceReadyWatch,
}

impl Hosted {
    pub(super) fn new(service: Box<dyn ServiceWithDependents>) -> Self {
        let (sender, ready) = watch::channel(false);
        Hosted {
            service,
            notifier: ServiceReadyNotifier::new(sender),
            ready,
        }
    }
}

/// The running services: yields the name of each that has ended, and how it ended.
pub(super) type Running =
    FuturesUnordered<futures::future::BoxFuture<'static, (String, Result<(), JoinError>)>>;

/// Logs how a service has ended.
pub(super) fn log_end(name: &str, end: Result<(), JoinError>, expected: bool) {
    match end {
        Ok(()) if expected => info!("{name}: stopped"),
        Ok(()) => info!("{name}: has nothing left to do"),
        Err(e) if e.is_panic() => {
            Process::panicked(Panicked::Service);
            let panic = e.into_panic();
            error!("{name}: the service panicked: {}", message(&*panic));
        }
        Err(e) => error!("{name}: the service was ended: {e}"),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
