//! A load balancer: round robin over several upstreams, except those that fail their health check.
//!
//! ```sh
//! cargo run --example load_balancer
//! cargo run --example load_balancer -- --upstream 127.0.0.1:8001 --upstream 127.0.0.1:8002
//! cargo run --example load_balancer -- --upstream one.one.one.one:443 --tls
//! ```
//!
//! Without `--upstream` it starts two small origins, and balances over them and an address that refuses
//! connections.

mod demo;

use async_trait::async_trait;
use clap::Parser;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::lb::discovery::Static;
use pingora::lb::health_check::HealthObserve;
use pingora::lb::{Backend, Backends, Tries, Upstreams};
use pingora::prelude::*;
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::RunArgs;
use pingora_examples::{Announcement, exit_code, log_to_stderr, say};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

/// Balances HTTP requests over upstreams
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6188")]
    listen: String,

    /// Balance over this upstream; may be given several times [default: two origins of its own]
    #[arg(long, value_name = "HOST:PORT")]
    upstream: Vec<String>,

    /// Speak TLS to the upstreams
    #[arg(long, requires = "upstream")]
    tls: bool,

    /// The upstreams' name, for the TLS handshake and the Host field [default with --tls: the HOST
    /// of the first upstream, if that is a name]
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,

    #[command(flatten)]
    server: Opt,
}

impl Cli {
    /// The name of the upstreams; empty if they have none.
    fn name_of_upstreams(&self) -> String {
        if let Some(name) = &self.sni {
            return name.clone();
        }
        let first = self.upstream.first().filter(|_| self.tls);
        let host = first
            .and_then(|upstream| upstream.rsplit_once(':'))
            .map(|(host, _)| host);
        let is_name =
            |host: &&str| host.parse::<std::net::Ipv4Addr>().is_err() && !host.contains(':');
        host.filter(is_name).unwrap_or_default().to_string()
    }
}

/// The proxy: `Upstreams` decides where each request goes.
struct Balancer {
    upstreams: Upstreams<RoundRobin>,
    name: String,
}

#[async_trait]
impl ProxyHttp for Balancer {
    /// The state that is kept from phase to phase of a request: the upstreams that were tried.
    type CTX = Tries;
    fn new_ctx(&self) -> Tries {
        Tries::default()
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        tries: &mut Tries,
    ) -> Result<Box<HttpPeer>> {
        // The key is for selection by hash; round robin ignores it.
        let peer = self.upstreams.peer(session, b"", tries)?;
        if let Some(upstream) = tries.current() {
            say(format_args!("upstream peer is: {upstream:?}"));
        }
        Ok(peer)
    }

    /// An upstream may fail between two health checks. Nothing was sent to it then, so the next one gets
    /// the request.
    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        tries: &mut Tries,
        error: Box<Error>,
    ) -> Box<Error> {
        self.upstreams.fail_to_connect(tries, error)
    }

    /// It may also fail later; then another one gets the request if repeating it does no harm.
    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        tries: &mut Tries,
        reused: bool,
    ) -> Box<Error> {
        self.upstreams
            .error_while_proxy(session, peer, tries, error, reused)
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        upstream_request: &mut RequestHeader,
        _tries: &mut Tries,
    ) -> Result<()> {
        if !self.name.is_empty() {
            upstream_request.insert_header("Host", &self.name)?;
        }
        Ok(())
    }
}

/// Reports changes in the health of an upstream.
struct TellHealth;

#[async_trait]
impl HealthObserve for TellHealth {
    async fn observe(&self, upstream: &Backend, healthy: bool) {
        let state = if healthy {
            "healthy again"
        } else {
            "unhealthy, and left out"
        };
        say(format_args!("{} is {state}", upstream.addr));
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // `TellHealth` replaces the balancer's own log lines about health.
    log_to_stderr("warn,pingora_load_balancing=error");
    exit_code(serve(&cli))
}

fn serve(cli: &Cli) -> Result<()> {
    let mut server = Server::new(cli.server.clone())?;
    server.bootstrap();

    let backends = match cli.upstream.as_slice() {
        [] => demo::origins(&mut server),
        given => Backends::new(Static::new(resolve(given)?)),
    };
    let name = cli.name_of_upstreams();
    let mut upstreams = LoadBalancer::from_backends(backends);
    let mut check = if cli.tls {
        TcpHealthCheck::new_tls(&name)
    } else {
        TcpHealthCheck::new()
    };
    // It trusts the same certificates as the proxy: `ca_file` of the configuration.
    let connector = ConnectorOptions::from_server_conf(&server.configuration);
    check.set_connector(TransportConnector::new(Some(connector)));
    check.health_changed_callback = Some(Box::new(TellHealth));
    upstreams.set_health_check(check);
    upstreams.health_check_frequency = Some(Duration::from_secs(1));
    upstreams.parallel_health_check = true;
    let health_check = background_service("health check", upstreams);

    let mut upstreams = Upstreams::new(health_check.task()).adjust_peer(|_, peer| {
        peer.options.connection_timeout = Some(Duration::from_secs(1));
    });
    if cli.tls {
        upstreams = upstreams.tls(&name);
    }
    let balancer = Balancer { upstreams, name };
    let mut proxy = http_proxy_service_with_name(&server.configuration, balancer, "load balancer");
    proxy.add_tcp(&cli.listen);
    let announcement = Announcement::new(proxy.bound_addresses(), what_to_try(cli));

    // No client is served until the health of the upstreams is known.
    let health_check = server.add_service(health_check);
    let proxy = server.add_service(proxy);
    proxy.add_dependency(&health_check);
    let announcement = server.add_service(background_service("announcement", announcement));
    announcement.add_dependency(&proxy);

    server.try_run(RunArgs::default())
}

/// The upstreams from the command line. A name with several addresses becomes as many backends.
fn resolve(upstreams: &[String]) -> Result<BTreeSet<Backend>> {
    let mut backends = BTreeSet::new();
    for upstream in upstreams {
        let found = Static::try_from_iter([upstream])
            .or_err_with(ErrorType::ConnectNoRoute, || {
                format!("--upstream {upstream}")
            })?;
        backends.extend(found.get());
    }
    Ok(backends)
}

fn what_to_try(cli: &Cli) -> impl Fn(SocketAddr) -> String + Send + Sync + 'static {
    let over = match cli.upstream.as_slice() {
        [] => demo::DESCRIPTION.to_string(),
        given => format!("It balances over {}.", given.join(", ")),
    };
    move |address| {
        format!(
            "{over} Try, several times:\n\n    curl http://{address}/\n\n\
             Ctrl-C stops it. Here is where each request goes:"
        )
    }
}
