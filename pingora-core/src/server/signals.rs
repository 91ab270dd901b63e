//! What makes a server stop.

use async_trait::async_trait;
use log::{error, info};
use std::future::pending;
use tokio::signal::unix::{Signal, SignalKind, signal};

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
}

/// The signals of Unix: SIGTERM stops gracefully, SIGINT at once, SIGQUIT hands over to the next
/// server.
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
