//! A proxy with an admin page. Unless others are named, one of its two backends does not exist, so that the page has
//! something to show.
//!
//! ```sh
//! ADMIN_TOKEN='correct horse battery staple' cargo run --example admin
//! cargo run --example admin -- --allow-actions
//! cargo run --example admin -- --backend 127.0.0.1:8080
//! ```
//!
//! Without a token in the environment it makes one, and prints the address of the page with it.

use async_trait::async_trait;
use clap::Parser;
use pingora::admin::{Admin, Purge};
use pingora::cache::MemCache;
use pingora::cache::policy::CachePolicy;
use pingora::http::ResponseHeader;
use pingora::lb::health_check::TcpHealthCheck;
use pingora::lb::{Tries, Upstreams};
use pingora::listeners::BoundAddresses;
use pingora::prelude::*;
use pingora::proxy::{ReadyCache, http_proxy_service_with_name};
use pingora::server::{Health, RunArgs, ShutdownWatch};
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::BackgroundService;
use pingora_examples::{Announcement, backends, exit_code, log_to_stderr, origin, say};
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Duration;

/// A proxy with an admin page
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:6188")]
    listen: String,

    /// Serve the admin page on this address
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:6193")]
    admin: String,

    /// Balance over these too, beside an origin of its own. Nobody listens on port 1
    #[arg(
        long = "backend",
        value_name = "IP:PORT",
        default_value = "127.0.0.1:1"
    )]
    backends: Vec<String>,

    /// Let operators act, not only look
    #[arg(long)]
    allow_actions: bool,

    #[command(flatten)]
    server: Opt,
}

/// At most 64 MiB of responses.
static STORE: LazyLock<MemCache> = LazyLock::new(|| MemCache::bounded(64 << 20));

struct Shop {
    upstreams: Upstreams<RoundRobin>,
    cache: ReadyCache,
}

#[async_trait]
impl ProxyHttp for Shop {
    type CTX = Tries;

    fn new_ctx(&self) -> Tries {
        Tries::default()
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        tries: &mut Tries,
    ) -> Result<Box<HttpPeer>> {
        self.upstreams.peer(session, b"", tries)
    }

    fn ready_cache(&self, _tries: &Tries) -> Option<&ReadyCache> {
        Some(&self.cache)
    }

    /// The origin says nothing about caching, so this stands in for it: what is below `/pictures/` may be stored.
    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        _tries: &mut Tries,
    ) -> Result<()> {
        if session.req_header().uri.path().starts_with("/pictures/") {
            response.insert_header("Cache-Control", "max-age=600")?;
            response.insert_header("Cache-Tag", "pictures")?;
        }
        Ok(())
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        tries: &mut Tries,
        error: Box<Error>,
    ) -> Box<Error> {
        self.upstreams.fail_to_connect(tries, error)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr("warn");
    exit_code(serve(&cli))
}

/// From the environment, or else one that is as hard to guess as the system's random numbers are.
fn token() -> Result<String> {
    if let Ok(token) = std::env::var("ADMIN_TOKEN") {
        return Ok(token);
    }
    let mut random = [0; 16];
    let read = std::fs::File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut random));
    read.or_err(ErrorType::FileReadError, "making a token")?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn serve(cli: &Cli) -> Result<()> {
    let mut server = Server::new(cli.server.clone())?;
    server.bootstrap();

    let origin = origin("the origin");
    let others: Vec<&str> = cli.backends.iter().map(String::as_str).collect();
    let set = backends(vec![origin.bound_addresses()], &others);
    let mut balancer = LoadBalancer::from_backends(set);
    balancer.set_health_check(TcpHealthCheck::new());
    balancer.health_check_frequency = Some(Duration::from_millis(500));
    let balancer = background_service("upstreams", balancer);
    pingora::lb::metrics::watch("shop", &balancer.task());

    let policy = CachePolicy::new().tag_fields(["cache-tag"]);
    let cache = ReadyCache::new(&*STORE).policy(policy);
    let token = token()?;
    let health = Health::of(&server).shared();
    let mut admin = Admin::new(&token)?
        .configuration(&server.configuration)
        .upstreams("shop", balancer.task())
        .cache("pages", cache.inspector())
        .health(health);
    // What the cache of the program knows; here, what was purged is only said.
    admin = admin.purger(|what: &Purge| {
        say(format_args!("purged: {what}"));
        Ok(())
    });
    if cli.allow_actions {
        admin = admin.allow_actions();
    }
    let admin = admin.service(&cli.admin)?;

    let upstreams = Upstreams::new(balancer.task());
    let shop = Shop { upstreams, cache };
    let mut proxy = http_proxy_service_with_name(&server.configuration, shop, "shop");
    proxy.add_tcp(&cli.listen);
    let page = PageAt(admin.bound_addresses(), token);
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        format!("Try:\n\n    curl http://{address}/\n\nCtrl-C stops it.")
    });
    let origin = server.add_service(origin);
    let balancer = server.add_service(balancer);
    balancer.add_dependency(&origin);
    let proxy = server.add_service(proxy);
    proxy.add_dependency(&balancer);
    let admin = server.add_service(admin);
    let page = server.add_service(background_service("where the page is", page));
    page.add_dependency(&admin);
    let announcement = server.add_service(background_service("announcement", announcement));
    announcement.add_dependency(&proxy);
    announcement.add_dependency(&page);
    server.try_run(RunArgs::default())
}

/// Says where the page is.
struct PageAt(BoundAddresses, String);

#[async_trait]
impl BackgroundService for PageAt {
    async fn start_with_ready_notifier(
        &self,
        _shutdown: ShutdownWatch,
        ready: ServiceReadyNotifier,
    ) {
        if let Ok(addresses) = self.0.wait().await {
            for address in addresses {
                say(format_args!(
                    "admin page on http://{address}/#token={}",
                    self.1
                ));
            }
        }
        // Only now, so that the announcement comes behind it.
        ready.notify_ready();
    }
}
