//! The endpoints of a running service: accepting from them, adding and removing some.

use super::connections::{Connections, Live};
use super::control::Change;
use super::{Service, named};
use crate::apps::ServerApp;
use crate::listeners::{
    AcceptedSocket, Acceptor, BoundAddresses, Endpoint, ListenAddress, ListenerConfig, Listeners,
    Transport,
};
use crate::metrics::{Panicked, Process};
use crate::process::{Fds, ListenFds, ShutdownWatch, is_external};
use crate::runtime::Handle;
use futures::stream::{FuturesUnordered, StreamExt};
use log::{error, info};
use pingora_error::Result;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};

/// The state shared by the accepting tasks.
pub(super) struct Shared<A> {
    pub(super) name: Arc<str>,
    pub(super) app: Arc<A>,
    pub(super) runtime: Handle,
    pub(super) shutdown: ShutdownWatch,
    pub(super) fds: Option<ListenFds>,
    pub(super) connections: Connections,
}

impl<A> Clone for Shared<A> {
    fn clone(&self) -> Self {
        Shared {
            name: self.name.clone(),
            app: self.app.clone(),
            runtime: self.runtime.clone(),
            shutdown: self.shutdown.clone(),
            fds: self.fds.clone(),
            connections: self.connections.clone(),
        }
    }
}

impl<A: ServerApp + Send + Sync + 'static> Shared<A> {
    fn hand_over(&self, accepted: AcceptedSocket, transport: &Arc<Transport>) {
        let Some(of_client) = transport.admit(&accepted) else {
            return;
        };
        self.runtime.spawn(Service::serve(
            accepted,
            transport.clone(),
            self.app.clone(),
            self.shutdown.clone(),
            self.connections.enter(of_client),
        ));
    }

    /// Waits until one endpoint has to be closed; returns whether the connections waiting in its
    /// queue are served first.
    async fn stop(self, mut removed: watch::Receiver<bool>) -> bool {
        let mut shutdown = self.shutdown;
        tokio::select! {
            // An error means that the server is gone: equivalent to a shutdown.
            _ = shutdown.wait_for(|begun| *begun) => {}
            Ok(_) = removed.wait_for(|removed| *removed) => return true,
        }
        // After a hand-over, the next server accepts the waiting connections.
        match self.fds {
            Some(fds) => !fds.lock().await.are_handed_over(),
            None => true,
        }
    }
}

/// One active endpoint.
struct Active {
    /// The address as it was given.
    given: String,
    /// The name in the descriptor table.
    name: String,
    place: ListenAddress,
    remove: watch::Sender<bool>,
    /// Closes when the last accepting task has ended.
    closed: mpsc::Receiver<Infallible>,
}

impl Active {
    fn is_at(&self, address: &str) -> bool {
        self.given == address || self.place.to_string() == address
    }
}

/// All endpoints of a running service.
pub(super) struct Accepting<A> {
    shared: Shared<A>,
    tasks_per_socket: usize,
    bound: BoundAddresses,
    active: Vec<Active>,
    tasks: FuturesUnordered<JoinHandle<()>>,
}

impl<A: ServerApp + Send + Sync + 'static> Accepting<A> {
    pub(super) fn new(shared: Shared<A>, tasks_per_socket: usize, bound: BoundAddresses) -> Self {
        Accepting {
            shared,
            tasks_per_socket: tasks_per_socket.max(1),
            bound,
            active: vec![],
            tasks: FuturesUnordered::new(),
        }
    }

    /// Starts the tasks that accept from one endpoint. A failure is logged.
    pub(super) fn start(&mut self, mut endpoint: Endpoint) {
        let client_speaks_first = self.shared.app.client_speaks_first();
        endpoint
            .transport
            .prepare(&endpoint.socket, client_speaks_first);
        let name = &self.shared.name;
        endpoint.transport.count_for(name, &endpoint.socket.place);
        info!("{name}: listening on {}", endpoint.socket.place);
        let (remove, removed) = watch::channel(false);
        let (open, closed) = mpsc::channel(1);
        let active = Active {
            given: endpoint.given,
            name: endpoint.socket.name.clone(),
            place: endpoint.socket.place.clone(),
            remove,
            closed,
        };
        let transport = Arc::new(endpoint.transport);
        let accept = |socket| self.accept(socket, &active, &transport, &removed, &open);
        let copies = (1..self.tasks_per_socket).map(|_| endpoint.socket.fd.try_clone());
        let mut sockets: Vec<_> = copies.collect();
        sockets.push(Ok(endpoint.socket.fd));
        let started: io::Result<Vec<_>> = sockets.into_iter().map(|s| s.and_then(accept)).collect();
        match started {
            Ok(tasks) => self.tasks.extend(tasks),
            Err(e) => error!("{name}: can't accept connections: {e}"),
        }
        self.active.push(active);
    }

    /// # Errors
    /// If no descriptor is left, or the runtime is shutting down.
    fn accept(
        &self,
        socket: std::os::fd::OwnedFd,
        active: &Active,
        transport: &Arc<Transport>,
        removed: &watch::Receiver<bool>,
        open: &mpsc::Sender<Infallible>,
    ) -> io::Result<JoinHandle<()>> {
        let worker = self.shared.runtime.next_worker();
        let acceptor = {
            let _on = worker.enter();
            Acceptor::new(socket, format!("{}, {}", self.shared.name, active.name))?
        };
        let (transport, shared) = (transport.clone(), self.shared.clone());
        let stop = shared.clone().stop(removed.clone());
        let open = open.clone();
        Ok(worker.spawn(async move {
            // The task serves all connections to come: a panic costs only one of them.
            let hand_over = |accepted| {
                let one = || shared.hand_over(accepted, &transport);
                if catch_unwind(AssertUnwindSafe(one)).is_err() {
                    Process::panicked(Panicked::Accepting);
                    error!("{}: a panic; one connection was turned away", shared.name);
                }
            };
            acceptor.run(stop, hand_over).await;
            drop(open);
        }))
    }

    /// Whether there is no endpoint, not even one that can't be accepted from.
    pub(super) fn has_none(&self) -> bool {
        self.active.is_empty()
    }

    /// Whether all accepting tasks have ended.
    pub(super) fn is_over(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Waits until an accepting task has ended; `None` if there is none left.
    pub(super) async fn one_ended(&mut self) -> Option<Result<(), JoinError>> {
        self.tasks.next().await
    }

    /// Makes a change, and reports the result.
    pub(super) async fn change(&mut self, change: Change, listeners: &mut Listeners) {
        match change {
            Change::Add(endpoint, reply) => {
                let outcome = self.add(*endpoint, listeners).await;
                // The caller may have stopped waiting.
                let _ = reply.send(outcome);
            }
            Change::Remove(address, reply) => {
                let _ = reply.send(self.remove(&address).await);
            }
        }
        self.bound.announce(self.addresses());
    }

    async fn add(
        &mut self,
        endpoint: ListenerConfig,
        listeners: &mut Listeners,
    ) -> Result<Option<SocketAddr>> {
        listeners.add_listener(endpoint);
        let fresh = match &self.shared.fds {
            Some(fds) => listeners.bind(&mut *fds.lock().await),
            None => listeners.bind(&mut Fds::new()),
        };
        let mut address = None;
        for endpoint in fresh.map_err(|e| named(&self.shared.name, &e))? {
            if let ListenAddress::Tcp(bound) = endpoint.socket.place {
                address = address.or(Some(bound));
            }
            self.start(endpoint);
        }
        Ok(address)
    }

    async fn remove(&mut self, address: &str) -> bool {
        let gone = self.active.extract_if(.., |a| a.is_at(address));
        let mut gone: Vec<Active> = gone.collect();
        for endpoint in &mut gone {
            let name = &self.shared.name;
            info!("{name}: not listening on {} any more", endpoint.place);
            if let Some(fds) = &self.shared.fds {
                fds.lock().await.withdraw(&endpoint.name);
            }
            remove_file(endpoint);
            endpoint.remove.send_replace(true);
            // Nothing is ever sent: it closes.
            let _ = endpoint.closed.recv().await;
        }
        !gone.is_empty()
    }

    /// The addresses that the TCP endpoints are bound to.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let inet = |active: &Active| match active.place {
            ListenAddress::Tcp(address) => Some(address),
            ListenAddress::Unix(_) | ListenAddress::Abstract(_) => None,
        };
        self.active.iter().filter_map(inet).collect()
    }

    /// Cleans up once all accepting tasks have ended.
    pub(super) async fn clean_up(&mut self) {
        if let Some(fds) = &self.shared.fds {
            let mut fds = fds.lock().await;
            if fds.are_handed_over() {
                return;
            }
            for endpoint in &self.active {
                fds.withdraw(&endpoint.name);
            }
        }
        self.active.iter().for_each(remove_file);
    }
}

/// Removes the file of a Unix socket, unless the service manager created it.
fn remove_file(endpoint: &Active) {
    if let ListenAddress::Unix(path) = &endpoint.place
        && !is_external(&endpoint.name)
    {
        // It may already be gone, which is not our concern.
        let _ = std::fs::remove_file(path);
    }
}

impl<A: ServerApp + Send + Sync + 'static> Service<A> {
    /// The task of one connection. Every idle connection holds its state, so it is kept small.
    pub(super) async fn serve(
        accepted: AcceptedSocket,
        transport: Arc<Transport>,
        app: Arc<A>,
        shutdown: ShutdownWatch,
        mut live: Live,
    ) {
        match transport.establish(accepted, live.of_client()).await {
            Ok(stream) => {
                drop(transport);
                Service::handle_event(stream, app, shutdown).await;
            }
            Err(e) => log::debug!("a connection was given up before it was served: {e}"),
        }
    }
}
