//! Two balancers behind one address: requests below `/api` go to one set of upstreams, all others to another one.
//!
//! ```sh
//! cargo run --example multi_lb
//! ```

use async_trait::async_trait;
use clap::Parser;
use pingora::lb::health_check::{HealthCheck, HttpHealthCheck};
use pingora::lb::{Backends, Tries, Upstreams};
use pingora::prelude::*;
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::RunArgs;
use pingora::services::ServiceHandle;
use pingora_examples::{Announcement, backends, exit_code, log_to_stderr, origin, say};
use std::process::ExitCode;
use std::time::Duration;

/// A proxy with two sets of upstreams
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6188")]
    listen: String,

    #[command(flatten)]
    server: Opt,
}

struct Proxy {
    api: Upstreams<RoundRobin>,
    pages: Upstreams<RoundRobin>,
}

impl Proxy {
    /// The set that a path belongs to. `/apis` is not below `/api`.
    fn is_api(path: &str) -> bool {
        path.strip_prefix("/api")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn upstreams(&self, ctx: &Context) -> &Upstreams<RoundRobin> {
        if ctx.is_api { &self.api } else { &self.pages }
    }
}

/// The chosen set, so that every try uses the same one, and its upstreams that were tried.
#[derive(Default)]
struct Context {
    is_api: bool,
    tries: Tries,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::default()
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        ctx.is_api = Proxy::is_api(session.req_header().uri.path());
        Ok(false)
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        let peer = self.upstreams(ctx).peer(session, b"", &mut ctx.tries)?;
        if let Some(upstream) = ctx.tries.current() {
            let set = if ctx.is_api { "api" } else { "pages" };
            say(format_args!("{set}: {}", upstream.addr));
        }
        Ok(peer)
    }

    /// The set is told about the failure, and has the request retried elsewhere.
    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Context,
        error: Box<Error>,
    ) -> Box<Error> {
        self.upstreams(ctx).fail_to_connect(&ctx.tries, error)
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        self.upstreams(ctx)
            .error_while_proxy(session, peer, &ctx.tries, error, reused)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The third upstream of the pages is down, which is logged as a warning.
    log_to_stderr("error");
    exit_code(serve(cli))
}

/// Two origins that run in the server, and other addresses.
fn origins(
    server: &mut Server,
    names: [&'static str; 2],
    others: &'static [&'static str],
) -> Backends {
    let services = names.map(origin);
    let addresses = services.iter().map(|s| s.bound_addresses()).collect();
    for service in services {
        server.add_service(service);
    }
    backends(addresses, others)
}

/// A balancer over a set, with a health check of its own that runs as a service.
fn balance(
    server: &mut Server,
    name: &str,
    set: Backends,
    check: Box<dyn HealthCheck + Send + Sync>,
) -> (Upstreams<RoundRobin>, ServiceHandle) {
    let mut balancer = LoadBalancer::from_backends(set);
    balancer.set_health_check(check);
    balancer.health_check_frequency = Some(Duration::from_secs(1));
    let service = background_service(name, balancer);
    let upstreams = Upstreams::new(service.task());
    (upstreams, server.add_service(service))
}

fn serve(cli: Cli) -> Result<()> {
    let mut server = Server::new(cli.server)?;
    server.bootstrap();

    // An API reports its health in its status; for pages it is enough to accept connections.
    let set = origins(&mut server, ["API one", "API two"], &[]);
    let check = Box::new(HttpHealthCheck::new("api.test", false));
    let (api, api_checked) = balance(&mut server, "health of the API", set, check);
    let set = origins(&mut server, ["pages one", "pages two"], &["127.0.0.1:343"]);
    let check = TcpHealthCheck::new();
    let (pages, pages_checked) = balance(&mut server, "health of the pages", set, check);

    let proxy = Proxy { api, pages };
    let mut proxy = http_proxy_service_with_name(&server.configuration, proxy, "proxy");
    proxy.add_tcp(&cli.listen);
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        format!(
            "Two origins serve the API and two serve pages; a third one for pages is down. Try each, several \
             times:\n\n    \
             curl http://{address}/api/users\n    \
             curl http://{address}/index.html\n\n\
             Ctrl-C stops it. Here is where each request goes:"
        )
    });

    // No client is served until the health of both sets is known.
    let proxy = server.add_service(proxy);
    proxy.add_dependency(&api_checked);
    proxy.add_dependency(&pages_checked);
    let announcement = server.add_service(background_service("announcement", announcement));
    announcement.add_dependency(&proxy);
    server.try_run(RunArgs::default())
}
