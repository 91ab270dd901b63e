//! Rewrites of paths and hosts.

use super::order;
use super::paths::{PathRule, has_dot_segment};
use async_trait::async_trait;
use http::HeaderValue;
use http::header::HOST;
use pingora_core::modules::http::{HttpModule, HttpModuleBuilder, Module};
use pingora_error::{Error, ErrorSource, ErrorType, OrErr, Result};
use pingora_http::RequestHeader;
use std::any::Any;
use std::sync::Arc;

/// Gives requests another path, and another `Host`.
///
/// ```
/// use pingora_core::modules::http::HttpModules;
/// use pingora_proxy::modules::Rewrites;
///
/// # fn init_upstream_modules(modules: &mut HttpModules) -> pingora_error::Result<()> {
/// let rewrites = Rewrites::new().below("/api/v1", "/v1").exact("/", "/index.html");
/// modules.add_module(Box::new(rewrites.host("backend.internal")?));
/// # Ok(())
/// # }
/// ```
///
/// The first rule that applies to a path decides. Paths are compared as they came, byte for byte, and the query is
/// kept unless the new path has one. A path to which a rule applies and that has a segment `.` or `..`, however it
/// is encoded, is refused with 400: behind the rule it could mean a place outside of what the rule opens.
///
/// If it is added in [`init_upstream_modules`](crate::ProxyHttp::init_upstream_modules), only the upstream sees the
/// new request; in [`init_downstream_modules`](crate::ProxyHttp::init_downstream_modules), the phases see it as
/// well.
#[derive(Clone, Debug, Default)]
pub struct Rewrites {
    paths: Arc<Vec<PathRule>>,
    host: Option<HeaderValue>,
}

impl Rewrites {
    /// No rewrites.
    pub fn new() -> Self {
        Rewrites::default()
    }

    /// Gives this path, and no other, another one.
    pub fn exact(self, from: &str, to: &str) -> Self {
        self.rule(PathRule::exact(from, to))
    }

    /// Moves this path and all below it (`/a` and `/a/b`, not `/ab`) below another path; `/` for none.
    pub fn below(self, from: &str, to: &str) -> Self {
        self.rule(PathRule::below(from, to))
    }

    fn rule(mut self, rule: PathRule) -> Self {
        Arc::make_mut(&mut self.paths).push(rule);
        self
    }

    /// Gives every request this `Host`.
    ///
    /// # Errors
    /// `InvalidHTTPHeader` for a value that can't be sent.
    pub fn host(mut self, host: &str) -> Result<Self> {
        let host = HeaderValue::from_str(host);
        self.host = Some(host.or_err(ErrorType::InvalidHTTPHeader, "a host to rewrite to")?);
        Ok(self)
    }

    fn apply(&self, request: &mut RequestHeader) -> Result<()> {
        let (path, query) = (request.uri.path(), request.uri.query());
        let new = self.paths.iter().find_map(|rule| rule.apply(path, query));
        if let Some(new) = new {
            if has_dot_segment(path) {
                return Err(refused());
            }
            request.set_raw_path(new.as_bytes())?;
        }
        match &self.host {
            Some(host) => request.insert_header(HOST, host.clone()),
            None => Ok(()),
        }
    }
}

#[cold]
fn refused() -> Box<Error> {
    let why = "a path with dot segments can't be rewritten";
    Error::create(
        ErrorType::HTTPStatus(400),
        ErrorSource::Downstream,
        Some(why.into()),
        None,
    )
}

impl HttpModuleBuilder for Rewrites {
    fn order(&self) -> i16 {
        order::REWRITES
    }

    fn init(&self) -> Module {
        Box::new(Rewriting(self.clone()))
    }
}

/// The module of one request.
struct Rewriting(Rewrites);

#[async_trait]
impl HttpModule for Rewriting {
    async fn request_header_filter(&mut self, request: &mut RequestHeader) -> Result<()> {
        self.0.apply(request)
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

    #[test]
    fn the_first_rule_about_a_path_decides_and_dot_segments_are_refused() {
        let rules = Rewrites::new()
            .below("/api/v1", "/v1")
            .below("/api", "/")
            .exact("/", "/index.html?start")
            .host("backend.internal")
            .unwrap();
        for (path, expected) in [
            ("/api/v1/users?id=1", Ok("/v1/users?id=1")),
            ("/api/users", Ok("/users")),
            ("/api", Ok("/")),
            ("/api//etc", Ok("/etc")),
            ("/apis", Ok("/apis")),
            ("/?x", Ok("/index.html?start")),
            ("/%C3%A4", Ok("/%C3%A4")),
            ("/other/../x", Ok("/other/../x")),
            ("/api/../admin", Err(400)),
            ("/api/v1/%2e%2E/admin", Err(400)),
        ] {
            let mut request = RequestHeader::build("GET", path.as_bytes(), None).unwrap();
            request.insert_header("Host", "front.example").unwrap();
            let outcome = rules.apply(&mut request);
            match expected {
                Ok(expected) => {
                    outcome.unwrap();
                    assert_eq!(request.raw_path(), expected.as_bytes(), "{path}");
                    assert_eq!(request.headers["host"], "backend.internal");
                }
                Err(status) => {
                    let error = outcome.unwrap_err();
                    assert_eq!(error.etype(), &ErrorType::HTTPStatus(status), "{path}");
                }
            }
        }
        assert!(Rewrites::new().host("a\r\nb").is_err());
    }
}
