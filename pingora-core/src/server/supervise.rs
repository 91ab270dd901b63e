//! The running server: starts the services, waits for the signal, brings everything to an end.

use super::configuration::ServerConf;
use super::phase::{ExecutionPhase, Phases};
use super::signals::{ShutdownSignal, ShutdownSignalWatch};
use super::{ListenFds, RunArgs};
use crate::runtime::Runtime;
use crate::services::{
    Dependencies, ServiceReadyNotifier, ServiceReadyWatch, ServiceWithDependents,
};
use futures::stream::{FuturesUnordered, StreamExt};
use log::{error, info, warn};
use pingora_error::{BError, Error, ErrorType, Result};
use std::any::Any;
use std::future::pending;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;

/// How long a fast shutdown waits for destructors.
const FAST: Duration = Duration::from_millis(500);

/// A service before it runs.
pub(super) struct Hosted {
    pub(super) service: Box<dyn ServiceWithDependents>,
    notifier: ServiceReadyNotifier,
    ready: ServiceReadyWatch,
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

/// How the wait for the services ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// All have ended.
    Drained,
    /// The grace period is over.
    TimeUp,
    /// Somebody said to stop at once.
    Hurried,
}

/// A server whose sockets are bound.
pub(super) struct Supervisor {
    pub(super) configuration: Arc<ServerConf>,
    pub(super) services: Vec<Hosted>,
    pub(super) dependencies: Arc<Dependencies>,
    pub(super) listen_fds: Option<ListenFds>,
    pub(super) phases: Phases,
}

/// The services that run: yields the name of each that has ended, and how.
type Running =
    FuturesUnordered<futures::future::BoxFuture<'static, (String, Result<(), JoinError>)>>;

impl Supervisor {
    /// Runs the services until the signal comes and the work is done.
    ///
    /// # Errors
    /// When the runtimes can't be made; no service has started then.
    pub(super) async fn run(mut self, args: RunArgs) -> Result<()> {
        let runtimes = self.runtimes()?;
        let signals = args.shutdown_signal;
        let mut signal = signals.recv();
        let (shutdown, watch) = watch::channel(false);
        // Polled once before anything runs: from here on no signal is lost.
        let early = match futures::poll!(signal.as_mut()) {
            std::task::Poll::Ready(signal) => Some(signal),
            std::task::Poll::Pending => None,
        };
        let mut running = self.start(&runtimes, &watch);
        drop(watch);
        self.phases.enter(ExecutionPhase::Running);
        let signal = match early {
            Some(signal) => signal,
            None => attend(&mut running, signal).await,
        };
        self.announce(signal);
        self.phases.enter(ExecutionPhase::ShutdownStarted);
        shutdown.send_replace(true);
        let outcome = match signal {
            ShutdownSignal::FastShutdown => Outcome::Hurried,
            _ => self.grace_period(&mut running, &*signals).await,
        };
        self.phases.enter(ExecutionPhase::ShutdownRuntimes);
        let limit = match outcome {
            Outcome::Hurried => FAST,
            Outcome::Drained | Outcome::TimeUp => self.configuration.shutdown_timeout(),
        };
        stop(runtimes, limit).await;
        match outcome {
            Outcome::Drained => info!("the server has stopped; all work was done"),
            Outcome::TimeUp | Outcome::Hurried => info!("the server has stopped"),
        }
        self.phases.enter(ExecutionPhase::Terminated);
        Ok(())
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
        self.services.iter().map(of).collect()
    }

    fn start(&mut self, runtimes: &[Runtime], shutdown: &watch::Receiver<bool>) -> Running {
        let ready: Vec<_> = self.services.iter().map(|h| h.ready.clone()).collect();
        let services = std::mem::take(&mut self.services);
        let start = |(position, (hosted, runtime)): (usize, (Hosted, &Runtime))| {
            let waits_for = self.dependencies.of(position);
            let waits_for = waits_for.iter().filter_map(|p| ready.get(*p).cloned());
            let name = hosted.service.name().to_string();
            let task = host(
                hosted,
                waits_for.collect(),
                self.listen_fds.clone(),
                shutdown.clone(),
                self.configuration.listener_tasks_per_fd,
            );
            let task: JoinHandle<()> = runtime.handle().spawn(task);
            let ended = async move { (name, task.await) };
            Box::pin(ended) as futures::future::BoxFuture<'static, _>
        };
        let with_runtimes = services.into_iter().zip(runtimes);
        with_runtimes.enumerate().map(start).collect()
    }

    fn announce(&self, signal: ShutdownSignal) {
        match signal {
            ShutdownSignal::GracefulTerminate => {
                self.phases.enter(ExecutionPhase::GracefulTerminate);
            }
            ShutdownSignal::GracefulUpgrade => {
                warn!("handing over to the next server is not possible; stopping gracefully");
                self.phases.enter(ExecutionPhase::GracefulTerminate);
            }
            ShutdownSignal::FastShutdown => {}
        }
    }

    /// Waits until all services have ended; at most until the time is up or a signal says to
    /// stop at once.
    async fn grace_period(
        &self,
        running: &mut Running,
        signals: &dyn ShutdownSignalWatch,
    ) -> Outcome {
        self.phases.enter(ExecutionPhase::ShutdownGracePeriod);
        let limit = self.configuration.grace_period();
        let done = async {
            while let Some((name, end)) = running.next().await {
                log_end(&name, end, true);
            }
        };
        tokio::select! {
            biased;
            () = done => Outcome::Drained,
            () = told_to_hurry(signals) => Outcome::Hurried,
            () = tokio::time::sleep(limit) => {
                warn!("work is still under way after the grace period of {limit:?}");
                Outcome::TimeUp
            }
        }
    }
}

/// The task of one service: waits for those that it depends on, then runs it.
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
                // An error means that it is gone: it can't be waited for any longer.
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

/// Waits for the signal, and logs which services end in the meantime.
async fn attend(
    running: &mut Running,
    mut signal: impl Future<Output = ShutdownSignal> + Unpin,
) -> ShutdownSignal {
    loop {
        tokio::select! {
            biased;
            signal = &mut signal => return signal,
            Some((name, end)) = running.next() => log_end(&name, end, false),
        }
    }
}

async fn told_to_hurry(signals: &dyn ShutdownSignalWatch) {
    if !signals.repeats() {
        pending::<()>().await;
    }
    while signals.recv().await != ShutdownSignal::FastShutdown {
        info!("the server is stopping already");
    }
}

fn log_end(name: &str, end: Result<(), JoinError>, expected: bool) {
    match end {
        Ok(()) if expected => info!("{name}: stopped"),
        Ok(()) => info!("{name}: has nothing left to do"),
        Err(e) if e.is_panic() => {
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

/// Stops all runtimes at the same time. On threads of its own: it blocks.
async fn stop(runtimes: Vec<Runtime>, limit: Duration) {
    let (done, all_done) = oneshot::channel();
    let stopping = thread::Builder::new()
        .name("shutdown".into())
        .spawn(move || {
            thread::scope(|scope| {
                for runtime in runtimes {
                    // Where no thread is left, the runtime is dropped, which stops it too.
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
