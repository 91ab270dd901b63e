//! gRPC through a proxy: a server, a proxy in front of it, and a client that makes a call of each
//! kind, all in one run.
//!
//! ```sh
//! cargo run --example grpc
//! ```
//!
//! To the proxy, a call is an ordinary HTTP/2 request; both sides have to speak HTTP/2. Messages pass as
//! they arrive, in both directions at once; so do trailers and deadlines.

mod client;

use async_trait::async_trait;
use clap::Parser;
use pingora::apps::HttpServerOptions;
use pingora::prelude::*;
use pingora::proxy::ProxyServiceBuilder;
use pingora::server::RunArgs;
use pingora::upstreams::peer::ALPN;
use pingora_examples::grpc::Greeter;
use pingora_examples::{exit_code, log_to_stderr, say};
use std::net::SocketAddr;
use std::process::ExitCode;
use tokio::sync::oneshot;

/// A gRPC server, a proxy and a client in one run
#[derive(Parser)]
struct Cli {
    /// The proxy listens on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:6188")]
    listen: String,

    /// Go on serving after the client has made its calls
    #[arg(long)]
    serve: bool,

    #[command(flatten)]
    server: Opt,
}

struct Proxy {
    greeter: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(self.greeter, false, String::new());
        // Without TLS there is nothing to negotiate: the upstream is known to speak HTTP/2.
        peer.options.alpn = ALPN::H2;
        Ok(Box::new(peer))
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut ()) {
        let error = error.map_or(String::new(), |error| format!(" ({error})"));
        let summary = self.request_summary(session, ctx);
        say(format_args!("proxied {summary}{error}"));
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

    let greeter = Greeter::bind()?;
    let mut options = HttpServerOptions::default();
    // The same for clients: HTTP/2 without TLS, next to HTTP/1.
    options.h2c = true;
    let proxy = Proxy {
        greeter: greeter.address(),
    };
    let mut proxy = ProxyServiceBuilder::new(&server.configuration, proxy)
        .server_options(options)
        .build();
    proxy.add_tcp(&cli.listen);
    let (finished, calls) = oneshot::channel();
    let client = client::Calls::through(proxy.bound_addresses(), finished);

    server.add_service(background_service("greeter", greeter));
    server.add_service(proxy);
    server.add_service(background_service("client", client));
    server.try_run(if cli.serve {
        RunArgs::default()
    } else {
        RunArgs::until(async { drop(calls.await) })
    })
}
