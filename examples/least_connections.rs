//! A load balancer for requests whose duration differs a lot: each goes to the upstream with the fewest
//! requests in progress.
//!
//! ```sh
//! cargo run --example least_connections
//! cargo run --example least_connections -- --upstream 127.0.0.1:8001 --upstream 127.0.0.1:8002
//! ```
//!
//! Without `--upstream` it starts two small origins, one of which takes a second for each answer.

use async_trait::async_trait;
use clap::Parser;
use http::Response;
use pingora::apps::http_app::{HttpServer, ServeHttp};
use pingora::lb::discovery::Static;
use pingora::lb::selection::LeastConnections;
use pingora::lb::{Backends, Tries, Upstreams};
use pingora::prelude::*;
use pingora::protocols::http::ServerSession;
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::RunArgs;
use pingora::services::listening::Service;
use pingora_examples::{Announcement, backends, exit_code, log_to_stderr, origin, say};
use std::process::ExitCode;
use std::time::Duration;

/// Sends each request to the upstream with the fewest requests in progress
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:6188")]
    listen: String,

    /// Balance over this upstream; may be given several times [default: two origins of its own]
    #[arg(long, value_name = "IP:PORT")]
    upstream: Vec<String>,

    #[command(flatten)]
    server: Opt,
}

struct Balancer(Upstreams<LeastConnections>);

#[async_trait]
impl ProxyHttp for Balancer {
    /// The upstreams that a request has tried.
    type CTX = Tries;

    fn new_ctx(&self) -> Tries {
        Tries::default()
    }

    /// The peer comes with a lease: the request counts as in progress until it has ended, however it ends.
    async fn upstream_peer(
        &self,
        session: &mut Session,
        tries: &mut Tries,
    ) -> Result<Box<HttpPeer>> {
        let peer = self.0.peer(session, b"", tries)?;
        if let Some(upstream) = tries.current() {
            let in_progress = self.0.balancer().backends().in_flight(upstream);
            say(format_args!("{} now has {in_progress}", upstream.addr));
        }
        Ok(peer)
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

    /// The lease has ended by now.
    async fn logging(&self, _session: &mut Session, _error: Option<&Error>, tries: &mut Tries) {
        if let Some(upstream) = tries.current() {
            let in_progress = self.0.balancer().backends().in_flight(upstream);
            say(format_args!(
                "{} has {in_progress} after an answer",
                upstream.addr
            ));
        }
    }
}

/// A slow origin.
struct Slow;

#[async_trait]
impl ServeHttp for Slow {
    async fn response(&self, _session: &mut ServerSession) -> Response<Vec<u8>> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Response::new(b"Hello from the slow origin!\n".to_vec())
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

    let set = match cli.upstream.as_slice() {
        [] => origins(&mut server),
        given => {
            let found = Static::try_from_iter(given);
            Backends::new(found.or_err(ErrorType::ConnectNoRoute, "--upstream")?)
        }
    };
    // As a background service, it asks the set for its members.
    let balancer = background_service("upstreams", LoadBalancer::from_backends(set));
    let upstreams = Upstreams::new(balancer.task());
    let name = "least connections";
    let mut proxy = http_proxy_service_with_name(&server.configuration, Balancer(upstreams), name);
    proxy.add_tcp(&cli.listen);
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        format!(
            "Send it many requests at a time, and count who answers:\n\n    \
             seq 20 | xargs -P 4 -I_ curl -s http://{address}/ | grep Hello | sort | uniq -c\n\n\
             Ctrl-C stops it. Here is where each request goes:"
        )
    });

    let balancer = server.add_service(balancer);
    let proxy = server.add_service(proxy);
    proxy.add_dependency(&balancer);
    let announcement = server.add_service(background_service("announcement", announcement));
    announcement.add_dependency(&proxy);
    server.try_run(RunArgs::default())
}

/// Starts a fast origin and a slow one in the server.
fn origins(server: &mut Server) -> Backends {
    let fast = origin("the fast origin");
    let mut slow = Service::new("slow".into(), HttpServer::new_app(Slow));
    slow.add_tcp("127.0.0.1:0");
    slow.threads = Some(1);
    let addresses = vec![fast.bound_addresses(), slow.bound_addresses()];
    server.add_service(fast);
    server.add_service(slow);
    backends(addresses, &[])
}
