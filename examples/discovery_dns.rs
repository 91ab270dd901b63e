//! A load balancer over all addresses of a name, which follows the DNS while it runs.
//!
//! ```sh
//! cargo run --example discovery_dns --features dns -- --name app.example.com --port 80
//! cargo run --example discovery_dns --features dns -- --service _http._tcp.example.com --name-server 127.0.0.1:53
//! ```

use async_trait::async_trait;
use clap::Parser;
use pingora::lb::discovery::DnsDiscovery;
use pingora::lb::selection::{PeakEwma, Tiered};
use pingora::lb::{Backends, Tries, Upstreams};
use pingora::prelude::*;
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::RunArgs;
use pingora_examples::{Announcement, exit_code, log_to_stderr};
use std::net::SocketAddr;
use std::process::ExitCode;

/// Balances over the upstreams that the DNS names
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:6188")]
    listen: String,

    /// Balance over the addresses of this name; may be given several times
    #[arg(long)]
    name: Vec<String>,

    /// The port of the names
    #[arg(long, default_value_t = 80)]
    port: u16,

    /// Balance over the targets of the SRV records of this name; may be given several times
    #[arg(long, value_name = "NAME")]
    service: Vec<String>,

    /// Ask this name server; may be given several times [default: those of the system]
    #[arg(long, value_name = "IP:PORT")]
    name_server: Vec<SocketAddr>,

    #[command(flatten)]
    server: Opt,
}

impl Cli {
    fn discovery(&self) -> Result<DnsDiscovery> {
        let mut discovery = match self.name_server.as_slice() {
            [] => DnsDiscovery::new()?,
            servers => DnsDiscovery::with_servers(servers)?,
        };
        for name in &self.name {
            discovery = discovery.addresses(name, self.port);
        }
        for name in &self.service {
            discovery = discovery.services(name);
        }
        Ok(discovery)
    }
}

/// `Tiered` understands the priorities of SRV records.
struct Balancer(Upstreams<Tiered<PeakEwma>>);

#[async_trait]
impl ProxyHttp for Balancer {
    /// The upstreams that a request has tried.
    type CTX = Tries;

    fn new_ctx(&self) -> Tries {
        Tries::default()
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        tries: &mut Tries,
    ) -> Result<Box<HttpPeer>> {
        self.0.peer(session, b"", tries)
    }

    /// If one address of a name can't be reached, the request goes to the next.
    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        tries: &mut Tries,
        error: Box<Error>,
    ) -> Box<Error> {
        self.0.fail_to_connect(tries, error)
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

    let set = Backends::new(Box::new(cli.discovery()?));
    // As a background service, it queries again when the answers have expired.
    let balancer = background_service("upstreams", LoadBalancer::from_backends(set));
    let upstreams = Upstreams::new(balancer.task());
    let name = "dns discovery";
    let mut proxy = http_proxy_service_with_name(&server.configuration, Balancer(upstreams), name);
    proxy.add_tcp(&cli.listen);
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        format!("Send it a request:\n\n    curl http://{address}/\n\nCtrl-C stops it.")
    });

    let balancer = server.add_service(balancer);
    let proxy = server.add_service(proxy);
    proxy.add_dependency(&balancer);
    let announcement = server.add_service(background_service("announcement", announcement));
    announcement.add_dependency(&proxy);
    server.try_run(RunArgs::default())
}
