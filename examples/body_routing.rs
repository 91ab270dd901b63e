//! Chooses the upstream by the request's body, which is read first and sent from the buffer.
//!
//! ```sh
//! cargo run --example body_routing
//! ```

use async_trait::async_trait;
use clap::Parser;
use pingora::listeners::BoundAddresses;
use pingora::prelude::*;
use pingora::proxy::{SpooledBody, Spooling, http_proxy_service_with_name};
use pingora::server::RunArgs;
use pingora_examples::{Announcement, exit_code, log_to_stderr, origin};
use std::process::ExitCode;
use std::time::Duration;

/// A proxy that looks into the request's body before it chooses
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6188")]
    listen: String,

    #[command(flatten)]
    server: Opt,
}

struct Proxy {
    small: BoundAddresses,
    large: BoundAddresses,
    buffers: Spooling,
}

/// Models with this in their name are the large ones.
const LARGE: &[u8] = b"large";

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Option<SpooledBody>;

    fn new_ctx(&self) -> Self::CTX {
        None
    }

    /// Reads the body. A body that is too long gets 413, one that comes too slowly 408.
    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        session.limit_request_body(Some(Duration::from_secs(30)));
        *ctx = Some(session.buffer_request_body(&self.buffers).await?);
        Ok(false)
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        // The beginning is in memory, however long the body is.
        let beginning = ctx.as_ref().map_or(&[][..], |body| body.in_memory());
        let is_large = beginning.windows(LARGE.len()).any(|part| part == LARGE);
        let chosen = if is_large { &self.large } else { &self.small };
        let addresses = chosen.wait().await?;
        Ok(Box::new(HttpPeer::new(&*addresses, false, String::new())))
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

    let (small, large) = (origin("the small model"), origin("the large model"));
    let proxy = Proxy {
        small: small.bound_addresses(),
        large: large.bound_addresses(),
        buffers: Spooling::new(1 << 20),
    };
    let mut proxy = http_proxy_service_with_name(&server.configuration, proxy, "proxy");
    proxy.add_tcp(&cli.listen);
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        format!(
            "The body decides who answers:\n\n    \
             curl http://{address}/chat -d '{{\"model\": \"small\"}}'\n    \
             curl http://{address}/chat -d '{{\"model\": \"large\"}}'\n\n\
             Ctrl-C stops it."
        )
    });

    server.add_service(small);
    server.add_service(large);
    server.add_service(proxy);
    server.add_service(background_service("announcement", announcement));
    server.try_run(RunArgs::default())
}
