//! A proxy to one upstream as a program of its own, for what only a process can show: signals, exit
//! codes, limits.

use async_trait::async_trait;
use clap::Parser;
use pingora::listeners::BoundAddresses;
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::*;
use pingora::protocols::ALPN;
use pingora::server::{RunArgs, ServerBounds, ShutdownWatch, SignalKind};
use pingora::services::background::BackgroundService;
use pingora_tests::CountingAllocator;
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    server: Opt,
    /// Where to listen: addresses, or `unix:` and a path.
    #[arg(long, default_values_t = ["127.0.0.1:0".to_string()])]
    listen: Vec<String>,
    /// Where requests go: an address, or `unix:` and a path.
    #[arg(long, default_value = "127.0.0.1:9")]
    upstream: String,
    /// Speak HTTP/2 without TLS with clients who begin with it.
    #[arg(long)]
    h2c: bool,
    /// Speak HTTP/2 with the upstream, by prior knowledge.
    #[arg(long)]
    upstream_http2: bool,
    /// Also listen here for TLS, with HTTP/2 by ALPN; needs `--certificate` and `--key`.
    #[arg(long, requires_all = ["certificate", "key"])]
    listen_tls: Option<String>,
    /// The PEM file of the certificates.
    #[arg(long)]
    certificate: Option<String>,
    /// The PEM file of the private key.
    #[arg(long)]
    key: Option<String>,
    /// Speak TLS by rustls.
    #[cfg(feature = "rustls")]
    #[arg(long)]
    rustls: bool,
    /// Milliseconds in which a client has to take something of its response.
    #[arg(long)]
    write_timeout: Option<u64>,
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

struct Fixed {
    upstream: HttpPeer,
    write_timeout: Option<Duration>,
}

#[async_trait]
impl ProxyHttp for Fixed {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        if let Some(limit) = self.write_timeout {
            session.set_write_timeout(Some(limit));
        }
        Ok(Box::new(self.upstream.clone()))
    }
}

/// Says how much memory is in use, each time that it is asked by SIGUSR1: bytes from the allocator now
/// and at the most since the last time, and bytes in the framework's account.
fn report_memory(server: &mut Server) {
    let number = AtomicUsize::new(1);
    server.on_signal(SignalKind::user_defined1(), move || {
        let number = number.fetch_add(1, Ordering::Relaxed);
        let ((now, peak), held) = (CountingAllocator::in_use(), ServerBounds::memory_in_use());
        let mut stdout = std::io::stdout();
        let _ = writeln!(stdout, "memory {number}: {now} {peak} {held}");
        let _ = stdout.flush();
        async {}
    });
}

/// Says where the proxy listens, once it does.
struct Announcement(BoundAddresses);

#[async_trait]
impl BackgroundService for Announcement {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let addresses = self.0.wait().await.unwrap_or_default();
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let mut stdout = std::io::stdout();
        // The output is closed: nothing to be done about it.
        let _ = writeln!(stdout, "listening on {}", addresses.join(" "));
        let _ = stdout.flush();
    }
}

fn serve(cli: Cli) -> Result<()> {
    let mut server = Server::new(cli.server)?;
    server.bootstrap();
    let mut peer = match cli.upstream.strip_prefix("unix:") {
        Some(path) => HttpPeer::new_uds(path, false, String::new())?,
        None => HttpPeer::try_new(cli.upstream.as_str(), false, String::new())?,
    };
    if cli.upstream_http2 {
        peer.options.alpn = ALPN::H2;
        peer.options.max_h2_streams = 100;
    }
    report_memory(&mut server);
    let fixed = Fixed {
        upstream: peer,
        write_timeout: cli.write_timeout.map(Duration::from_millis),
    };
    let mut proxy = http_proxy_service(&server.configuration, fixed);
    for address in &cli.listen {
        match address.strip_prefix("unix:") {
            Some(path) => proxy.add_uds(path, None),
            None => proxy.add_tcp(address),
        }
    }
    if let (Some(address), Some(certificate), Some(key)) =
        (&cli.listen_tls, &cli.certificate, &cli.key)
    {
        let mut settings = TlsSettings::intermediate(certificate, key)?;
        settings.enable_h2();
        #[cfg(feature = "rustls")]
        if cli.rustls {
            settings.set_backend(pingora::protocols::tls::rustls::RustlsServer::new());
        }
        proxy.add_tls_with_settings(address, None, settings);
    }
    if let (true, Some(proxy)) = (cli.h2c, proxy.app_logic_mut()) {
        proxy.server_options.get_or_insert_default().h2c = true;
    }
    let announcement = Announcement(proxy.bound_addresses());
    server.add_service(proxy);
    server.add_service(background_service("announcement", announcement));
    server.try_run(RunArgs::default())
}

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    match serve(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}
