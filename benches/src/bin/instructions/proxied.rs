//! A whole proxied request, from the client's bytes to the client's answer.
//!
//! The connection's task is polled by hand, twice per request: when the request has arrived, and
//! when the response has. Between the two the harness is client and origin, and nothing is counted.
//! What a real proxy does besides (system calls, the runtime's scheduling of the task) is not in
//! the figure.

use crate::memory_socket::Wire;
use crate::messages::{BODY, BROWSER_REQUEST, SMALL_REQUEST, response};
use crate::{Failure, counted_from_here, warmed_up};
use async_trait::async_trait;
use pingora::connectors::l4::Connect;
use pingora::prelude::*;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::server::configuration::ServerConf;
use pingora::services::listening::Service;
use std::net::Ipv4Addr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

/// Requests that are not counted: pools, free lists and caches are filled by them.
pub(crate) const WARM_UP: u32 = 50;

/// An address that nothing is ever sent to.
const ORIGIN: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 80);

/// Reaches the one origin there is.
#[derive(Debug)]
pub(crate) struct ToOrigin(Wire);

#[async_trait]
impl Connect for ToOrigin {
    async fn connect(&self, _addr: &SocketAddr) -> Result<Stream> {
        Ok(self.0.stream())
    }
}

/// The least a proxy can be.
struct Plain {
    to_origin: Arc<ToOrigin>,
}

#[async_trait]
impl ProxyHttp for Plain {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(peer(&self.to_origin))
    }
}

/// Stands for a task's waker: cloning it counts references, waking does nothing.
struct ByHand;

impl Wake for ByHand {
    fn wake(self: Arc<Self>) {}
    fn wake_by_ref(self: &Arc<Self>) {}
}

pub(crate) fn browser(times: u32) -> Result<(), Failure> {
    browser_of(times, |to_origin| Plain { to_origin })
}

pub(crate) fn small(times: u32) -> Result<(), Failure> {
    run(times, SMALL_REQUEST, |to_origin| Plain { to_origin })
}

/// A browser's requests to the proxy that `make` makes.
pub(crate) fn browser_of<P>(
    times: u32,
    make: impl FnOnce(Arc<ToOrigin>) -> P,
) -> Result<(), Failure>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    run(times, BROWSER_REQUEST, make)
}

fn run<P>(times: u32, request: &[u8], make: impl FnOnce(Arc<ToOrigin>) -> P) -> Result<(), Failure>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    let response = response();
    with(make, |proxied| {
        for round in 0..WARM_UP + times {
            if round == WARM_UP {
                warmed_up();
            }
            proxied.client.send(request);
            proxied.poll()?;
            if !proxied.origin.receive(|got| got.ends_with(b"\r\n\r\n")) {
                return Err("the origin got no request".into());
            }
            proxied.origin.send(&response);
            proxied.poll()?;
            if !proxied.client.receive(|got| got.ends_with(&BODY)) {
                return Err("the client got no answer".into());
            }
        }
        Ok(())
    })
}

/// A proxy between two wires, polled by hand.
pub(crate) struct Proxied<'a> {
    pub(crate) client: Wire,
    pub(crate) origin: Wire,
    connection: Pin<&'a mut dyn Future<Output = ()>>,
    waker: Waker,
}

impl Proxied<'_> {
    /// Polls the connection's task once, and counts that.
    pub(crate) fn poll(&mut self) -> Result<(), Failure> {
        let mut cx = Context::from_waker(&self.waker);
        let connection = &mut self.connection;
        if counted_from_here(|| connection.as_mut().poll(&mut cx)).is_ready() {
            return Err("the proxy closed the connection".into());
        }
        Ok(())
    }
}

/// Sets up a proxy with one connection of a client.
pub(crate) fn with_proxy(
    work: impl FnOnce(&mut Proxied<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    with(|to_origin| Plain { to_origin }, work)
}

/// The peer of the one origin there is.
pub(crate) fn peer(to_origin: &Arc<ToOrigin>) -> Box<HttpPeer> {
    let mut peer = HttpPeer::new(ORIGIN, false, String::new());
    peer.options.custom_l4 = Some(to_origin.clone());
    Box::new(peer)
}

/// The same with a proxy that `make` makes.
pub(crate) fn with<P>(
    make: impl FnOnce(Arc<ToOrigin>) -> P,
    work: impl FnOnce(&mut Proxied<'_>) -> Result<(), Failure>,
) -> Result<(), Failure>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    // For timers and for the pool, which asks which runtime it is on. Nothing runs on it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _on_runtime = runtime.enter();
    let (client, origin) = (Wire::default(), Wire::default());
    let to_origin = Arc::new(ToOrigin(origin.clone()));
    let proxy = http_proxy(&Arc::new(ServerConf::default()), make(to_origin));
    let (_shutdown_sender, shutdown) = tokio::sync::watch::channel(false);
    let stream = Box::new(client.stream());
    let handled = pin!(Service::handle_event(stream, Arc::new(proxy), shutdown));
    work(&mut Proxied {
        client,
        origin,
        connection: handled,
        waker: Waker::from(Arc::new(ByHand)),
    })
}
