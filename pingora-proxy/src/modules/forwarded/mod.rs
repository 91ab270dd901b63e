//! Finds the client behind trusted proxies, and tells upstreams about it.

mod chain;
mod field;

use super::{alias, order};
use async_trait::async_trait;
use chain::Chain;
use http::header::{FORWARDED, HeaderName, VIA};
use http::{HeaderValue, Version};
use pingora_core::modules::http::{HttpModule, HttpModuleBuilder, Module, Surroundings};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::l4::Networks;
use pingora_error::{ErrorType, OrErr, Result};
use pingora_http::RequestHeader;
use pingora_http::grammar::is_token_byte;
use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Finds the client behind trusted proxies, and tells upstreams about it, by `X-Forwarded-For`, `-Proto` and
/// `-Host`, by `Forwarded` (RFC 7239), and by `Via` (RFC 9110 section 7.6.3).
///
/// The fields of a request are believed as far as trusted proxies have written them: from the right, each address
/// that is one of theirs is skipped, and the first other one is the client. Everything left of it is unverified
/// and dropped. Fields from a client that is not a trusted proxy are ignored. Fields of this
/// kind that this proxy does not write itself never reach an upstream: every `X-Forwarded-…`, `Forwarded`,
/// `X-Real-IP` and the like, however they are spelt.
///
/// The builder of the module [`Forwarded`].
///
/// ```
/// use pingora_core::modules::http::HttpModules;
/// use pingora_proxy::modules::ForwardedFields;
///
/// # fn init(modules: &mut HttpModules) -> pingora_error::Result<()> {
/// // In `init_downstream_modules`:
/// let fields = ForwardedFields::trusting("10.0.0.0/8".parse()?).with_via("edge");
/// modules.add_module(Box::new(fields));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ForwardedFields {
    rules: Arc<Rules>,
}

#[derive(Clone, Debug)]
struct Rules {
    trusted: Networks,
    trusts_unix: bool,
    reads_forwarded: bool,
    writes_x_forwarded: bool,
    writes_forwarded: bool,
    via: Option<String>,
}

impl Default for ForwardedFields {
    /// As [`ForwardedFields::new`].
    fn default() -> Self {
        ForwardedFields::new()
    }
}

impl ForwardedFields {
    /// Trusts no proxy: the connected peer is the client. Upstreams are told by `X-Forwarded-For`, `-Proto` and
    /// `-Host`.
    pub fn new() -> Self {
        ForwardedFields::trusting(Networks::none())
    }

    /// Trusts proxies in these networks.
    pub fn trusting(proxies: Networks) -> Self {
        let rules = Rules {
            trusted: proxies,
            trusts_unix: false,
            reads_forwarded: false,
            writes_x_forwarded: true,
            writes_forwarded: false,
            via: None,
        };
        ForwardedFields {
            rules: Arc::new(rules),
        }
    }

    fn rules(&mut self) -> &mut Rules {
        Arc::make_mut(&mut self.rules)
    }

    /// Trusts all peers that connect to a Unix socket.
    pub fn trust_unix(mut self) -> Self {
        self.rules().trusts_unix = true;
        self
    }

    /// Reads `Forwarded` instead of `X-Forwarded-*`: what the trusted proxies write. Never both, since they
    /// may differ.
    pub fn read_forwarded(mut self) -> Self {
        self.rules().reads_forwarded = true;
        self
    }

    /// Whether upstreams are told by `X-Forwarded-For`, `-Proto` and `-Host`. On by default.
    pub fn write_x_forwarded(mut self, write: bool) -> Self {
        self.rules().writes_x_forwarded = write;
        self
    }

    /// Whether upstreams are told by `Forwarded`. Off by default.
    pub fn write_forwarded(mut self, write: bool) -> Self {
        self.rules().writes_forwarded = write;
        self
    }

    /// Adds this name to `Via` in requests (a gateway need not add it to responses). It should be a token that names the proxy and not
    /// its address; other bytes are dropped, and an empty name writes no field. Off by default.
    pub fn with_via(mut self, pseudonym: &str) -> Self {
        let is_sound = |letter: &char| u8::try_from(*letter).is_ok_and(is_token_byte);
        let name: String = pseudonym.chars().filter(is_sound).collect();
        self.rules().via = (!name.is_empty()).then_some(name);
        self
    }

    /// The client of this request, as far as the fields that it came with can be believed.
    pub fn client_of(&self, session: &ServerSession) -> Client {
        let peer = session.client_addr();
        let address = peer.and_then(|peer| peer.as_inet()).map(SocketAddr::ip);
        let tls = session.digest().is_some_and(|d| d.ssl_digest.is_some());
        self.rules.client(
            session.req_header(),
            address.map(|ip| ip.to_canonical()),
            tls,
        )
    }
}

/// The client of a request, and how it asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    chain: Chain,
    is_https: bool,
    host: Option<HeaderValue>,
}

impl Client {
    /// The client's address. `None` if it has none (a Unix socket), or a trusted proxy does not tell it.
    pub fn address(&self) -> Option<IpAddr> {
        self.chain.client()
    }

    /// Whether the client's connection was encrypted: its own, or the one to the first trusted proxy.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// The host that the client asked for.
    pub fn host(&self) -> Option<&HeaderValue> {
        self.host.as_ref()
    }
}

impl Rules {
    fn client(&self, request: &RequestHeader, peer: Option<IpAddr>, tls: bool) -> Client {
        let is_trusted = peer.map_or(self.trusts_unix, |peer| self.trusted.contains(peer));
        let host = request.headers.get(http::header::HOST).cloned();
        let own = Client {
            chain: Chain::of(peer),
            is_https: tls,
            host,
        };
        match (is_trusted, self.reads_forwarded) {
            (false, _) => own,
            (true, true) => field::from_forwarded(request, own, &self.trusted),
            (true, false) => field::from_x_forwarded(request, own, &self.trusted),
        }
    }

    /// Replaces what the request says about its way by what is true.
    fn rewrite(&self, request: &mut RequestHeader, client: &Client) -> Result<()> {
        alias::remove(request, is_about_the_way);
        let scheme = if client.is_https { "https" } else { "http" };
        if self.writes_x_forwarded {
            if let Some(list) = client.chain.as_x_forwarded_for() {
                insert(request, X_FORWARDED_FOR, &list)?;
            }
            insert(request, X_FORWARDED_PROTO, scheme)?;
            if let Some(host) = &client.host {
                request.insert_header(X_FORWARDED_HOST, host.clone())?;
            }
        }
        if self.writes_forwarded {
            let host = client.host.as_ref().map(HeaderValue::as_bytes);
            let value = client.chain.as_forwarded(scheme, host.unwrap_or_default());
            let context = "writing Forwarded";
            let value =
                HeaderValue::from_bytes(&value).or_err(ErrorType::InvalidHTTPHeader, context)?;
            request.insert_header(FORWARDED, value)?;
        }
        if let Some(name) = &self.via {
            let via = format!("{} {name}", protocol(request.version));
            request.append_header(VIA, via)?;
        }
        Ok(())
    }
}

fn insert(request: &mut RequestHeader, name: HeaderName, value: &str) -> Result<()> {
    request.insert_header(name, value)
}

/// The version of HTTP as `Via` names it.
fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

/// Whether a field of this name says who the client is or how it asked.
fn is_about_the_way(name: &str) -> bool {
    name.starts_with("x-forwarded")
        || matches!(
            name,
            "forwarded"
                | "x-real-ip"
                | "x-client-ip"
                | "x-cluster-client-ip"
                | "x-original-forwarded-for"
                | "x-original-host"
                | "x-host"
                | "x-url-scheme"
                | "client-ip"
                | "true-client-ip"
                | "cf-connecting-ip"
                | "fastly-client-ip"
                | "front-end-https"
        )
}

impl HttpModuleBuilder for ForwardedFields {
    fn order(&self) -> i16 {
        order::FORWARDED
    }

    fn init(&self) -> Module {
        Box::new(Forwarded {
            fields: self.clone(),
            client: None,
        })
    }
}

/// The facts that [`ForwardedFields`] has found out about one request.
#[derive(Debug)]
pub struct Forwarded {
    fields: ForwardedFields,
    client: Option<Client>,
}

impl Forwarded {
    /// The client. `None` before the request's head has passed the modules, as in
    /// `early_request_filter`.
    pub fn client(&self) -> Option<&Client> {
        self.client.as_ref()
    }
}

#[async_trait]
impl HttpModule for Forwarded {
    fn request_begins(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        self.client = Some(self.fields.client_of(around.session()));
        Ok(())
    }

    async fn request_header_filter(&mut self, request: &mut RequestHeader) -> Result<()> {
        match &self.client {
            Some(client) => self.fields.rules.rewrite(request, client),
            None => Ok(()),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

#[cfg(test)]
mod tests;
