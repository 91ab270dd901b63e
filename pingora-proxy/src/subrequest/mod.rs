//! Requests that a request spawns: the same phases run for them as for a client's, in memory.
//!
//! A proxy that says so ([`ProxyHttp::allow_spawning_subrequest`](crate::ProxyHttp)) finds a
//! [`SubrequestSpawner`](crate::SubrequestSpawner) in the [`Session`](crate::Session) of each request.
//! A sub-request has the head of its parent, which may be changed before it runs; its phases see
//! [`Session::subrequest_ctx`](crate::Session), and may take another way because of that.
//!
//! Three ways to use one:
//! - in the [background](crate::SubrequestSpawner::spawn_background_subrequest), its response dropped;
//! - by hand: [`create_subrequest`](crate::SubrequestSpawner::create_subrequest), then
//!   [`run`](crate::PreparedSubrequest::run) it beside reading the handle's channels;
//! - through a [pipe](pipe::pipe_subrequest), whose response becomes the parent's.

mod ctx;
pub mod pipe;
mod spawn;
mod under_way;

pub use ctx::{BodyMode, Ctx, CtxBuilder, UserCtx};
pub use spawn::{PreparedSubrequest, Subrequest, SubrequestSpawner};
pub(crate) use under_way::UnderWay;
