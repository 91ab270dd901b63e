//! Reloading: the configuration file is read again, the hooks run, and either everything changes or
//! nothing.

use super::configuration::ServerConf;
use super::daemon::Background;
use super::notify::ServiceManager;
use super::report;
use super::signals::ShutdownSignalWatch;
use crate::metrics::Process;
use crate::process::{Reload, ReloadHook, run_hooks};
use log::{info, warn};
use pingora_error::{Error, ErrorType, Result};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Tells a server to reload, like SIGHUP; see [`Server::on_reload`](super::Server::on_reload). Clones
/// control the same server.
#[derive(Clone)]
pub struct ReloadHandle(mpsc::UnboundedSender<oneshot::Sender<Result<()>>>);

/// The other end of the handles.
pub(super) type Requests = mpsc::UnboundedReceiver<oneshot::Sender<Result<()>>>;

impl ReloadHandle {
    pub(super) fn new() -> (Self, Requests) {
        let (sender, requests) = mpsc::unbounded_channel();
        (ReloadHandle(sender), requests)
    }

    /// Reloads, and returns when that is over. Before the server runs, waits until it does. Dropping the
    /// future does not stop a reload that has begun.
    ///
    /// # Errors
    /// If something is unusable, and everything has stayed unchanged; or if the server has ended.
    pub async fn reload(&self) -> Result<()> {
        let (reply, outcome) = oneshot::channel();
        let over = || Error::explain(ErrorType::InternalError, "the server has ended").into_in();
        self.0.send(reply).map_err(|_| over())?;
        outcome.await.map_err(|_| over())?
    }
}

impl fmt::Debug for ReloadHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReloadHandle").finish_non_exhaustive()
    }
}

/// The source of the configuration, for reading it again.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Absolute, because the working directory may change.
    pub(super) file: PathBuf,
    pub(super) defaults: ServerConf,
}

/// Carries out reloads, one after the other.
pub(super) struct Reloader {
    pub(super) hooks: Vec<ReloadHook>,
    pub(super) source: Option<Source>,
    /// The configuration in force.
    pub(super) configuration: Arc<ServerConf>,
    pub(super) requests: Requests,
    pub(super) signals: Arc<dyn ShutdownSignalWatch>,
    pub(super) manager: Arc<ServiceManager>,
    pub(super) background: Option<Arc<Background>>,
}

impl Reloader {
    /// Reloads on every request. Never returns. Poll it once before the server runs: from then on
    /// no signal is lost.
    pub(super) async fn run(mut self) {
        let signals = self.signals.clone();
        let mut signal = signals.reload();
        let mut requested = true;
        loop {
            let reply = tokio::select! {
                () = &mut signal => {
                    signal = signals.reload();
                    None
                }
                request = self.requests.recv(), if requested => match request {
                    Some(reply) => Some(reply),
                    None => {
                        // No handle is left.
                        requested = false;
                        continue;
                    }
                },
            };
            // The next signal is already being awaited, so one that comes meanwhile is not lost.
            let _ = futures::poll!(&mut signal);
            let outcome = self.reload().await;
            if let Some(reply) = reply {
                // The caller may have stopped waiting.
                let _ = reply.send(outcome);
            }
        }
    }

    async fn reload(&self) -> Result<()> {
        info!("reloading");
        if let Some(background) = &self.background {
            background.reopen_log();
        }
        self.manager.reloading();
        let outcome = self.try_reload().await;
        Process::reloaded(outcome.is_ok());
        match &outcome {
            Ok(()) => {
                info!("reloaded");
                self.manager.status("reloaded");
            }
            Err(e) => {
                let text = format!(
                    "the reload failed, everything stays as it was: {}",
                    report::text(e)
                );
                self.manager.status(&text);
                report::problem(&text);
            }
        }
        self.manager.reloaded();
        outcome
    }

    async fn try_reload(&self) -> Result<()> {
        let (configuration, file) = match &self.source {
            None => (self.configuration.clone(), None),
            Some(source) => {
                let (file, defaults) = (source.file.clone(), source.defaults.clone());
                let read = move || ServerConf::load_over(defaults, &file.display().to_string());
                let read = tokio::task::spawn_blocking(read).await;
                let read = read.map_err(|e| {
                    Error::because(ErrorType::InternalError, "reading the configuration", e)
                })?;
                (Arc::new(read?), Some(source.file.clone()))
            }
        };
        let reload = Reload::new(configuration.clone(), file);
        run_hooks(&self.hooks, &reload).await.map_err(|(name, e)| {
            let text = format!("{name}: {}", report::text(&e));
            Error::explain(ErrorType::InternalError, text).into_in()
        })?;
        let waiting = self.configuration.keys_that_differ(&configuration);
        if !waiting.is_empty() {
            let keys = waiting.join(", ");
            warn!("{keys}: the server itself takes this over at its next start or upgrade");
        }
        Ok(())
    }
}
