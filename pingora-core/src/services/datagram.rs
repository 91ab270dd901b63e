//! Services that receive datagrams: bound UDP sockets, and an application that receives from them.

use super::ServiceReadyNotifier;
use crate::listeners::{
    BoundAddresses, BoundDatagram, UdpSocketOptions, bind_datagram, check_datagram_address,
};
use crate::process::{Fds, ListenFds, ShutdownWatch};
use crate::runtime::Handle;
use async_trait::async_trait;
use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use log::{error, info, warn};
use pingora_error::{Error, ErrorType, Result};
use std::fmt;
use std::io;
use std::sync::Arc;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// An application that receives datagrams and answers them.
#[async_trait]
pub trait DatagramApp: Send + Sync {
    /// Receives from one bound socket until `shutdown` turns `true`; called once for each socket, on the
    /// service's runtime. More tasks may share the socket.
    ///
    /// After `shutdown` it must not receive any more: in an upgrade, the next server has the same socket and
    /// the same queue, and datagrams taken here are missing there. Datagrams already received can still be
    /// answered; the server waits for that, at most for the configured grace period. Datagrams waiting in the
    /// queue are received by the next server of an upgrade, and lost if there is none.
    ///
    /// A panic, or returning before `shutdown`, ends this socket, not the service.
    async fn serve(self: &Arc<Self>, socket: Arc<UdpSocket>, shutdown: &ShutdownWatch);
}

/// A service around a [`DatagramApp`] and any number of UDP sockets. They are bound before the process drops
/// its privileges, and handed to the next server in an upgrade.
///
/// ```
/// use async_trait::async_trait;
/// use pingora_core::server::ShutdownWatch;
/// use pingora_core::services::datagram::{DatagramApp, Service};
/// use std::sync::Arc;
/// use tokio::net::UdpSocket;
///
/// struct Echo;
///
/// #[async_trait]
/// impl DatagramApp for Echo {
///     async fn serve(self: &Arc<Self>, socket: Arc<UdpSocket>, shutdown: &ShutdownWatch) {
///         let (mut shutdown, mut datagram) = (shutdown.clone(), vec![0; 65_535]);
///         loop {
///             let received = tokio::select! {
///                 biased;
///                 _ = shutdown.wait_for(|begun| *begun) => return,
///                 received = socket.recv_from(&mut datagram) => received,
///             };
///             if let Ok((length, sender)) = received {
///                 let _ = socket.send_to(&datagram[..length], sender).await;
///             }
///         }
///     }
/// }
///
/// let mut echo = Service::new("echo".into(), Echo);
/// echo.add_udp("127.0.0.1:0");
/// // server.add_service(echo);
/// ```
pub struct Service<A> {
    name: String,
    app: Arc<A>,
    /// The number of threads. Default: the configured number.
    pub threads: Option<usize>,
    endpoints: Vec<(String, UdpSocketOptions)>,
    /// The number of endpoints, from the first on, that are bound.
    are_bound: usize,
    /// The bound sockets that nothing receives from yet.
    sockets: Vec<BoundDatagram>,
    bound: BoundAddresses,
}

impl<A> fmt::Debug for Service<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("name", &self.name)
            .field("endpoints", &self.endpoints)
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
    pub fn new(name: String, app: A) -> Self {
        Service {
            name,
            app: Arc::new(app),
            threads: None,
            endpoints: vec![],
            are_bound: 0,
            sockets: vec![],
            bound: BoundAddresses::default(),
        }
    }

    /// Adds a UDP socket on an address and port, as in `127.0.0.1:53`, `[::]:53` or `localhost:53`; port 0
    /// means a free port chosen by the system. `systemd:LABEL` means the sockets that the service manager
    /// passes under this label; those that it passes for an address are also found by the address.
    pub fn add_udp(&mut self, addr: &str) {
        self.add_udp_with_settings(addr, UdpSocketOptions::default());
    }

    /// [`Service::add_udp`] with options for a socket that this process creates.
    pub fn add_udp_with_settings(&mut self, addr: &str, options: UdpSocketOptions) {
        self.endpoints.push((addr.to_string(), options));
    }

    /// The addresses that the service is actually bound to, as soon as it is.
    pub fn bound_addresses(&self) -> BoundAddresses {
        self.bound.clone()
    }

    /// The application.
    pub fn app(&self) -> &Arc<A> {
        &self.app
    }

    fn bind(&mut self, fds: &mut Fds) -> Result<()> {
        for (address, options) in self.endpoints.get(self.are_bound..).unwrap_or_default() {
            let sockets = bind_datagram(address, options, fds).map_err(|e| self.named(&e))?;
            self.sockets.extend(sockets);
            self.are_bound += 1;
        }
        let addresses = self.sockets.iter().map(|s| s.address);
        self.bound.announce(addresses.collect());
        Ok(())
    }

    /// The error on one line, with the service's name in front.
    fn named(&self, error: &Error) -> pingora_error::BError {
        let reason = match (&error.context, &error.cause) {
            (Some(reason), None) => reason.as_str().to_string(),
            _ => error.to_string(),
        };
        let message = format!("{}: {reason}", self.name);
        Error::explain(ErrorType::BindError, message).into_in()
    }
}

impl<A: DatagramApp + 'static> Service<A> {
    /// Binds endpoints that no server has bound because the service is wrapped in another one.
    async fn bind_late(&mut self, fds: Option<&ListenFds>) -> Result<()> {
        if self.are_bound == self.endpoints.len() {
            return Ok(());
        }
        match fds {
            Some(fds) => self.bind(&mut *fds.lock().await),
            None => self.bind(&mut Fds::new()),
        }
    }

    /// Starts the task that receives from a socket.
    ///
    /// # Errors
    /// If the runtime is shutting down.
    fn receive(
        &self,
        socket: std::net::UdpSocket,
        runtime: &Handle,
        shutdown: &ShutdownWatch,
    ) -> io::Result<JoinHandle<()>> {
        let worker = runtime.next_worker();
        let socket = {
            let _on = worker.enter();
            Arc::new(UdpSocket::from_std(socket)?)
        };
        let (app, shutdown) = (self.app.clone(), shutdown.clone());
        Ok(worker.spawn(async move { app.serve(socket, &shutdown).await }))
    }
}

#[async_trait]
impl<A: DatagramApp + 'static> super::Service for Service<A> {
    fn prepare(&mut self, fds: &mut Fds) -> Result<()> {
        self.bind(fds)
    }

    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        let (ready, _) = watch::channel(false);
        let ready = ServiceReadyNotifier::new(ready);
        self.start_with_ready_notifier(fds, shutdown, listeners_per_fd, ready)
            .await;
    }

    /// Returns when the application has returned from every socket.
    async fn start_with_ready_notifier(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
        ready_notifier: ServiceReadyNotifier,
    ) {
        if let Err(e) = self.bind_late(fds.as_ref()).await {
            return error!("{e}");
        }
        let name = self.name.clone();
        let Some(runtime) = Handle::current() else {
            return error!("{name}: a service is started from a runtime");
        };
        let mut tasks = FuturesUnordered::new();
        for bound in std::mem::take(&mut self.sockets) {
            let place = (bound.name, bound.address);
            match self.receive(bound.socket, &runtime, &shutdown) {
                Ok(task) => tasks.push(task.map(|end| (place, end))),
                Err(e) => error!("{name}: can't receive from {}: {e}", place.1),
            }
        }
        if tasks.is_empty() {
            warn!(
                "{name}: has no socket to receive from, so it serves no client; `add_udp` adds one"
            );
        }
        ready_notifier.notify_ready();
        while let Some(((entry, address), end)) = tasks.next().await {
            match end {
                Ok(()) => info!("{name}: does not receive from {address} any more"),
                Err(e) => error!("{name}: receiving from {address} ended early: {e}"),
            }
            if let Some(fds) = &fds {
                let mut fds = fds.lock().await;
                if !fds.are_handed_over() {
                    fds.withdraw_datagram(&entry);
                }
            }
        }
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn threads(&self) -> Option<usize> {
        self.threads
    }

    fn check(&self) -> Result<()> {
        let mut addresses = self.endpoints.iter().map(|(address, _)| address);
        addresses
            .try_for_each(|address| check_datagram_address(address))
            .map_err(|e| self.named(&e))
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        let addresses = self.endpoints.iter().map(|(address, _)| address.clone());
        Some(addresses.collect())
    }
}
