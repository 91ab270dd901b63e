//! Early hints (RFC 8297).

use super::paths::PathRule;
use crate::Session;
use http::header::{HeaderName, LINK};
use http::{HeaderValue, Method, Version};
use pingora_error::{ErrorType, OrErr, Result};
use pingora_http::ResponseHeader;
use std::sync::Arc;

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Tells browsers what a page will need while the upstream is still making it: 103 with `Link` (RFC 8297).
///
/// No module, but a value: call [`send`](Self::send) in [`request_filter`](crate::ProxyHttp::request_filter).
///
/// ```
/// # use pingora_error::Result;
/// # use pingora_proxy::Session;
/// use pingora_proxy::modules::EarlyHints;
///
/// # fn hints() -> Result<EarlyHints> {
/// let hints = EarlyHints::new()
///     .below("/", "</style.css>; rel=preload; as=style")?
///     .below("/shop", "<https://pay.example>; rel=preconnect")?;
/// # Ok(hints)
/// # }
/// # async fn request_filter(hints: &EarlyHints, session: &mut Session) -> Result<bool> {
/// hints.send(session).await?;
/// Ok(false)
/// # }
/// ```
///
/// Hints go to those who make use of them: to GET requests that navigate (`Sec-Fetch-Mode: navigate`), which
/// browsers say, and over HTTP/2; over HTTP/1.1 some clients take a 103 for the answer.
#[derive(Clone, Debug, Default)]
pub struct EarlyHints {
    links: Arc<Vec<(PathRule, HeaderValue)>>,
    over_http1: bool,
}

impl EarlyHints {
    /// No hints.
    pub fn new() -> Self {
        EarlyHints::default()
    }

    /// Adds a `Link` for this path and all below it (`/a` and `/a/b`, not `/ab`).
    ///
    /// # Errors
    /// `InvalidHTTPHeader` for a value that can't be sent.
    pub fn below(mut self, path: &str, link: &str) -> Result<Self> {
        let link = HeaderValue::from_str(link).or_err(ErrorType::InvalidHTTPHeader, "a hint")?;
        Arc::make_mut(&mut self.links).push((PathRule::below(path, ""), link));
        Ok(self)
    }

    /// Sends hints over HTTP/1.1 too.
    pub fn over_http1(mut self) -> Self {
        self.over_http1 = true;
        self
    }

    /// Sends what there is for this request, if its client makes use of it and no response has begun.
    /// `true`: something was sent. The downstream modules see it, as any informational response.
    ///
    /// # Errors
    /// If the client is gone.
    pub async fn send(&self, session: &mut Session) -> Result<bool> {
        let Some(head) = self.head_for(session)? else {
            return Ok(false);
        };
        session.write_response_header(head, false).await?;
        Ok(true)
    }

    fn head_for(&self, session: &Session) -> Result<Option<Box<ResponseHeader>>> {
        let request = session.req_header();
        let is_new = session.response_written().is_none();
        let speaks = match request.version {
            Version::HTTP_2 => true,
            Version::HTTP_11 => self.over_http1,
            _ => false,
        };
        let navigates = || {
            let mode = request.headers.get(SEC_FETCH_MODE);
            mode.is_some_and(|mode| mode == "navigate")
        };
        if !(is_new && speaks && request.method == Method::GET && navigates()) {
            return Ok(None);
        }
        let path = request.uri.path();
        let links = self.links.iter();
        let mut links = links
            .filter(|(rule, _)| rule.apply(path, None).is_some())
            .peekable();
        if links.peek().is_none() {
            return Ok(None);
        }
        let mut head = Box::new(ResponseHeader::build(103, None)?);
        for (_, link) in links {
            head.append_header(LINK, link.clone())?;
        }
        Ok(Some(head))
    }
}
