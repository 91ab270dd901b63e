//! Small modules that many proxies need, to be added in
//! [`init_downstream_modules`](crate::ProxyHttp::init_downstream_modules).
//!
//! | module | what it does |
//! |---|---|
//! | [`ForwardedFields`] | who the client is behind trusted proxies; `X-Forwarded-*`, `Forwarded` and `Via` for upstreams |
//! | [`IpRules`] | lets clients in or keeps them out by their address |
//! | [`RequestId`] | a name for each request, in both directions |
//! | [`Redirects`] | to HTTPS, and from path to path |
//! | [`Cors`] | which pages of other origins may call |
//! | [`BasicAuth`] | users and passwords |
//! | [`ClientCert`] | the client's certificate for upstreams, `Client-Cert` |
//! | [`SecurityHeaders`] | fields of responses that make browsers more careful |
//! | [`Rewrites`] | other paths and hosts; towards upstreams, as a rule |
//!
//! [`ErrorPages`] and [`EarlyHints`] are not modules: the first makes the bodies of error responses, in HTML or JSON,
//! the second tells browsers which resources a page will need.
//!
//! They run in this order, regardless of the order in which they are added: modules of your own with an
//! [`order`](pingora_core::modules::http::HttpModuleBuilder::order) above 100 run ahead of them, those with the
//! default of 0 behind them.
//!
//! A field that one of them strips, sets or relies on can't be smuggled past it as an alias: a name with `_` for
//! `-` is taken for the field, as many servers take it.

mod alias;
mod basic_auth;
mod client_cert;
mod cors;
mod early_hints;
mod error_pages;
mod forwarded;
mod ip_rules;
mod paths;
mod proxy_status;
mod redirects;
mod request_id;
mod rewrites;
mod security_headers;

pub use basic_auth::{Authenticated, BasicAuth};
pub use client_cert::ClientCert;
pub use cors::{Cors, CorsCheck};
pub use early_hints::EarlyHints;
pub use error_pages::ErrorPages;
pub use forwarded::{Client, Forwarded, ForwardedFields};
pub use ip_rules::IpRules;
pub use redirects::Redirects;
pub use request_id::{NamedRequest, RequestId};
pub use rewrites::Rewrites;
pub use security_headers::SecurityHeaders;

/// The places of these modules among others.
mod order {
    pub(super) const FORWARDED: i16 = 100;
    pub(super) const IP_RULES: i16 = 90;
    pub(super) const REQUEST_ID: i16 = 80;
    pub(super) const REDIRECTS: i16 = 75;
    pub(super) const CORS: i16 = 70;
    pub(super) const BASIC_AUTH: i16 = 60;
    pub(super) const CLIENT_CERT: i16 = 50;
    pub(super) const SECURITY_HEADERS: i16 = 40;
    pub(super) const REWRITES: i16 = 30;
}
