//! Three phases that edit headers, one that sees the response's body, and an access log.
//!
//! ```sh
//! cargo run --example modify_requests
//! ```

use async_trait::async_trait;
use bytes::Bytes;
use clap::Parser;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::listeners::BoundAddresses;
use pingora::prelude::*;
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::RunArgs;
use pingora_examples::{Announcement, exit_code, log_to_stderr, origin, say};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A proxy that edits headers and writes an access log
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6188")]
    listen: String,

    #[command(flatten)]
    server: Opt,
}

struct Proxy {
    origin: BoundAddresses,
    requests: AtomicU64,
}

/// The state that is kept from phase to phase of one request.
struct Context {
    id: u64,
    begun: Instant,
    body_bytes: usize,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context {
            id: self.requests.fetch_add(1, Ordering::Relaxed) + 1,
            begun: Instant::now(),
            body_bytes: 0,
        }
    }

    /// Answers without asking the upstream: `Ok(true)` means that the request has been answered.
    async fn request_filter(&self, session: &mut Session, _ctx: &mut Context) -> Result<bool> {
        if session.req_header().uri.path() != "/teapot" {
            return Ok(false);
        }
        let header = ResponseHeader::build(418, None)?;
        session
            .write_response(Box::new(header), Bytes::from_static(b"short and stout\n"))
            .await?;
        Ok(true)
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        let addresses = self.origin.wait().await?;
        Ok(Box::new(HttpPeer::new(&*addresses, false, String::new())))
    }

    /// Edits the request to the upstream. The request of the session stays as the client sent it.
    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream_request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        // If a client sets these itself, they must not be trusted.
        if let Some(client) = session.client_addr().and_then(|address| address.as_inet()) {
            upstream_request.insert_header("X-Forwarded-For", client.ip().to_string())?;
        }
        upstream_request.insert_header("X-Request-Id", ctx.id.to_string())?;
        upstream_request.remove_header("Cookie");
        Ok(())
    }

    /// Edits the response to the client.
    async fn response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        response.insert_header("X-Request-Id", ctx.id.to_string())?;
        response.insert_header("Server", "example")?;
        Ok(())
    }

    /// Sees every piece of the response's body on its way to the client.
    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<Option<Duration>> {
        ctx.body_bytes += body.as_ref().map_or(0, Bytes::len);
        Ok(None)
    }

    /// The last phase of every request, however it ended.
    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        let status = session
            .response_written()
            .map_or(0, |response| response.status.as_u16());
        let error = error.map_or(String::new(), |error| format!(" ({error})"));
        say(format_args!(
            "{} {status} {} bytes from the origin in {:?}: {}{error}",
            ctx.id,
            ctx.body_bytes,
            ctx.begun.elapsed(),
            self.request_summary(session, ctx),
        ));
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
    let proxy = Proxy {
        origin: origin.bound_addresses(),
        requests: AtomicU64::new(0),
    };
    let mut proxy = http_proxy_service_with_name(&server.configuration, proxy, "proxy");
    proxy.add_tcp(&cli.listen);
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        format!(
            "Try, and see which headers arrive on either side:\n\n    \
             curl -i http://{address}/ -H 'Cookie: secret' -H 'X-Forwarded-For: 8.8.8.8'\n    \
             curl -i http://{address}/teapot\n\n\
             Ctrl-C stops it. Here is the access log:"
        )
    });

    server.add_service(origin);
    server.add_service(proxy);
    server.add_service(background_service("announcement", announcement));
    server.try_run(RunArgs::default())
}
