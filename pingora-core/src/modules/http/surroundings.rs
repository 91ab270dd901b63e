//! The values that a module may examine in addition to the messages.

use crate::protocols::Digest;
use crate::protocols::http::ServerSession;
use std::any::Any;
use std::fmt;

/// The surroundings of a request: the client's session, the context of the phases, and on the upstream side the
/// connection. A module receives them in [`HttpModule::request_begins`](super::HttpModule::request_begins), and
/// stores what it will need.
///
/// ```
/// # use pingora_core::modules::http::*;
/// # use pingora_error::Result;
/// # use std::any::Any;
/// # use std::net::SocketAddr;
/// /// The context of this program's requests.
/// struct Ctx { tenant: String }
///
/// #[derive(Default)]
/// struct Audit { client: Option<SocketAddr>, tenant: String }
///
/// impl HttpModule for Audit {
///     fn request_begins(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
///         let client = around.session().client_addr();
///         self.client = client.and_then(|address| address.as_inet()).copied();
///         if let Some(ctx) = around.context::<Ctx>() {
///             self.tenant.clone_from(&ctx.tenant);
///         }
///         Ok(())
///     }
/// #   fn as_any(&self) -> &dyn Any { self }
/// #   fn as_any_mut(&mut self) -> &mut dyn Any { self }
/// }
/// ```
pub struct Surroundings<'a> {
    session: &'a ServerSession,
    context: &'a mut (dyn Any + Send + Sync),
    upstream: Option<&'a Digest>,
}

impl<'a> Surroundings<'a> {
    /// The surroundings of a request on the client's side. `context` is the value that the phases
    /// keep for the request.
    pub fn new(session: &'a ServerSession, context: &'a mut (dyn Any + Send + Sync)) -> Self {
        Surroundings {
            session,
            context,
            upstream: None,
        }
    }

    /// The surroundings of a try at an upstream, over the connection with this digest.
    pub fn with_upstream(self, upstream: Option<&'a Digest>) -> Self {
        Surroundings { upstream, ..self }
    }

    /// The client's session, with the request as the client sent it, or as filters have changed it
    /// since.
    pub fn session(&self) -> &ServerSession {
        self.session
    }

    /// The context of the phases (`ProxyHttp::CTX`), if it has this type.
    pub fn context<T: 'static>(&self) -> Option<&T> {
        self.context.downcast_ref()
    }

    /// The context, mutable, for leaving values for the phases.
    pub fn context_mut<T: 'static>(&mut self) -> Option<&mut T> {
        self.context.downcast_mut()
    }

    /// The facts about the connection to the upstream. `None` on the client's side, and for protocols
    /// that have none.
    pub fn upstream(&self) -> Option<&'a Digest> {
        self.upstream
    }
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("upstream", &self.upstream.is_some())
            .finish_non_exhaustive()
    }
}
