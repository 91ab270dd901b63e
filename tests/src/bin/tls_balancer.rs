//! The program of the quick start, with addresses from the command line: health checks, TLS to the
//! upstreams, verified against what the system trusts.

use async_trait::async_trait;
use clap::Parser;
use pingora::listeners::BoundAddresses;
use pingora::prelude::*;
use pingora::server::{RunArgs, ShutdownWatch};
use pingora::services::background::BackgroundService;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

/// The name that the upstreams are asked for, and have to prove.
const NAME: &str = "one.one.one.one";

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    server: Opt,
    /// Where requests go.
    upstreams: Vec<String>,
}

struct LB(Arc<LoadBalancer<RoundRobin>>);

#[async_trait]
impl ProxyHttp for LB {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let upstream = self
            .0
            .select(b"", 256)
            .or_err(ErrorType::HTTPStatus(503), "no upstream is healthy")?;
        Ok(Box::new(HttpPeer::new(upstream, true, NAME.to_string())))
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        upstream_request: &mut RequestHeader,
        _ctx: &mut Self::CTX,
    ) -> Result<()> {
        upstream_request.insert_header("Host", NAME)
    }
}

/// Says where the proxy listens, once it does.
struct Announcement(BoundAddresses);

#[async_trait]
impl BackgroundService for Announcement {
    async fn start(&self, _shutdown: ShutdownWatch) {
        for address in self.0.wait().await.unwrap_or_default() {
            // The output is closed: nothing to be done about it.
            let _ = writeln!(std::io::stdout(), "reached at {address}");
        }
    }
}

fn serve(cli: Cli) -> Result<()> {
    let mut my_server = Server::new(cli.server)?;
    my_server.bootstrap();

    let mut upstreams = LoadBalancer::try_from_iter(&cli.upstreams)
        .or_err(ErrorType::InternalError, "reading the upstreams")?;
    upstreams.set_health_check(TcpHealthCheck::new());
    upstreams.health_check_frequency = Some(Duration::from_secs(1));
    let background = background_service("health check", upstreams);
    let upstreams = background.task();

    let mut lb = http_proxy_service(&my_server.configuration, LB(upstreams));
    lb.add_tcp("127.0.0.1:0");
    let bound = lb.bound_addresses();
    my_server.add_service(background);
    my_server.add_service(lb);
    my_server.add_service(background_service("announcement", Announcement(bound)));
    my_server.try_run(RunArgs::default())
}

fn main() -> std::process::ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    match serve(Cli::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}
