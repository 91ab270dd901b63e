//! The expectations of an HTTP health check.

use http::{HeaderName, HeaderValue};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use std::fmt;
use std::ops::RangeInclusive;

/// The default of [`Expected::within`].
const BODY: usize = 64 * 1024;

type Matcher = Box<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// The expectations of an [`HttpHealthCheck`](super::HttpHealthCheck); an answer has to meet all of
/// them.
///
/// ```
/// use pingora_load_balancing::health_check::{Expected, HttpHealthCheck};
///
/// let mut check = HttpHealthCheck::new("app.example.com", false);
/// let expected = Expected::new().status(200..=299).status(304..=304);
/// check.set_expected(expected.body(|body| body.starts_with(b"ready")));
/// ```
#[derive(Default)]
pub struct Expected {
    statuses: Vec<RangeInclusive<u16>>,
    fields: Vec<(HeaderName, Option<HeaderValue>)>,
    body: Option<Matcher>,
    most: Option<usize>,
}

impl Expected {
    /// The status 200, and nothing else.
    pub fn new() -> Self {
        Expected::default()
    }

    /// One of these statuses. Further calls add more; the first replaces 200.
    pub fn status(mut self, range: RangeInclusive<u16>) -> Self {
        self.statuses.push(range);
        self
    }

    /// A field with this name; with exactly this value, if one is given.
    pub fn field(mut self, name: HeaderName, value: Option<HeaderValue>) -> Self {
        self.fields.push((name, value));
        self
    }

    /// A body for which `good` returns `true`. It gets the whole body, or its first 64 KiB (see
    /// [`within`](Self::within)), as soon as that has arrived.
    pub fn body(mut self, good: impl Fn(&[u8]) -> bool + Send + Sync + 'static) -> Self {
        self.body = Some(Box::new(good));
        self
    }

    /// The number of bytes of the body to examine; 65,536 by default.
    pub fn within(mut self, most: usize) -> Self {
        self.most = Some(most);
        self
    }

    /// The number of bytes of the body that it needs; `None`: it does not examine the body.
    pub(super) fn body_limit(&self) -> Option<usize> {
        self.body.as_ref().map(|_| self.most.unwrap_or(BODY))
    }

    pub(super) fn judge_head(&self, answer: &ResponseHeader) -> Result<()> {
        let status = answer.status.as_u16();
        let is_good = match self.statuses.as_slice() {
            [] => status == 200,
            ranges => ranges.iter().any(|range| range.contains(&status)),
        };
        if !is_good {
            let what = ErrorType::CustomCode("UnexpectedStatus", status);
            return Error::e_explain(what, "the health check expects another");
        }
        for (name, value) in &self.fields {
            let mut found = answer.headers.get_all(name).iter();
            let is_there = match value {
                Some(value) => found.any(|found| found == value),
                None => found.next().is_some(),
            };
            if !is_there {
                let what = ErrorType::Custom("UnexpectedHeader");
                return Error::e_explain(what, format!("the health check expects {name}"));
            }
        }
        Ok(())
    }

    pub(super) fn judge_body(&self, body: &[u8]) -> Result<()> {
        if self.body.as_ref().is_some_and(|good| !good(body)) {
            let what = ErrorType::Custom("UnexpectedBody");
            return Error::e_explain(what, "the health check expects another");
        }
        Ok(())
    }
}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expected")
            .field("statuses", &self.statuses)
            .field("fields", &self.fields)
            .field("body", &self.body.is_some())
            .finish_non_exhaustive()
    }
}
