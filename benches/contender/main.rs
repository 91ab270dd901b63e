//! The proxy under measurement: one fixed upstream, cleartext HTTP/1 on both sides.
//!
//! The same file is compiled twice: against this workspace (`ours`) and, in `benches/peer`,
//! against the published framework with the same interface (`peer`). So the two differ in
//! nothing but the framework.
//!
//! ```text
//! ours --listen 127.0.0.1:8080 --upstream 127.0.0.1:9000 [--workers 1] [--access-log FILE]
//! ```
//!
//! With `--access-log` the proxy does what a real one does: it implements the request, upstream
//! request and response phases, edits two header fields, counts the body in a filter and writes
//! one line per request.

#![allow(
    clippy::print_stderr,
    reason = "a command line program reports to its user"
)]

mod plain;
mod realistic;

use pingora::prelude::*;
use pingora::server::configuration::ServerConf;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// A framework doesn't choose its user's allocator; both contenders choose this one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// More idle upstream connections than any row of the run keeps open.
const UPSTREAM_POOL: usize = 2048;

struct Options {
    listen: String,
    upstream: SocketAddr,
    workers: usize,
    access_log: Option<PathBuf>,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut listen, mut upstream, mut workers, mut access_log) = (None, None, 1, None);
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            let invalid = |e: &dyn std::fmt::Display| format!("{name} {value}: {e}");
            match name.as_str() {
                "--listen" => listen = Some(value),
                "--upstream" => upstream = Some(value.parse().map_err(|e| invalid(&e))?),
                "--workers" => workers = value.parse().map_err(|e| invalid(&e))?,
                "--access-log" => access_log = Some(PathBuf::from(value)),
                _ => return Err(format!("unknown option {name}")),
            }
        }
        Ok(Self {
            listen: listen.ok_or("--listen is missing")?,
            upstream: upstream.ok_or("--upstream is missing")?,
            workers,
            access_log,
        })
    }
}

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)).and_then(serve) {
        Ok(never) => match never {},
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: Options) -> Result<std::convert::Infallible, String> {
    let conf = ServerConf {
        threads: options.workers,
        upstream_keepalive_pool_size: UPSTREAM_POOL,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(Option::<Opt>::None, conf);
    server.bootstrap();
    match options.access_log {
        None => {
            let proxy = plain::Plain {
                upstream: options.upstream,
            };
            let mut service = http_proxy_service(&server.configuration, proxy);
            service.add_tcp(&options.listen);
            server.add_service(service);
        }
        Some(path) => {
            let proxy = realistic::Realistic::new(options.upstream, &path)
                .map_err(|e| format!("access log {}: {e}", path.display()))?;
            let mut service = http_proxy_service(&server.configuration, proxy);
            service.add_tcp(&options.listen);
            server.add_service(service);
        }
    }
    server.run_forever()
}
