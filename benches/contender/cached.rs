//! The contender of the rows `cache-hit` and `cache-disk`: a caching proxy as a user writes one, with responses in
//! memory or in a directory.
//!
//! ```text
//! cached --listen 127.0.0.1:8080 --upstream 127.0.0.1:9000 [--workers 1] [--disk DIRECTORY]
//! ```

#![allow(
    clippy::print_stderr,
    reason = "a command line program reports to its user"
)]

use async_trait::async_trait;
use pingora::cache::disk::{DiskOptions, DiskStore};
use pingora::cache::{MemCache, Storage};
use pingora::prelude::*;
use pingora::proxy::ReadyCache;
use pingora::server::configuration::ServerConf;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::LazyLock;

/// As much as the other contenders have.
const ROOM: usize = 256 << 20;

static STORE: LazyLock<MemCache> = LazyLock::new(|| MemCache::bounded(ROOM));

struct Cached {
    upstream: SocketAddr,
    cache: ReadyCache,
}

#[async_trait]
impl ProxyHttp for Cached {
    type CTX = ();

    fn new_ctx(&self) {}

    fn ready_cache(&self, _ctx: &()) -> Option<&ReadyCache> {
        Some(&self.cache)
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
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
    let (mut listen, mut upstream, mut workers) = (None, None, 1);
    let mut store: &'static (dyn Storage + Sync) = &*STORE;
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        let invalid = |e: &dyn std::fmt::Display| format!("{name} {value}: {e}");
        match name.as_str() {
            "--listen" => listen = Some(value),
            "--upstream" => upstream = Some(value.parse().map_err(|e| invalid(&e))?),
            "--workers" => workers = value.parse().map_err(|e| invalid(&e))?,
            "--disk" => {
                let disk = DiskStore::open(&value, DiskOptions::bytes(ROOM as u64));
                store = disk.map_err(|e| invalid(&e))?;
            }
            _ => return Err(format!("unknown option {name}")),
        }
    }
    let conf = ServerConf {
        threads: workers,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(Option::<Opt>::None, conf);
    server.bootstrap();
    let proxy = Cached {
        upstream: upstream.ok_or("--upstream is missing")?,
        cache: ReadyCache::new(store),
    };
    let mut service = http_proxy_service(&server.configuration, proxy);
    service.add_tcp(&listen.ok_or("--listen is missing")?);
    server.add_service(service);
    server.run_forever()
}
