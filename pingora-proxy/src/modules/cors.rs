//! Which pages of other origins may call (the Fetch standard, section 3.3).

use super::{alias, order};
use async_trait::async_trait;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderName, ORIGIN, VARY,
};
use http::{HeaderValue, Method};
use pingora_core::modules::http::{HttpModule, HttpModuleBuilder, Module};
use pingora_error::{ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

/// Answers for the upstream which pages of other origins may call it. The upstream's own fields about this
/// (`Access-Control-…`) are replaced.
///
/// It informs browsers and is no access control: a request of another origin is passed on. The builder of the module
/// [`CorsCheck`], which also makes the answer to preflight requests:
///
/// ```
/// # use pingora_core::modules::http::HttpModules;
/// # use pingora_error::Result;
/// # use pingora_proxy::Session;
/// use pingora_proxy::modules::{Cors, CorsCheck};
///
/// # fn init(modules: &mut HttpModules) -> Result<()> {
/// let cors = Cors::of(&["https://app.example"])?.methods("GET, POST")?.headers("Content-Type")?;
/// modules.add_module(Box::new(cors));
/// # Ok(())
/// # }
/// # async fn request_filter(session: &mut Session) -> Result<bool> {
/// // In `request_filter`:
/// let check = session.downstream_modules_ctx.get_mut::<CorsCheck>();
/// if let Some(answer) = check.and_then(CorsCheck::preflight) {
///     session.write_response_header(answer, true).await?;
///     return Ok(true);
/// }
/// # Ok(false)
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Cors {
    rules: Arc<Rules>,
}

#[derive(Clone, Debug)]
struct Rules {
    /// `None`: any.
    origins: Option<Vec<String>>,
    methods: HeaderValue,
    headers: Option<HeaderValue>,
    exposed: Option<HeaderValue>,
    credentials: bool,
    max_age: Option<Duration>,
}

fn value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).or_err(ErrorType::InvalidHTTPHeader, "a value of CORS")
}

impl Cors {
    fn with(origins: Option<Vec<String>>) -> Self {
        let rules = Rules {
            origins,
            methods: HeaderValue::from_static("GET, HEAD, POST"),
            headers: None,
            exposed: None,
            credentials: false,
            max_age: None,
        };
        Cors {
            rules: Arc::new(rules),
        }
    }

    /// Pages of these origins may call, such as `https://app.example`: scheme, host, and a port if it is not
    /// the scheme's. They are compared as they are, as browsers send them in lower case.
    ///
    /// # Errors
    /// `InvalidHTTPHeader` for what is no origin, and for `null`, which any page can make itself.
    pub fn of(origins: &[&str]) -> Result<Self> {
        let check = |origin: &&str| {
            let host = origin.split_once("://").map(|(_, host)| host);
            let sound = host.is_some_and(|host| {
                !host.is_empty() && !host.contains(['/', '*', ',', ' ', '@']) && host.is_ascii()
            });
            if sound && *origin == origin.to_ascii_lowercase() {
                Ok(origin.to_string())
            } else {
                pingora_error::Error::e_explain(
                    ErrorType::InvalidHTTPHeader,
                    format!("{origin:?} is no origin, as in https://app.example"),
                )
            }
        };
        let origins = origins.iter().map(check).collect::<Result<Vec<_>>>()?;
        Ok(Cors::with(Some(origins)))
    }

    /// Pages of any origin may call, without credentials.
    pub fn any() -> Self {
        Cors::with(None)
    }

    fn rules(&mut self) -> &mut Rules {
        Arc::make_mut(&mut self.rules)
    }

    /// The methods that may be used, with commas between them. `GET, HEAD, POST` by default.
    ///
    /// # Errors
    /// `InvalidHTTPHeader` for what can't be sent.
    pub fn methods(mut self, methods: &str) -> Result<Self> {
        self.rules().methods = value(methods)?;
        Ok(self)
    }

    /// The fields that a page may send, beside those that are always allowed. None by default.
    ///
    /// # Errors
    /// `InvalidHTTPHeader` for what can't be sent.
    pub fn headers(mut self, headers: &str) -> Result<Self> {
        self.rules().headers = Some(value(headers)?);
        Ok(self)
    }

    /// The fields of responses that a page may read, beside those that are always allowed. None by default.
    ///
    /// # Errors
    /// `InvalidHTTPHeader` for what can't be sent.
    pub fn expose(mut self, headers: &str) -> Result<Self> {
        self.rules().exposed = Some(value(headers)?);
        Ok(self)
    }

    /// Lets browsers send cookies and passwords along. Off by default; no effect with [`any`](Self::any): every
    /// page could act as its visitor.
    pub fn credentials(mut self) -> Self {
        self.rules().credentials = self.rules.origins.is_some();
        self
    }

    /// How long a browser may keep the answer to a preflight request. The browser's default: 5 s.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.rules().max_age = Some(age);
        self
    }
}

impl Rules {
    /// The value sent to a page of this origin; `None`: the page may not call.
    fn allowed(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        match &self.origins {
            None => Some(HeaderValue::from_static("*")),
            Some(origins) => {
                let is_known = origins
                    .iter()
                    .any(|known| known.as_bytes() == origin.as_bytes());
                is_known.then(|| origin.clone())
            }
        }
    }

    /// Says what pages of `origin` may do with this response.
    fn write(&self, origin: Option<&HeaderValue>, response: &mut ResponseHeader) -> Result<()> {
        if self.origins.is_some() {
            // Also if nothing is allowed: a cache must not give that to another origin.
            response.append_header(VARY, HeaderValue::from_static("Origin"))?;
        }
        let Some(allowed) = origin.and_then(|origin| self.allowed(origin)) else {
            return Ok(());
        };
        response.insert_header(ACCESS_CONTROL_ALLOW_ORIGIN, allowed)?;
        if self.credentials {
            let yes = HeaderValue::from_static("true");
            response.insert_header(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes)?;
        }
        Ok(())
    }
}

impl HttpModuleBuilder for Cors {
    fn order(&self) -> i16 {
        order::CORS
    }

    fn init(&self) -> Module {
        Box::new(CorsCheck {
            rules: self.rules.clone(),
            origin: None,
            is_preflight: false,
            answers: false,
        })
    }
}

/// The state of [`Cors`] for one request.
#[derive(Debug)]
pub struct CorsCheck {
    rules: Arc<Rules>,
    /// Of the page that asks.
    origin: Option<HeaderValue>,
    is_preflight: bool,
    /// The response is the answer to a preflight request that was made here.
    answers: bool,
}

impl CorsCheck {
    /// The answer to the request, if it is a preflight request: 204, to be sent without a body, through the
    /// modules. Pages of other origins get one that allows nothing. `None` for other requests, and before the
    /// request's head has passed the modules.
    pub fn preflight(&mut self) -> Option<Box<ResponseHeader>> {
        let origin = self.origin.as_ref().filter(|_| self.is_preflight)?;
        let answer = self.preflight_for(origin).ok();
        self.answers = answer.is_some();
        answer
    }

    fn preflight_for(&self, origin: &HeaderValue) -> Result<Box<ResponseHeader>> {
        let mut answer = ResponseHeader::build(204, Some(6))?;
        if self.rules.allowed(origin).is_some() {
            let methods = self.rules.methods.clone();
            answer.insert_header(ACCESS_CONTROL_ALLOW_METHODS, methods)?;
            if let Some(headers) = &self.rules.headers {
                answer.insert_header(ACCESS_CONTROL_ALLOW_HEADERS, headers.clone())?;
            }
            if let Some(age) = self.rules.max_age {
                answer.insert_header(ACCESS_CONTROL_MAX_AGE, age.as_secs().to_string())?;
            }
        }
        Ok(Box::new(answer))
    }
}

/// Whether a browser asks what a page may do.
pub(super) fn is_preflight(request: &RequestHeader) -> bool {
    request.method == Method::OPTIONS
        && request.headers.contains_key(ORIGIN)
        && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

#[async_trait]
impl HttpModule for CorsCheck {
    async fn request_header_filter(&mut self, request: &mut RequestHeader) -> Result<()> {
        alias::remove_aliases(request, &ORIGIN);
        let mut origins = request.headers.get_all(ORIGIN).iter();
        self.origin = match (origins.next(), origins.next()) {
            (Some(origin), None) => Some(origin.clone()),
            _ => None,
        };
        self.is_preflight = is_preflight(request);
        Ok(())
    }

    async fn response_header_filter(
        &mut self,
        response: &mut ResponseHeader,
        _end_of_stream: bool,
    ) -> Result<()> {
        if response.status.is_informational() {
            return Ok(());
        }
        if !self.answers {
            let others: Vec<HeaderName> = response.headers.keys().cloned().collect();
            for name in others {
                if name.as_str().starts_with("access-control-") {
                    response.remove_header(&name);
                }
            }
            if let (Some(exposed), Some(_)) = (&self.rules.exposed, &self.origin) {
                response.insert_header(ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone())?;
            }
        }
        self.rules.write(self.origin.as_ref(), response)
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

    async fn check(cors: &Cors, method: &str, fields: &[(&'static str, &str)]) -> CorsCheck {
        let mut request = RequestHeader::build(method, b"/", None).unwrap();
        for (name, value) in fields {
            request.append_header(*name, *value).unwrap();
        }
        let mut module = CorsCheck {
            rules: cors.rules.clone(),
            origin: None,
            is_preflight: false,
            answers: false,
        };
        module.request_header_filter(&mut request).await.unwrap();
        module
    }

    async fn answer(module: &mut CorsCheck, mut response: ResponseHeader) -> String {
        module
            .response_header_filter(&mut response, true)
            .await
            .unwrap();
        let mut fields: Vec<_> = response
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        fields.sort();
        fields.join("\n")
    }

    #[tokio::test]
    async fn pages_of_the_origins_that_are_named_may_read_and_no_others() {
        let named = Cors::of(&["https://a.example", "http://b.example:8080"]).unwrap();
        let named = named.credentials().expose("X-Total").unwrap();
        let any = Cors::any().credentials();
        let allowed = "access-control-allow-credentials: true\n\
                       access-control-allow-origin: https://a.example\n\
                       access-control-expose-headers: X-Total\nvary: Origin";
        let exposed = "access-control-expose-headers: X-Total\nvary: Origin";
        let star = "access-control-allow-origin: *";
        let rows: [(&Cors, &[&str], &str); 8] = [
            (&named, &["https://a.example"], allowed),
            (&named, &["https://a.example.evil"], exposed),
            (&named, &["http://a.example"], exposed),
            (&named, &["null"], exposed),
            (
                &named,
                &["https://a.example", "https://evil"],
                "vary: Origin",
            ),
            (&named, &[], "vary: Origin"),
            (&any, &["https://x.example"], star),
            (&any, &[], ""),
        ];
        for (cors, origins, expected) in rows {
            let fields: Vec<_> = origins.iter().map(|o| ("Origin", *o)).collect();
            let mut module = check(cors, "GET", &fields).await;
            assert!(module.preflight().is_none());
            let mut response = ResponseHeader::build(200, None).unwrap();
            // The upstream's own statement is dropped.
            response
                .insert_header("Access-Control-Allow-Origin", "https://evil")
                .unwrap();
            response
                .insert_header("Access-Control-Allow-Credentials", "true")
                .unwrap();
            assert_eq!(answer(&mut module, response).await, expected, "{origins:?}");
        }
    }

    #[tokio::test]
    async fn a_preflight_request_is_answered() {
        let cors = Cors::of(&["https://a.example"]).unwrap();
        let cors = cors
            .methods("GET, PUT")
            .unwrap()
            .headers("Content-Type")
            .unwrap();
        let cors = cors.max_age(Duration::from_secs(600));
        let asks = ("Access-Control-Request-Method", "PUT");
        let expected = "access-control-allow-headers: Content-Type\n\
                        access-control-allow-methods: GET, PUT\n\
                        access-control-allow-origin: https://a.example\n\
                        access-control-max-age: 600\nvary: Origin";
        for (origin, expected) in [
            ("https://a.example", expected),
            ("https://b", "vary: Origin"),
        ] {
            let mut module = check(&cors, "OPTIONS", &[("Origin", origin), asks]).await;
            let head = module.preflight().unwrap();
            assert_eq!(head.status, 204);
            assert_eq!(answer(&mut module, *head).await, expected);
        }
        let mut plain = check(&cors, "OPTIONS", &[("Origin", "https://a.example")]).await;
        assert!(plain.preflight().is_none());
        assert!(check(&cors, "PUT", &[asks]).await.preflight().is_none());
        assert!(check(&cors, "OPTIONS", &[asks]).await.preflight().is_none());
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for origin in [
            "",
            "a.example",
            "https://",
            "https://a.example/",
            "https://*.example",
            "null",
            "*",
            "HTTPS://a.example",
            "https://A.example",
            "https://u@a.example",
            "https://a, https://b",
        ] {
            assert!(Cors::of(&[origin]).is_err(), "{origin}");
        }
        assert!(Cors::any().methods("GET\r\nX: y").is_err());
    }
}
