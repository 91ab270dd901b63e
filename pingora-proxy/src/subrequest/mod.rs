//! Requests that a request spawns: they run through the same phases as a client's, in memory.
//!
//! If a proxy allows it ([`ProxyHttp::allow_spawning_subrequest`](crate::ProxyHttp)), the
//! [`Session`](crate::Session) of each request has a [`SubrequestSpawner`]. A sub-request has the head of
//! its parent, which may be changed before it runs; its phases see
//! [`Session::subrequest_ctx`](crate::Session), and may behave differently because of that.
//!
//! Three ways to use one:
//! - in the [background](crate::SubrequestSpawner::spawn_background_subrequest), its response dropped;
//! - by hand: [`create_subrequest`](crate::SubrequestSpawner::create_subrequest), then
//!   [`run`](crate::PreparedSubrequest::run) it while reading the handle's channels;
//! - through a [pipe](pipe::pipe_subrequest), whose response becomes the parent's.

//!
//! ```
//! # use async_trait::async_trait;
//! # use pingora_core::prelude::*;
//! # use pingora_core::protocols::http::HttpTask;
//! # use pingora_proxy::subrequest::Ctx;
//! # use pingora_proxy::{ProxyHttp, Session};
//! # struct Proxy;
//! #[async_trait]
//! impl ProxyHttp for Proxy {
//! #   type CTX = ();
//! #   fn new_ctx(&self) {}
//! #   async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
//! #       Ok(Box::new(HttpPeer::new("127.0.0.1:8080", false, String::new())))
//! #   }
//!     fn allow_spawning_subrequest(&self, _session: &Session, _ctx: &()) -> bool {
//!         true
//!     }
//!
//!     /// Asks another path of this proxy whether the client may go on.
//!     async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
//!         let Some(spawner) = session.subrequest_spawner.clone() else {
//!             return Ok(false); // nested too deep
//!         };
//!         if session.subrequest_ctx.is_some() {
//!             return Ok(false); // the question itself
//!         }
//!         let ctx = Ctx::builder().build();
//!         let (mut question, mut answer) = spawner.create_subrequest(session, ctx);
//!         let head = question.session_mut().req_header_mut();
//!         head.set_uri(http::Uri::from_static("/may-i"));
//!
//!         let status = async {
//!             let mut status = 0;
//!             while let Some(task) = answer.rx.recv().await {
//!                 if let HttpTask::Header(header, _) = &task {
//!                     status = header.status.as_u16();
//!                 }
//!             }
//!             status
//!         };
//!         let (status, ()) = tokio::join!(status, question.run());
//!         if status == 200 {
//!             return Ok(false);
//!         }
//!         session.respond_error(403).await?;
//!         Ok(true)
//!     }
//! }
//! ```

mod ctx;
pub mod pipe;
mod spawn;
mod under_way;

pub use ctx::{BodyMode, Ctx, CtxBuilder, UserCtx};
pub use spawn::{PreparedSubrequest, Subrequest, SubrequestSpawner};
pub(crate) use under_way::UnderWay;
