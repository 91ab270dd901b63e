//! Requests that a request spawns.

use super::*;
use crate::subrequest::pipe::{InputBody, InputBodyType, PipeSubrequestState, pipe_subrequest};
use crate::subrequest::{BodyMode, Ctx as SubCtx};
use crate::{PreparedSubrequest, SubrequestSpawner};
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::subrequest::MOST_NESTED;
use pingora_core::protocols::http::subrequest::server::SubrequestHandle;
use std::sync::atomic::{AtomicUsize, Ordering};

mod pipe;

type Handle = SubrequestHandle;

/// The parent's actions before it goes to the upstream, or instead of going there.
#[derive(Clone, Copy)]
enum Plan {
    /// Asks whether the client may: only 200 lets it through.
    Ask,
    Background,
    /// Leaves one in the background, and answers at once.
    Leave,
    /// Looks whether it may spawn.
    Look,
    /// Spawns itself, as deep as that goes.
    Nest,
    Pipe(fn() -> InputBodyType, Filter, BodyMode),
}

type Filter = fn(HttpTask) -> Result<Option<HttpTask>>;

struct Parent {
    origin: SocketAddr,
    log: Log,
    plan: Plan,
    /// Bytes of responses that sub-requests passed on.
    passed: AtomicUsize,
}

impl Parent {
    fn to(origin: &Origin, plan: Plan) -> Self {
        Parent {
            origin: origin.address,
            log: Log::default(),
            plan,
            passed: AtomicUsize::new(0),
        }
    }

    fn spawner(session: &Session) -> SubrequestSpawner {
        session.subrequest_spawner.clone().unwrap()
    }

    fn create(session: &Session, path: &str, mode: BodyMode) -> (PreparedSubrequest, Handle) {
        let ctx = SubCtx::builder().user_ctx(Box::new("mine")).body_mode(mode);
        let (mut prepared, handle) = Self::spawner(session).create_subrequest(session, ctx.build());
        let request = prepared.session_mut().req_header_mut();
        request.set_uri(path.parse().unwrap());
        assert_eq!(prepared.session().req_header().uri.path(), path);
        (prepared, handle)
    }

    async fn ask(&self, session: &mut Session) -> Result<bool> {
        let (prepared, mut handle) = Self::create(session, "/may", BodyMode::NoBody);
        let answered = async {
            let mut status = 0;
            while let Some(task) = handle.rx.recv().await {
                if let HttpTask::Header(header, _) = &task {
                    status = header.status.as_u16();
                }
            }
            status
        };
        let (status, ()) = tokio::join!(answered, prepared.run());
        if let Ok(error) = handle.subreq_proxy_error.try_recv() {
            self.log.note(format!("told {}", error.reason_str()));
        }
        if status == 200 {
            return Ok(false);
        }
        session.respond_error(403).await?;
        Ok(true)
    }

    async fn pipe(&self, session: &mut Session) -> Result<bool> {
        let Plan::Pipe(input, filter, mode) = self.plan else {
            return Ok(false);
        };
        let (prepared, handle) = Self::create(session, "/piped", mode);
        match pipe_subrequest(session, prepared, handle, filter, input()).await {
            Ok(state) => {
                self.tell(state, "piped").await;
                Ok(true)
            }
            Err(failed) => {
                let whose = if failed.from_subreq { "its" } else { "ours" };
                let text = format!("{whose} {}", failed.error.reason_str());
                assert!(failed.to_string().contains(failed.error.reason_str()));
                self.tell(failed.state, &text).await;
                Err(failed.error)
            }
        }
    }

    async fn tell(&self, mut state: PipeSubrequestState, how: &str) {
        let mut text = how.to_string();
        if state.header_received {
            text += " head";
        }
        if let Some(saved) = &state.saved_body {
            text += if saved.is_body_complete() {
                " saved "
            } else {
                " cut "
            };
            if let InputBody::Bytes(pieces) = saved.clone().into() {
                text += std::str::from_utf8(&pieces.concat()).unwrap();
            }
        }
        if let Some(mut rest) = state.pipe_rx.take() {
            let mut pieces = 0;
            while rest.recv().await.is_some() {
                pieces += 1;
            }
            text += if pieces > 0 { " rest" } else { " nothing" };
        }
        // The task logs before it ends.
        state.join_handle.take().unwrap().await.unwrap();
        self.log.note(text);
    }
}

#[async_trait]
impl ProxyHttp for Parent {
    type CTX = ();
    fn new_ctx(&self) {}

    fn allow_spawning_subrequest(&self, session: &Session, _: &()) -> bool {
        session.req_header().uri.path() != "/forbidden"
    }

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        if session.subrequest_ctx.is_some() && !matches!(self.plan, Plan::Nest) {
            return Ok(false);
        }
        match self.plan {
            Plan::Ask => self.ask(session).await,
            Plan::Pipe(..) => self.pipe(session).await,
            Plan::Look => {
                let may = session.subrequest_spawner.is_some();
                session.respond_error(if may { 200 } else { 403 }).await?;
                Ok(true)
            }
            Plan::Background => {
                let spawner = Self::spawner(session);
                spawner.spawn_background_subrequest(session, SubCtx::builder().build());
                Ok(false)
            }
            Plan::Leave => {
                let spawner = Self::spawner(session);
                spawner.spawn_background_subrequest(session, SubCtx::builder().build());
                session.respond_error(202).await?;
                Ok(true)
            }
            Plan::Nest if session.subrequest_spawner.is_none() => {
                session.respond_error(508).await?;
                Ok(true)
            }
            Plan::Nest => {
                let (prepared, handle) = Self::create(session, "/again", BodyMode::NoBody);
                let input = InputBodyType::SaveBody(0);
                let all = |task| Ok(Some(task));
                pipe_subrequest(session, prepared, handle, all, input).await?;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        peer(self.origin)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _: &mut (),
    ) -> Result<()> {
        if let Some(ctx) = &session.subrequest_ctx {
            let mine = ctx.user_ctx().and_then(|c| c.downcast_ref::<&str>());
            request.insert_header("X-Sub", *mine.unwrap_or(&"background"))?;
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        _: &mut (),
    ) -> Result<Option<Duration>> {
        if session.subrequest_ctx.is_some() {
            let bytes = body.as_ref().map_or(0, Bytes::len);
            self.passed.fetch_add(bytes, Ordering::SeqCst);
        }
        Ok(None)
    }

    async fn logging(&self, session: &mut Session, e: Option<&Error>, _: &mut ()) {
        let who = if session.is_subrequest() {
            "sub"
        } else {
            "parent"
        };
        let status = session.response_written().map_or(0, |r| r.status.as_u16());
        let error = e.map_or("-", |e| e.reason_str());
        self.log.note(format!("{who} {status} {error}"));
    }
}

fn answer(status: &str) -> Reply {
    reply(
        format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"),
        Then::Keep,
    )
}

#[tokio::test]
async fn the_answer_of_a_sub_request_decides_the_parents() {
    let origin = Origin::start(vec![vec![
        answer("200 OK"),
        reply(OK, Then::Keep),
        answer("401 Unauthorized"),
    ]])
    .await;
    let parent = Parent::to(&origin, Plan::Ask);
    let log = parent.log.clone();
    let mut client = Client::of(&proxy_of(parent));
    let allowed = client
        .ask("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    assert!(allowed.starts_with("HTTP/1.1 200 "), "{allowed}");
    let denied = client.ask(GET).await;
    assert!(denied.starts_with("HTTP/1.1 403 "), "{denied}");

    let requests = origin.requests();
    assert_eq!(requests.len(), 3, "{requests:?}");
    assert!(
        requests[0].starts_with("POST /may HTTP/1.1\r\n"),
        "{}",
        requests[0]
    );
    assert!(requests[0].contains("X-Sub: mine\r\n"));
    assert!(requests[0].contains("\r\nContent-Length: 0\r\n"), "no body");
    assert!(requests[1].starts_with("POST /x ") && requests[1].ends_with("hi"));
    assert!(!requests[1].contains("X-Sub"));
    assert_eq!(origin.connections(), [0, 0, 0], "all use the same pool");
    log.has("parent 403").await;
    let lines = log.take();
    assert_eq!(
        lines,
        ["sub 200 -", "parent 200 -", "sub 401 -", "parent 403 -"]
    );
}

#[tokio::test]
async fn a_sub_request_that_fails_answers_and_tells_why() {
    let origin = Origin::start(vec![vec![reply("nonsense\r\n\r\n", Then::Close)]]).await;
    let parent = Parent::to(&origin, Plan::Ask);
    let log = parent.log.clone();
    let denied = through(parent, GET).await;
    assert!(denied.starts_with("HTTP/1.1 403 "), "{denied}");
    log.has("parent").await;
    let lines = log.take();
    assert_eq!(
        lines,
        [
            "sub 502 InvalidHTTPHeader",
            "told InvalidHTTPHeader",
            "parent 403 -"
        ]
    );
}

#[tokio::test]
async fn one_in_the_background_runs_to_its_end() {
    let long = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{}",
        "x".repeat(1_000_000)
    );
    let origin = Origin::always(long).await;
    let proxy = proxy_of(Parent::to(&origin, Plan::Background));
    let mut client = Client::of(&proxy);
    let body =
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
    let answered = client.ask(body).await;
    assert!(answered.starts_with("HTTP/1.1 200 "));
    drop(client);
    let log = &proxy.inner.log;
    log.has("sub 200 -").await;
    assert_eq!(proxy.inner.passed.load(Ordering::SeqCst), 1_000_000);
    proxy.http_drained().await;
    let requests = origin.requests();
    let spawned: Vec<_> = requests
        .iter()
        .filter(|r| r.contains("X-Sub: background"))
        .collect();
    assert_eq!((requests.len(), spawned.len()), (2, 1), "counted once");
    assert!(
        !spawned[0].to_lowercase().contains("transfer-encoding"),
        "{}",
        spawned[0]
    );
}

#[tokio::test]
async fn a_stop_waits_for_those_in_the_background() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let parent = Parent {
        origin: listener.local_addr().unwrap(),
        log: Log::default(),
        plan: Plan::Leave,
        passed: AtomicUsize::new(0),
    };
    let proxy = proxy_of(parent);
    let answer = Client::of(&proxy).ask(GET).await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    let mut drained = Box::pin(proxy.http_drained());
    assert!(futures::poll!(&mut drained).is_pending());
    let (mut upstream, _) = listener.accept().await.unwrap();
    let mut ahead = Vec::new();
    read_message(&mut upstream, &mut ahead, Whole::Request)
        .await
        .unwrap();
    assert!(futures::poll!(&mut drained).is_pending());
    upstream.write_all(OK.as_bytes()).await.unwrap();
    timeout(PATIENCE, drained).await.unwrap();
    proxy.inner.log.has("sub 200 -").await;
}

#[tokio::test]
async fn only_who_may_spawn_gets_a_spawner() {
    let origin = Origin::always(OK).await;
    let proxy = proxy_of(Parent::to(&origin, Plan::Look));
    let mut client = Client::of(&proxy);
    let may = client.ask(GET).await;
    assert!(may.starts_with("HTTP/1.1 200 "), "{may}");
    let not = client
        .ask("GET /forbidden HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert!(not.starts_with("HTTP/1.1 403 "), "{not}");
    // A proxy that does not ask for sub-requests does not pay for them: no reference to it is held.
    assert_eq!(Arc::strong_count(&proxy), 2, "ours and the connection's");
}

#[tokio::test]
async fn what_spawns_itself_ends() {
    let origin = Origin::always(OK).await;
    let parent = Parent::to(&origin, Plan::Nest);
    let log = parent.log.clone();
    let answer = through(parent, GET).await;
    assert!(answer.starts_with("HTTP/1.1 508 "), "{answer}");
    log.has("parent").await;
    let subs = log
        .take()
        .iter()
        .filter(|l| l.starts_with("sub 508"))
        .count();
    assert_eq!(subs, usize::from(MOST_NESTED));
    assert!(origin.requests().is_empty());
}
