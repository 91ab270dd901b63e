//! Redirects: to HTTPS, and from one path to another.

use super::paths::PathRule;
use super::{ForwardedFields, order};
use async_trait::async_trait;
use http::header::{HOST, LOCATION};
use http::uri::Authority;
use http::{HeaderValue, StatusCode};
use pingora_core::modules::http::{HttpModule, HttpModuleBuilder, Module, Surroundings};
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use std::any::Any;
use std::sync::Arc;

/// Answers requests with a redirect, by their path or because they don't come over TLS.
///
/// ```
/// use http::StatusCode;
/// use pingora_core::modules::http::HttpModules;
/// use pingora_proxy::modules::Redirects;
///
/// # fn init(modules: &mut HttpModules) {
/// let redirects = Redirects::new()
///     .to_https()
///     .exact("/home", "/", StatusCode::FOUND)
///     .below("/blog", "https://blog.example", StatusCode::PERMANENT_REDIRECT);
/// modules.add_module(Box::new(redirects));
/// # }
/// ```
///
/// The rule for HTTPS comes first, then those for paths in their order; the first that applies to a request
/// decides. Paths are compared as they came, byte for byte, and the query is kept unless the target has one.
/// The request ends with an error of the status of the redirect, which
/// [`fail_to_proxy`](crate::ProxyHttp::fail_to_proxy) answers; the module adds the `Location`. Over HTTP/1, the
/// connection is closed.
#[derive(Clone, Debug, Default)]
pub struct Redirects {
    https: Option<Https>,
    paths: Arc<Vec<(PathRule, StatusCode)>>,
    behind: Option<ForwardedFields>,
}

#[derive(Clone, Debug)]
struct Https {
    /// `None`: the host that the request names.
    host: Option<Arc<str>>,
}

impl Redirects {
    /// No redirects.
    pub fn new() -> Self {
        Redirects::default()
    }

    /// Sends requests that don't come over TLS to the same host and path by `https`, with 308 (the method stays).
    /// A request that names no host, or none that a URL can have, is refused with 400.
    ///
    /// The host is the one that the client names. If a cache in front may keep the answer for others, name
    /// yours with [`to_https_at`](Self::to_https_at).
    pub fn to_https(mut self) -> Self {
        self.https = Some(Https { host: None });
        self
    }

    /// [`to_https`](Self::to_https), at this host and port instead of those that the request names.
    pub fn to_https_at(mut self, host: &str) -> Self {
        let host = Some(host.into());
        self.https = Some(Https { host });
        self
    }

    /// Redirects this path, and no other, to a path or URL.
    pub fn exact(self, from: &str, to: &str, status: StatusCode) -> Self {
        self.rule(PathRule::exact(from, to), status)
    }

    /// Redirects this path and all below it (`/a` and `/a/b`, not `/ab`) to the same place below another path or
    /// URL.
    pub fn below(self, from: &str, to: &str, status: StatusCode) -> Self {
        self.rule(PathRule::below(from, to), status)
    }

    fn rule(mut self, rule: PathRule, status: StatusCode) -> Self {
        Arc::make_mut(&mut self.paths).push((rule, status));
        self
    }

    /// Takes the word of trusted proxies for whether the client's connection is over TLS.
    pub fn behind(mut self, fields: ForwardedFields) -> Self {
        self.behind = Some(fields);
        self
    }

    /// Where a request is sent instead.
    fn target(
        &self,
        request: &RequestHeader,
        is_https: bool,
    ) -> Result<Option<(String, StatusCode)>> {
        let uri = &request.uri;
        if let Some(https) = self.https.as_ref().filter(|_| !is_https) {
            let host = match &https.host {
                Some(host) => host.to_string(),
                None => host_of(request)?,
            };
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            let target = format!("https://{host}{path}");
            return Ok(Some((target, StatusCode::PERMANENT_REDIRECT)));
        }
        let find = |(rule, status): &(PathRule, StatusCode)| {
            let target = rule.apply(uri.path(), uri.query())?;
            Some((target, *status))
        };
        Ok(self.paths.iter().find_map(find))
    }
}

/// The host that a request names, without its port: that one speaks no TLS.
fn host_of(request: &RequestHeader) -> Result<String> {
    let named = request.headers.get(HOST).map(HeaderValue::as_bytes);
    let named = named.and_then(|host| Authority::try_from(host).ok());
    let named = named.or_else(|| request.uri.authority().cloned());
    match named.filter(|named| !named.as_str().contains('@') && !named.host().is_empty()) {
        Some(named) => Ok(named.host().to_string()),
        None => Err(ends(StatusCode::BAD_REQUEST, "the request names no host")),
    }
}

#[cold]
fn ends(status: StatusCode, why: &str) -> Box<Error> {
    Error::create(
        ErrorType::HTTPStatus(status.as_u16()),
        ErrorSource::Downstream,
        Some(why.to_string().into()),
        None,
    )
}

impl HttpModuleBuilder for Redirects {
    fn order(&self) -> i16 {
        order::REDIRECTS
    }

    fn init(&self) -> Module {
        Box::new(Redirected {
            rules: self.clone(),
            is_https: false,
            to: None,
        })
    }
}

/// The module of one request.
struct Redirected {
    rules: Redirects,
    is_https: bool,
    to: Option<(HeaderValue, StatusCode)>,
}

#[async_trait]
impl HttpModule for Redirected {
    fn request_begins(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        let session = around.session();
        self.is_https = match &self.rules.behind {
            Some(fields) => fields.client_of(session).is_https(),
            None => session.digest().is_some_and(|d| d.ssl_digest.is_some()),
        };
        Ok(())
    }

    async fn request_header_filter(&mut self, request: &mut RequestHeader) -> Result<()> {
        let Some((target, status)) = self.rules.target(request, self.is_https)? else {
            return Ok(());
        };
        let Ok(target) = HeaderValue::from_bytes(target.as_bytes()) else {
            return Err(ends(StatusCode::BAD_REQUEST, "the target can't be sent"));
        };
        self.to = Some((target, status));
        Err(ends(status, "the request is redirected"))
    }

    async fn response_header_filter(
        &mut self,
        response: &mut ResponseHeader,
        _end_of_stream: bool,
    ) -> Result<()> {
        match &self.to {
            Some((target, status)) if response.status == *status => {
                response.insert_header(LOCATION, target.clone())
            }
            _ => Ok(()),
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
mod tests {
    use super::*;

    fn request(path: &str, host: Option<&str>) -> RequestHeader {
        let mut request = RequestHeader::build("GET", path.as_bytes(), None).unwrap();
        if let Some(host) = host {
            request.insert_header("Host", host).unwrap();
        }
        request
    }

    #[test]
    fn https_comes_first_and_then_the_first_rule_about_the_path() {
        let rules = Redirects::new()
            .exact("/home", "/", StatusCode::FOUND)
            .below(
                "/blog",
                "https://blog.example",
                StatusCode::MOVED_PERMANENTLY,
            )
            .below("/blog/old", "/never", StatusCode::FOUND);
        let secure = rules.clone().to_https();
        let fixed = rules.clone().to_https_at("a.example:8443");
        for (rules, path, host, is_https, expected) in [
            (&rules, "/home?x", Some("a"), false, Some(("/?x", 302))),
            (&rules, "/", Some("a"), false, None),
            (
                &rules,
                "/blog/old/1",
                None,
                true,
                Some(("https://blog.example/old/1", 301)),
            ),
            (
                &secure,
                "/home?x",
                Some("a:8080"),
                false,
                Some(("https://a/home?x", 308)),
            ),
            (&secure, "/home", Some("a"), true, Some(("/", 302))),
            (
                &secure,
                "//b.example/",
                Some("a"),
                false,
                Some(("https://a//b.example/", 308)),
            ),
            (
                &secure,
                "/",
                Some("[::1]:80"),
                false,
                Some(("https://[::1]/", 308)),
            ),
            (
                &fixed,
                "/x",
                Some("b"),
                false,
                Some(("https://a.example:8443/x", 308)),
            ),
            (
                &fixed,
                "/x",
                None,
                false,
                Some(("https://a.example:8443/x", 308)),
            ),
        ] {
            let target = rules.target(&request(path, host), is_https).unwrap();
            let target = target
                .as_ref()
                .map(|(to, status)| (to.as_str(), status.as_u16()));
            assert_eq!(target, expected, "{path} {host:?} {is_https}");
        }
        for host in [None, Some(""), Some("a@b"), Some("a b"), Some("a/b")] {
            let refused = secure.target(&request("/", host), false).unwrap_err();
            assert_eq!(refused.etype(), &ErrorType::HTTPStatus(400), "{host:?}");
        }
    }
}
