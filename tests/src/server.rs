//! Servers of the framework under test, in threads.

use crate::PATIENCE;
use crate::ask::Version;
use crate::connection::Connection;
use async_trait::async_trait;
use pingora::listeners::BoundAddresses;
use pingora::prelude::*;
use pingora::protocols::ALPN;
use pingora::proxy::HttpProxy;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, ShutdownSignal, ShutdownSignalWatch};
use pingora::services::listening::Service;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, mpsc};

/// A server that runs in a thread; it is stopped, at once, when this is dropped.
#[derive(Debug)]
pub struct TestServer {
    addresses: Vec<SocketAddr>,
    signals: mpsc::UnboundedSender<ShutdownSignal>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl TestServer {
    /// Runs a server that has its services, and waits until the one listens from which `bound` was
    /// taken.
    ///
    /// # Panics
    /// When it doesn't.
    pub async fn start(server: Server, bound: BoundAddresses) -> Self {
        let (signals, received) = mpsc::unbounded_channel();
        let run_args = RunArgs {
            shutdown_signal: Box::new(Signals(Mutex::new(received))),
        };
        let thread = std::thread::spawn(move || server.try_run(run_args));
        let addresses = tokio::time::timeout(PATIENCE, bound.wait()).await;
        let addresses = addresses
            .expect("the server listens in time")
            .expect("the server listens");
        Self {
            addresses,
            signals,
            thread: Some(thread),
        }
    }

    /// Where its first endpoint listens.
    pub fn address(&self) -> SocketAddr {
        *self
            .addresses
            .first()
            .expect("the service has a TCP endpoint")
    }

    /// Where its endpoints listen, in the order in which they were added.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Connects to its first endpoint.
    pub async fn connect(&self) -> Connection {
        Connection::to(self.address()).await
    }

    /// Sends it a signal to stop.
    pub fn signal(&self, signal: ShutdownSignal) {
        // A server that ended already needs no signal.
        let _ = self.signals.send(signal);
    }

    /// Whether it has stopped.
    pub fn has_stopped(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.signal(ShutdownSignal::FastShutdown);
        let end = Instant::now() + PATIENCE;
        while !self.has_stopped() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        let outcome = self
            .thread
            .take()
            .filter(JoinHandle::is_finished)
            .map(JoinHandle::join);
        // While a test fails already, another panic would hide why.
        if !std::thread::panicking() {
            let outcome = outcome
                .expect("the server stops in time")
                .expect("it doesn't panic");
            outcome.expect("the server ends well");
        }
    }
}

struct Signals(Mutex<mpsc::UnboundedReceiver<ShutdownSignal>>);

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let signal = self.0.lock().await.recv().await;
        signal.unwrap_or(ShutdownSignal::FastShutdown)
    }

    fn repeats(&self) -> bool {
        true
    }
}

/// Starts a server with one service, this proxy, on one TCP port; one worker.
pub async fn proxy<P>(proxy: P) -> TestServer
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync + 'static,
{
    let conf = ServerConf {
        threads: 1,
        ..ServerConf::default()
    };
    proxy_with(conf, proxy, |_| {}).await
}

/// Starts a server with this configuration and one service, this proxy, on one TCP port; `adjust`
/// gets the service before it starts.
pub async fn proxy_with<P>(
    conf: ServerConf,
    proxy: P,
    adjust: impl FnOnce(&mut Service<HttpProxy<P>>),
) -> TestServer
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync + 'static,
{
    let mut server = Server::new_with_opt_and_conf(None::<Opt>, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, proxy);
    service.add_tcp("127.0.0.1:0");
    adjust(&mut service);
    let bound = service.bound_addresses();
    server.add_service(service);
    TestServer::start(server, bound).await
}

/// The smallest proxy: every request goes to one address, in cleartext.
#[derive(Clone, Copy, Debug)]
pub struct FixedUpstream(pub SocketAddr);

#[async_trait]
impl ProxyHttp for FixedUpstream {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

/// A proxy whose requests all go to one address, over one version of HTTP, in cleartext.
#[derive(Clone, Copy, Debug)]
pub struct VersionedUpstream {
    /// The address.
    pub address: SocketAddr,
    /// The version.
    pub version: Version,
}

impl VersionedUpstream {
    /// How the upstream is reached.
    pub fn peer(&self) -> HttpPeer {
        let mut peer = HttpPeer::new(self.address, false, String::new());
        if self.version == Version::H2 {
            peer.options.alpn = ALPN::H2;
            // As many as a usual origin lets in; by default there is one.
            peer.options.max_h2_streams = 100;
        }
        peer
    }
}

#[async_trait]
impl ProxyHttp for VersionedUpstream {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.peer()))
    }
}

/// Starts a server with one service, this proxy, on one TCP port that speaks HTTP/1.1 and, with
/// clients who begin with it, HTTP/2; one worker.
pub async fn h2c_proxy<P>(proxy: P) -> TestServer
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync + 'static,
{
    let conf = ServerConf {
        threads: 1,
        ..ServerConf::default()
    };
    proxy_with(conf, proxy, speak_h2c).await
}

/// Lets a service speak HTTP/2 in cleartext with clients who begin with it.
pub fn speak_h2c<P>(service: &mut Service<HttpProxy<P>>) {
    let proxy = service.app_logic_mut().expect("the service is not started");
    let options = proxy.server_options.get_or_insert_default();
    options.h2c = true;
}
