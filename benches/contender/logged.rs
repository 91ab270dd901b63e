//! The contender `ours-log`: the least proxy there is with a ready access log, in the combined format, as a user writes one.
//!
//! ```text
//! logged --listen 127.0.0.1:8080 --upstream 127.0.0.1:9000 --access-log FILE [--workers 1]
//! ```

#![allow(
    clippy::print_stderr,
    reason = "a command line program reports to its user"
)]

use async_trait::async_trait;
use pingora::prelude::*;
use pingora::server::configuration::ServerConf;
use pingora_access_log::{AccessLog, Format};
use std::net::SocketAddr;
use std::process::ExitCode;

/// As many idle upstream connections as the contender `ours` may keep.
const UPSTREAM_POOL: usize = 2048;

struct Logged {
    upstream: SocketAddr,
    access_log: AccessLog,
}

#[async_trait]
impl ProxyHttp for Logged {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }

    // The format has no times, so there is nothing to begin in `early_request_filter`.
    async fn logging(&self, session: &mut Session, error: Option<&Error>, _ctx: &mut ()) {
        self.access_log.write(session, error);
    }
}

fn main() -> ExitCode {
    match serve(std::env::args().skip(1)) {
        Ok(never) => match never {},
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn serve(mut args: impl Iterator<Item = String>) -> Result<std::convert::Infallible, String> {
    let (mut listen, mut upstream, mut file, mut workers) = (None, None, None, 1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        let invalid = |e: &dyn std::fmt::Display| format!("{name} {value}: {e}");
        match name.as_str() {
            "--listen" => listen = Some(value),
            "--upstream" => upstream = Some(value.parse().map_err(|e| invalid(&e))?),
            "--access-log" => file = Some(value),
            "--workers" => workers = value.parse().map_err(|e| invalid(&e))?,
            _ => return Err(format!("unknown option {name}")),
        }
    }
    let conf = ServerConf {
        threads: workers,
        upstream_keepalive_pool_size: UPSTREAM_POOL,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(Option::<Opt>::None, conf);
    server.bootstrap();
    let access_log = AccessLog::to_file(file.ok_or("--access-log is missing")?)
        .format(Format::combined())
        .open()
        .map_err(|e| e.to_string())?;
    let proxy = Logged {
        upstream: upstream.ok_or("--upstream is missing")?,
        access_log,
    };
    let mut service = http_proxy_service(&server.configuration, proxy);
    service.add_tcp(&listen.ok_or("--listen is missing")?);
    server.add_service(service);
    server.run_forever()
}
