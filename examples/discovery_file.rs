//! A load balancer whose upstreams are listed in a file, which it follows while it runs.
//!
//! ```sh
//! printf '127.0.0.1:8001\n127.0.0.1:8002 weight=2\n' > upstreams
//! cargo run --example discovery_file -- --file upstreams
//! ```

use async_trait::async_trait;
use clap::Parser;
use pingora::lb::discovery::FileDiscovery;
use pingora::lb::selection::{PeakEwma, Tiered};
use pingora::lb::{Backends, Tries, Upstreams};
use pingora::prelude::*;
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::RunArgs;
use pingora_examples::{Announcement, exit_code, log_to_stderr};
use std::path::PathBuf;
use std::process::ExitCode;

/// Balances over the upstreams in a file
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:6188")]
    listen: String,

    /// The list of upstreams: in each line an address, and options such as weight=2
    #[arg(long, value_name = "PATH")]
    file: PathBuf,

    #[command(flatten)]
    server: Opt,
}

/// `Tiered` understands the priorities and zones in the file.
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

    let set = Backends::new(FileDiscovery::new(&cli.file));
    // As a background service, it checks the file once a second.
    let balancer = background_service("upstreams", LoadBalancer::from_backends(set));
    let upstreams = Upstreams::new(balancer.task());
    let name = "file discovery";
    let mut proxy = http_proxy_service_with_name(&server.configuration, Balancer(upstreams), name);
    proxy.add_tcp(&cli.listen);
    let file = cli.file.display().to_string();
    let announcement = Announcement::new(proxy.bound_addresses(), move |address| {
        format!(
            "Send it a request, and replace the file as a whole:\n\n    \
             curl http://{address}/\n    \
             echo 127.0.0.1:8003 > {file}.new && mv {file}.new {file}\n\nCtrl-C stops it."
        )
    });

    let balancer = server.add_service(balancer);
    let proxy = server.add_service(proxy);
    proxy.add_dependency(&balancer);
    let announcement = server.add_service(background_service("announcement", announcement));
    announcement.add_dependency(&proxy);
    server.try_run(RunArgs::default())
}
