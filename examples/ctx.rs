//! Three places to keep state: in the proxy for all requests, in `CTX` from phase to phase of one request, and
//! with the client's connection from one request to the next.
//!
//! ```sh
//! cargo run --example ctx
//! ```

use async_trait::async_trait;
use clap::Parser;
use pingora::http::ResponseHeader;
use pingora::listeners::BoundAddresses;
use pingora::prelude::*;
use pingora::protocols::Digest;
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::RunArgs;
use pingora_examples::{Announcement, exit_code, log_to_stderr, origin, say};
use std::any::Any;
use std::os::fd::RawFd;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A proxy that remembers
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6188")]
    listen: String,

    #[command(flatten)]
    server: Opt,
}

/// Shared by all requests, on all threads: mutable state in it has to be atomic or behind a lock.
struct Proxy {
    origin: BoundAddresses,
    requests: AtomicU64,
}

/// The state of one request. Each phase receives it, one at a time, so it needs no lock.
struct Context {
    number: u64,
    begun: Instant,
    /// How long connecting to the upstream took, and whether that connection was used before.
    connected: Option<(Duration, bool)>,
    connection: Visits,
}

/// State that is kept with a client's HTTP/1 connection from one request to the next.
#[derive(Clone, Default)]
struct Visits {
    requests: u64,
    previous: Option<String>,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context {
            number: self.requests.fetch_add(1, Ordering::Relaxed) + 1,
            begun: Instant::now(),
            connected: None,
            connection: Visits::default(),
        }
    }

    /// Receives the value that the connection's last request left; before all other phases.
    fn on_connection_reuse(
        &self,
        _session: &mut Session,
        ctx: &mut Context,
        left: Box<dyn Any + Send + Sync>,
    ) {
        if let Ok(visits) = left.downcast::<Visits>() {
            ctx.connection = *visits;
        }
    }

    async fn request_filter(&self, _session: &mut Session, ctx: &mut Context) -> Result<bool> {
        ctx.connection.requests += 1;
        Ok(false)
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        let addresses = self.origin.wait().await?;
        Ok(Box::new(HttpPeer::new(&*addresses, false, String::new())))
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        _fd: RawFd,
        _digest: Option<&Digest>,
        ctx: &mut Context,
    ) -> Result<()> {
        ctx.connected = Some((ctx.begun.elapsed(), reused));
        Ok(())
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        response.insert_header("X-Request", ctx.number.to_string())?;
        let visits = &ctx.connection;
        response.insert_header("X-Request-Of-Connection", visits.requests.to_string())?;
        if let Some(path) = &visits.previous {
            response.insert_header("X-Previous-Path", path)?;
        }
        Ok(())
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, ctx: &mut Context) {
        let upstream = match ctx.connected {
            Some((after, true)) => format!("a kept connection after {after:?}"),
            Some((after, false)) => format!("a new connection after {after:?}"),
            None => "no connection".to_string(),
        };
        let path = session.req_header().uri.path();
        say(format_args!(
            "request {}, number {} of its connection: {path} over {upstream}, done after {:?}",
            ctx.number,
            ctx.connection.requests,
            ctx.begun.elapsed(),
        ));
    }

    /// Leaves a value for the connection's next request; after all other phases.
    fn persist_connection_context(
        &self,
        session: &Session,
        ctx: &Context,
    ) -> Option<Box<dyn Any + Send + Sync>> {
        Some(Box::new(Visits {
            requests: ctx.connection.requests,
            previous: Some(session.req_header().uri.path().to_string()),
        }))
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr("warn");
    exit_code(serve(cli))
}

fn serve(cli: Cli) -> Result<()> {
    let mut server = Server::new(cli.server)?;
    server.bootstrap();

    let origin = origin("the origin");
    let proxy = Proxy {
        origin: origin.bound_addresses(),
        requests: AtomicU64::new(0),
    };
    let mut proxy = http_proxy_service_with_name(&server.configuration, proxy, "proxy");
    proxy.add_tcp(&cli.listen);
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        format!(
            "Ask twice over one connection, then over another one, and look at the fields X-...:\n\n    \
             curl -i http://{address}/first http://{address}/second\n    \
             curl -i http://{address}/third\n\n\
             Ctrl-C stops it. Here is what each request remembered:"
        )
    });

    server.add_service(origin);
    server.add_service(proxy);
    server.add_service(background_service("announcement", announcement));
    server.try_run(RunArgs::default())
}
