//! A caching proxy: what its origin allows to be stored is served from memory.
//!
//! ```sh
//! cargo run --example cache
//! curl -i http://127.0.0.1:6188/ http://127.0.0.1:6188/
//! ```

use async_trait::async_trait;
use clap::Parser;
use pingora::cache::MemCache;
use pingora::http::ResponseHeader;
use pingora::listeners::{BoundAddresses, ListenerConfig};
use pingora::prelude::*;
use pingora::proxy::{ReadyCache, http_proxy_service_with_name};
use pingora::server::RunArgs;
use pingora_examples::{Announcement, exit_code, log_to_stderr, origin};
use std::process::ExitCode;
use std::sync::LazyLock;

/// A caching proxy
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6188")]
    listen: String,

    #[command(flatten)]
    server: Opt,
}

/// At most 64 MiB of responses.
static STORE: LazyLock<MemCache> = LazyLock::new(|| MemCache::bounded(64 << 20));

struct Proxy {
    origin: BoundAddresses,
    cache: ReadyCache,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();

    fn new_ctx(&self) {}

    fn ready_cache(&self, _ctx: &()) -> Option<&ReadyCache> {
        Some(&self.cache)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let addresses = self.origin.wait().await?;
        Ok(Box::new(HttpPeer::new(&*addresses, false, String::new())))
    }

    /// The origin of this example says nothing about caching, so this stands in for it.
    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        _: &mut (),
    ) -> Result<()> {
        response.insert_header("Cache-Control", "max-age=60, stale-while-revalidate=600")
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
    let proxy = Proxy {
        origin: origin.bound_addresses(),
        cache: ReadyCache::new(&*STORE).cache_status("example"),
    };
    let mut proxy = http_proxy_service_with_name(&server.configuration, proxy, "proxy");
    proxy.add_listener(ListenerConfig::tcp(&cli.listen));
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        format!(
            "Try twice, and look at Cache-Status and Age:\n\n    \
             curl -i http://{address}/\n\n\
             Ctrl-C stops it."
        )
    });

    server.add_service(origin);
    server.add_service(proxy);
    server.add_service(background_service("announcement", announcement));
    server.try_run(RunArgs::default())
}
