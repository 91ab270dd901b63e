//! Requests that ask to purge.

use crate::purge::PurgeStatus;
use crate::{HttpProxy, ProxyHttp, Session};
use pingora_cache::PurgeAction;
use pingora_core::connectors::http::custom::Connector as CustomConnector;
use pingora_core::protocols::http::ServerSession;
use pingora_error::Result;
use pingora_http::ResponseHeader;
use std::borrow::Cow;

impl<SV, C> HttpProxy<SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: CustomConnector,
{
    /// Purges what this request names, and answers it: 200 if there was something, 404 if not, 405 without a
    /// cache, 500 if it could not be determined.
    pub(crate) async fn purge(&self, session: &mut Session, ctx: &mut SV::CTX) -> Result<()> {
        let status = self.purge_status(session, ctx).await;
        let code = match &status {
            PurgeStatus::NoCache => 405,
            PurgeStatus::Found => 200,
            PurgeStatus::NotFound => 404,
            PurgeStatus::Error(error) => {
                log::error!("the cache could not be purged: {error}");
                500
            }
        };
        let mut answer: Cow<'static, ResponseHeader> =
            Cow::Owned(ServerSession::generate_error(code));
        self.inner
            .purge_response_filter(session, ctx, status, &mut answer)?;
        session
            .respond_error_with(answer.into_owned(), bytes::Bytes::new())
            .await
    }

    async fn purge_status(&self, session: &mut Session, ctx: &mut SV::CTX) -> PurgeStatus {
        if !session.cache.enabled() {
            return PurgeStatus::NoCache;
        }
        match self.inner.cache_key_callback(session, ctx) {
            Ok(key) => session.cache.set_cache_key(key),
            Err(error) => return PurgeStatus::Error(error),
        }
        let purged = match self.inner.purge_action(session, ctx) {
            PurgeAction::Delete => session.cache.purge().await,
            PurgeAction::Expire => session.cache.expire().await,
        };
        match purged {
            Ok(true) => PurgeStatus::Found,
            Ok(false) => PurgeStatus::NotFound,
            Err(error) => PurgeStatus::Error(error),
        }
    }
}
