//! A proxy that is replaced by a new process without clients noticing.
//!
//! ```sh
//! cargo run --example graceful_upgrade -- --conf examples/graceful_upgrade.yaml
//! ```
//!
//! Then follow the printed instructions: `kill -QUIT` the process and start the program once more with
//! `--upgrade`. The old process hands its listening sockets to the new one, serves until that is ready,
//! finishes the requests in progress, and ends. If the new one fails, the old one keeps serving.

use async_trait::async_trait;
use clap::Parser;
use pingora::apps::http_app::{HttpServer, ServeHttp};
use pingora::prelude::*;
use pingora::protocols::http::ServerSession;
use pingora::server::RunArgs;
use pingora::services::listening::Service;
use pingora_examples::{Announcement, exit_code, log_to_stderr};
use std::process::ExitCode;
use std::time::Duration;

/// A server that can be replaced while it serves
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6188")]
    listen: String,

    #[command(flatten)]
    server: Opt,
}

/// Names the process that answers; `/slow` takes a second.
struct WhoIsThere;

#[async_trait]
impl ServeHttp for WhoIsThere {
    async fn response(&self, session: &mut ServerSession) -> http::Response<Vec<u8>> {
        if session.req_header().uri.path() == "/slow" {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let text = format!("process {}\n", std::process::id());
        http::Response::new(text.into_bytes())
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr("warn");
    exit_code(serve(cli))
}

fn serve(cli: Cli) -> Result<()> {
    let conf = match &cli.server.conf {
        Some(file) => format!("--conf {file} "),
        None => String::new(),
    };
    let mut server = Server::new(cli.server)?;
    // With `--upgrade`, this is where the sockets of the running server arrive.
    server.bootstrap();

    let mut service = Service::new("who is there".into(), HttpServer::new_app(WhoIsThere));
    // The same address finds its socket again.
    service.add_tcp(&cli.listen);
    let process = std::process::id();
    let announcement = Announcement::new(service.bound_addresses(), move |address| {
        format!(
            "This is process {process}. Try, and replace it:\n\n    \
             while curl -s http://{address}/; do sleep 1; done &\n    \
             kill -QUIT {process}\n    \
             cargo run --example graceful_upgrade -- {conf}--upgrade\n\n\
             Ctrl-C stops it."
        )
    });
    let service = server.add_service(service);
    let announcement = server.add_service(background_service("announcement", announcement));
    announcement.add_dependency(&service);

    server.try_run(RunArgs::default())
}
