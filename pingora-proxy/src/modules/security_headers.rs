//! Fields of responses that make browsers more careful.

use super::{ForwardedFields, order};
use async_trait::async_trait;
use http::HeaderValue;
use http::header::{
    CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, SERVER, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use pingora_core::modules::http::{HttpModule, HttpModuleBuilder, Module, Surroundings};
use pingora_error::{ErrorType, OrErr, Result};
use pingora_http::ResponseHeader;
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

const X_POWERED_BY: HeaderName = HeaderName::from_static("x-powered-by");

/// Adds fields to responses that make browsers more careful, unless the upstream sends them itself, and removes
/// `Server` and `X-Powered-By` of the upstream.
///
/// | field | value | changed by |
/// |---|---|---|
/// | `X-Content-Type-Options` | `nosniff` | |
/// | `X-Frame-Options` | `DENY` | [`without_frame_options`](Self::without_frame_options) |
/// | `Referrer-Policy` | `strict-origin-when-cross-origin` | [`field`](Self::field) |
/// | `Content-Security-Policy` | none | [`content_security_policy`](Self::content_security_policy) |
/// | `Strict-Transport-Security` | none | [`strict_transport_security`](Self::strict_transport_security) |
#[derive(Clone, Debug)]
pub struct SecurityHeaders {
    fields: Arc<Vec<(HeaderName, HeaderValue)>>,
    /// Sent over TLS only (RFC 6797 section 7.2).
    transport: Option<HeaderValue>,
    behind: Option<ForwardedFields>,
    keeps_server: bool,
}

impl Default for SecurityHeaders {
    /// As [`SecurityHeaders::new`].
    fn default() -> Self {
        SecurityHeaders::new()
    }
}

impl SecurityHeaders {
    /// The fields of the table above.
    pub fn new() -> Self {
        let fields = [
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
            (REFERRER_POLICY, "strict-origin-when-cross-origin"),
        ];
        let fields = fields.map(|(name, value)| (name, HeaderValue::from_static(value)));
        SecurityHeaders {
            fields: Arc::new(fields.into()),
            transport: None,
            behind: None,
            keeps_server: false,
        }
    }

    /// Adds this field, instead of one of the same name.
    ///
    /// # Errors
    /// `InvalidHTTPHeader` for a value that can't be sent.
    pub fn field(mut self, name: HeaderName, value: &str) -> Result<Self> {
        let value = HeaderValue::from_str(value);
        let value = value.or_err(ErrorType::InvalidHTTPHeader, "a field for browsers")?;
        let fields = Arc::make_mut(&mut self.fields);
        fields.retain(|(other, _)| *other != name);
        fields.push((name, value));
        Ok(self)
    }

    /// Lets pages be shown in frames: no `X-Frame-Options`.
    pub fn without_frame_options(mut self) -> Self {
        Arc::make_mut(&mut self.fields).retain(|(name, _)| *name != X_FRAME_OPTIONS);
        self
    }

    /// Adds `Content-Security-Policy`.
    ///
    /// # Errors
    /// `InvalidHTTPHeader` for a value that can't be sent.
    pub fn content_security_policy(self, policy: &str) -> Result<Self> {
        self.field(CONTENT_SECURITY_POLICY, policy)
    }

    /// Adds `Strict-Transport-Security` to responses over TLS: browsers use TLS for so long, and can't be told
    /// otherwise.
    pub fn strict_transport_security(mut self, max_age: Duration, subdomains: bool) -> Self {
        let subdomains = if subdomains {
            "; includeSubDomains"
        } else {
            ""
        };
        let value = format!("max-age={}{subdomains}", max_age.as_secs());
        self.transport = HeaderValue::from_str(&value).ok();
        self
    }

    /// Takes the word of trusted proxies for whether the client's connection is over TLS.
    pub fn behind(mut self, fields: ForwardedFields) -> Self {
        self.behind = Some(fields);
        self
    }

    /// Leaves `Server` and `X-Powered-By` as the upstream sends them.
    pub fn keep_server(mut self) -> Self {
        self.keeps_server = true;
        self
    }

    fn apply(&self, response: &mut ResponseHeader, is_https: bool) -> Result<()> {
        if !self.keeps_server {
            response.remove_header(&SERVER);
            response.remove_header(&X_POWERED_BY);
        }
        let transport = self.transport.as_ref().filter(|_| is_https);
        let transport = transport.map(|value| (&STRICT_TRANSPORT_SECURITY, value));
        let others = self.fields.iter().map(|(name, value)| (name, value));
        for (name, value) in others.chain(transport) {
            if !response.headers.contains_key(name) {
                response.insert_header(name.clone(), value.clone())?;
            }
        }
        Ok(())
    }
}

impl HttpModuleBuilder for SecurityHeaders {
    fn order(&self) -> i16 {
        order::SECURITY_HEADERS
    }

    fn init(&self) -> Module {
        Box::new(Careful {
            rules: self.clone(),
            is_https: false,
        })
    }
}

/// The module of one request.
struct Careful {
    rules: SecurityHeaders,
    is_https: bool,
}

#[async_trait]
impl HttpModule for Careful {
    fn request_begins(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        let session = around.session();
        self.is_https = match &self.rules.behind {
            Some(fields) => fields.client_of(session).is_https(),
            None => session.digest().is_some_and(|d| d.ssl_digest.is_some()),
        };
        Ok(())
    }

    async fn response_header_filter(
        &mut self,
        response: &mut ResponseHeader,
        _end_of_stream: bool,
    ) -> Result<()> {
        if response.status.is_informational() {
            Ok(())
        } else {
            self.rules.apply(response, self.is_https)
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

    #[test]
    fn what_the_upstream_says_stays_and_the_rest_is_added() {
        let rules = SecurityHeaders::new().content_security_policy("default-src 'self'");
        let age = Duration::from_secs(31_536_000);
        let rules = rules.unwrap().strict_transport_security(age, true);
        for is_https in [false, true] {
            let mut response = ResponseHeader::build(200, None).unwrap();
            for name in ["Server", "X-Powered-By", "Content-Security-Policy"] {
                response.insert_header(name, "upstream").unwrap();
            }
            rules.apply(&mut response, is_https).unwrap();
            let field = |name: &str| response.headers.get(name).map(|v| v.to_str().unwrap());
            assert_eq!((field("server"), field("x-powered-by")), (None, None));
            assert_eq!(field("content-security-policy"), Some("upstream"));
            assert_eq!(field("x-content-type-options"), Some("nosniff"));
            assert_eq!(field("x-frame-options"), Some("DENY"));
            let transport = is_https.then_some("max-age=31536000; includeSubDomains");
            assert_eq!(field("strict-transport-security"), transport);
        }
        let rules = rules.without_frame_options().keep_server();
        let rules = rules.field(REFERRER_POLICY, "no-referrer").unwrap();
        let mut response = ResponseHeader::build(200, None).unwrap();
        response.insert_header("Server", "upstream").unwrap();
        rules.apply(&mut response, false).unwrap();
        assert_eq!(response.headers["server"], "upstream");
        assert_eq!(response.headers["referrer-policy"], "no-referrer");
        assert!(!response.headers.contains_key("x-frame-options"));
        assert!(rules.field(REFERRER_POLICY, "a\r\nb").is_err());
    }
}
