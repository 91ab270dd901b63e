//! Modules: filters for the requests and responses of one side of a proxy, or of a server.
//!
//! A [`HttpModuleBuilder`] is registered once with [`HttpModules`]; each request gets a fresh
//! [`HttpModule`] from every builder, stored in a [`HttpModuleCtx`]. A request without modules
//! costs nothing: its context is empty, does not allocate, and its filters return at once.
//!
//! ```
//! # use pingora_core::modules::http::*;
//! # use async_trait::async_trait;
//! # use pingora_error::Result;
//! # use pingora_http::RequestHeader;
//! # use std::any::Any;
//! #[derive(Default)]
//! struct CountFields { seen: usize }
//!
//! #[async_trait]
//! impl HttpModule for CountFields {
//!     async fn request_header_filter(&mut self, req: &mut RequestHeader) -> Result<()> {
//!         self.seen += req.headers.len();
//!         Ok(())
//!     }
//!     fn as_any(&self) -> &dyn Any { self }
//!     fn as_any_mut(&mut self) -> &mut dyn Any { self }
//! }
//!
//! struct CountFieldsBuilder;
//! impl HttpModuleBuilder for CountFieldsBuilder {
//!     fn init(&self) -> Module { Box::new(CountFields::default()) }
//! }
//!
//! let mut modules = HttpModules::new();
//! modules.add_module(Box::new(CountFieldsBuilder));
//! let ctx = modules.build_ctx();
//! assert_eq!(ctx.get::<CountFields>().map(|m| m.seen), Some(0));
//! ```

pub mod compression;
mod context;
pub mod decompression;
pub mod grpc_web;
mod surroundings;

pub use context::{HttpModuleCtx, HttpModules};
pub use surroundings::Surroundings;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use std::any::Any;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// A filter over one request and its response. Every method is optional.
///
/// The three asynchronous methods are implemented as `async fn` under `#[async_trait]`. Their
/// defaults are written out here, because the future of an `async {}` has a size and its box would
/// allocate for every request; theirs has none.
#[async_trait]
pub trait HttpModule {
    /// Called before the request's head is processed, with the client's session and the context of the
    /// phases; on the upstream side for each try, with the connection to the upstream as well. For
    /// modules that need information beyond the messages. An error ends the request.
    fn request_begins(&mut self, _around: &mut Surroundings<'_>) -> Result<()> {
        Ok(())
    }

    /// `async fn request_header_filter(&mut self, req: &mut RequestHeader) -> Result<()>`
    ///
    /// Sees the request's head, and may change it. On the upstream side, each try has a head of its own.
    /// An error ends the request.
    fn request_header_filter<'life0, 'life1, 'async_trait>(
        &'life0 mut self,
        _req: &'life1 mut RequestHeader,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'async_trait>>
    where
        Self: Send + 'async_trait,
        'life0: 'async_trait,
        'life1: 'async_trait,
    {
        Box::pin(poll_fn(|_| Poll::Ready(Ok(()))))
    }

    /// Called before the first part of the request's body, and again if the body is resent from its
    /// beginning because another upstream is tried. For modules that keep state from part to part.
    fn request_body_begins(&mut self) {}

    /// `async fn request_body_filter(&mut self, body: &mut Option<Bytes>, end_of_stream: bool) ->
    /// Result<()>`
    ///
    /// Sees each part of the request's body, and may change or take it. `None` with `end_of_stream`
    /// means that the body has ended already. An error ends the request.
    fn request_body_filter<'life0, 'life1, 'async_trait>(
        &'life0 mut self,
        _body: &'life1 mut Option<Bytes>,
        _end_of_stream: bool,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'async_trait>>
    where
        Self: Send + 'async_trait,
        'life0: 'async_trait,
        'life1: 'async_trait,
    {
        Box::pin(poll_fn(|_| Poll::Ready(Ok(()))))
    }

    /// The response whose head this module has seen will not be sent: an error page, or the response
    /// of another upstream, replaces it. For modules that keep state from head to body.
    fn response_discarded(&mut self) {}

    /// `async fn response_header_filter(&mut self, resp: &mut ResponseHeader, end_of_stream: bool)
    /// -> Result<()>`
    ///
    /// Sees the response's head, and may change it. With `end_of_stream` there is no body.
    fn response_header_filter<'life0, 'life1, 'async_trait>(
        &'life0 mut self,
        _resp: &'life1 mut ResponseHeader,
        _end_of_stream: bool,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'async_trait>>
    where
        Self: Send + 'async_trait,
        'life0: 'async_trait,
        'life1: 'async_trait,
    {
        Box::pin(poll_fn(|_| Poll::Ready(Ok(()))))
    }

    /// Sees each part of the response's body, and may change or take it. `None` with
    /// `end_of_stream` means that the body has ended already.
    fn response_body_filter(
        &mut self,
        _body: &mut Option<Bytes>,
        _end_of_stream: bool,
    ) -> Result<()> {
        Ok(())
    }

    /// Sees the response's trailers, and may change or take them. The returned data is sent as the
    /// last part of the body, before the trailers.
    fn response_trailer_filter(
        &mut self,
        _trailers: &mut Option<Box<HeaderMap>>,
    ) -> Result<Option<Bytes>> {
        Ok(None)
    }

    /// Called when the response is over, if no part of its body was marked as the last. The
    /// returned data is sent as the last part of the body.
    ///
    /// In an exchange with an upstream, the body or the trailers always mark the end. This method is
    /// for responses whose pieces a program writes, with an
    /// [`HttpTask::Done`](crate::protocols::http::HttpTask::Done) at their end.
    fn response_done_filter(&mut self) -> Result<Option<Bytes>> {
        Ok(None)
    }

    /// For downcasting to the concrete type: `self`.
    fn as_any(&self) -> &dyn Any;

    /// For downcasting to the concrete type: `self`.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

/// A module of any type.
pub type Module = Box<dyn HttpModule + Send + Sync + 'static>;

/// Makes a module for each request.
pub trait HttpModuleBuilder {
    /// The position of the module among the others of its side: those with a higher order run before
    /// those with a lower one, for requests and for responses alike. Modules of the same order run in
    /// the order in which they were added.
    fn order(&self) -> i16 {
        0
    }

    /// A module for one request.
    fn init(&self) -> Module;
}

/// A builder of any type.
pub type ModuleBuilder = Box<dyn HttpModuleBuilder + Send + Sync + 'static>;

#[cfg(test)]
mod tests;
