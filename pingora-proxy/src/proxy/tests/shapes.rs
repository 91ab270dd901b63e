//! The ways in which users write their implementations: these have to compile, and to run.

use super::*;
use std::fmt::Debug;
use std::marker::PhantomData;

/// The least that there can be.
pub(super) struct Least;

#[async_trait]
impl ProxyHttp for Least {
    type CTX = ();
    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        Err(Error::new(ErrorType::HTTPStatus(404)))
    }
}

/// With the bounds written out, as the documentation of the trait shows them.
struct Bounded;

#[async_trait]
impl ProxyHttp for Bounded {
    type CTX = Option<String>;
    fn new_ctx(&self) -> Self::CTX {
        None
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        Error::e_explain(ErrorType::HTTPStatus(404), ctx.clone().unwrap_or_default())
    }

    async fn request_filter(&self, _session: &mut Session, ctx: &mut Self::CTX) -> Result<bool>
    where
        Self::CTX: Send + Sync,
    {
        *ctx = Some("seen".into());
        Ok(false)
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        _ctx: &mut Self::CTX,
    ) -> Result<()>
    where
        Self::CTX: Send + Sync,
    {
        body.take();
        Ok(())
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        upstream_response: &mut ResponseHeader,
        _ctx: &mut Self::CTX,
    ) -> Result<()>
    where
        Self::CTX: Send + Sync,
    {
        upstream_response.insert_header("X", "y")
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        _body: &mut Option<Bytes>,
        _end_of_stream: bool,
        _ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>>
    where
        Self::CTX: Send + Sync,
    {
        Ok(None)
    }

    async fn logging(&self, _session: &mut Session, _e: Option<&Error>, ctx: &mut Self::CTX)
    where
        Self::CTX: Send + Sync,
    {
        assert_eq!(ctx.as_deref(), Some("seen"));
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        _e: &Error,
        _ctx: &mut Self::CTX,
    ) -> FailToProxy
    where
        Self::CTX: Send + Sync,
    {
        let _ = session.respond_error(410).await;
        FailToProxy {
            error_code: 410,
            can_reuse_downstream: false,
        }
    }
}

/// Generic over what it holds and what it keeps.
struct Generic<T, C> {
    held: T,
    kept: PhantomData<fn() -> C>,
}

#[async_trait]
impl<T, C> ProxyHttp for Generic<T, C>
where
    T: Debug + Send + Sync + 'static,
    C: Default + Send + Sync + 'static,
{
    type CTX = C;
    fn new_ctx(&self) -> C {
        C::default()
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut C) -> Result<Box<HttpPeer>> {
        Error::e_explain(ErrorType::HTTPStatus(404), format!("{:?}", self.held))
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        request: &mut RequestHeader,
        _ctx: &mut C,
    ) -> Result<()>
    where
        C: Send + Sync,
    {
        request.insert_header("X-Held", format!("{:?}", self.held))
    }
}

/// One proxy around another: what the inner one does not implement still is its default.
struct Around<P>(P);

#[async_trait]
impl<P> ProxyHttp for Around<P>
where
    P: ProxyHttp + Send + Sync,
    P::CTX: Send + Sync,
{
    type CTX = P::CTX;
    fn new_ctx(&self) -> Self::CTX {
        self.0.new_ctx()
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        self.0.upstream_peer(session, ctx).await
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        self.0.request_filter(session, ctx).await
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        self.0.upstream_request_filter(session, request, ctx).await
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        self.0.request_body_filter(session, body, end, ctx).await
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        if let (Some(data), true) = (&body, end) {
            *body = Some([&data[..], b"+"].concat().into());
        }
        self.0.response_body_filter(session, body, end, ctx)
    }

    async fn logging(&self, session: &mut Session, e: Option<&Error>, ctx: &mut Self::CTX) {
        self.0.logging(session, e, ctx).await
    }
}

#[tokio::test]
async fn every_shape_serves() {
    assert!(through(Least, GET).await.starts_with("HTTP/1.1 404 "));
    assert!(through(Bounded, GET).await.starts_with("HTTP/1.1 410 "));
    let generic = Generic::<_, Vec<u8>> {
        held: Some(1),
        kept: PhantomData,
    };
    assert!(through(generic, GET).await.starts_with("HTTP/1.1 404 "));
    assert!(
        through(Around(Bounded), GET)
            .await
            .starts_with("HTTP/1.1 404 ")
    );
}

#[tokio::test]
async fn a_wrapper_around_defaults_is_asked_for_every_piece() {
    let answer =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n";
    let origin = Origin::always(answer).await;
    let proxy = proxy_of(Around(Plain::to(&origin)));
    for _ in 0..3 {
        let answer = Client::of(&proxy).ask(GET).await;
        assert!(
            answer.contains("b+") || answer.ends_with("0\r\n\r\n"),
            "{answer}"
        );
    }
}
