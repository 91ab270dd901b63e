//! Services that listen: endpoints, and an application that gets their connections.

mod connections;

use crate::apps::ServerApp;
use crate::listeners::{
    Accepted, Acceptor, BoundAddresses, ConnectionFilter, Endpoint, ListenerConfig, Listeners,
    Place, ServerAddress, TcpSocketOptions, TlsSettings, Transport,
};
use crate::process::{Fds, ListenFds, ShutdownWatch};
use crate::protocols::Stream;
use crate::runtime::{Handle, RuntimeOpts};
use async_trait::async_trait;
use connections::{Connections, Live};
use log::{debug, error, info};
use pingora_error::{Error, ErrorType, Result};
use std::fmt;
use std::fs::Permissions;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Says how the runtime of one service differs from what the configuration says for all; see
/// [`Service::set_runtime_opts_override`].
pub type RuntimeOptsOverride = Arc<dyn Fn(&RuntimeOpts) -> Option<RuntimeOpts> + Send + Sync>;

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
    /// The number of threads. Default: what the configuration says.
    pub threads: Option<usize>,
    runtime_opts_override: Option<RuntimeOptsOverride>,
    bound: BoundAddresses,
    /// What listens already and is yet to be accepted from.
    endpoints: Vec<Endpoint>,
    /// The addresses of what listens, as they were given.
    listening_on: Vec<String>,
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
        }
    }

    /// Sets how this service's runtime differs from what the configuration says for all.
    pub fn set_runtime_opts_override(&mut self, override_fn: RuntimeOptsOverride) {
        self.runtime_opts_override = Some(override_fn);
    }

    /// Sets what decides about each connection right after it was accepted, on all endpoints.
    pub fn set_connection_filter(&mut self, filter: Arc<dyn ConnectionFilter>) {
        self.listeners.set_connection_filter(filter);
    }

    /// The endpoints.
    pub fn endpoints(&mut self) -> &mut Listeners {
        &mut self.listeners
    }

    /// Where to learn which addresses the service really listens on, as soon as it does.
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
    /// When the certificate or the key can't be used.
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
            Place::Tcp(address) => Some(address),
            Place::Unix(_) | Place::Abstract(_) => None,
        };
        self.bound
            .announce(self.endpoints.iter().filter_map(inet).collect());
        Ok(())
    }
}

/// The error with the service's name in front, on one line.
fn named(service: &str, error: &Error) -> pingora_error::BError {
    let reason = error.context.as_ref().map(|c| c.as_str().to_string());
    let reason = match (&reason, &error.cause) {
        (Some(reason), None) => reason.clone(),
        _ => error.to_string(),
    };
    Error::explain(ErrorType::BindError, format!("{service}: {reason}")).into_in()
}

impl<A: ServerApp + Send + Sync + 'static> Service<A> {
    /// Serves one connection until the application does not return it any more.
    pub async fn handle_event(event: Stream, app_logic: Arc<A>, shutdown: ShutdownWatch) {
        let mut reusable = Some(event);
        while let Some(stream) = reusable {
            reusable = app_logic.process_new(stream, &shutdown).await;
        }
    }

    /// The task of one connection. What it holds is held by every idle connection, so it is kept
    /// small.
    async fn serve(
        accepted: Accepted,
        transport: Arc<Transport>,
        app: Arc<A>,
        shutdown: ShutdownWatch,
        _live: Live,
    ) {
        match transport.establish(accepted).await {
            Ok(stream) => {
                drop(transport);
                Service::handle_event(stream, app, shutdown).await;
            }
            Err(e) => debug!("a connection was given up before it was served: {e}"),
        }
    }

    /// Starts the tasks that accept from one endpoint.
    ///
    /// # Errors
    /// When no descriptor is left, or the runtime is shutting down.
    fn start_accepting(
        &self,
        endpoint: Endpoint,
        tasks: usize,
        shared: &Shared<A>,
    ) -> io::Result<Vec<JoinHandle<()>>> {
        let Endpoint { socket, transport } = endpoint;
        let transport = Arc::new(transport);
        let mut sockets = Vec::with_capacity(tasks);
        for _ in 1..tasks {
            sockets.push(socket.fd.try_clone()?);
        }
        sockets.push(socket.fd);
        let mut started = Vec::with_capacity(tasks);
        for fd in sockets {
            let worker = shared.runtime.next_worker();
            let acceptor = {
                let _on = worker.enter();
                Acceptor::new(fd, format!("{}, {}", self.name, socket.name))?
            };
            let (transport, shared) = (transport.clone(), shared.clone());
            let mut shutdown = shared.shutdown.clone();
            started.push(worker.spawn(async move {
                let fds = shared.fds.clone();
                let stop = async move {
                    // An error means that the server is gone: as good as a shutdown.
                    let _ = shutdown.wait_for(|begun| *begun).await;
                    // What waits after a handover is accepted by the next server.
                    match fds {
                        Some(fds) => !fds.lock().await.are_handed_over(),
                        None => true,
                    }
                };
                let hand_over = |accepted| shared.hand_over(accepted, &transport);
                acceptor.run(stop, hand_over).await;
            }));
        }
        Ok(started)
    }
}

/// What the tasks that accept have in common.
struct Shared<A> {
    app: Arc<A>,
    runtime: Handle,
    shutdown: ShutdownWatch,
    fds: Option<ListenFds>,
    connections: Connections,
}

impl<A> Clone for Shared<A> {
    fn clone(&self) -> Self {
        Shared {
            app: self.app.clone(),
            runtime: self.runtime.clone(),
            shutdown: self.shutdown.clone(),
            fds: self.fds.clone(),
            connections: self.connections.clone(),
        }
    }
}

impl<A: ServerApp + Send + Sync + 'static> Shared<A> {
    fn hand_over(&self, accepted: Accepted, transport: &Arc<Transport>) {
        if !transport.admits(&accepted) {
            return;
        }
        self.runtime.spawn(Service::serve(
            accepted,
            transport.clone(),
            self.app.clone(),
            self.shutdown.clone(),
            self.connections.enter(),
        ));
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> super::Service for Service<A> {
    fn prepare(&mut self, fds: &mut Fds) -> Result<()> {
        self.bind(fds)
    }

    /// Accepts connections until the shutdown begins, and returns when the last one has ended.
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        // Where a server does not call `prepare`, because the service is wrapped into another one.
        if !self.listeners.addresses().is_empty() {
            let bound = match &fds {
                Some(fds) => self.bind(&mut *fds.lock().await),
                None => self.bind(&mut Fds::new()),
            };
            if let Err(e) = bound {
                error!("{e}");
                return;
            }
        }
        let (Some(app), Some(runtime)) = (self.app_logic.take(), Handle::current()) else {
            error!(
                "{}: a service can be started once, from a runtime",
                self.name
            );
            return;
        };
        let shared = Shared {
            app: Arc::new(app),
            runtime,
            shutdown,
            fds: fds.clone(),
            connections: Connections::default(),
        };
        let mut accepting = vec![];
        let mut cleanup = Cleanup::default();
        for endpoint in std::mem::take(&mut self.endpoints) {
            info!("{}: listening on {}", self.name, endpoint.socket.place);
            cleanup.expect(&endpoint);
            match self.start_accepting(endpoint, listeners_per_fd.max(1), &shared) {
                Ok(tasks) => accepting.extend(tasks),
                Err(e) => error!("{}: can't accept connections: {e}", self.name),
            }
        }
        for task in accepting {
            if let Err(e) = task.await {
                error!("{}: accepting connections ended early: {e}", self.name);
            }
        }
        cleanup.run(fds).await;
        shared.app.cleanup().await;
        shared.connections.drained().await;
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

    fn listen_addresses(&self) -> Option<Vec<String>> {
        let waiting = self.listeners.addresses();
        Some([self.listening_on.as_slice(), &waiting].concat())
    }
}

/// What is left to do once nobody accepts any more.
#[derive(Default)]
struct Cleanup {
    names: Vec<String>,
    paths: Vec<PathBuf>,
}

impl Cleanup {
    fn expect(&mut self, endpoint: &Endpoint) {
        self.names.push(endpoint.socket.name.clone());
        if let Place::Unix(path) = &endpoint.socket.place {
            self.paths.push(path.clone());
        }
    }

    async fn run(self, fds: Option<ListenFds>) {
        if let Some(fds) = fds {
            let mut fds = fds.lock().await;
            if fds.are_handed_over() {
                return;
            }
            for name in &self.names {
                fds.withdraw(name);
            }
        }
        for path in &self.paths {
            // It may be gone already: somebody else's business.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests;
