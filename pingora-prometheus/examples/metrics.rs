//! A proxy and its metrics, on a port of their own: what the framework counts, what the balancer knows of its backends,
//! and two counters of the program's own.
//!
//! ```sh
//! cargo run --example metrics
//! ```

use async_trait::async_trait;
use clap::Parser;
use pingora::lb::{Tries, Upstreams};
use pingora::metrics::CounterByLabel;
use pingora::prelude::*;
use pingora::proxy::http_proxy_service_with_name;
use pingora::runtime::Watchdog;
use pingora::server::{RunArgs, ShutdownWatch};
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::BackgroundService;
use pingora_examples::{Announcement, backends, exit_code, log_to_stderr, origin, say};
use pingora_prometheus::prometheus::{IntCounter, register_int_counter};
use pingora_prometheus::prometheus_http_service;
use std::process::ExitCode;
use std::time::Duration;

/// A proxy with metrics
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:6188")]
    listen: String,

    /// Serve metrics on this address
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:6192")]
    metrics: String,

    #[command(flatten)]
    server: Opt,
}

struct Shop {
    upstreams: Upstreams<RoundRobin>,
    /// Hosts on the list have a series each; whatever else clients think of is counted as `other`.
    hosts: CounterByLabel,
    /// A metric of the usual crate, which stands beside the rest.
    teapots: IntCounter,
}

#[async_trait]
impl ProxyHttp for Shop {
    type CTX = Tries;

    fn new_ctx(&self) -> Tries {
        Tries::default()
    }

    async fn request_filter(&self, session: &mut Session, _tries: &mut Tries) -> Result<bool> {
        let host = String::from_utf8_lossy(session.get_header_bytes("host"));
        self.hosts.add(&host, 1);
        if session.req_header().uri.path() != "/teapot" {
            return Ok(false);
        }
        self.teapots.inc();
        session.respond_error(418).await?;
        Ok(true)
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        tries: &mut Tries,
    ) -> Result<Box<HttpPeer>> {
        self.upstreams.peer(session, b"", tries)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        tries: &mut Tries,
        error: Box<Error>,
    ) -> Box<Error> {
        self.upstreams.fail_to_connect(tries, error)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr("warn");
    exit_code(serve(&cli))
}

fn serve(cli: &Cli) -> Result<()> {
    let mut server = Server::new(cli.server.clone())?;
    server.bootstrap();

    let origin = origin("the origin");
    // Nobody listens on port 1: some requests have to be tried again.
    let set = backends(vec![origin.bound_addresses()], &["127.0.0.1:1"]);
    let balancer = background_service("upstreams", LoadBalancer::from_backends(set));
    pingora::lb::metrics::watch("shop", &balancer.task());
    let teapots = register_int_counter!("shop_teapots_total", "Requests for a teapot.");
    let shop = Shop {
        upstreams: Upstreams::new(balancer.task()),
        hosts: CounterByLabel::new(
            "shop_requests_total",
            "Requests by host.",
            "host",
            &["shop.example", "api.example"],
        ),
        teapots: teapots.or_err(ErrorType::InternalError, "registering a metric")?,
    };
    let mut proxy = http_proxy_service_with_name(&server.configuration, shop, "shop");
    proxy.add_tcp(&cli.listen);
    let mut metrics = prometheus_http_service();
    metrics.add_tcp(&cli.metrics);
    metrics.threads = Some(1);

    let (proxied, bound) = (proxy.bound_addresses(), metrics.bound_addresses());
    let announcement = Announcement::new(proxied, |address| {
        format!(
            "Try:\n\n    \
             curl http://{address}/\n    \
             curl http://{address}/teapot\n\n\
             Ctrl-C stops it."
        )
    });
    let origin = server.add_service(origin);
    let balancer = server.add_service(balancer);
    let metrics = server.add_service(metrics);
    let proxy = server.add_service(proxy);
    balancer.add_dependency(&origin);
    proxy.add_dependency(&balancer);
    let told = server.add_service(background_service("where metrics are", MetricsAt(bound)));
    told.add_dependency(&metrics);
    let announcement = server.add_service(background_service("announcement", announcement));
    announcement.add_dependency(&proxy);
    announcement.add_dependency(&told);
    // Says which phase of which request blocks a worker, or takes long.
    let watchdog = Watchdog::start(Duration::from_millis(100), Duration::from_secs(5));
    let served = server.try_run(RunArgs::default());
    drop(watchdog);
    served
}

/// Says where the metrics are.
struct MetricsAt(pingora::listeners::BoundAddresses);

#[async_trait]
impl BackgroundService for MetricsAt {
    async fn start_with_ready_notifier(
        &self,
        _shutdown: ShutdownWatch,
        ready: ServiceReadyNotifier,
    ) {
        if let Ok(addresses) = self.0.wait().await {
            for address in addresses {
                say(format_args!("metrics on http://{address}/metrics"));
            }
        }
        // Only now, so that the announcement comes behind it.
        ready.notify_ready();
    }
}
