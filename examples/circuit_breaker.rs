//! A load balancer that learns from requests: an upstream that fails several in a row is ejected for a
//! while, and comes back if a few probes succeed. No health check is needed.
//!
//! ```sh
//! cargo run --example circuit_breaker
//! cargo run --example circuit_breaker -- --upstream 127.0.0.1:8001 --upstream 127.0.0.1:8002
//! ```
//!
//! Without `--upstream` it starts two small origins, one of which answers 503 every other ten seconds.

use async_trait::async_trait;
use clap::Parser;
use http::{Response, StatusCode};
use pingora::apps::http_app::{HttpServer, ServeHttp};
use pingora::lb::circuit::{Breaker, CircuitObserver, CircuitState};
use pingora::lb::discovery::Static;
use pingora::lb::selection::LeastConnections;
use pingora::lb::{Backend, Backends, Tries, Upstreams};
use pingora::prelude::*;
use pingora::protocols::http::ServerSession;
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::RunArgs;
use pingora::services::listening::Service;
use pingora_examples::{Announcement, backends, exit_code, log_to_stderr, origin, say};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Ejects upstreams that fail requests
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:6188")]
    listen: String,

    /// Balance over this upstream; may be given several times [default: two origins of its own]
    #[arg(long, value_name = "IP:PORT")]
    upstream: Vec<String>,

    /// How long the first ejection takes, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 2_000)]
    ejection: u64,

    #[command(flatten)]
    server: Opt,
}

impl Cli {
    fn breaker(&self) -> Breaker {
        let first = Duration::from_millis(self.ejection);
        Breaker::new()
            .consecutive_failures(3)
            .ejection_time(first, first * 8)
            .probes(1, 2)
            .observer(Arc::new(TellState))
    }
}

/// Without a breaker, an upstream that fails quickly would get most of the requests: it always has the
/// fewest in progress.
struct Balancer(Upstreams<LeastConnections>);

#[async_trait]
impl ProxyHttp for Balancer {
    /// The upstreams that a request has tried.
    type CTX = Tries;

    fn new_ctx(&self) -> Tries {
        Tries::default()
    }

    /// The peer comes with a lease, whose end tells the breaker the outcome of the request.
    async fn upstream_peer(
        &self,
        session: &mut Session,
        tries: &mut Tries,
    ) -> Result<Box<HttpPeer>> {
        self.0.peer(session, b"", tries)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        tries: &mut Tries,
        error: Box<Error>,
    ) -> Box<Error> {
        self.0.fail_to_connect(tries, error)
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        tries: &mut Tries,
        reused: bool,
    ) -> Box<Error> {
        self.0
            .error_while_proxy(session, peer, tries, error, reused)
    }
}

/// Prints state changes of the upstreams.
struct TellState;

impl CircuitObserver for TellState {
    fn changed(&self, upstream: &Backend, state: CircuitState) {
        let state = match state {
            CircuitState::Closed => "back",
            CircuitState::Open => "ejected",
            _ => "probed",
        };
        say(format_args!("{} is {state}", upstream.addr));
    }
}

/// An origin that works for ten seconds, and then fails for ten.
struct Flaky(Instant);

#[async_trait]
impl ServeHttp for Flaky {
    async fn response(&self, _session: &mut ServerSession) -> Response<Vec<u8>> {
        let works = (self.0.elapsed().as_secs() / 10).is_multiple_of(2);
        let mut response = Response::new(b"Hello from the flaky origin!\n".to_vec());
        if !works {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // `TellState` replaces the balancer's own log lines about ejections.
    log_to_stderr("warn,pingora_load_balancing=error,pingora_proxy=error");
    exit_code(serve(&cli))
}

fn serve(cli: &Cli) -> Result<()> {
    let mut server = Server::new(cli.server.clone())?;
    server.bootstrap();

    let set = match cli.upstream.as_slice() {
        [] => origins(&mut server),
        given => {
            let found = Static::try_from_iter(given);
            Backends::new(found.or_err(ErrorType::ConnectNoRoute, "--upstream")?)
        }
    };
    set.set_breaker(cli.breaker());
    // An upstream that comes back gets its share gradually.
    set.set_slow_start(Duration::from_secs(10));
    // As a background service, it asks the set for its members.
    let balancer = background_service("upstreams", LoadBalancer::from_backends(set));
    let upstreams = Upstreams::new(balancer.task());
    let name = "circuit breaker";
    let mut proxy = http_proxy_service_with_name(&server.configuration, Balancer(upstreams), name);
    proxy.add_tcp(&cli.listen);
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        format!(
            "Send it requests all the time:\n\n    \
             while sleep 0.1; do curl -s -o /dev/null -w '%{{http_code}} ' http://{address}/; done\n\n\
             Ctrl-C stops it. Here is what becomes of its upstreams:"
        )
    });

    let balancer = server.add_service(balancer);
    let proxy = server.add_service(proxy);
    proxy.add_dependency(&balancer);
    let announcement = server.add_service(background_service("announcement", announcement));
    announcement.add_dependency(&proxy);
    server.try_run(RunArgs::default())
}

/// Starts a good origin and a flaky one in the server.
fn origins(server: &mut Server) -> Backends {
    let good = origin("the good origin");
    let app = HttpServer::new_app(Flaky(Instant::now()));
    let mut flaky = Service::new("flaky".into(), app);
    flaky.add_tcp("127.0.0.1:0");
    flaky.threads = Some(1);
    let addresses = vec![good.bound_addresses(), flaky.bound_addresses()];
    server.add_service(good);
    server.add_service(flaky);
    backends(addresses, &[])
}
