//! Responses that are dropped in favour of another try: read to their end, if that is near, so that their
//! connection can be kept.

use super::forward::Forward;
use crate::ProxyHttp;
use crate::engine::{Failure, RequestFlow, Until};
use crate::retry::RetryPolicy;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use pingora_core::connectors::http::custom::Connector as CustomConnector;
use pingora_core::protocols::http::HttpTask;
use pingora_error::{BError, Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use std::time::Duration;
use tokio::time::Instant;

/// How long the rest of a dismissed response may take, however it moves.
const REST: Duration = Duration::from_secs(1);

/// Of a response that is dropped in favour of what is stored, at most this much is read, in bytes.
const MOST_DRAINED: usize = 64 * 1024;

/// A response that is dropped in favour of another try.
///
/// ```text
/// comes in    the pieces behind its head
/// goes out    the error that ends the exchange, with or without a connection that can be kept
/// ```
pub(super) struct Dismissed {
    error: BError,
    /// The most bytes that are still read.
    left: usize,
}

impl<SV, C> Forward<'_, '_, SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: CustomConnector,
{
    /// Decides whether the response with this head, whose status the policy names, is dropped.
    #[cold]
    pub(super) fn dismiss(&mut self, policy: &RetryPolicy, header: &ResponseHeader) -> bool {
        let status = header.status.as_u16();
        let context = "the upstream's response is dropped in favour of another try";
        let error = Error::explain(ErrorType::HTTPStatus(status), context).into_up();
        let (inner, tries) = (&self.proxy.inner, self.plan.tries);
        let vetoed = || !inner.allow_retry(self.session, self.ctx, &error, tries);
        let dismissed = self
            .plan
            .dismiss(policy, self.session, &header.headers, vetoed);
        match dismissed {
            Ok(()) => {
                let left = policy.most_drained();
                self.dismissed = Some(Box::new(Dismissed { error, left }));
                true
            }
            Err(refusal) => {
                log::info!("status {status} of an upstream is not tried again, since {refusal}");
                false
            }
        }
    }

    /// Drops a response in favour of what is stored; its exchange ends with `error`.
    pub(super) fn drop_response(&mut self, error: BError) {
        let left = MOST_DRAINED;
        self.dismissed = Some(Box::new(Dismissed { error, left }));
    }

    /// Begins to read the rest of a dismissed response.
    pub(super) fn read_dismissed(&mut self, header: &ResponseHeader, end: bool) -> Result<()> {
        if self.flow.exchange.request == RequestFlow::Open || self.replay.is_some() {
            // The connection carries the rest of a request that is not wanted any more.
            return self.end_dismissed(false);
        }
        if end {
            return self.end_dismissed(true);
        }
        let most = self.dismissed.as_ref().map_or(0, |it| it.left);
        let declared = header.headers.get(CONTENT_LENGTH);
        let declared = declared.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|length| length > most) {
            return self.end_dismissed(false);
        }
        self.flow.turn.set_response_unseen(false);
        let rest = Instant::now() + REST;
        let end = self.session.until().map_or(rest, |end| end.min(rest));
        self.flow.turn.limit_until(Until {
            end: Some(end),
            ..Until::default()
        });
        Ok(())
    }

    pub(super) fn on_dismissed(&mut self, task: &HttpTask) -> Result<()> {
        if let HttpTask::Body(data, _) = task
            && let Some(dismissed) = &mut self.dismissed
        {
            let length = data.as_ref().map_or(0, Bytes::len);
            match dismissed.left.checked_sub(length) {
                Some(left) => dismissed.left = left,
                None => return self.end_dismissed(false),
            }
        }
        if task.is_end() {
            self.end_dismissed(true)
        } else {
            Ok(())
        }
    }

    /// The outcome of a failure while a response is being dropped; `None` if none is.
    pub(super) fn fail_dismissed(&mut self, failure: &Failure) -> Option<Result<()>> {
        self.dismissed.as_ref()?;
        match failure {
            Failure::UpstreamUnwritable(_) | Failure::UpstreamFailed(_) | Failure::Expired(_) => {
                Some(self.end_dismissed(false))
            }
            Failure::DownstreamFailed(_) | Failure::DownstreamUnwritable(_) => {
                // The client is gone: there is no one to try again for.
                self.plan.forget_dismissal();
                None
            }
        }
    }

    fn end_dismissed(&mut self, drained: bool) -> Result<()> {
        match self.dismissed.take() {
            Some(dismissed) => {
                self.plan.drained = drained;
                Err(dismissed.error)
            }
            None => Ok(()),
        }
    }
}
