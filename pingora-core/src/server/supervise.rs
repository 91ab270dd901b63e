//! The running server: starts the services, waits for the signal, shuts everything down.

use super::bootstrap::{Bootstrap, Late, Signals};
use super::configuration::ServerConf;
use super::daemon::Background;
use super::hosted::{Hosted, Running, log_end};
use super::notify::ServiceManager;
use super::phase::{ExecutionPhase, Phases};
use super::reload::{Reloader, Requests, Source};
use super::report;
use super::signals::{ShutdownSignal, ShutdownSignalWatch, SignalHook};
use super::{ListenFds, RunArgs};
use crate::metrics::Process;
use crate::process::drain::QuietTime;
use crate::process::{Handover, ReloadHook, leave_signals_alone};
use crate::runtime::Runtime;
use crate::services::{Dependencies, ServiceReadyWatch, remind};
use futures::stream::StreamExt;
use log::{info, warn};
use pingora_error::{BError, Error, ErrorType, Result};
use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// The time that a fast shutdown waits for destructors.
const FAST: Duration = Duration::from_millis(500);

/// How the wait for the services ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ShutdownEnd {
    /// All have ended.
    Drained,
    /// The grace period is over.
    TimeUp,
    /// A signal said to stop at once.
    Hurried,
}

/// The time after it became ready during which a service may still take a datagram socket: a service that
/// takes it at its start counts as ready before that.
const LATE: Duration = Duration::from_secs(10);

/// A server whose sockets are bound.
pub(super) struct Supervisor {
    pub(super) configuration: Arc<ServerConf>,
    /// By their positions; services that were started are taken out.
    pub(super) services: Vec<Option<Hosted>>,
    pub(super) late: Option<Late>,
    pub(super) dependencies: Arc<Dependencies>,
    pub(super) listen_fds: ListenFds,
    pub(super) readiness: Readiness,
    pub(super) phases: Phases,
    pub(super) source: Option<Source>,
    pub(super) reload_hooks: Vec<ReloadHook>,
    pub(super) reload_requests: Requests,
    pub(super) signal_hooks: Vec<SignalHook>,
    pub(super) manager: Arc<ServiceManager>,
    pub(super) background: Option<Arc<Background>>,
}

impl Supervisor {
    /// Runs the services until the signal comes and active work is done.
    ///
    /// # Errors
    /// If the runtimes can't be created; no service has started in that case. If a late bootstrap fails;
    /// the services that it waited for have ended by then.
    pub(super) async fn run(mut self, args: RunArgs) -> Result<()> {
        let runtimes = self.runtimes()?;
        let watcher: Arc<dyn ShutdownSignalWatch> = Arc::from(args.shutdown_signal);
        let (shutdown, watch) = watch::channel(false);
        let mut running = Running::new();
        // Polled once before anything runs: from here on no signal is lost.
        let mut signals = Signals::begin(&*watcher);
        let bootstrapped = match self.late.take() {
            Some(late) => {
                self.start(&mut running, &runtimes, &watch, |p| !late.holds(p));
                self.bootstrap(late, &mut signals, &mut running).await
            }
            None => Ok(true),
        };
        let _attendants = self.attendants(&watcher).await?;
        if !watcher.listens_to_signals() {
            leave_signals_alone();
        }
        let signal = match bootstrapped {
            Ok(true) => {
                self.start(&mut running, &runtimes, &watch, |_| true);
                self.phases.enter(ExecutionPhase::Running);
                let signal = match signals.early {
                    Some(signal) => signal,
                    None => self.attend(&mut running, signals.next).await,
                };
                self.upgraded(signal, &mut running, &*watcher).await
            }
            Ok(false) | Err(_) => signals.stop(),
        };
        drop(watch);
        self.end(signal, running, &*watcher, shutdown, runtimes)
            .await;
        bootstrapped.map(drop)
    }

    /// Bootstraps, if that waited for services. `false`: a signal to stop came before.
    async fn bootstrap(
        &mut self,
        late: Late,
        signals: &mut Signals<'_>,
        running: &mut Running,
    ) -> Result<bool> {
        let bootstrap = Bootstrap {
            late,
            ready: &self.readiness.services,
            services: std::mem::take(&mut self.services),
            fds: self.listen_fds.clone(),
            configuration: self.configuration.clone(),
            phases: &self.phases,
        };
        let Some(done) = bootstrap.run(signals, running).await? else {
            return Ok(false);
        };
        self.services = done.services;
        self.reload_hooks.extend(done.reload_hooks);
        self.readiness.predecessor = done.predecessor;
        Ok(true)
    }

    /// Shuts everything down.
    async fn end(
        &self,
        signal: ShutdownSignal,
        mut running: Running,
        signals: &dyn ShutdownSignalWatch,
        shutdown: watch::Sender<bool>,
        runtimes: Vec<Runtime>,
    ) {
        if signal == ShutdownSignal::GracefulTerminate {
            self.phases.enter(ExecutionPhase::GracefulTerminate);
        }
        self.phases.enter(ExecutionPhase::ShutdownStarted);
        if signal != ShutdownSignal::GracefulUpgrade {
            self.manager.stopping();
        }
        let _quiet = (signal == ShutdownSignal::GracefulUpgrade).then(|| {
            let time = self.configuration.upgrade_quiet_time();
            QuietTime::set(shutdown.subscribe(), time)
        });
        shutdown.send_replace(true);
        let outcome = match signal {
            ShutdownSignal::FastShutdown => ShutdownEnd::Hurried,
            _ => self.grace_period(&mut running, signals).await,
        };
        self.phases.enter(ExecutionPhase::ShutdownRuntimes);
        let limit = match outcome {
            ShutdownEnd::Hurried => FAST,
            ShutdownEnd::Drained | ShutdownEnd::TimeUp => self.configuration.shutdown_timeout(),
        };
        stop(runtimes, limit).await;
        match outcome {
            ShutdownEnd::Drained => info!("the server has stopped; all work was done"),
            ShutdownEnd::TimeUp | ShutdownEnd::Hurried => info!("the server has stopped"),
        }
        self.phases.enter(ExecutionPhase::Terminated);
    }

    /// Starts the tasks that handle reloads and the user's signals, for the lifetime of the returned
    /// value.
    async fn attendants(&mut self, signals: &Arc<dyn ShutdownSignalWatch>) -> Result<JoinSet<()>> {
        let mut attendants = JoinSet::new();
        let mut hooks = std::mem::take(&mut self.signal_hooks);
        if signals.listens_to_signals() {
            hooks.extend(SignalHook::against_the_default(&hooks));
        }
        for hook in hooks {
            attendants.spawn(hook.listen()?);
        }
        let (_, nobody) = mpsc::unbounded_channel();
        let reloader = Reloader {
            hooks: std::mem::take(&mut self.reload_hooks),
            source: self.source.take(),
            configuration: self.configuration.clone(),
            requests: std::mem::replace(&mut self.reload_requests, nobody),
            signals: signals.clone(),
            manager: self.manager.clone(),
            background: self.background.clone(),
        };
        let mut reloader = Box::pin(reloader.run());
        // From here on no signal is lost.
        let _ = futures::poll!(reloader.as_mut());
        attendants.spawn(reloader);
        Ok(attendants)
    }

    fn runtimes(&self) -> Result<Vec<Runtime>> {
        let global = self.configuration.runtime_opts();
        let of = |hosted: &Hosted| {
            let name = hosted.service.name();
            let threads = hosted.service.threads();
            let threads = threads.unwrap_or(self.configuration.threads);
            let own = hosted.service.runtime_opts_override(&global);
            Runtime::new(name, threads, own.as_ref().unwrap_or(&global))
                .map_err(|e| no_runtime(name, &e))
        };
        self.services.iter().flatten().map(of).collect()
    }

    /// Starts the services at these positions, unless they were started before.
    fn start(
        &mut self,
        running: &mut Running,
        runtimes: &[Runtime],
        shutdown: &watch::Receiver<bool>,
        which: impl Fn(usize) -> bool,
    ) {
        let ready = &self.readiness.services;
        let all = self.services.iter_mut().zip(runtimes).enumerate();
        for (position, (slot, runtime)) in all.filter(|(position, _)| which(*position)) {
            let Some(hosted) = slot.take() else { continue };
            let waits_for = self.dependencies.of(position);
            let waits_for = waits_for.iter().filter_map(|p| ready.get(*p).cloned());
            let name = hosted.service.name().to_string();
            let task = host(
                hosted,
                waits_for.collect(),
                Some(self.listen_fds.clone()),
                shutdown.clone(),
                self.configuration.listener_tasks_per_fd,
            );
            let task: JoinHandle<()> = runtime.handle().spawn(task);
            running.push(Box::pin(async move { (name, task.await) }));
        }
    }

    /// Waits for the signal; meanwhile logs which services end, and notifies all waiters when all
    /// services are ready.
    async fn attend(
        &mut self,
        running: &mut Running,
        mut signal: impl Future<Output = ShutdownSignal> + Unpin,
    ) -> ShutdownSignal {
        let readiness = &mut self.readiness;
        let mut accepting = pin!(async move {
            readiness.when_ready().await;
            pending::<()>().await;
        });
        loop {
            tokio::select! {
                biased;
                signal = &mut signal => return signal,
                Some((name, end)) = running.next() => log_end(&name, end, false),
                () = accepting.as_mut() => {}
            }
        }
    }

    /// Hands over to the next server if the signal says so. If that fails, continues to serve until
    /// the next signal; returns how to stop.
    async fn upgraded(
        &mut self,
        mut signal: ShutdownSignal,
        running: &mut Running,
        signals: &dyn ShutdownSignalWatch,
    ) -> ShutdownSignal {
        while signal == ShutdownSignal::GracefulUpgrade {
            self.phases
                .enter(ExecutionPhase::GracefulUpgradeTransferringFds);
            let mut next_signal = signals.recv();
            let mut handover = pin!(hand_over(
                self.configuration.clone(),
                self.listen_fds.clone()
            ));
            let failed = loop {
                tokio::select! {
                    biased;
                    result = handover.as_mut() => match result {
                        Ok(()) => break None,
                        Err(e) => break Some(e),
                    },
                    // Requested twice: the upgrade in progress continues.
                    again = &mut next_signal => match again {
                        ShutdownSignal::GracefulUpgrade => next_signal = signals.recv(),
                        stop => return stop,
                    },
                    Some((name, end)) = running.next() => log_end(&name, end, false),
                }
            };
            Process::handed_over(failed.is_none());
            let Some(failure) = failed else {
                self.phases
                    .enter(ExecutionPhase::GracefulUpgradeCloseTimeout);
                return signal;
            };
            let failure = format!("can't hand over to the next server: {failure}; serving on");
            report::problem(&failure);
            self.phases.enter(ExecutionPhase::Running);
            signal = self.attend(running, next_signal).await;
        }
        signal
    }

    /// Waits until all services have ended, at most until the time is up or a signal says to stop
    /// at once.
    async fn grace_period(
        &self,
        running: &mut Running,
        signals: &dyn ShutdownSignalWatch,
    ) -> ShutdownEnd {
        self.phases.enter(ExecutionPhase::ShutdownGracePeriod);
        let limit = self.configuration.grace_period();
        let done = async {
            while let Some((name, end)) = running.next().await {
                log_end(&name, end, true);
            }
        };
        tokio::select! {
            biased;
            () = done => ShutdownEnd::Drained,
            () = told_to_hurry(signals) => ShutdownEnd::Hurried,
            () = tokio::time::sleep(limit) => {
                warn!("work is still under way after the grace period of {limit:?}");
                ShutdownEnd::TimeUp
            }
        }
    }
}

/// The task of one service: waits for its dependencies, then runs it.
async fn host(
    mut hosted: Hosted,
    waits_for: Vec<ServiceReadyWatch>,
    fds: Option<ListenFds>,
    mut shutdown: watch::Receiver<bool>,
    listeners_per_fd: usize,
) {
    if !waits_for.is_empty() {
        let begin = Instant::now();
        for mut ready in waits_for {
            tokio::select! {
                // An error means that the service is gone: there is nothing left to wait for.
                _ = ready.wait_for(|ready| *ready) => {}
                _ = shutdown.wait_for(|begun| *begun) => return,
            }
        }
        hosted.service.on_startup_delay(begin.elapsed());
    }
    hosted
        .service
        .start_service(fds, shutdown, listeners_per_fd, hosted.notifier)
        .await;
}

/// Runs once, when all services are ready.
pub(super) struct Readiness {
    pub(super) services: Vec<ServiceReadyWatch>,
    pub(super) predecessor: Option<Handover>,
    pub(super) fds: ListenFds,
    pub(super) manager: Arc<ServiceManager>,
    pub(super) background: Option<Arc<Background>>,
    pub(super) made: bool,
}

impl Readiness {
    /// Cancel-safe: a later call continues to wait.
    async fn when_ready(&mut self) {
        let mut failed = 0;
        for ready in &mut self.services {
            // An error means that the service panicked: there is nothing left to wait for.
            failed += usize::from(ready.wait_for(|ready| *ready).await.is_err());
        }
        let orphans = self.fds.lock().await.close_orphans();
        for name in orphans {
            warn!("no service listens on {name} any more; it was closed");
        }
        if !std::mem::replace(&mut self.made, true) {
            self.announce(failed);
        }
        tokio::time::sleep(LATE).await;
        let orphans = self.fds.lock().await.close_orphaned_datagrams();
        for name in orphans {
            warn!("no service has taken the socket of datagrams {name}; it was closed");
        }
    }

    /// Tells everyone who waits for this server that it serves, without the services that `failed`.
    fn announce(&mut self, failed: usize) {
        remind();
        // Before the previous server ends, whose end would otherwise count as the end of the
        // service.
        self.manager.ready();
        match &self.background {
            Some(background) if failed == 0 => background.ready(),
            Some(background) => background.failed(&format!(
                "{failed} of {} services panicked before they were ready; the others run in the background, \
                 and the error log says more",
                self.services.len()
            )),
            None => {}
        }
        if let Some(background) = &self.background {
            background.succeeded();
        }
        match self.predecessor.take().map(Handover::accepting) {
            None => {}
            Some(Ok(())) => info!("the server before this one may stop"),
            Some(Err(e)) => warn!("the server before this one did not hear that it may stop: {e}"),
        }
    }
}

/// Hands the listening sockets to the next server, and waits until that accepts connections. On a
/// separate thread, because it blocks. Cancelling leaves that thread running until its deadline.
async fn hand_over(conf: Arc<ServerConf>, fds: ListenFds) -> io::Result<()> {
    let path = PathBuf::from(&conf.upgrade_sock);
    let deadline = Instant::now() + conf.handover_timeout();
    let table = fds.clone();
    let (done, result) = oneshot::channel();
    thread::Builder::new()
        .name("handover".into())
        .spawn(move || {
            // Their state when the next server is there, not when the signal came.
            let sockets = || table.blocking_lock().given();
            let given = Handover::give(&path, sockets, deadline);
            let _ = done.send(given.and_then(|(_, h)| h.wait_until_accepting(deadline)));
        })?;
    result
        .await
        .unwrap_or_else(|_| Err(io::Error::other("its thread ended early")))?;
    fds.lock().await.set_handed_over();
    Ok(())
}

async fn told_to_hurry(signals: &dyn ShutdownSignalWatch) {
    if !signals.repeats() {
        pending::<()>().await;
    }
    while signals.recv().await != ShutdownSignal::FastShutdown {
        info!("the server is stopping already");
    }
}

/// Stops all runtimes at the same time. On separate threads, because it blocks.
async fn stop(runtimes: Vec<Runtime>, limit: Duration) {
    let (done, all_done) = oneshot::channel();
    let stopping = thread::Builder::new()
        .name("shutdown".into())
        .spawn(move || {
            thread::scope(|scope| {
                for runtime in runtimes {
                    // If no thread is left, the runtime is dropped, which stops it too.
                    let stopping = thread::Builder::new().name("shutdown".into());
                    let _ = stopping.spawn_scoped(scope, move || runtime.shutdown(limit));
                }
            });
            let _ = done.send(());
        });
    if stopping.is_ok() {
        let _ = timeout(limit + FAST, all_done).await;
    }
}

pub(super) fn no_runtime(name: &str, error: &std::io::Error) -> BError {
    let message = format!("{name}: can't start its threads: {error}");
    Error::explain(ErrorType::InternalError, message).into_in()
}
