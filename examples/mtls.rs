//! A proxy that admits only clients with a certificate, and tells the upstream who they are.
//!
//! ```sh
//! cargo run --example mtls
//! ```
//!
//! The subject of the certificate decides about permissions: every client may read, one may change.

use async_trait::async_trait;
use clap::Parser;
use pingora::listeners::BoundAddresses;
use pingora::listeners::tls::{ClientCertificates, TlsSettings};
use pingora::prelude::*;
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::RunArgs;
use pingora_examples::{Announcement, Authority, exit_code, log_to_stderr, origin};
use std::path::PathBuf;
use std::process::ExitCode;

/// A proxy that lets in only clients with a certificate
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6444")]
    listen: String,

    /// Where the certificates of server and clients are made
    #[arg(long, value_name = "DIRECTORY", default_value = "/tmp/pingora-mtls")]
    directory: PathBuf,

    #[command(flatten)]
    server: Opt,
}

/// The subject that may make changes.
const WRITER: &str = "CN=alice.clients.test";

struct Proxy {
    origin: BoundAddresses,
}

/// The subject of the client's certificate, which was verified in the handshake.
fn client(session: &Session) -> Option<String> {
    let tls = session.digest()?.ssl_digest.as_ref()?;
    tls.verified_subject().map(str::to_string)
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        let changes = !session.req_header().method.is_safe();
        if changes && client(session).as_deref() != Some(WRITER) {
            session.respond_error(403).await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let addresses = self.origin.wait().await?;
        Ok(Box::new(HttpPeer::new(&*addresses, false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream_request: &mut RequestHeader,
        _ctx: &mut (),
    ) -> Result<()> {
        // Replaces any value that the client itself sends under this name.
        upstream_request.remove_header("X-Client");
        if let Some(subject) = client(session) {
            upstream_request.insert_header("X-Client", subject)?;
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr("warn");
    exit_code(serve(cli))
}

fn serve(cli: Cli) -> Result<()> {
    let authority = Authority::new(&cli.directory)?;
    let (certificate, key) = authority.issue("server", "localhost")?;
    for name in ["alice", "bob"] {
        authority.issue(name, &format!("{name}.clients.test"))?;
    }
    let path = |path: &PathBuf| path.display().to_string();
    let mut settings = TlsSettings::intermediate(&path(&certificate), &path(&key))?;
    settings.set_client_certificates(ClientCertificates::required().ca_file(authority.file()))?;

    let mut server = Server::new(cli.server)?;
    server.bootstrap();
    let origin = origin("the origin");
    let proxy = Proxy {
        origin: origin.bound_addresses(),
    };
    let mut proxy = http_proxy_service_with_name(&server.configuration, proxy, "proxy");
    proxy.add_tls_with_settings(&cli.listen, None, settings);
    let directory = cli.directory.display().to_string();
    let announcement = Announcement::new(proxy.bound_addresses(), move |address| {
        let (port, ip) = (address.port(), address.ip());
        let curl = format!(
            "curl --cacert {directory}/ca.pem --resolve localhost:{port}:{ip} https://localhost:{port}/"
        );
        let with =
            |name: &str| format!("--cert {directory}/{name}.pem --key {directory}/{name}.key");
        let (alice, bob) = (with("alice"), with("bob"));
        format!(
            "Try:\n\n    {curl} {alice}\n    {curl} {bob} -X DELETE  # forbidden\n    {curl}  # refused\n\n\
             Ctrl-C stops it."
        )
    });
    server.add_service(origin);
    let proxy = server.add_service(proxy);
    let announcement = server.add_service(background_service("announcement", announcement));
    announcement.add_dependency(&proxy);
    server.try_run(RunArgs::default())
}
