//! Serving a stored response.

use crate::flow::hit::{Failed, Hit, Part};
use crate::range::RangeType;
use crate::{HttpProxy, ProxyHttp, Session};
use http::header::{AGE, DATE, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, RANGE};
use http::{Method, StatusCode};
use pingora_core::connectors::http::custom::Connector as CustomConnector;
use pingora_core::protocols::http::conditional_filter;
use pingora_error::{Error, ErrorType};
use pingora_http::{RequestHeader, ResponseHeader};

impl<SV, C> HttpProxy<SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: CustomConnector,
{
    /// Answers the request with the stored response. An error comes with a flag: whether it is the storage's.
    pub(crate) async fn serve_stored(
        &self,
        session: &mut Session,
        ctx: &mut SV::CTX,
    ) -> Result<(), Failed> {
        let Some(mut header) = stored_head(session) else {
            let context = "what was found has no metadata";
            return Err((Error::explain(ErrorType::InternalError, context), true));
        };
        let fails = |error| (error, false);
        let can_jump = session.cache.can_seek_multipart();
        let part = self
            .fit_to_request(session, ctx, &mut header, can_jump)
            .map_err(fails)?;
        session.introduce_compression();
        let mut hit = Hit::new(&self.inner, session, ctx, part);
        hit.run(header).await
    }

    /// Turns a whole response into the requested one: a 304, a part, or all. `can_jump`: its body can be read in any
    /// order; otherwise, several parts have to be in ascending order.
    pub(crate) fn fit_to_request(
        &self,
        session: &mut Session,
        ctx: &mut SV::CTX,
        header: &mut ResponseHeader,
        can_jump: bool,
    ) -> pingora_error::Result<Part> {
        if self.inner.cache_not_modified_filter(session, header, ctx)? {
            conditional_filter::to_304(header);
            return Ok(Part::Nothing);
        }
        let asks_for_part = session.req_header().has_field(&RANGE);
        let whole = (asks_for_part && !can_jump).then(|| header.clone());
        let part = if session.ignore_downstream_range {
            RangeType::None
        } else {
            self.inner.range_header_filter(session, header, ctx)
        };
        let is_head = session.req_header().line().method == Method::HEAD;
        let has_none = matches!(
            header.line().status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
        let part = match part {
            _ if is_head || has_none => Part::Nothing,
            RangeType::Invalid => Part::Nothing,
            RangeType::None => Part::Whole,
            RangeType::Single(range) => Part::One(range),
            RangeType::Multi(info) => Part::Several(Box::new(info)),
        };
        if let (false, Some(whole)) = (part.is_in_order(), whole) {
            *header = whole;
            return Ok(Part::Whole);
        }
        Ok(part)
    }
}

/// The head of the stored response, as it is sent now (RFC 9111 section 5.1).
pub(crate) fn stored_head(session: &Session) -> Option<Box<ResponseHeader>> {
    let meta = session.cache.maybe_cache_meta()?;
    let mut header = Box::new(meta.response_header_copy());
    header.set_version(session.version());
    // A head without room is sent without the field.
    let _ = header.insert_header(AGE, meta.age().as_secs());
    Some(header)
}

/// Whether the client has this response of the cache already: as for any other one, and without a `Last-Modified` by the
/// time at which the origin made it (RFC 9111 section 4.3.2).
pub(crate) fn is_unmodified(request: &RequestHeader, response: &ResponseHeader) -> bool {
    // Most requests have no condition, and the fields of both heads need not be accessed.
    if !request.has_any_field(&[IF_NONE_MATCH, IF_MODIFIED_SINCE]) {
        return false;
    }
    if conditional_filter::not_modified_filter(request, response) {
        return true;
    }
    let is_by_date = response.status == StatusCode::OK
        && matches!(request.method, Method::GET | Method::HEAD)
        && !request.headers.contains_key(IF_NONE_MATCH)
        && !response.headers.contains_key(LAST_MODIFIED);
    if !is_by_date {
        return false;
    }
    let since = conditional_filter::req_header_as_http_date(request, IF_MODIFIED_SINCE);
    let made = conditional_filter::resp_header_as_http_date(response, DATE);
    match (since, made) {
        (Ok(Some(since)), Ok(Some(made))) => made <= since,
        _ => false,
    }
}
