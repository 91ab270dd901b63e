//! A server with a certificate for each name. SIGHUP rereads them while connections continue.
//!
//! ```sh
//! cargo run --example tls_server                  # with certificates of its own, for `shop.test` and `*.shop.test`
//! cargo run --example tls_server -- --certificate a.pem --key a.key --certificate b.pem --key b.key
//! ```

use async_trait::async_trait;
use clap::Parser;
use http::Response;
use pingora::apps::http_app::{HttpServer, ServeHttp};
use pingora::listeners::tls::{
    CertificateSource, CertificateStore, HandshakeCounters, HandshakeFailure, TlsSettings,
};
use pingora::prelude::*;
use pingora::protocols::http::ServerSession;
use pingora::server::{RunArgs, SignalKind};
use pingora::services::listening::Service;
use pingora_examples::{Announcement, Authority, exit_code, log_to_stderr, say};
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

/// A server with a certificate for each name
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6443")]
    listen: String,

    /// A certificate chain, PEM; with its --key, any number of times. The first is the default
    #[arg(long, value_name = "FILE")]
    certificate: Vec<PathBuf>,

    /// The private key of the certificate of the same position, PEM
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,

    /// Where certificates are made if none are given
    #[arg(
        long,
        value_name = "DIRECTORY",
        default_value = "/tmp/pingora-tls-server"
    )]
    directory: PathBuf,

    #[command(flatten)]
    server: Opt,
}

/// Tells each client what the server knows about its TLS session.
struct Mirror;

#[async_trait]
impl ServeHttp for Mirror {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let digest = session
            .digest()
            .and_then(|digest| digest.ssl_digest.clone());
        let mut text = String::new();
        if let Some(tls) = digest {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{} with {}", tls.version, tls.cipher);
            let _ = writeln!(text, "name: {}", tls.server_name().unwrap_or("none"));
            let _ = writeln!(text, "resumed: {}", tls.is_resumed());
            if let Some(hello) = tls.client_hello() {
                let suites = hello.cipher_suites().len();
                let _ = writeln!(text, "cipher suites offered: {suites}");
            }
        }
        Response::new(text.into_bytes())
    }
}

/// The certificates from the command line, or generated ones.
fn sources(cli: &Cli) -> Result<Vec<CertificateSource>> {
    if cli.certificate.len() != cli.key.len() {
        let reason = "as many --key as --certificate are needed";
        return Error::e_explain(InternalError, reason);
    }
    let files = cli.certificate.iter().zip(&cli.key);
    if files.len() > 0 {
        return Ok(files.map(|(c, k)| CertificateSource::files(c, k)).collect());
    }
    let authority = Authority::new(&cli.directory)?;
    let names = [("one", "shop.test"), ("any", "*.shop.test")];
    let made = names.map(|(stem, name)| authority.issue(stem, name));
    made.into_iter()
        .map(|files| files.map(|(c, k)| CertificateSource::files(c, k)))
        .collect()
}

fn describe(store: &CertificateStore) {
    for certificate in store.certificates() {
        let left = certificate.not_after.duration_since(SystemTime::now());
        let days = left.unwrap_or_default().as_secs() / 86_400;
        let (names, kind) = (certificate.names.join(", "), certificate.kind);
        say(format_args!(
            "certificate for {names}: {kind}, serial {}, {days} days left",
            certificate.serial_number
        ));
    }
}

fn count(counters: &HandshakeCounters) {
    let (full, resumed) = (counters.full(), counters.resumed());
    say(format_args!("handshakes: {full} full, {resumed} resumed"));
    for failure in HandshakeFailure::ALL {
        match counters.failed(failure) {
            0 => {}
            failed => say(format_args!("  {failed} failed: {failure}")),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr("warn");
    exit_code(serve(cli))
}

fn serve(cli: Cli) -> Result<()> {
    let store = CertificateStore::new();
    store.replace_all(sources(&cli)?)?;
    describe(&store);
    let mut settings = TlsSettings::with_store(store.clone())?;
    settings.enable_h2();
    settings.keep_client_hello(true);
    let counters = settings.handshake_counters();

    let mut server = Server::new(cli.server)?;
    server.bootstrap();
    // On SIGHUP, the server rereads the store's files automatically.
    server.on_signal(SignalKind::user_defined1(), move || {
        describe(&store);
        count(&counters);
        async {}
    });
    let mut mirror = Service::new("mirror".into(), HttpServer::new_app(Mirror));
    mirror.add_tls_with_settings(&cli.listen, None, settings);
    let (process, directory) = (std::process::id(), cli.directory);
    let announcement = Announcement::new(mirror.bound_addresses(), move |address| {
        let port = address.port();
        format!(
            "Try:\n\n    curl --cacert {}/ca.pem --resolve a.shop.test:{port}:{} \
             https://a.shop.test:{port}/\n    kill -HUP {process}   # reads the certificates again\n    \
             kill -USR1 {process}  # tells what is in force\n\nCtrl-C stops it.",
            directory.display(),
            address.ip(),
        )
    });
    let mirror = server.add_service(mirror);
    let announcement = server.add_service(background_service("announcement", announcement));
    announcement.add_dependency(&mirror);
    server.try_run(RunArgs::default())
}
