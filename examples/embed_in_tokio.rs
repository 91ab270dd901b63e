//! A proxy inside a program with its own tokio runtime. The program stops it, without a signal, and
//! continues afterwards.
//!
//! ```sh
//! cargo run --example embed_in_tokio
//! ```
//!
//! Two servers run side by side in one process. `Server::run_forever` would end the process, and blocks a
//! thread; `Server::serve` is an ordinary future.

use async_trait::async_trait;
use clap::Parser;
use pingora::listeners::BoundAddresses;
use pingora::prelude::*;
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::RunArgs;
use pingora::server::configuration::ServerConf;
use pingora_examples::{exit_code, log_to_stderr, origin, say};
use std::process::ExitCode;
use tokio::sync::watch;

/// A proxy inside another program
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6188")]
    listen: String,
}

struct Proxy(BoundAddresses);

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let addresses = self.0.wait().await?;
        Ok(Box::new(HttpPeer::new(&*addresses, false, String::new())))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr("warn");
    let result = serve(cli).await;
    say("both servers have stopped; the program goes on");
    exit_code(result)
}

async fn serve(cli: Cli) -> Result<()> {
    // The program's way to stop: a channel here.
    let (stop, stopped) = watch::channel(false);
    let until_stopped = move || {
        let mut stopped = stopped.clone();
        RunArgs::until(async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        })
    };

    let mut origins = Server::new_with_opt_and_conf(None, ServerConf::default());
    let origin = origin("the origin");
    let origin_address = origin.bound_addresses();
    origins.add_service(origin);

    let mut proxies = Server::new_with_opt_and_conf(None, ServerConf::default());
    let proxy = Proxy(origin_address);
    let mut proxy = http_proxy_service_with_name(&proxies.configuration, proxy, "proxy");
    proxy.add_tcp(&cli.listen);
    let listening = proxy.bound_addresses();
    proxies.add_service(proxy);

    // Each server has its own threads for its services; these tasks only wait for them.
    let origins = tokio::spawn(origins.serve(until_stopped()));
    let proxies = tokio::spawn(proxies.serve(until_stopped()));

    // The program's own work.
    if let Ok(addresses) = listening.wait().await {
        for address in &addresses {
            say(format_args!("listening on {address}"));
        }
        say("The program stops its servers when it gets SIGTERM or Ctrl-C, as it likes.");
        until_asked_to_end().await?;
    }
    stop.send_replace(true);
    for server in [proxies, origins] {
        server.await.or_err(InternalError, "a server panicked")??;
    }
    Ok(())
}

/// The signals belong to the program: the servers do not listen for any.
async fn until_asked_to_end() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).or_err(InternalError, "SIGTERM")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(())
}
