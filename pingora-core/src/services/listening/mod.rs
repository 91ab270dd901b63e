//! Services that listen: endpoints, and an application that receives their connections.

mod accepting;
mod connections;
mod control;

pub use control::ListenerControl;

use super::ServiceReadyNotifier;
use crate::apps::ServerApp;
use crate::listeners::{
    BoundAddresses, ConnectionFilter, Endpoint, ListenAddress, ListenerConfig, Listeners,
    ServerAddress, TcpSocketOptions, TlsSettings,
};
use crate::process::{Fds, ListenFds, ReloadHook, ShutdownWatch};
use crate::protocols::Stream;
use crate::runtime::{Handle, RuntimeOpts};
use accepting::{Accepting, Shared};
use async_trait::async_trait;
use connections::Connections;
use control::{Change, Changes};
use futures::FutureExt;
use futures::future::BoxFuture;
use log::{debug, error, info, warn};
use pingora_error::{Error, ErrorType, Result};
use std::fmt;
use std::fs::Permissions;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;
use tokio::task::JoinError;

/// Determines how the runtime of one service differs from the configuration for all; see
/// [`Service::set_runtime_opts_override`].
pub type RuntimeOptsOverride = Arc<dyn Fn(&RuntimeOpts) -> Option<RuntimeOpts> + Send + Sync>;

/// The work of a service before it accepts its first connection.
type WarmUp<A> = Box<dyn FnOnce(Arc<A>) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// A service that listens on any number of endpoints and gives the connections to an application.
///
/// ```
/// # use async_trait::async_trait;
/// # use pingora_core::{apps::ServerApp, protocols::Stream, server::ShutdownWatch};
/// # use std::sync::Arc;
/// # struct Echo;
/// # #[async_trait]
/// # impl ServerApp for Echo {
/// #     async fn process_new(self: &Arc<Self>, _: Stream, _: &ShutdownWatch) -> Option<Stream> { None }
/// # }
/// use pingora_core::services::listening::Service;
///
/// let mut echo = Service::new("echo".into(), Echo);
/// echo.add_tcp("127.0.0.1:6142");
/// echo.add_uds("/tmp/echo.sock", None);
/// ```
pub struct Service<A> {
    name: String,
    listeners: Listeners,
    app_logic: Option<A>,
    /// The number of threads. Default: the configured number.
    pub threads: Option<usize>,
    runtime_opts_override: Option<RuntimeOptsOverride>,
    bound: BoundAddresses,
    /// The endpoints that are listening but not accepted from yet.
    endpoints: Vec<Endpoint>,
    /// The addresses of the listening endpoints, as they were given.
    listening_on: Vec<String>,
    warm_up: Option<WarmUp<A>>,
    /// Requests for endpoints while the service runs; `None` if there is no control.
    control: Option<(ListenerControl, Changes)>,
}

impl<A> fmt::Debug for Service<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("name", &self.name)
            .field("listeners", &self.listeners)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl<A> Drop for Service<A> {
    fn drop(&mut self) {
        self.bound.give_up();
    }
}

impl<A> Service<A> {
    /// A service without endpoints.
    pub fn new(name: String, app_logic: A) -> Self {
        Service::with_listeners(name, Listeners::new(), app_logic)
    }

    /// A service with these endpoints.
    pub fn with_listeners(name: String, listeners: Listeners, app_logic: A) -> Self {
        Service {
            name,
            listeners,
            app_logic: Some(app_logic),
            threads: None,
            runtime_opts_override: None,
            bound: BoundAddresses::default(),
            endpoints: vec![],
            listening_on: vec![],
            warm_up: None,
            control: None,
        }
    }

    /// Sets the work to do before the first connection is accepted: filling a cache, opening connections
    /// to upstreams. It runs on the service's own runtime, so connections that it opens are used from
    /// there. Clients that connect meanwhile wait in the socket's queue. Services that depend on this
    /// one wait too; so does, in an upgrade, the end of the previous server.
    ///
    /// A warm-up that fails is logged; the service then serves without it. There is no time limit: add
    /// one, such as [`tokio::time::timeout`].
    ///
    /// ```
    /// # use async_trait::async_trait;
    /// # use pingora_core::{apps::ServerApp, protocols::Stream, server::ShutdownWatch};
    /// # use std::sync::Arc;
    /// # struct App;
    /// # impl App { async fn load(&self) -> pingora_core::Result<()> { Ok(()) } }
    /// # #[async_trait]
    /// # impl ServerApp for App {
    /// #     async fn process_new(self: &Arc<Self>, _: Stream, _: &ShutdownWatch) -> Option<Stream> { None }
    /// # }
    /// # use pingora_core::services::listening::Service;
    /// let mut service = Service::new("cache".into(), App);
    /// service.set_warm_up(|app: Arc<App>| async move { app.load().await });
    /// ```
    pub fn set_warm_up<H, R>(&mut self, hook: H)
    where
        H: FnOnce(Arc<A>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        self.warm_up = Some(Box::new(move |app| hook(app).boxed()));
    }

    /// Allows endpoints to be added and removed while the service runs.
    pub fn listener_control(&mut self) -> ListenerControl {
        let (control, _) = self.control.get_or_insert_with(ListenerControl::new);
        control.clone()
    }

    /// Sets how this service's runtime differs from the configuration for all.
    pub fn set_runtime_opts_override(&mut self, override_fn: RuntimeOptsOverride) {
        self.runtime_opts_override = Some(override_fn);
    }

    /// Sets the filter that decides about each connection right after it was accepted, on all
    /// endpoints.
    pub fn set_connection_filter(&mut self, filter: Arc<dyn ConnectionFilter>) {
        self.listeners.set_connection_filter(filter);
    }

    /// The endpoints.
    pub fn endpoints(&mut self) -> &mut Listeners {
        &mut self.listeners
    }

    /// The addresses that the service actually listens on, as soon as it does.
    pub fn bound_addresses(&self) -> BoundAddresses {
        self.bound.clone()
    }

    /// See [`Listeners::add_tcp`].
    pub fn add_tcp(&mut self, addr: &str) {
        self.listeners.add_tcp(addr);
    }

    /// See [`Listeners::add_listener`].
    pub fn add_listener(&mut self, endpoint: ListenerConfig) {
        self.listeners.add_listener(endpoint);
    }

    /// See [`Listeners::add_tcp_with_settings`].
    pub fn add_tcp_with_settings(&mut self, addr: &str, sock_opt: TcpSocketOptions) {
        self.listeners.add_tcp_with_settings(addr, sock_opt);
    }

    /// See [`Listeners::add_uds`].
    pub fn add_uds(&mut self, addr: &str, perm: Option<Permissions>) {
        self.listeners.add_uds(addr, perm);
    }

    /// See [`Listeners::add_tls`].
    ///
    /// # Errors
    /// If the certificate or the key is unusable.
    pub fn add_tls(&mut self, addr: &str, cert_path: &str, key_path: &str) -> Result<()> {
        self.listeners.add_tls(addr, cert_path, key_path)
    }

    /// See [`Listeners::add_tls_with_settings`].
    pub fn add_tls_with_settings(
        &mut self,
        addr: &str,
        sock_opt: Option<TcpSocketOptions>,
        settings: TlsSettings,
    ) {
        self.listeners
            .add_tls_with_settings(addr, sock_opt, settings);
    }

    /// See [`Listeners::add_address`].
    pub fn add_address(&mut self, addr: ServerAddress) {
        self.listeners.add_address(addr);
    }

    /// The application; `None` once the service has started.
    pub fn app_logic(&self) -> Option<&A> {
        self.app_logic.as_ref()
    }

    /// The application; `None` once the service has started.
    pub fn app_logic_mut(&mut self) -> Option<&mut A> {
        self.app_logic.as_mut()
    }

    fn bind(&mut self, fds: &mut Fds) -> Result<()> {
        let addresses = self.listeners.addresses();
        let fresh = self
            .listeners
            .bind(fds)
            .map_err(|e| named(&self.name, &e))?;
        self.endpoints.extend(fresh);
        self.listening_on.extend(addresses);
        let inet = |e: &Endpoint| match e.socket.place {
            ListenAddress::Tcp(address) => Some(address),
            ListenAddress::Unix(_) | ListenAddress::Abstract(_) => None,
        };
        self.bound
            .announce(self.endpoints.iter().filter_map(inet).collect());
        Ok(())
    }
}

/// The error on one line, with the service's name in front.
fn named(service: &str, error: &Error) -> pingora_error::BError {
    let reason = error.context.as_ref().map(|c| c.as_str().to_string());
    let reason = match (&reason, &error.cause) {
        (Some(reason), None) => reason.clone(),
        _ => error.to_string(),
    };
    Error::explain(ErrorType::BindError, format!("{service}: {reason}")).into_in()
}

impl<A: ServerApp + Send + Sync + 'static> Service<A> {
    /// Serves one connection until the application no longer returns it.
    pub async fn handle_event(event: Stream, app_logic: Arc<A>, shutdown: ShutdownWatch) {
        let mut reusable = Some(event);
        while let Some(stream) = reusable {
            reusable = app_logic.process_new(stream, &shutdown).await;
        }
    }

    /// Makes the remaining endpoints listen, if a server does not call `prepare` because the
    /// service is wrapped in another one.
    async fn bind_late(&mut self, fds: Option<&ListenFds>) -> Result<()> {
        if self.listeners.addresses().is_empty() {
            return Ok(());
        }
        match fds {
            Some(fds) => self.bind(&mut *fds.lock().await),
            None => self.bind(&mut Fds::new()),
        }
    }

    /// Runs the hook of [`Service::set_warm_up`], until the shutdown begins.
    async fn warm_up(&mut self, app: &Arc<A>, shutdown: &mut ShutdownWatch) {
        let Some(hook) = self.warm_up.take() else {
            return;
        };
        let begin = Instant::now();
        let warming = AssertUnwindSafe(async { hook(app.clone()).await }).catch_unwind();
        let outcome = tokio::select! {
            outcome = warming => outcome,
            _ = shutdown.wait_for(|begun| *begun) => return,
        };
        match outcome {
            Ok(Ok(())) => info!("{}: warmed up in {:?}", self.name, begin.elapsed()),
            Ok(Err(e)) => error!("{}: serves without having warmed up: {e}", self.name),
            Err(_) => error!(
                "{}: serves without having warmed up: it panicked",
                self.name
            ),
        }
    }

    /// Accepts until the shutdown begins, and makes the requested changes until then.
    async fn accept(&mut self, accepting: &mut Accepting<A>, mut shutdown: ShutdownWatch) {
        // The controls keep the service running; the service's own reference does not.
        let mut changes = self.control.take().map(|(_, changes)| changes);
        while changes.is_some() || !accepting.is_over() {
            tokio::select! {
                biased;
                () = begun(&mut shutdown) => break,
                change = next_change(&mut changes) => match change {
                    Some(change) => accepting.change(change, &mut self.listeners).await,
                    None => changes = None,
                },
                Some(ended) = accepting.one_ended() => self.log_early_end(ended),
            }
        }
        drop(changes);
        while let Some(ended) = accepting.one_ended().await {
            self.log_early_end(ended);
        }
    }

    fn log_early_end(&self, ended: Result<(), JoinError>) {
        if let Err(e) = ended {
            error!("{}: accepting connections ended early: {e}", self.name);
        }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> super::Service for Service<A> {
    fn prepare(&mut self, fds: &mut Fds) -> Result<()> {
        self.bind(fds)
    }

    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        let (nobody, _) = watch::channel(false);
        let nobody = ServiceReadyNotifier::new(nobody);
        self.start_with_ready_notifier(fds, shutdown, listeners_per_fd, nobody)
            .await;
    }

    /// Accepts connections until the shutdown begins, and returns when the last one has ended.
    async fn start_with_ready_notifier(
        &mut self,
        fds: Option<ListenFds>,
        mut shutdown: ShutdownWatch,
        listeners_per_fd: usize,
        ready_notifier: ServiceReadyNotifier,
    ) {
        if let Err(e) = self.bind_late(fds.as_ref()).await {
            return error!("{e}");
        }
        let (Some(app), Some(runtime)) = (self.app_logic.take(), Handle::current()) else {
            let name = &self.name;
            return error!("{name}: a service can be started once, from a runtime");
        };
        let app = Arc::new(app);
        let shared = Shared {
            name: self.name.as_str().into(),
            app: app.clone(),
            runtime,
            shutdown: shutdown.clone(),
            fds,
            connections: Connections::default(),
        };
        let connections = shared.connections.clone();
        let mut accepting = Accepting::new(shared, listeners_per_fd, self.bound.clone());
        // If the shutdown has begun, connections waiting in the queues are still served.
        self.warm_up(&app, &mut shutdown).await;
        for endpoint in std::mem::take(&mut self.endpoints) {
            accepting.start(endpoint);
        }
        if accepting.has_none() && self.control.is_none() {
            let name = &self.name;
            warn!(
                "{name}: has no endpoint to listen on, so it serves no client; `add_tcp` adds one"
            );
        }
        ready_notifier.notify_ready();
        self.accept(&mut accepting, shutdown).await;
        accepting.clean_up().await;
        app.cleanup().await;
        connections.drained().await;
        app.drained().await;
        debug!("{}: all connections have ended", self.name);
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn threads(&self) -> Option<usize> {
        self.threads
    }

    fn runtime_opts_override(&self, global: &RuntimeOpts) -> Option<RuntimeOpts> {
        self.runtime_opts_override.as_ref()?(global)
    }

    fn check(&self) -> Result<()> {
        self.listeners.check().map_err(|e| named(&self.name, &e))
    }

    fn reload_hooks(&self) -> Vec<ReloadHook> {
        self.listeners.reload_hooks(&self.name)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        let waiting = self.listeners.addresses();
        Some([self.listening_on.as_slice(), &waiting].concat())
    }
}

/// Waits until the shutdown begins.
async fn begun(shutdown: &mut ShutdownWatch) {
    // An error means that the server is gone: equivalent to a shutdown.
    let _ = shutdown.wait_for(|begun| *begun).await;
}

async fn next_change(changes: &mut Option<Changes>) -> Option<Change> {
    match changes {
        Some(changes) => changes.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
