//! The proxy under measurement: one fixed upstream, HTTP/1 in cleartext on both sides unless told
//! otherwise.
//!
//! The same file is compiled twice: against this workspace (`ours`) and, in `benches/peer`,
//! against the published framework with the same interface (`peer`). So the two differ in
//! nothing but the framework.
//!
//! ```text
//! ours --listen 127.0.0.1:8080 --upstream 127.0.0.1:9000 [--workers 1] [--access-log FILE]
//!     [--certificate FILE --key FILE] [--cipher NAME] [--client-h2c yes] [--upstream-h2c yes]
//!     [--gzip yes] [--edits yes]
//! ```
//!
//! It runs as a user builds it: with the system's allocator and every setting at its default.
//! `tuned.rs` is the same proxy with what the documentation advises, `rustls.rs` with another TLS library.
//!
//! With `--certificate` and `--key` clients speak TLS, and HTTP/2 where they ask for it. With
//! `--client-h2c` they speak HTTP/2 in cleartext; with `--upstream-h2c` the proxy does.
//!
//! With `--access-log` the proxy does what a real one does: it implements the request, upstream
//! request and response phases, edits two header fields, counts the body in a filter and writes
//! one line per request. With `--edits` it has four phases and inserts three header fields, and writes
//! no log. With `--gzip` it compresses at level 6.

#![allow(
    clippy::print_stderr,
    reason = "a command line program reports to its user"
)]

mod edits;
mod gzip;
mod plain;
mod realistic;

use pingora::apps::HttpServerOptions;
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::*;
use pingora::server::configuration::ServerConf;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// More idle upstream connections than any row of the run keeps open.
const UPSTREAM_POOL: usize = 2048;
struct Options {
    listen: String,
    upstream: SocketAddr,
    workers: usize,
    access_log: Option<PathBuf>,
    /// Certificate chain and key.
    tls: Option<(String, String)>,
    /// The only cipher of TLS 1.3; the library's choice without it.
    cipher: Option<String>,
    gzip: bool,
    edits: bool,
    client_h2c: bool,
    upstream_h2c: bool,
    adjust_tls: Adjust,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>, adjust_tls: Adjust) -> Result<Self, String> {
        let (mut listen, mut upstream, mut workers, mut access_log) = (None, None, 1, None);
        let (mut certificate, mut key, mut cipher) = (None, None, None);
        let (mut client_h2c, mut upstream_h2c) = (false, false);
        let (mut gzip, mut edits) = (false, false);
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            let invalid = |e: &dyn std::fmt::Display| format!("{name} {value}: {e}");
            match name.as_str() {
                "--listen" => listen = Some(value),
                "--upstream" => upstream = Some(value.parse().map_err(|e| invalid(&e))?),
                "--workers" => workers = value.parse().map_err(|e| invalid(&e))?,
                "--access-log" => access_log = Some(PathBuf::from(value)),
                "--certificate" => certificate = Some(value),
                "--key" => key = Some(value),
                "--cipher" => cipher = Some(value),
                "--gzip" => gzip = value == "yes",
                "--edits" => edits = value == "yes",
                "--client-h2c" => client_h2c = value == "yes",
                "--upstream-h2c" => upstream_h2c = value == "yes",
                _ => return Err(format!("unknown option {name}")),
            }
        }
        Ok(Self {
            listen: listen.ok_or("--listen is missing")?,
            upstream: upstream.ok_or("--upstream is missing")?,
            workers,
            access_log,
            tls: certificate.zip(key),
            cipher,
            gzip,
            edits,
            client_h2c,
            upstream_h2c,
            adjust_tls,
        })
    }
}

fn main() -> ExitCode {
    run(ServerConf::default())
}

/// Changes the settings of a listener with TLS; gets the only cipher that the row allows.
pub(crate) type Adjust = fn(&mut TlsSettings, Option<&str>) -> Result<()>;

/// Runs the proxy with these settings, apart from those that rows choose.
pub(crate) fn run(conf: ServerConf) -> ExitCode {
    run_with_tls(conf, |_, _| Ok(()))
}

/// The same with TLS as `adjust` wants it.
pub(crate) fn run_with_tls(conf: ServerConf, adjust: Adjust) -> ExitCode {
    let options = Options::parse(std::env::args().skip(1), adjust);
    match options.and_then(|options| serve(options, conf)) {
        Ok(never) => match never {},
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: Options, conf: ServerConf) -> Result<std::convert::Infallible, String> {
    let conf = ServerConf {
        threads: options.workers,
        upstream_keepalive_pool_size: UPSTREAM_POOL,
        ..conf
    };
    let mut server = Server::new_with_opt_and_conf(Option::<Opt>::None, conf);
    server.bootstrap();
    let upstream = options.upstream;
    match &options.access_log {
        None if options.gzip => add_proxy(&mut server, gzip::Gzip { upstream }, &options)?,
        None if options.edits => add_proxy(&mut server, edits::Edits { upstream }, &options)?,
        None => {
            let proxy = plain::Plain {
                upstream,
                upstream_h2c: options.upstream_h2c,
            };
            add_proxy(&mut server, proxy, &options)?;
        }
        Some(path) => {
            let proxy = realistic::Realistic::new(upstream, path)
                .map_err(|e| format!("access log {}: {e}", path.display()))?;
            add_proxy(&mut server, proxy, &options)?;
        }
    }
    server.run_forever()
}

fn add_proxy<P>(server: &mut Server, proxy: P, options: &Options) -> Result<(), String>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    let mut service = http_proxy_service(&server.configuration, proxy);
    if options.client_h2c {
        let mut server_options = HttpServerOptions::default();
        server_options.h2c = true;
        if let Some(proxy) = service.app_logic_mut() {
            proxy.server_options = Some(server_options);
        }
    }
    match &options.tls {
        None => service.add_tcp(&options.listen),
        Some((certificate, key)) => {
            let cipher = options.cipher.as_deref();
            let mut tls = tls_settings(certificate, key, cipher).map_err(|e| e.to_string())?;
            (options.adjust_tls)(&mut tls, cipher).map_err(|e| e.to_string())?;
            service.add_tls_with_settings(&options.listen, None, tls);
        }
    }
    server.add_service(service);
    Ok(())
}

fn tls_settings(certificate: &str, key: &str, cipher: Option<&str>) -> Result<TlsSettings> {
    let mut tls = TlsSettings::intermediate(certificate, key)?;
    tls.enable_h2();
    if let Some(cipher) = cipher {
        tls.set_ciphersuites(cipher)
            .or_err(InternalError, "setting the ciphers")?;
    }
    Ok(tls)
}
