//! A proxy that limits each client's use: connections, concurrent requests, and requests per minute.
//!
//! ```sh
//! cargo run --example rate_limit
//! ```

use async_trait::async_trait;
use clap::Parser;
use pingora::http::ResponseHeader;
use pingora::listeners::{BoundAddresses, ListenerConfig};
use pingora::prelude::*;
use pingora::proxy::http_proxy_service_with_name;
use pingora::proxy::limits::{ClientNetwork, Quota, RateLimit, RequestLimit, UnderWay, Verdict};
use pingora::server::RunArgs;
use pingora_examples::{Announcement, exit_code, log_to_stderr, origin};
use std::process::ExitCode;
use std::time::Duration;

/// A proxy that limits what each client may take
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6188")]
    listen: String,

    /// Requests per minute and client
    #[arg(long, default_value_t = 60)]
    per_minute: u32,

    /// How many of them at once
    #[arg(long, default_value_t = 10)]
    burst: u32,

    /// Connections at once for each client
    #[arg(long, default_value_t = 100)]
    connections_per_client: usize,

    #[command(flatten)]
    server: Opt,
}

struct Proxy {
    origin: BoundAddresses,
    rate: RateLimit,
    at_once: RequestLimit,
}

/// State that is kept for one request.
#[derive(Default)]
struct Context {
    verdict: Option<Verdict>,
    /// Its place among the requests in progress, until it is over.
    under_way: Option<UnderWay>,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::default()
    }

    /// `self.rate.refuse(session).await` alone would suffice; this proxy also tells the clients it serves
    /// what they have left, and bounds the number of concurrent requests.
    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        if let Some(client) = ClientNetwork::of_session(session) {
            let verdict = self.rate.take(&client);
            if !verdict.allowed {
                self.rate.answer(session, verdict).await?;
                return Ok(true);
            }
            ctx.verdict = Some(verdict);
        }
        ctx.under_way = self.at_once.enter(session).await?;
        Ok(ctx.under_way.is_none())
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        let addresses = self.origin.wait().await?;
        Ok(Box::new(HttpPeer::new(&*addresses, false, String::new())))
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        match ctx.verdict {
            Some(verdict) => self.rate.announce(verdict, response),
            None => Ok(()),
        }
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
    let quota = Quota::new(cli.per_minute, Duration::from_secs(60)).with_burst(cli.burst);
    let proxy = Proxy {
        origin: origin.bound_addresses(),
        rate: RateLimit::new("client", quota, 10_000),
        at_once: RequestLimit::new(1000).waiting(100, Duration::from_millis(500)),
    };
    let mut proxy = http_proxy_service_with_name(&server.configuration, proxy, "proxy");
    let endpoint = ListenerConfig::tcp(&cli.listen);
    proxy.add_listener(endpoint.connections_per_client(cli.connections_per_client));
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        format!(
            "Try, more than ten times, and look at the fields that begin with RateLimit:\n\n    \
             curl -i http://{address}/\n\n\
             Ctrl-C stops it."
        )
    });

    server.add_service(origin);
    server.add_service(proxy);
    server.add_service(background_service("announcement", announcement));
    server.try_run(RunArgs::default())
}
