//! A proxy whose requests are traced, for a collector that speaks OTLP, such as the OpenTelemetry Collector, Jaeger or
//! Tempo.
//!
//! ```sh
//! cargo run --example tracing -- --collector http://127.0.0.1:4318
//! cargo run --example tracing -- --collector http://127.0.0.1:4317 --grpc --sample 0.1
//! ```

use async_trait::async_trait;
use clap::Parser;
use pingora::http::RequestHeader;
use pingora::listeners::BoundAddresses;
use pingora::prelude::*;
use pingora::protocols::l4::Networks;
use pingora::proxy::http_proxy_service_with_name;
use pingora::proxy::trace::{RequestTrace, Tracing};
use pingora::server::RunArgs;
use pingora::services::background::background_service;
use pingora_examples::{Announcement, exit_code, log_to_stderr, origin};
use pingora_otlp::Otlp;
use std::process::ExitCode;
use std::time::Duration;

/// A proxy whose requests are traced
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:6188")]
    listen: String,

    /// Where spans go
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4318")]
    collector: String,

    /// The collector speaks gRPC
    #[arg(long)]
    grpc: bool,

    /// The share of traces that are sampled, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "1")]
    sample: f64,

    #[command(flatten)]
    server: Opt,
}

impl Cli {
    fn otlp(&self) -> Result<Otlp> {
        let otlp = if self.grpc {
            Otlp::grpc(&self.collector)
        } else {
            Otlp::http(&self.collector)
        };
        otlp.service_name("front").build()
    }
}

struct Traced {
    origin: BoundAddresses,
    tracing: Tracing,
}

#[async_trait]
impl ProxyHttp for Traced {
    type CTX = Option<RequestTrace>;
    fn new_ctx(&self) -> Self::CTX {
        None
    }

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<()> {
        let mut trace = self.tracing.begin(session)?;
        trace.set_attribute("tenant", "one");
        *ctx = Some(trace);
        Ok(())
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        let addresses = self.origin.wait().await?;
        Ok(Box::new(HttpPeer::new(&*addresses, false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        match ctx {
            Some(trace) => trace.begin_try(session, request),
            None => Ok(()),
        }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Self::CTX) {
        if let Some(trace) = ctx.take() {
            self.tracing.end(trace, session, error);
        }
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

    let otlp = cli.otlp()?;
    let tracing = Tracing::new(otlp.sink())
        .trusting(Networks::private())
        .sample(cli.sample)
        .keep_slower_than(Duration::from_secs(1));
    let origin = origin("the origin");
    let proxy = Traced {
        origin: origin.bound_addresses(),
        tracing,
    };
    let mut proxy = http_proxy_service_with_name(&server.configuration, proxy, "traced");
    proxy.add_tcp(&cli.listen);
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        format!("Try:\n\n    curl http://{address}/\n\nCtrl-C stops it.")
    });

    server.add_service(background_service("otlp", otlp));
    server.add_service(origin);
    server.add_service(proxy);
    server.add_service(background_service("announcement", announcement));
    server.try_run(RunArgs::default())
}
