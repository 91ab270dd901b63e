//! A proxy with an access log: a line for each request, written off the worker threads. SIGHUP reopens the file,
//! as logrotate requires. Its health endpoints answer in front of the proxy.
//!
//! ```sh
//! cargo run --example access_log
//! cargo run --example access_log -- --file access.log --format json
//! ```

use async_trait::async_trait;
use clap::Parser;
use pingora::listeners::BoundAddresses;
use pingora::prelude::*;
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::{Health, RunArgs};
use pingora_access_log::{AccessLog, Builder, Format};
use pingora_examples::{Announcement, exit_code, log_to_stderr, origin};
use std::process::ExitCode;
use std::sync::Arc;

/// A proxy that writes an access log
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:6188")]
    listen: String,

    /// Append to this file [default: standard output]
    #[arg(long, value_name = "PATH")]
    file: Option<String>,

    /// `common`, `combined`, `json`, or a line with variables, such as '$client $status $duration'
    #[arg(long, value_name = "FORMAT", default_value = "combined")]
    format: String,

    #[command(flatten)]
    server: Opt,
}

impl Cli {
    fn access_log(&self) -> Result<AccessLog> {
        let format = match &*self.format {
            "common" => Format::common(),
            "combined" => Format::combined(),
            "json" => Format::json(),
            own => Format::text(own)?,
        };
        let log: Builder = match &self.file {
            Some(path) => AccessLog::to_file(path).rotate_at(100 << 20).keep(5),
            None => AccessLog::to_stdout(),
        };
        log.format(format).open()
    }
}

struct Logged {
    origin: BoundAddresses,
    access_log: AccessLog,
    health: Arc<Health>,
}

#[async_trait]
impl ProxyHttp for Logged {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn early_request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<()> {
        self.access_log.begin(session);
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        self.health.respond(session).await
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let addresses = self.origin.wait().await?;
        Ok(Box::new(HttpPeer::new(&*addresses, false, String::new())))
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, _ctx: &mut ()) {
        self.access_log.write(session, error);
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

    let access_log = cli.access_log()?;
    server.add_reload_hook(access_log.reload_hook());
    let origin = origin("the origin");
    let proxy = Logged {
        origin: origin.bound_addresses(),
        access_log,
        health: Health::of(&server).shared(),
    };
    let mut proxy = http_proxy_service_with_name(&server.configuration, proxy, "logged");
    proxy.add_tcp(&cli.listen);
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        format!(
            "Try:\n\n    \
             curl http://{address}/search?q=x&token=secret\n    \
             curl http://{address}/readyz\n\n\
             Ctrl-C stops it."
        )
    });

    server.add_service(origin);
    server.add_service(proxy);
    server.add_service(background_service("announcement", announcement));
    server.try_run(RunArgs::default())
}
