//! A custom background service next to the proxy: it repeatedly reads a file of blocked paths, and the
//! proxy asks it about every request.
//!
//! ```sh
//! cargo run --example background_service
//! ```
//!
//! The proxy depends on it, so no client is served before the file has been read for the first time.

use async_trait::async_trait;
use clap::Parser;
use pingora::listeners::BoundAddresses;
use pingora::prelude::*;
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::{RunArgs, ShutdownWatch};
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::BackgroundService;
use pingora_examples::{Announcement, exit_code, log_to_stderr, origin, say};
use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// A proxy that refuses the paths that a file lists
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6188")]
    listen: String,

    /// The file, one path a line; it need not exist
    #[arg(long, value_name = "FILE", default_value = "blocked.txt")]
    blocked: PathBuf,

    #[command(flatten)]
    server: Opt,
}

/// The refused paths, as listed in the file.
struct BlockedPaths {
    file: PathBuf,
    /// Replaced as a whole, so that readers only wait for a pointer.
    paths: RwLock<Arc<HashSet<String>>>,
}

impl BlockedPaths {
    fn contains(&self, path: &str) -> bool {
        let paths = self
            .paths
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        paths.contains(path)
    }

    /// Reads the file. If it can't be read, everything stays unchanged.
    fn refresh(&self) {
        let text = match std::fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
            Err(e) => return say(format_args!("{} stays as it was: {e}", self.file.display())),
        };
        let fresh: HashSet<String> = text.split_whitespace().map(String::from).collect();
        let mut paths = self.paths.write().unwrap_or_else(PoisonError::into_inner);
        if **paths != fresh {
            say(format_args!("blocked paths: {}", fresh.len()));
            *paths = Arc::new(fresh);
        }
    }
}

#[async_trait]
impl BackgroundService for BlockedPaths {
    async fn start_with_ready_notifier(
        &self,
        mut shutdown: ShutdownWatch,
        ready: ServiceReadyNotifier,
    ) {
        // Reading a file blocks; the service has its own thread, so this delays nothing else.
        self.refresh();
        ready.notify_ready();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                _ = shutdown.changed() => return,
                _ = tick.tick() => self.refresh(),
            }
        }
    }
}

struct Proxy {
    blocked: Arc<BlockedPaths>,
    origin: BoundAddresses,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        if self.blocked.contains(session.req_header().uri.path()) {
            session.respond_error(403).await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let addresses = self.origin.wait().await?;
        Ok(Box::new(HttpPeer::new(&*addresses, false, String::new())))
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

    let file = cli.blocked.display().to_string();
    let blocked = background_service(
        "blocked paths",
        BlockedPaths {
            file: cli.blocked,
            paths: RwLock::default(),
        },
    );
    let origin = origin("the origin");
    // `task()` lets the proxy and the background service share it.
    let proxy = Proxy {
        blocked: blocked.task(),
        origin: origin.bound_addresses(),
    };
    let mut proxy = http_proxy_service_with_name(&server.configuration, proxy, "proxy");
    proxy.add_tcp(&cli.listen);
    let announcement = Announcement::new(proxy.bound_addresses(), move |address| {
        format!(
            "Try, and see what changes:\n\n    \
             curl -i http://{address}/private\n    \
             echo /private >> {file}\n    \
             curl -i http://{address}/private\n\n\
             Ctrl-C stops it. Here is when the file has changed:"
        )
    });

    server.add_service(origin);
    let blocked = server.add_service(blocked);
    let proxy = server.add_service(proxy);
    proxy.add_dependency(&blocked);
    let announcement = server.add_service(background_service("announcement", announcement));
    announcement.add_dependency(&proxy);

    server.try_run(RunArgs::default())
}
