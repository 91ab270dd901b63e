//! A server whose TLS is spoken by rustls. It tells each client what was agreed upon.
//!
//! ```sh
//! cargo run -p pingora --features proxy,rustls --example rustls_server  # with a certificate of its own, for `shop.test`
//! cargo run -p pingora --features proxy,rustls --example rustls_server -- --certificate a.pem --key a.key
//! ```

use async_trait::async_trait;
use clap::Parser;
use http::Response;
use pingora::apps::http_app::{HttpServer, ServeHttp};
use pingora::listeners::tls::{CertificateSource, CertificateStore, TlsSettings};
use pingora::prelude::*;
use pingora::protocols::http::ServerSession;
use pingora::protocols::tls::rustls::RustlsServer;
use pingora::server::RunArgs;
use pingora::services::listening::Service;
use pingora_examples::{Announcement, Authority, exit_code, log_to_stderr};
use std::path::PathBuf;
use std::process::ExitCode;

/// A server whose TLS is spoken by rustls
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6443")]
    listen: String,

    /// A certificate chain, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,

    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,

    /// Exchange keys in these groups alone, such as `X25519MLKEM768,X25519`
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    groups: Vec<String>,

    /// Where a certificate is made if none is given
    #[arg(
        long,
        value_name = "DIRECTORY",
        default_value = "/tmp/pingora-rustls-server"
    )]
    directory: PathBuf,

    #[command(flatten)]
    server: Opt,
}

/// Tells each client what its TLS session is.
struct Mirror;

#[async_trait]
impl ServeHttp for Mirror {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let digest = session
            .digest()
            .and_then(|digest| digest.ssl_digest.clone());
        let text = digest.map_or_else(String::new, |tls| {
            format!(
                "{} with {}\nkey exchange: {}\nresumed: {}\n",
                tls.version,
                tls.cipher,
                tls.group().unwrap_or("none"),
                tls.is_resumed()
            )
        });
        Response::new(text.into_bytes())
    }
}

/// The certificate from the command line, or a generated one.
fn source(cli: &Cli) -> Result<CertificateSource> {
    if let (Some(certificate), Some(key)) = (&cli.certificate, &cli.key) {
        return Ok(CertificateSource::files(certificate, key));
    }
    let (certificate, key) = Authority::new(&cli.directory)?.issue("shop", "shop.test")?;
    Ok(CertificateSource::files(certificate, key))
}

fn settings(cli: &Cli) -> Result<TlsSettings> {
    let store = CertificateStore::new();
    store.add(source(cli)?)?;
    let mut backend = RustlsServer::new();
    if !cli.groups.is_empty() {
        backend = backend.groups(cli.groups.iter().map(String::as_str))?;
    }

    let mut tls = TlsSettings::with_store(store)?;
    tls.set_backend(backend);
    tls.enable_h2();
    Ok(tls)
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr("warn");
    exit_code(serve(cli))
}

fn serve(cli: Cli) -> Result<()> {
    let settings = settings(&cli)?;
    let mut server = Server::new(cli.server)?;
    server.bootstrap();
    let mut mirror = Service::new("mirror".into(), HttpServer::new_app(Mirror));
    mirror.add_tls_with_settings(&cli.listen, None, settings);
    let directory = cli.directory;
    let announcement = Announcement::new(mirror.bound_addresses(), move |address| {
        let port = address.port();
        format!(
            "Try:\n\n    curl --cacert {}/ca.pem --resolve shop.test:{port}:{} \
             https://shop.test:{port}/\n\nCtrl-C stops it.",
            directory.display(),
            address.ip(),
        )
    });
    let mirror = server.add_service(mirror);
    let announcement = server.add_service(background_service("announcement", announcement));
    announcement.add_dependency(&mirror);
    server.try_run(RunArgs::default())
}
