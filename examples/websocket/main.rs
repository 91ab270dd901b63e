//! WebSockets through a proxy, which decides who may open one and counts the bytes that pass. Clients use
//! HTTP/1.1 or HTTP/2; the origin only needs to support HTTP/1.1.
//!
//! ```sh
//! cargo run --example websocket
//! ```

mod frames;
mod origin;

use async_trait::async_trait;
use bytes::Bytes;
use clap::Parser;
use pingora::apps::HttpServerOptions;
use pingora::listeners::BoundAddresses;
use pingora::prelude::*;
use pingora::proxy::ProxyServiceBuilder;
use pingora::server::RunArgs;
use pingora_examples::{Announcement, exit_code, log_to_stderr, say};
use std::process::ExitCode;
use std::time::Duration;

/// A proxy in front of a WebSocket
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6188")]
    listen: String,

    #[command(flatten)]
    server: Opt,
}

struct Proxy {
    echo: BoundAddresses,
}

/// Bytes that passed: those of bodies, and those of the tunnel.
#[derive(Default)]
struct Passed {
    up: usize,
    down: usize,
}

/// Whether the request comes from a page of this very host, or from no page at all. Browsers let any page open a
/// WebSocket to anywhere, with the user's cookies, and name the page's origin in `Origin`.
fn is_of_our_pages(session: &Session) -> bool {
    let Some(origin) = session.get_header("Origin") else {
        return true;
    };
    let origin = origin.to_str().unwrap_or_default();
    let host = origin.split_once("://").map(|(_, host)| host.as_bytes());
    host == Some(session.get_header_bytes("Host"))
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Passed;

    fn new_ctx(&self) -> Passed {
        Passed::default()
    }

    /// Until it is answered, a request for a WebSocket is like any other.
    async fn request_filter(&self, session: &mut Session, _passed: &mut Passed) -> Result<bool> {
        if session.is_upgrade_req() && !is_of_our_pages(session) {
            session.respond_error(403).await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _passed: &mut Passed,
    ) -> Result<Box<HttpPeer>> {
        let addresses = self.echo.wait().await?;
        let mut peer = HttpPeer::new(&*addresses, false, String::new());
        // A WebSocket that is silent for longer is closed. Without this line, an hour is the limit.
        peer.options.read_timeout = Some(Duration::from_secs(600));
        Ok(Box::new(peer))
    }

    /// Sees the bytes from the client, even through a tunnel. They are not split at frames.
    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        passed: &mut Passed,
    ) -> Result<()> {
        passed.up += body.as_ref().map_or(0, Bytes::len);
        Ok(())
    }

    /// Sees the bytes from the origin.
    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        passed: &mut Passed,
    ) -> Result<Option<Duration>> {
        passed.down += body.as_ref().map_or(0, Bytes::len);
        Ok(None)
    }

    /// Runs when the tunnel has ended.
    async fn logging(&self, session: &mut Session, error: Option<&Error>, passed: &mut Passed) {
        let what = if session.was_upgraded() {
            "WebSocket"
        } else {
            "request"
        };
        let path = session.req_header().uri.path();
        let status = session.response_written().map_or(0, |r| r.status.as_u16());
        let error = error.map_or(String::new(), |error| format!(" ({error})"));
        let Passed { up, down } = passed;
        say(format_args!(
            "{what} {path}: {status}, {up} bytes to the origin, {down} from it{error}"
        ));
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr("error");
    exit_code(serve(cli))
}

fn serve(cli: Cli) -> Result<()> {
    let mut server = Server::new(cli.server)?;
    server.bootstrap();

    let echo = origin::echo();
    let proxy = Proxy {
        echo: echo.bound_addresses(),
    };
    let mut options = HttpServerOptions::default();
    // HTTP/2 without TLS, next to HTTP/1. (Browsers only use it with TLS.)
    options.h2c = true;
    let mut proxy = ProxyServiceBuilder::new(&server.configuration, proxy)
        .server_options(options)
        .build();
    proxy.add_tcp(&cli.listen);
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        format!(
            "Open http://{address}/ in a browser and talk. Or see with curl how a WebSocket opens (the origin's \
             welcome is its\nfirst frame; curl does not know how to close), and how one that a page of somebody \
             else asks for does not:\n\n    \
             curl -iN --max-time 2 http://{address}/echo -H 'Connection: Upgrade' -H 'Upgrade: websocket' \\\n        \
             -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='\n    \
             curl -iN --max-time 2 http://{address}/echo -H 'Connection: Upgrade' -H 'Upgrade: websocket' \\\n        \
             -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' \\\n        \
             -H 'Origin: https://evil.test'\n\n\
             Ctrl-C stops it. Here is what has passed:"
        )
    });

    server.add_service(echo);
    server.add_service(proxy);
    server.add_service(background_service("announcement", announcement));
    server.try_run(RunArgs::default())
}
