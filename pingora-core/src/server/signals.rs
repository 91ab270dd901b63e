//! What makes a server stop.

use async_trait::async_trait;
use futures::future::BoxFuture;
use log::{error, info};
use pingora_error::{Error, ErrorType, Result};
use std::future::{Future, pending};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Mutex;

/// How a server should stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownSignal {
    /// Hand the listening sockets to the next server, then stop when the work under way is done.
    GracefulUpgrade,
    /// Stop when the work under way is done.
    GracefulTerminate,
    /// Stop at once.
    FastShutdown,
}

/// Waits for whatever makes a server stop.
#[async_trait]
pub trait ShutdownSignalWatch: Send + Sync {
    /// Returns when the server should stop. Polled before the first service starts, so that nothing
    /// that is sent to a running server is lost. Called again after
    /// [`ShutdownSignal::GracefulUpgrade`], because the server serves on until the next one does.
    async fn recv(&self) -> ShutdownSignal;

    /// Whether [`ShutdownSignalWatch::recv`] may be called again while the server waits for the work
    /// under way, for cutting that short. Default: `false`.
    fn repeats(&self) -> bool {
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

    async fn reload(&self) {
        next(&mut listen(SignalKind::hangup(), "SIGHUP")).await;
    }
}

/// Stops a server gracefully when a future is done: for programs that have their own idea of when that
/// is. See [`RunArgs::until`](super::RunArgs::until).
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

/// What the user does on a signal that is none of the server's.
pub(super) struct SignalHook {
    pub(super) kind: SignalKind,
    pub(super) run: Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
}

impl SignalHook {
    /// Listens for the signal, and returns what is to be run for as long as the server does.
    ///
    /// # Errors
    /// When nobody can listen for it, as for SIGKILL.
    pub(super) fn listen(self) -> Result<impl Future<Output = ()> + Send + 'static> {
        let number = self.kind.as_raw_value();
        let mut received = signal(self.kind).map_err(|e| {
            let message = format!("can't listen for the signal {number}: {e}");
            Error::explain(ErrorType::InternalError, message).into_in()
        })?;
        Ok(async move {
            while received.recv().await.is_some() {
                // On a task of its own, so that a panic ends the hook and nothing else.
                if let Err(e) = tokio::spawn((self.run)()).await {
                    error!("the hook of the signal {number} did not end well: {e}");
                }
            }
        })
    }
}

fn listen(kind: SignalKind, name: &str) -> Option<Signal> {
    signal(kind)
        .inspect_err(|e| error!("can't listen for {name}, which will end the process: {e}"))
        .ok()
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => pending().await,
    }
}
