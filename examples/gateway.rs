//! An API gateway: a key identifies the caller, the number of requests is bounded for each caller, and
//! the path decides which service gets the request, under the path that the service knows.
//!
//! ```sh
//! cargo run --example gateway
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
use pingora_limits::rate::Rate;
use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

/// An API gateway
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6188")]
    listen: String,

    #[command(flatten)]
    server: Opt,
}

/// How long requests are counted before counting restarts.
const WINDOW: Duration = Duration::from_secs(10);

/// A caller.
struct Caller {
    name: &'static str,
    /// The number of requests served in each [`WINDOW`].
    requests: isize,
}

/// A service behind the gateway.
struct Route {
    /// The beginning of the path, up to the end or a slash.
    prefix: &'static str,
    /// The replacement of the prefix.
    becomes: &'static str,
    service: BoundAddresses,
}

impl Route {
    /// The part after the prefix, if this path belongs to the route.
    fn rest<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(self.prefix)
            .filter(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Whether a path means the same to everyone who reads it. A service may read `/users/../orders` as `/orders`,
/// and would then get requests meant for another one, past the rules of that one. Some ignore what follows a `;`
/// in a segment, and some decode twice.
fn is_unambiguous(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let is_plain = |segment: &str| !matches!(segment.split(';').next(), Some("." | ".."));
    let hides = ["//", "\\", "%25", "%2e", "%2f", "%3b", "%5c"];
    path.split('/').all(is_plain) && !hides.iter().any(|hidden| path.contains(hidden))
}

struct Gateway {
    callers: HashMap<&'static str, Caller>,
    routes: Vec<Route>,
    rate: Rate,
}

/// Known facts about a request after `request_filter`.
#[derive(Default)]
struct Context {
    caller: Option<&'static str>,
    /// An index of the routes.
    route: Option<usize>,
}

/// A refusal: status, text, and a field that goes with it.
type Refusal = (u16, &'static str, Option<(&'static str, String)>);

impl Gateway {
    /// Decides about a request; cheap checks come first.
    fn admit(&self, session: &Session, ctx: &mut Context) -> Result<(), Refusal> {
        let path = session.req_header().uri.path();
        if !is_unambiguous(path) {
            return Err((400, "write the path without detours\n", None));
        }
        let authorization = session.get_header("Authorization");
        let key = authorization
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
            .and_then(|key| self.callers.get(key));
        let Some(caller) = key else {
            let challenge = ("WWW-Authenticate", "Bearer".to_string());
            return Err((401, "who are you?\n", Some(challenge)));
        };
        ctx.caller = Some(caller.name);
        if self.rate.observe(&caller.name, 1) > caller.requests {
            let later = ("Retry-After", WINDOW.as_secs().to_string());
            return Err((429, "not so often\n", Some(later)));
        }
        ctx.route = self.routes.iter().position(|r| r.rest(path).is_some());
        match ctx.route {
            Some(_) => Ok(()),
            None => Err((404, "no service has this path\n", None)),
        }
    }
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::default()
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        let Err((status, text, field)) = self.admit(session, ctx) else {
            return Ok(false);
        };
        let mut header = ResponseHeader::build(status, None)?;
        header.insert_header("Content-Type", "text/plain; charset=utf-8")?;
        if let Some((name, value)) = field {
            header.insert_header(name, value)?;
        }
        let text = Bytes::from_static(text.as_bytes());
        session.write_response(Box::new(header), text).await?;
        Ok(true)
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        ctx: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        let Some(route) = ctx.route.and_then(|index| self.routes.get(index)) else {
            return Error::e_explain(HTTPStatus(404), "no route");
        };
        let addresses = route.service.wait().await?;
        Ok(Box::new(HttpPeer::new(&*addresses, false, String::new())))
    }

    /// Rewrites the path, hides the key from the service and tells it who the caller is.
    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream_request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        if let Some(route) = ctx.route.and_then(|index| self.routes.get(index)) {
            let uri = &session.req_header().uri;
            let rest = route.rest(uri.path()).unwrap_or_default();
            let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
            let slash = if route.becomes.is_empty() && rest.is_empty() {
                "/"
            } else {
                ""
            };
            let path = format!("{}{rest}{slash}{query}", route.becomes);
            upstream_request.set_raw_path(path.as_bytes())?;
        }
        upstream_request.remove_header("Authorization");
        // Replaces any value that the client sent under this name.
        upstream_request.insert_header("X-Caller", ctx.caller.unwrap_or_default())
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, ctx: &mut Context) {
        let status = session.response_written().map_or(0, |r| r.status.as_u16());
        let caller = ctx.caller.unwrap_or("nobody");
        let path = session.req_header().uri.path();
        say(format_args!("{status} {caller} {path}"));
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

    let (users, orders) = (origin("the users' service"), origin("the orders' service"));
    let route = |prefix, becomes, service| Route {
        prefix,
        becomes,
        service,
    };
    let caller = |name, requests| Caller { name, requests };
    let gateway = Gateway {
        // A program with many keys would look up their hashes.
        callers: HashMap::from([
            ("alices-key", caller("alice", 1000)),
            ("bobs-key", caller("bob", 3)),
        ]),
        routes: vec![
            route("/api/users", "/v2/people", users.bound_addresses()),
            route("/api/orders", "", orders.bound_addresses()),
        ],
        rate: Rate::new(WINDOW),
    };
    let mut proxy = http_proxy_service_with_name(&server.configuration, gateway, "gateway");
    proxy.add_tcp(&cli.listen);
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        format!(
            "Two callers have keys; Bob gets 3 requests in 10 seconds. Try each, the last one several times:\n\n    \
             curl -i http://{address}/api/users/7\n    \
             curl -i -H 'Authorization: Bearer alices-key' 'http://{address}/api/users/7?full=1'\n    \
             curl -i -H 'Authorization: Bearer alices-key' http://{address}/elsewhere\n    \
             curl -i -H 'Authorization: Bearer bobs-key' http://{address}/api/orders/5\n\n\
             Ctrl-C stops it. Here is who asks for what:"
        )
    });

    server.add_service(users);
    server.add_service(orders);
    server.add_service(proxy);
    server.add_service(background_service("announcement", announcement));
    server.try_run(RunArgs::default())
}
