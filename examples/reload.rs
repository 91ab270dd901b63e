//! Settings that change while the proxy runs: SIGHUP rereads them.
//!
//! ```sh
//! cargo run --example reload -- --conf conf.yaml
//! ```
//!
//! They are in the server's own configuration file, under the program's own keys. Invalid settings change
//! nothing, and the log gives the reason.

use async_trait::async_trait;
use clap::Parser;
use pingora::listeners::BoundAddresses;
use pingora::prelude::*;
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::{ReloadHook, RunArgs, SignalKind};
use pingora_examples::{Announcement, exit_code, log_to_stderr, origin, say};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// A proxy whose settings can be changed while it runs
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6188")]
    listen: String,

    #[command(flatten)]
    server: Opt,
}

/// The program's own settings in the configuration file, one per line: `greeting: TEXT`, `blocked_path:
/// PATH`.
#[derive(Debug, Default)]
struct Settings {
    greeting: String,
    blocked_path: Option<String>,
}

impl Settings {
    fn read(file: Option<&Path>) -> Result<Self> {
        let mut settings = Settings::default();
        let Some(file) = file else {
            return Ok(settings);
        };
        let text = std::fs::read_to_string(file).or_err(FileReadError, "reading the settings")?;
        for line in text.lines() {
            match line.split_once(": ") {
                Some(("greeting", text)) => settings.greeting = text.trim().to_string(),
                Some(("blocked_path", path)) if path.starts_with('/') => {
                    settings.blocked_path = Some(path.trim().to_string());
                }
                Some(("blocked_path", path)) => {
                    let reason = format!("blocked_path: `{path}` does not begin with a slash");
                    return Error::e_explain(FileReadError, reason);
                }
                _ => {}
            }
        }
        Ok(settings)
    }
}

/// Replaced as a whole: a request sees either the old settings or the new ones, never a mixture.
type Current = Arc<RwLock<Arc<Settings>>>;

fn replace(current: &Current, settings: Settings) {
    let mut current = current.write().unwrap_or_else(PoisonError::into_inner);
    *current = Arc::new(settings);
}

struct Proxy {
    settings: Current,
    origin: BoundAddresses,
    requests: Arc<AtomicU64>,
}

impl Proxy {
    fn settings(&self) -> Arc<Settings> {
        let current = self.settings.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let path = session.req_header().uri.path();
        if self.settings().blocked_path.as_deref() == Some(path) {
            session.respond_error(403).await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let addresses = self.origin.wait().await?;
        Ok(Box::new(HttpPeer::new(&*addresses, false, String::new())))
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        _ctx: &mut (),
    ) -> Result<()> {
        response.insert_header("X-Greeting", self.settings().greeting.as_str())?;
        Ok(())
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr("warn");
    exit_code(serve(cli))
}

fn serve(cli: Cli) -> Result<()> {
    let file = cli.server.conf.clone();
    let mut server = Server::new(cli.server)?;
    server.bootstrap();

    let settings = Settings::read(file.as_deref().map(Path::new))?;
    let settings: Current = Arc::new(RwLock::new(Arc::new(settings)));
    let requests = Arc::new(AtomicU64::new(0));

    // In two steps: if another hook fails, these settings stay unchanged, too.
    let current = settings.clone();
    server.add_reload_hook(ReloadHook::in_two_steps("settings", move |reload| {
        let current = current.clone();
        async move {
            let fresh = Settings::read(reload.file.as_deref())?;
            Ok(move || {
                let said = format!("in force now: {fresh:?}");
                replace(&current, fresh);
                say(format_args!("{said}"));
            })
        }
    }));
    // Other signals are free for the program to use.
    let count = requests.clone();
    server.on_signal(SignalKind::user_defined1(), move || {
        say(format_args!("requests: {}", count.load(Ordering::Relaxed)));
        async {}
    });

    let origin = origin("the origin");
    let proxy = Proxy {
        settings,
        origin: origin.bound_addresses(),
        requests,
    };
    let mut proxy = http_proxy_service_with_name(&server.configuration, proxy, "proxy");
    proxy.add_tcp(&cli.listen);
    let process = std::process::id();
    let change = match file {
        Some(file) => format!("Change `greeting: ` or `blocked_path: ` in {file}, and try:"),
        None => "Start it with `--conf FILE` to have something to reload; or try:".to_string(),
    };
    let announcement = Announcement::new(proxy.bound_addresses(), move |address| {
        format!(
            "{change}\n\n    \
             kill -HUP {process}\n    curl -i http://{address}/\n    kill -USR1 {process}\n\n\
             Ctrl-C stops it."
        )
    });

    server.add_service(origin);
    let proxy = server.add_service(proxy);
    let announcement = server.add_service(background_service("announcement", announcement));
    announcement.add_dependency(&proxy);

    server.try_run(RunArgs::default())
}
