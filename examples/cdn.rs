//! An edge of a delivery network: responses on disk, the small ones in memory as well; purged by tag, and served
//! stale while the origin is down. It shows what it has stored.
//!
//! ```sh
//! cargo run --example cdn -- --dir /tmp/cdn
//! curl -i http://127.0.0.1:6188/news/1
//! curl 'http://127.0.0.1:6188/.stored?tag=news'
//! curl -i -X POST 'http://127.0.0.1:6188/.purge?tag=news'
//! ```

use async_trait::async_trait;
use bytes::Bytes;
use clap::Parser;
use pingora::cache::MemCache;
use pingora::cache::clock;
use pingora::cache::disk::{DiskOptions, DiskStore};
use pingora::cache::inspect::{Listing, Page};
use pingora::cache::policy::{CachePolicy, Purges};
use pingora::cache::tiered::TieredStore;
use pingora::http::ResponseHeader;
use pingora::listeners::{BoundAddresses, ListenerConfig};
use pingora::prelude::*;
use pingora::proxy::{ReadyCache, http_proxy_service_with_name};
use pingora::server::RunArgs;
use pingora_examples::{Announcement, exit_code, log_to_stderr, origin};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

/// An edge of a delivery network
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6188")]
    listen: String,

    /// Keep responses in this directory
    #[arg(long, value_name = "DIRECTORY")]
    dir: PathBuf,

    /// The origin; without it the example brings one
    #[arg(long, value_name = "IP:PORT")]
    origin: Option<SocketAddr>,

    /// For how many seconds responses are fresh that don't say it themselves
    #[arg(long, default_value_t = 60)]
    fresh: u32,

    #[command(flatten)]
    server: Opt,
}

/// At most 64 MiB of responses in memory.
static MEMORY: LazyLock<MemCache> = LazyLock::new(|| MemCache::bounded(64 << 20));

struct Edge {
    origin: Option<SocketAddr>,
    own_origin: BoundAddresses,
    cache: ReadyCache,
    fresh: u32,
    /// Where purges are stored, so that purged responses stay purged when the next process finds them on disk.
    purges: PathBuf,
}

impl Edge {
    fn purges(&self) -> &Purges {
        self.cache.rules().purges()
    }

    /// `/.purge` and `/.stored`, from this machine only; `false` for any other path.
    async fn administer(&self, session: &mut Session) -> Result<bool> {
        let path = session.req_header().uri.path();
        let is_purge = path == "/.purge";
        if !is_purge && path != "/.stored" {
            return Ok(false);
        }
        let client = session.client_addr().and_then(|address| address.as_inet());
        if !client.is_some_and(|address| address.ip().is_loopback()) {
            session.respond_error(403).await?;
        } else if is_purge {
            self.purge(session).await?;
        } else {
            self.show(session).await?;
        }
        Ok(true)
    }

    /// `GET /.stored?tag=news` or `GET /.stored?prefix=http://127.0.0.1:6188/news/`: a line for each response, and the
    /// query of the next page.
    async fn show(&self, session: &mut Session) -> Result<()> {
        let query = session.req_header().uri.query().unwrap_or_default();
        let mut listing = Listing::new();
        for (name, value) in query.split('&').filter_map(|part| part.split_once('=')) {
            listing = match (name, value.parse()) {
                ("tag", _) => listing.tag(value),
                ("prefix", _) => listing.prefix(value),
                ("after", Ok(cursor)) => listing.after(cursor),
                _ => return session.respond_error(400).await,
            };
        }
        let page = self.cache.inspector().list(&listing).await?;
        let mut header = ResponseHeader::build(200, None)?;
        header.insert_header("Content-Type", "text/plain")?;
        session
            .write_response_header(Box::new(header), false)
            .await?;
        let body = Some(lines(&page).into());
        session.write_response_body(body, true).await
    }

    /// `POST /.purge?tag=news`
    async fn purge(&self, session: &mut Session) -> Result<()> {
        let request = session.req_header();
        let query = request.uri.query().unwrap_or_default();
        match query.strip_prefix("tag=") {
            Some(tag) if request.method == "POST" && !tag.is_empty() => {
                self.purges().purge_tag(tag);
                let written = tokio::fs::write(&self.purges, self.purges().serialize()).await;
                written.or_err(FileWriteError, "the file of purges")?;
                session.respond_error(204).await
            }
            _ => {
                let usage = Bytes::from_static(b"POST /.purge?tag=TAG\n");
                session.respond_error_with_body(400, usage).await
            }
        }
    }
}

#[async_trait]
impl ProxyHttp for Edge {
    type CTX = ();

    fn new_ctx(&self) {}

    fn ready_cache(&self, _ctx: &()) -> Option<&ReadyCache> {
        Some(&self.cache)
    }

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        self.administer(session).await
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        if let Some(origin) = self.origin {
            return Ok(Box::new(HttpPeer::new(origin, false, String::new())));
        }
        let addresses = self.own_origin.wait().await?;
        Ok(Box::new(HttpPeer::new(&*addresses, false, String::new())))
    }

    /// Stands in for an origin that says how long its responses are fresh, and which section they are of.
    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        _: &mut (),
    ) -> Result<()> {
        if !response.headers.contains_key("cache-control") {
            let fresh = format!("max-age={}, stale-if-error=86400", self.fresh);
            response.insert_header("Cache-Control", fresh)?;
        }
        let path = session.req_header().uri.path();
        if let Some(section) = path.split('/').nth(1).filter(|section| !section.is_empty()) {
            response.insert_header("Cache-Tag", section.to_owned())?;
        }
        Ok(())
    }
}

fn lines(page: &Page) -> String {
    let mut lines = String::new();
    for entry in page.entries() {
        let state = match entry.is_fresh(clock::now()) {
            _ if entry.is_purged() => "purged",
            true => "fresh",
            false => "stale",
        };
        let (uri, storage, body, hits) = (entry.uri(), entry.storage(), entry.body(), entry.hits());
        let age = entry.meta().age().as_secs();
        let tags = entry.tags().join(",");
        lines +=
            &format!("{uri} {storage} {state} bytes={body} age={age} hits={hits} tags={tags}\n");
    }
    if let Some(next) = page.next() {
        lines += &format!("after={next}\n");
    }
    lines
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr("warn");
    exit_code(serve(cli))
}

/// The purges of the process before. If they can't be read, nothing that it stored is served.
fn load_purges(purges: &Purges, file: &PathBuf) {
    match std::fs::read(file) {
        Ok(bytes) if purges.deserialize(&bytes).is_ok() => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        _ => purges.purge_all(),
    }
}

fn serve(cli: Cli) -> Result<()> {
    let mut server = Server::new(cli.server)?;
    server.bootstrap();

    // At most 1 GiB, and 100,000 responses.
    let disk = DiskStore::open(&cli.dir, DiskOptions::bytes(1 << 30).entries(100_000))?;
    let store = Box::leak(Box::new(TieredStore::new(&*MEMORY, disk)));
    let policy = CachePolicy::new().tag_fields(["cache-tag"]);
    let purges = cli.dir.join("purges");
    load_purges(policy.purges(), &purges);

    let own_origin = origin("the origin");
    let edge = Edge {
        origin: cli.origin,
        own_origin: own_origin.bound_addresses(),
        cache: ReadyCache::new(store).policy(policy).cache_status("cdn"),
        fresh: cli.fresh,
        purges,
    };
    let mut edge = http_proxy_service_with_name(&server.configuration, edge, "edge");
    edge.add_listener(ListenerConfig::tcp(&cli.listen));
    let announcement = Announcement::new(edge.bound_addresses(), |address| {
        format!(
            "Ask, and purge:\n\n    \
             curl -i http://{address}/news/1\n    \
             curl 'http://{address}/.stored?tag=news'\n    \
             curl -i -X POST 'http://{address}/.purge?tag=news'\n\n\
             Ctrl-C stops it."
        )
    });

    server.add_service(own_origin);
    server.add_service(edge);
    server.add_service(background_service("announcement", announcement));
    server.try_run(RunArgs::default())
}
