//! The code of `docs/subrequests.md`.

use async_trait::async_trait;
use pingora::prelude::*;
use pingora::protocols::http::HttpTask;
use pingora::proxy::SubrequestSpawner;
use pingora::proxy::subrequest::Ctx;
use pingora::proxy::subrequest::pipe::{InputBodyType, pipe_subrequest};

struct Gate;

#[async_trait]
impl ProxyHttp for Gate {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        in_the_background(session);
        Error::e_explain(HTTPStatus(404), "nothing here")
    }

    fn allow_spawning_subrequest(&self, _session: &Session, _ctx: &Self::CTX) -> bool {
        true
    }

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        let Some(spawner) = session.subrequest_spawner.clone() else {
            return Ok(false); // nested too deep
        };
        if session.subrequest_ctx.is_some() {
            return Ok(false); // the question itself
        }
        let ctx = Ctx::builder().build();
        let (mut question, mut answer) = spawner.create_subrequest(session, ctx);
        let head = question.session_mut().req_header_mut();
        head.set_uri(http::Uri::from_static("/may-i"));

        let status = async {
            let mut status = 0;
            while let Some(task) = answer.rx.recv().await {
                if let HttpTask::Header(header, _) = &task {
                    status = header.status.as_u16();
                }
            }
            status
        };
        let (status, ()) = tokio::join!(status, question.run());
        if status == 200 {
            return Ok(false);
        }
        session.respond_error(403).await?;
        Ok(true)
    }
}

fn in_the_background(session: &Session) {
    if let Some(spawner) = &session.subrequest_spawner {
        spawner.spawn_background_subrequest(session, Ctx::builder().build());
    }
}

async fn in_place_of(session: &mut Session, spawner: SubrequestSpawner, ctx: Ctx) -> Result<bool> {
    let (sub, handle) = spawner.create_subrequest(session, ctx);
    pipe_subrequest(
        session,
        sub,
        handle,
        |task| Ok(Some(task)),
        InputBodyType::SaveBody(0),
    )
    .await?;
    return Ok(true);
}
