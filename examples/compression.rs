//! Responses that a filter edits as plain text and clients receive compressed; uploads that are
//! decompressed.
//!
//! ```sh
//! cargo run --example compression
//! cargo run --example compression --features brotli,zstd
//! ```

use async_trait::async_trait;
use bytes::Bytes;
use clap::Parser;
use http::{HeaderValue, Response};
use pingora::apps::http_app::{HttpServer, ServeHttp};
use pingora::listeners::BoundAddresses;
use pingora::modules::http::HttpModules;
use pingora::modules::http::compression::{ResponseCompression, ResponseCompressionBuilder};
use pingora::modules::http::decompression::RequestDecompressionBuilder;
use pingora::prelude::*;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::compression::{Algorithm, CompressionSettings, DecompressionLimits};
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::RunArgs;
use pingora::services::listening::Service;
use pingora_examples::{Announcement, exit_code, log_to_stderr, say};
use std::process::ExitCode;
use std::time::Duration;

/// A proxy that compresses, and decompresses what comes compressed
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6188")]
    listen: String,

    #[command(flatten)]
    server: Opt,
}

/// An origin that answers in gzip regardless of what the client accepts, with the body that it received.
struct Gzipped;

#[async_trait]
impl ServeHttp for Gzipped {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let mut text = b"hello from the origin\n".repeat(50);
        while let Ok(Some(piece)) = session.read_request_body().await {
            text.extend_from_slice(&piece);
        }
        let gzip = Algorithm::Gzip.compressor(6);
        let body = gzip.and_then(|mut gzip| gzip.encode(&text, true).ok());
        let mut response = Response::new(body.unwrap_or_default().to_vec());
        let fields = response.headers_mut();
        fields.insert("content-type", HeaderValue::from_static("text/plain"));
        fields.insert("content-encoding", HeaderValue::from_static("gzip"));
        response
    }
}

struct Proxy {
    origin: BoundAddresses,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();

    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        // After the filters: compresses their output.
        let settings = CompressionSettings::new(6)
            .level_of(Algorithm::Brotli, 4)
            .level_of(Algorithm::Zstd, 3)
            .min_size(256)
            .types(["text/*", "application/json"]);
        modules.add_module(ResponseCompressionBuilder::with(settings));
        // Before the filters: uploads of up to 1 MiB, and of fifty times the size of the compressed
        // data.
        let limits = DecompressionLimits::new(1024 * 1024, 50);
        modules.add_module(RequestDecompressionBuilder::enable(limits));
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let addresses = self.origin.wait().await?;
        Ok(Box::new(HttpPeer::new(&*addresses, false, String::new())))
    }

    /// Before the filters, too: the response's body.
    async fn early_request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<()> {
        session.upstream_compression.adjust_decompression(true);
        Ok(())
    }

    /// Sees plain text, regardless of the origin's coding and of what the client accepts.
    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        _ctx: &mut (),
    ) -> Result<Option<Duration>> {
        *body = body.take().map(|text| text.to_ascii_uppercase().into());
        Ok(None)
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, _ctx: &mut ()) {
        let undone = session.upstream_compression.get_info();
        let module = session.downstream_modules_ctx.get::<ResponseCompression>();
        let applied = module.and_then(|module| module.get_info());
        for (name, taken, given, time) in undone.into_iter().chain(applied) {
            say(format_args!("{name}: {taken} bytes to {given} in {time:?}"));
        }
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

    let mut origin = Service::new("the origin".into(), HttpServer::new_app(Gzipped));
    origin.add_tcp("127.0.0.1:0");
    let proxy = Proxy {
        origin: origin.bound_addresses(),
    };
    let mut proxy = http_proxy_service_with_name(&server.configuration, proxy, "proxy");
    proxy.add_tcp(&cli.listen);
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        format!(
            "Try, and see what is compressed:\n\n    \
             curl -i http://{address}/\n    \
             curl -i --compressed http://{address}/\n    \
             echo an upload | gzip | curl -H 'Content-Encoding: gzip' --data-binary @- http://{address}/\n\n\
             Ctrl-C stops it. Here is what was done:"
        )
    });

    server.add_service(origin);
    server.add_service(proxy);
    server.add_service(background_service("announcement", announcement));
    server.try_run(RunArgs::default())
}
