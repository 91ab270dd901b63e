//! Bootstrapping: taking over from the running server, before anything runs or as a service.
//!
//! ```text
//!   waits for no service        prepare: take over ─ bind ──▶ start all services
//!   as a service that waits     prepare: bind what it waits for ──▶ start that ──▶ until it is ready
//!                                 ──▶ take over ─ bind the rest ──▶ start the rest
//! ```
//!
//! If there is no server to take over from, everything is bound before anything runs, and only the
//! bootstrap itself starts late.

use super::configuration::ServerConf;
use super::hosted::{Hosted, Running, log_end};
use super::phase::{ExecutionPhase, Phases};
use super::signals::{ShutdownSignal, ShutdownSignalWatch};
use super::{ListenFds, privileges};
use crate::process::{Handover, Passed, ReloadHook};
use crate::services::{Dependencies, Service, ServiceReadyWatch};
use futures::future::{BoxFuture, FutureExt};
use futures::stream::StreamExt;
use log::{info, warn};
use pingora_error::{Error, ErrorType, Result};
use std::collections::BTreeSet;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::thread;
use std::time::Instant;
use tokio::sync::oneshot;

/// Represents the bootstrap, so that services can depend on it.
pub(super) struct Bootstrapped;

impl Service for Bootstrapped {
    fn name(&self) -> &str {
        "bootstrap"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

/// A bootstrap that waits for services.
#[derive(Debug)]
pub(super) struct Late {
    /// The bootstrap's own position among the services.
    position: usize,
    /// The positions of the services that it waits for, and of their own dependencies.
    first: BTreeSet<usize>,
    /// Whether there is a server to take over from.
    pub(super) upgrade: bool,
}

impl Late {
    /// `None` if the bootstrap waits for no service.
    pub(super) fn new(position: usize, dependencies: &Dependencies, upgrade: bool) -> Option<Late> {
        let mut first = BTreeSet::new();
        let mut found = dependencies.of(position);
        while let Some(dependency) = found.pop() {
            if first.insert(dependency) {
                found.extend(dependencies.of(dependency));
            }
        }
        (!first.is_empty()).then_some(Late {
            position,
            first,
            upgrade,
        })
    }

    /// Whether this service starts after the bootstrap: in an upgrade, every service that may want
    /// a socket.
    pub(super) fn holds(&self, position: usize) -> bool {
        position == self.position || (self.upgrade && !self.first.contains(&position))
    }

    /// Whether this service's sockets are bound after the bootstrap.
    pub(super) fn binds(&self, position: usize) -> bool {
        self.upgrade && self.holds(position)
    }
}

/// Waits for the sockets of the running server. Blocks.
pub(super) fn take_over(conf: &ServerConf) -> Result<(Vec<Passed>, Handover)> {
    let path = &conf.upgrade_sock;
    let deadline = Instant::now() + conf.handover_timeout();
    let giver = privileges::account(conf)?.map(|user| user.uid);
    let (sockets, handover) = Handover::take(Path::new(path), giver, deadline).map_err(|e| {
        let advice = match e.kind() {
            std::io::ErrorKind::Unsupported => "stop it, and start this one without -u",
            _ => "was SIGQUIT sent to it?",
        };
        let message = format!("can't take over from the running server by {path}: {e}; {advice}");
        Error::explain(ErrorType::InternalError, message).into_in()
    })?;
    info!("took over {} sockets", sockets.len());
    if handover.is_foreign() {
        warn!("the running server is of another kind, and stops even if this one fails");
    }
    Ok((sockets, handover))
}

/// The next signal to stop, while there is nothing to hand over yet.
pub(super) struct Signals<'a> {
    pub(super) watch: &'a dyn ShutdownSignalWatch,
    pub(super) next: BoxFuture<'a, ShutdownSignal>,
    /// A signal that has already come.
    pub(super) early: Option<ShutdownSignal>,
}

impl<'a> Signals<'a> {
    pub(super) fn begin(watch: &'a dyn ShutdownSignalWatch) -> Self {
        let mut next = watch.recv();
        let early = (&mut next).now_or_never();
        Signals { watch, next, early }
    }

    /// How to stop a server that never gets to run.
    pub(super) fn stop(&self) -> ShutdownSignal {
        self.early
            .filter(|early| *early != ShutdownSignal::GracefulUpgrade)
            .unwrap_or(ShutdownSignal::GracefulTerminate)
    }

    /// Records a signal; returns whether it ends the current step. An upgrade has to wait until the
    /// server runs.
    fn ends(&mut self, signal: ShutdownSignal) -> bool {
        self.early = Some(signal);
        if signal == ShutdownSignal::GracefulUpgrade {
            self.next = self.watch.recv();
        }
        signal != ShutdownSignal::GracefulUpgrade
    }

    /// `None` if a signal to stop came first; it is then stored in `early`.
    async fn or_stop<T>(
        &mut self,
        running: &mut Running,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        match self.early {
            None => {}
            Some(ShutdownSignal::GracefulUpgrade) => self.next = self.watch.recv(),
            Some(_) => return None,
        }
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                signal = &mut self.next => if self.ends(signal) { return None },
                Some((name, end)) = running.next() => log_end(&name, end, false),
                done = work.as_mut() => return Some(done),
            }
        }
    }
}

type Services = Vec<Option<Hosted>>;

/// The state of a bootstrap that waits for running services.
pub(super) struct Bootstrap<'a> {
    pub(super) late: Late,
    /// For all services, by their positions.
    pub(super) ready: &'a [ServiceReadyWatch],
    /// Services that have not started yet, by their positions.
    pub(super) services: Services,
    pub(super) fds: ListenFds,
    pub(super) configuration: Arc<ServerConf>,
    pub(super) phases: &'a Phases,
}

/// The result of the bootstrap. All services can be started.
pub(super) struct Done {
    pub(super) services: Services,
    /// For the services whose sockets were bound late.
    pub(super) reload_hooks: Vec<ReloadHook>,
    /// The server whose sockets were taken over.
    pub(super) predecessor: Option<Handover>,
}

impl Bootstrap<'_> {
    /// Bootstraps once the services that it waits for are ready. `None`: a signal to stop came before.
    ///
    /// # Errors
    /// If it can't take over from the running server, or can't bind sockets that the other one did
    /// not have.
    pub(super) async fn run(
        self,
        signals: &mut Signals<'_>,
        running: &mut Running,
    ) -> Result<Option<Done>> {
        let first = self.late.first.iter();
        let first = first.filter_map(|p| self.ready.get(*p).cloned());
        let ready = all_ready(first.collect());
        if signals.or_stop(running, ready).await.is_none() {
            return Ok(None);
        }
        self.phases.enter(ExecutionPhase::Bootstrap);
        let mut done = Done {
            services: self.services,
            reload_hooks: vec![],
            predecessor: None,
        };
        if self.late.upgrade {
            let work = on_a_thread(done.services, self.fds, self.configuration);
            let Some(bound) = signals.or_stop(running, work).await else {
                return Ok(None);
            };
            let (services, handover) = bound?;
            let hooks = services.iter().flatten();
            let hooks = hooks.flat_map(|h| h.service.reload_hooks()).collect();
            done = Done {
                services,
                reload_hooks: hooks,
                predecessor: Some(handover),
            };
        }
        self.phases.enter(ExecutionPhase::BootstrapComplete);
        Ok(Some(done))
    }
}

async fn all_ready(watches: Vec<ServiceReadyWatch>) {
    for mut ready in watches {
        // An error means that the service is gone: there is nothing left to wait for.
        let _ = ready.wait_for(|ready| *ready).await;
    }
}

/// Takes over and binds on a separate thread, because both block. Cancelling leaves that thread running
/// until its deadline; the running server then continues to serve.
async fn on_a_thread(
    mut held: Services,
    fds: ListenFds,
    conf: Arc<ServerConf>,
) -> Result<(Services, Handover)> {
    let (done, result) = oneshot::channel();
    let work = move || {
        let (sockets, handover) = take_over(&conf)?;
        let mut fds = fds.blocking_lock();
        fds.receive(sockets);
        for hosted in held.iter_mut().flatten() {
            hosted.service.prepare(&mut fds)?;
        }
        drop(fds);
        Ok((held, handover))
    };
    let ended = |reason: &str| {
        let message = format!("the bootstrap did not come to its end: {reason}");
        Error::explain(ErrorType::InternalError, message).into_in()
    };
    thread::Builder::new()
        .name("bootstrap".into())
        .spawn(move || drop(done.send(work())))
        .map_err(|e| ended(&e.to_string()))?;
    result.await.unwrap_or_else(|_| Err(ended("it panicked")))
}
