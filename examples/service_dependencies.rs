//! Services that wait for one another: a proxy serves no client until its list of origins has been loaded
//! and a first connection has been made.
//!
//! ```sh
//! cargo run --example service_dependencies
//! ```
//!
//! A background service loads the list and reports when it is ready. The proxy depends on it, and then
//! warms up on its own threads before it accepts its first client. Clients that come earlier wait; they
//! are not turned away.

use async_trait::async_trait;
use clap::Parser;
use pingora::listeners::BoundAddresses;
use pingora::prelude::*;
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::{RunArgs, ShutdownWatch};
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::BackgroundService;
use pingora_examples::{Announcement, exit_code, log_to_stderr, origin, say};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A proxy that waits for what it needs before it serves
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6188")]
    listen: String,

    /// How long loading takes, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    delay: u64,

    #[command(flatten)]
    server: Opt,
}

/// The origin to proxy to, once it is known.
type Origins = Arc<OnceLock<Vec<SocketAddr>>>;

/// Loads the list of origins. This takes a while, as it would from a registry over the network.
struct Loader {
    source: BoundAddresses,
    origins: Origins,
    delay: Duration,
}

#[async_trait]
impl BackgroundService for Loader {
    async fn start_with_ready_notifier(
        &self,
        mut shutdown: ShutdownWatch,
        ready: ServiceReadyNotifier,
    ) {
        say("loading the list of origins");
        let load = async {
            tokio::time::sleep(self.delay).await;
            self.source.wait().await
        };
        // A server that is told to stop does not wait for services that are still starting.
        let loaded = tokio::select! {
            loaded = load => loaded,
            _ = shutdown.changed() => return,
        };
        match loaded {
            Ok(list) => {
                say(format_args!("the loader is ready: {} origins", list.len()));
                let _ = self.origins.set(list);
            }
            Err(e) => say(format_args!("nothing was loaded: {e}")),
        }
        // Dropping it would also report readiness, so that dependent services don't wait for ever.
        ready.notify_ready();
    }
}

struct Proxy(Origins);

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        // Loaded before the first request, because the proxy depends on the loader.
        let Some(addresses) = self.0.get() else {
            return Error::e_explain(HTTPStatus(503), "no origins were loaded");
        };
        Ok(Box::new(HttpPeer::new(&**addresses, false, String::new())))
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
    let origins = Origins::default();
    let loader = Loader {
        source: origin.bound_addresses(),
        origins: origins.clone(),
        delay: Duration::from_millis(cli.delay),
    };
    let proxy = Proxy(origins.clone());
    let mut proxy = http_proxy_service_with_name(&server.configuration, proxy, "proxy");
    proxy.add_tcp(&cli.listen);
    // Runs on the threads of the proxy, after its dependencies are ready and before it accepts.
    proxy.set_warm_up(move |_| async move {
        for address in origins.get().into_iter().flatten() {
            tokio::net::TcpStream::connect(address)
                .await
                .or_err(ConnectError, "an origin can't be reached")?;
        }
        say("the proxy has warmed up");
        Ok(())
    });
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        format!("Try:\n\n    curl -i http://{address}/\n\nCtrl-C stops it.")
    });

    // In any order: the dependencies decide when each one starts.
    let announcement = server.add_service(background_service("announcement", announcement));
    let proxy = server.add_service(proxy);
    let loader = server.add_service(background_service("loader", loader));
    let origin = server.add_service(origin);
    announcement.add_dependency(&proxy);
    proxy.add_dependency(&loader);
    loader.add_dependency(&origin);

    server.try_run(RunArgs::default())
}
