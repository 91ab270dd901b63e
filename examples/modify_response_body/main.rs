//! Changes the bodies of responses that the upstream compresses: links in HTML while it passes, JSON as a
//! whole.
//!
//! ```sh
//! cargo run --example modify_response_body
//! ```

mod edits;
mod site;

use async_trait::async_trait;
use bytes::Bytes;
use clap::Parser;
use edits::{Envelope, Replace};
use http::StatusCode;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::listeners::BoundAddresses;
use pingora::modules::http::HttpModules;
use pingora::modules::http::compression::ResponseCompressionBuilder;
use pingora::prelude::*;
use pingora::protocols::http::changed_body::declare_changed_body;
use pingora::protocols::http::compression::CompressionSettings;
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::RunArgs;
use pingora_examples::{Announcement, exit_code, log_to_stderr, say};
use std::process::ExitCode;
use std::time::Duration;

/// A proxy that changes what it passes on
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6188")]
    listen: String,

    #[command(flatten)]
    server: Opt,
}

/// The edit of a response.
enum Edit {
    Links(Replace),
    Json(Envelope),
}

impl Edit {
    /// By type. Everything else passes unchanged, and is not even decompressed.
    fn of(response: &ResponseHeader) -> Option<Edit> {
        let kind = response.headers.get("Content-Type")?.to_str().ok()?;
        match kind.split(';').next()?.trim() {
            _ if response.status != StatusCode::OK => None,
            "text/html" => Some(Edit::Links(Replace::new(site::OWN_NAME, ""))),
            "application/json" => Some(Edit::Json(Envelope::default())),
            _ => None,
        }
    }
}

#[derive(Default)]
struct Context {
    edit: Option<Edit>,
    /// Bytes of the body before the edit, and after it.
    taken: usize,
    given: usize,
}

struct Proxy {
    site: BoundAddresses,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::default()
    }

    /// After the edits: compresses for clients that accept it, and decompresses for those that don't accept the gzip
    /// that is requested from the upstream below.
    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        let settings = CompressionSettings::new(6).decompression(true);
        modules.add_module(ResponseCompressionBuilder::with(settings));
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        let addresses = self.site.wait().await?;
        Ok(Box::new(HttpPeer::new(&*addresses, false, String::new())))
    }

    /// Requests something editable: whole bodies, in a coding that can be decoded here.
    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        upstream_request: &mut RequestHeader,
        _ctx: &mut Context,
    ) -> Result<()> {
        upstream_request.remove_header("Range");
        upstream_request.insert_header("Accept-Encoding", "gzip")
    }

    /// Sees the head as the upstream sent it, in time for a decision about decompression.
    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        ctx.edit = Edit::of(response);
        if ctx.edit.is_some() {
            session.upstream_compression.adjust_decompression(true);
            // They would be wrong, and nothing is decompressed while they are present.
            for digest in ["Digest", "Repr-Digest", "Content-Digest", "Content-MD5"] {
                response.remove_header(digest);
            }
        }
        Ok(())
    }

    /// Sees the head in the state that the body filter will see the body in: decompressed.
    async fn response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        if response.headers.contains_key("Content-Encoding") {
            // A coding that was not requested.
            ctx.edit = None;
        }
        if ctx.edit.is_some() {
            // The length changes, and is not known yet.
            declare_changed_body(response);
        }
        Ok(())
    }

    /// Sees the body piece by piece, split anywhere.
    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<Option<Duration>> {
        let piece = body.take().unwrap_or_default();
        ctx.taken += piece.len();
        let edited: Bytes = match &mut ctx.edit {
            Some(Edit::Links(replace)) => replace.edit(&piece, end_of_stream).into(),
            Some(Edit::Json(envelope)) => envelope.edit(&piece, end_of_stream)?.into(),
            None => piece,
        };
        ctx.given += edited.len();
        *body = Some(edited).filter(|edited| !edited.is_empty());
        Ok(None)
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        let path = session.req_header().uri.path();
        let (taken, given) = (ctx.taken, ctx.given);
        match (error, &ctx.edit) {
            (Some(error), _) => say(format_args!("{path}: {error}")),
            (None, Some(_)) => say(format_args!("{path}: {taken} bytes became {given}")),
            (None, None) => say(format_args!("{path}: {taken} bytes as they came")),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr("off");
    exit_code(serve(cli))
}

fn serve(cli: Cli) -> Result<()> {
    let mut server = Server::new(cli.server)?;
    server.bootstrap();

    let site = site::site();
    let proxy = Proxy {
        site: site.bound_addresses(),
    };
    let mut proxy = http_proxy_service_with_name(&server.configuration, proxy, "proxy");
    proxy.add_tcp(&cli.listen);
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        format!(
            "The origin's links have its internal name, which the proxy takes out; its JSON gets an envelope. \
             Text\npasses as the origin sent it. The last document is too long to be kept and changed:\n\n    \
             curl http://{address}/\n    \
             curl http://{address}/status.json\n    \
             curl -i --compressed http://{address}/status.json\n    \
             curl -i --compressed http://{address}/robots.txt\n    \
             curl -i http://{address}/large.json\n\n\
             Ctrl-C stops it. Here is what became of each body:"
        )
    });

    server.add_service(site);
    server.add_service(proxy);
    server.add_service(background_service("announcement", announcement));
    server.try_run(RunArgs::default())
}
