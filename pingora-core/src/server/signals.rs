//! The signals that make a server stop.

use crate::sys::signal::{claim, is_unclaimed};
use async_trait::async_trait;
use futures::future::{BoxFuture, FutureExt};
use log::{error, info};
use nix::sys::signal::Signal;
use pingora_error::{Error, ErrorType, Result};
use std::future::{Future, pending};
use std::sync::Arc;
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::sync::Mutex;

/// How a server should stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownSignal {
    /// Hand the listening sockets to the next server, then stop when active work is done.
    GracefulUpgrade,
    /// Stop when active work is done.
    GracefulTerminate,
    /// Stop at once.
    FastShutdown,
}

/// Waits for the event that makes a server stop.
#[async_trait]
pub trait ShutdownSignalWatch: Send + Sync {
    /// Returns when the server should stop. Polled before the first service starts, so that no
    /// signal to a running server is lost. Called again after [`ShutdownSignal::GracefulUpgrade`],
    /// because the server continues to serve until the next one does.
    async fn recv(&self) -> ShutdownSignal;

    /// Whether [`ShutdownSignalWatch::recv`] may be called again while the server waits for active
    /// work, in order to shorten the wait. Default: `false`.
    fn repeats(&self) -> bool {
        false
    }

    /// Whether this listens to the signals that are sent to the process. In that case the server also
    /// prevents SIGUSR1 and SIGUSR2, whose default action is to end the process, from doing so if the
    /// program has no use for them. Default: `false`, which leaves signals alone.
    fn listens_to_signals(&self) -> bool {
        false
    }

    /// Returns when the server should reload; see [`Server::on_reload`](super::Server::on_reload).
    /// Called again after each time, and polled at once. Default: never.
    async fn reload(&self) {
        pending().await
    }
}

/// The signals of Unix: SIGTERM stops gracefully, SIGINT at once, SIGQUIT hands over to the next
/// server, SIGHUP reloads.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnixShutdownSignalWatch;

#[async_trait]
impl ShutdownSignalWatch for UnixShutdownSignalWatch {
    async fn recv(&self) -> ShutdownSignal {
        let mut terminate = listen(SignalKind::terminate(), "SIGTERM");
        let mut interrupt = listen(SignalKind::interrupt(), "SIGINT");
        let mut quit = listen(SignalKind::quit(), "SIGQUIT");
        if claim(Signal::SIGQUIT) {
            info!("SIGQUIT came before the server ran: handing over to the next server");
            return ShutdownSignal::GracefulUpgrade;
        }
        tokio::select! {
            () = next(&mut terminate) => {
                info!("SIGTERM: stopping when the work under way is done");
                ShutdownSignal::GracefulTerminate
            }
            () = next(&mut interrupt) => {
                info!("SIGINT: stopping at once");
                ShutdownSignal::FastShutdown
            }
            () = next(&mut quit) => {
                info!("SIGQUIT: handing over to the next server");
                ShutdownSignal::GracefulUpgrade
            }
        }
    }

    fn repeats(&self) -> bool {
        true
    }

    fn listens_to_signals(&self) -> bool {
        true
    }

    async fn reload(&self) {
        let mut hangup = listen(SignalKind::hangup(), "SIGHUP");
        if claim(Signal::SIGHUP) {
            info!("SIGHUP came before the server ran");
            return;
        }
        next(&mut hangup).await;
    }
}

/// Stops a server gracefully when a future completes: for programs that decide this themselves. See
/// [`RunArgs::until`](super::RunArgs::until).
pub(super) struct Until<F>(Mutex<Option<F>>);

impl<F> Until<F> {
    pub(super) fn new(done: F) -> Self {
        Until(Mutex::new(Some(done)))
    }
}

#[async_trait]
impl<F: Future<Output = ()> + Send> ShutdownSignalWatch for Until<F> {
    async fn recv(&self) -> ShutdownSignal {
        let done = self.0.lock().await.take();
        match done {
            Some(done) => done.await,
            None => pending().await,
        }
        ShutdownSignal::GracefulTerminate
    }
}

/// The user's reaction to a signal that the server itself does not handle.
pub(super) struct SignalHook {
    pub(super) kind: SignalKind,
    pub(super) run: Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
}

impl SignalHook {
    /// Logs that the signal came and had no effect.
    fn idle(signal: Signal) -> Self {
        let said = move || {
            info!("{signal}: the server does nothing on this signal; SIGHUP reloads");
            std::future::ready(())
        };
        SignalHook {
            kind: SignalKind::from_raw(signal as i32),
            run: Box::new(move || said().boxed()),
        }
    }

    /// Keeps SIGUSR1 and SIGUSR2 from ending the process if they are unused: none of `hooks` handles them, and
    /// the program had not set an action for them before the server was created.
    pub(super) fn against_the_default(hooks: &[SignalHook]) -> Vec<SignalHook> {
        let is_hooked = |signal: Signal| {
            let mut kinds = hooks.iter().map(|hook| hook.kind.as_raw_value());
            kinds.any(|kind| kind == signal as i32)
        };
        let idle = [Signal::SIGUSR1, Signal::SIGUSR2].into_iter();
        let idle = idle.filter(|signal| is_unclaimed(*signal) && !is_hooked(*signal));
        idle.map(SignalHook::idle).collect()
    }

    /// Listens for the signal, and returns a future to run for as long as the server does.
    ///
    /// # Errors
    /// If no process can listen for it, as for SIGKILL.
    pub(super) fn listen(self) -> Result<impl Future<Output = ()> + Send + 'static> {
        let number = self.kind.as_raw_value();
        let mut received = signal(self.kind).map_err(|e| {
            let message = format!("can't listen for the signal {number}: {e}");
            Error::explain(ErrorType::InternalError, message).into_in()
        })?;
        let run = Arc::new(self.run);
        Ok(async move {
            let mut came_early = Signal::try_from(number).is_ok_and(claim);
            while std::mem::take(&mut came_early) || received.recv().await.is_some() {
                // On a separate task, which also calls the hook, so that a panic ends only the hook.
                let run = run.clone();
                if let Err(e) = tokio::spawn(async move { run().await }).await {
                    error!("the hook of the signal {number} did not end well: {e}");
                }
            }
        })
    }
}

fn listen(kind: SignalKind, name: &str) -> Option<unix::Signal> {
    signal(kind)
        .inspect_err(|e| error!("can't listen for {name}, which will end the process: {e}"))
        .ok()
}

async fn next(signal: &mut Option<unix::Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[tokio::test]
    async fn a_hook_that_panics_runs_again_with_the_next_signal() {
        // Its default is to do nothing, so a test may send it.
        let kind = SignalKind::window_change();
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = runs.clone();
        let hook = SignalHook {
            kind,
            run: Box::new(move || match counted.fetch_add(1, Ordering::Relaxed) {
                0 => panic!("when it is called"),
                1 => async { panic!("when it is awaited") }.boxed(),
                _ => std::future::ready(()).boxed(),
            }),
        };
        let attendant = tokio::spawn(hook.listen().unwrap());
        for expected in 1..=3 {
            nix::sys::signal::raise(Signal::SIGWINCH).unwrap();
            let ran = async {
                while runs.load(Ordering::Relaxed) < expected {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            let patience = Duration::from_secs(20);
            tokio::time::timeout(patience, ran).await.unwrap();
        }
        attendant.abort();
    }
}
