//! Spawning sub-requests.

use super::pipe::InputBody;
use super::under_way::{Counted, UnderWay};
use super::{BodyMode, Ctx as SubrequestCtx};
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use pingora_core::protocols::http::ServerSession as HttpSession;
use pingora_core::protocols::http::subrequest::server::{
    HttpSession as SessionSubrequest, SubrequestHandle,
};
use pingora_error::Result;
use std::fmt;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// The proxy that serves sub-requests.
#[async_trait]
pub trait Subrequest {
    /// Serves one sub-request from its first phase to its last. `session` is a
    /// [`ServerSession::Subrequest`](HttpSession::Subrequest).
    async fn process_subrequest(
        self: Arc<Self>,
        session: Box<HttpSession>,
        sub_req_ctx: Box<SubrequestCtx>,
    );
}

/// Spawns sub-requests of a request.
///
/// Found in [`Session::subrequest_spawner`](crate::Session) if
/// [`allow_spawning_subrequest`](crate::ProxyHttp::allow_spawning_subrequest) allows it. Cheap to
/// clone.
#[derive(Clone)]
pub struct SubrequestSpawner {
    app: Arc<dyn Subrequest + Send + Sync>,
    under_way: UnderWay,
    shutting_down: bool,
}

impl fmt::Debug for SubrequestSpawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubrequestSpawner").finish_non_exhaustive()
    }
}

impl SubrequestSpawner {
    /// Spawns sub-requests that `app` serves.
    pub fn new(app: Arc<dyn Subrequest + Send + Sync>) -> SubrequestSpawner {
        SubrequestSpawner {
            app,
            under_way: UnderWay::default(),
            shutting_down: false,
        }
    }

    /// Lets the holder of `under_way` wait for the sub-requests that are spawned.
    pub(crate) fn counted(mut self, under_way: UnderWay, shutting_down: bool) -> Self {
        self.under_way = under_way;
        self.shutting_down = shutting_down;
        self
    }

    /// Runs a sub-request with the head of `session` and without a body in a task of its own, and drops
    /// its response. It continues after the parent has ended; aborting the task cancels it.
    ///
    /// A graceful stop waits for it as for other requests, if the proxy made this spawner.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn spawn_background_subrequest(
        &self,
        session: &HttpSession,
        ctx: SubrequestCtx,
    ) -> JoinHandle<()> {
        let (mut prepared, handle) = self.create_subrequest(session, ctx);
        // There is no caller that could send a body.
        prepared.without_body();
        let SubrequestHandle { mut rx, .. } = handle;
        tokio::spawn(async move {
            let drained = async { while rx.recv().await.is_some() {} };
            tokio::join!(prepared.run(), drained);
        })
    }

    /// Prepares a sub-request with the head of `session`, and a handle for its body and its response.
    /// Nothing happens before it [runs](PreparedSubrequest::run); dropping either cancels it.
    pub fn create_subrequest(
        &self,
        session: &HttpSession,
        ctx: SubrequestCtx,
    ) -> (PreparedSubrequest, SubrequestHandle) {
        let (mut session, handle) = SessionSubrequest::new_from_session(session);
        match ctx.body_mode() {
            BodyMode::NoBody => session.clear_request_body_headers(),
            BodyMode::ExpectBody => session.expect_request_body(),
        }
        let mut ctx = Box::new(ctx);
        ctx.shutting_down = self.shutting_down;
        let prepared = PreparedSubrequest {
            app: self.app.clone(),
            under_way: self.under_way.enter(),
            session: Box::new(HttpSession::new_subrequest(session)),
            ctx,
        };
        (prepared, handle)
    }
}

/// A sub-request that is ready to run. Its head may be changed before that.
pub struct PreparedSubrequest {
    app: Arc<dyn Subrequest + Send + Sync>,
    under_way: Option<Counted>,
    session: Box<HttpSession>,
    ctx: Box<SubrequestCtx>,
}

impl fmt::Debug for PreparedSubrequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedSubrequest")
            .field("session", &self.session)
            .field("ctx", &self.ctx)
            .finish_non_exhaustive()
    }
}

impl PreparedSubrequest {
    /// Runs it from its first phase to its last, while the caller sends the body and reads the response:
    /// in another task, or joined with this future.
    ///
    /// Dropping the future cancels the sub-request, without `logging`.
    pub async fn run(self) {
        let _until_it_ends = self.under_way;
        self.app.process_subrequest(self.session, self.ctx).await;
    }

    /// The session of the sub-request.
    pub fn session(&self) -> &HttpSession {
        &self.session
    }

    /// The session of the sub-request, mutably, to change its head.
    pub fn session_mut(&mut self) -> &mut HttpSession {
        &mut self.session
    }

    pub(super) fn without_body(&mut self) {
        if let Some(session) = self.session.as_subrequest_mut() {
            session.clear_request_body_headers();
        }
    }

    /// Makes the head declare the body that will follow.
    pub(super) fn announce(&mut self, body: &InputBody) -> Result<()> {
        let InputBody::Bytes(pieces) = body else {
            self.without_body();
            return Ok(());
        };
        if self.ctx.body_mode() == BodyMode::NoBody || body.is_body_empty() {
            self.without_body();
            return Ok(());
        }
        let length: usize = pieces.iter().map(Bytes::len).sum();
        let request = self.session.req_header_mut();
        request.remove_header(&TRANSFER_ENCODING);
        request.insert_header(CONTENT_LENGTH, length.to_string())
    }
}
